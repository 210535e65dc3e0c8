"""Which alerts of Azure Monitor end a rollout."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from controller.config.fields import Duration, Shape
from controller.config.section import Section
from controller.core import plan

_ALERTS: Final = plan.Alerts()
_RESOURCE: Final = (
    r"^/[sS][uU][bB][sS][cC][rR][iI][pP][tT][iI][oO][nN][sS]/[0-9a-fA-F-]{36}"
    r"(/[^/\s?#]+){2,}/?$"
)


def _last_part(value: str) -> str | None:
    """Whoever writes an ARM id where a rule's name belongs means its last part."""
    name = value.rstrip("/").rpartition("/")[2]
    is_id = value.lower().startswith("/subscriptions/")
    return f"Did you mean '{name}'?" if is_id and name else None


def _from_portal(value: str) -> str | None:
    found = re.search(r"/subscriptions/.*", value, re.IGNORECASE)
    if found and re.fullmatch(_RESOURCE, found.group()):
        return f"Did you mean '{found.group()}'?"
    return "az resource show ... --query id --output tsv prints it."


RuleGlob = Annotated[
    str,
    Shape(
        r"^[^/\x00-\x1f\x7f]+$",
        "the name of an alert rule or a pattern such as 'shop-*'",
        260,
        _last_part,
    ),
]
ResourceId = Annotated[
    str,
    Shape(_RESOURCE, "the ARM id of a resource: /subscriptions/GUID/...", 1000, _from_portal),
]


class AlertsSection(Section):
    """Which alerts of Azure Monitor count; docs/alerts.md says how they come to Slipway."""

    rules: list[RuleGlob] = Field(
        default=[],
        max_length=50,
        description="Names of alert rules, as patterns, compared without case. One that fires "
        "ends the rollout and lets none start. Without rules no alert counts.",
    )
    resources: list[ResourceId] = Field(
        default=[],
        max_length=50,
        description="ARM ids that alerts of the app may be about, beside its site and slots: "
        "Application Insights, the plan, the workspace, ...",
    )
    max_age: Duration = Field(
        default=_ALERTS.max_age,
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="An alert that fired longer ago when it comes ends no rollout.",
    )

    def to_core(self) -> plan.Alerts:
        """Return the core's form."""
        return plan.Alerts(
            rules=tuple(self.rules),
            resources=tuple(resource.rstrip("/").lower() for resource in self.resources),
            max_age=self.max_age,
        )
