"""Alerts of Azure Monitor, told on to people where they talk.

An action group knows mail and telephones; a chat's webhook in it would be a secret in a template.
This door takes what the action group posts, checked as an alert is, and posts it with an address
out of Key Vault. An action group tries again only after 408, 429, 503 and 504.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.alerts import Condition
from controller.core.errors import PermanentError
from controller.entry.alert_payloads import Alert
from controller.entry.alerts import answer_to
from controller.entry.http import Request, Response, problem
from controller.ports import Callers, Notice, Notifier, Secrets

log = logging.getLogger("slipway.notifications")

_CHANNEL_REFUSES: Final = 502  # not tried again: it would be refused again
_SHOWN: Final = 5  # resources


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDoor:
    """What the door needs of the house."""

    secrets: Secrets
    callers: Callers | None  # None: no Entra token is asked for or accepted
    notifiers: Mapping[str, Notifier]  # by the channel's name

    async def take(self, request: Request) -> Response:
        """Answer ``POST /api/notifications/{channel}`` when people were told. Never raises."""

        async def handle(alert: Alert) -> Response:
            return await self._tell(alert, request.route.get("channel", ""))

        return await answer_to(request, self.secrets, self.callers, handle)

    async def _tell(self, alert: Alert, channel: str) -> Response:
        notifier = self.notifiers.get(channel)
        if notifier is None:
            known = ", ".join(sorted(self.notifiers))
            return problem(404, "SW304", f"No channel {channel!r}.", f"Channels: {known}.")
        try:
            await notifier.tell(notice_of(alert))
        except PermanentError as error:
            log.error("notification: %s", error)  # noqa: TRY400 - the text says all
            return problem(_CHANNEL_REFUSES, error.code, error.what, error.fix)
        log.info("alert %r %s was told in %s", alert.rule, alert.condition, channel)
        return Response(status=200, body={"told": True, "channel": channel})


def notice_of(alert: Alert) -> Notice:
    """Return an alert as people read it."""
    is_over = alert.condition is Condition.RESOLVED
    title = f"{'Resolved' if is_over else 'Fired'}: {alert.rule}"
    about = [resource.rpartition("/providers/")[2] for resource in alert.resources[:_SHOWN]]
    more = len(alert.resources) - len(about)
    when = f"Fired at {alert.fired_at:%Y-%m-%d %H:%M:%S} UTC" if alert.fired_at else ""
    lines = (
        alert.detail,
        *about,
        f"and {more} more" if more > 0 else "",
        when,
        "A test of the action group" if alert.is_test else "",
    )
    return Notice(
        title=f"Test: {title}" if alert.is_test else title,
        lines=tuple(filter(None, lines)),
        is_over=is_over,
    )
