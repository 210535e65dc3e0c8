"""Where telemetry is, by what builds are told apart there, and what the platform's metrics limit."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from controller.config.load import load_text
from controller.config.problems import Problem
from controller.core.plan import AppId, AppSpec, SlotName
from controller.core.telemetry import IdentifyBy, Mark, PlatformLimits

ProblemsOf = Callable[[str], tuple[Problem, ...]]
COMPONENT = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-web"
    "/providers/Microsoft.Insights/components/shop-blue"
)
ALL_NAMED = "{production: p, blue: b, green: g}"
# fmt: off
# ruff: noqa: E501 - a row of a table is one line
WRONG = [
    # id                       in analysis                                        beside it                key                                said
    ("swap-by-role",           "identify_by: role_name",                          "strategy: {kind: swap, steps: []}", "analysis.identify_by", "a swap moves the builds"),
    ("instance-without-names", "identify_by: role_instance",                      "",                      "analysis.identify_by",            "lacks production, blue, green"),
    ("instance-lacks-one",     "identify_by: role_instance|slot_names: {production: p, Blue: b}", "",      "analysis.identify_by",            "lacks green"),
    ("names-by-version",       f"slot_names: {ALL_NAMED}",                        "",                      "analysis.slot_names",             "no meaning"),
    ("name-of-no-slot",        "identify_by: role_name|slot_names: {violet: v}",  "",                      "analysis.slot_names.violet",      "no slot 'violet'"),
    ("one-role-for-all",       "identify_by: role_name|role_name: shop",          "",                      "analysis.role_name",              "the same for every slot"),
    ("other-word",             "identify_by: slot",                               "",                      "analysis.identify_by",            "not one of"),
    ("workspace-name",         "additional_workspaces: [my-workspace]",           "",                      "analysis.additional_workspaces[0]", "a workspace id"),
    ("site-as-source",         "additional_workspaces: [/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Web/sites/x]", "", "analysis.additional_workspaces[0]", "a workspace id"),
    ("limits-nothing",         "platform_metrics: {region: westeurope}",          "",                      "analysis.platform_metrics",       "limits nothing"),
    ("no-region",              "platform_metrics: {http5xx_rate_max: 0.1}",       "",                      "analysis.platform_metrics",       "is missing"),
    ("region-in-words",        "platform_metrics: {region: West Europe, http5xx_rate_max: 0.1}", "",       "analysis.platform_metrics.region", "a region"),
    ("percent-as-rate",        "platform_metrics: {region: westeurope, http5xx_rate_max: 5}", "",          "analysis.platform_metrics.http5xx_rate_max", "at most 1"),
    ("unsettled",              "platform_metrics: {region: westeurope, http5xx_rate_max: 0.1, settle: 1s}", "", "analysis.platform_metrics.settle", "at least 1 minute"),
    ("role-of-two-lines",      r'role_name: "a\nb"',                              "",                      "analysis.role_name",              "on one line"),
]
# fmt: on


def written(minimal: str, analysis: str, beside: str = "") -> str:
    """Return the minimal file with keys added to its analysis (the last section), and beside it."""
    keys = "".join(f"      {line}\n" for line in analysis.split("|"))
    return minimal + keys + (f"    {beside}\n" if beside else "")


@pytest.mark.parametrize(
    ("analysis", "beside", "key", "said"), [pytest.param(*row[1:], id=row[0]) for row in WRONG]
)
def test_what_does_not_fit_is_refused_with_a_reason(
    minimal: str, problems_of: ProblemsOf, analysis: str, beside: str, key: str, said: str
) -> None:
    problems = problems_of(written(minimal, analysis, beside))

    assert said in " | ".join(p.message for p in problems if p.key.startswith(f"apps.shop.{key}"))


def loaded(text: str) -> AppSpec:
    return load_text(text, name="apps.yaml")[AppId("shop")]


def marks(minimal: str, analysis: str) -> list[Mark | None]:
    app = loaded(written(minimal, analysis))
    site = app.target.site
    slots = (SlotName("production"), SlotName("Blue"), SlotName("green"))
    return [app.analysis.mark("sha256:x", site, slot) for slot in slots]


def test_builds_are_told_apart_by_their_version_unless_said_otherwise(minimal: str) -> None:
    assert marks(minimal, "poll: 15s") == [Mark(name="sha256:x")] * 3
    assert marks(minimal, "role_name: shop") == [Mark(name="sha256:x", role="shop")] * 3


def test_slots_have_their_usual_role_names_unless_named(minimal: str) -> None:
    role = IdentifyBy.ROLE_NAME

    found = marks(minimal, "identify_by: role_name|slot_names: {green: shop on green}")

    names = ("contoso-shop", "contoso-shop-Blue", "shop on green")
    assert found == [Mark(name=name, by=role) for name in names]


def test_instances_may_be_of_one_role(minimal: str) -> None:
    by = IdentifyBy.ROLE_INSTANCE
    text = f"identify_by: role_instance|role_name: shop|slot_names: {ALL_NAMED}"

    assert marks(minimal, text) == [Mark(name=name, by=by, role="shop") for name in "pbg"]


def test_a_build_without_a_version_has_no_mark(minimal: str) -> None:
    app = loaded(written(minimal, "poll: 15s"))

    assert app.analysis.mark(None, "shop", SlotName("blue")) is None


def test_apps_with_the_same_sources_share_an_observation(minimal: str) -> None:
    """Whatever their order; its name is one that a table's key and a session may have."""
    guid = "00000000-0000-0000-0000-0000000000AA"
    apart = written(minimal, f"additional_workspaces: [{COMPONENT}, {guid}]")
    turned = written(minimal, f"additional_workspaces: [{guid.lower()}, {COMPONENT.lower()}]")
    alone = loaded(minimal).analysis
    first, second = (loaded(text).analysis for text in (apart, turned))

    assert alone.observation == alone.workspace
    assert first.observation == second.observation != alone.observation
    assert first.observation.replace("-", "").isalnum()
    assert first.sources == (alone.workspace, COMPONENT.lower(), guid.lower())


def test_platform_limits_come_through(minimal: str) -> None:
    text = (
        "platform_metrics: {region: westeurope, http5xx_rate_max: 0.1, "
        "response_time_ms_max: 900, health_check_min: 80, min_requests: 7, settle: 2m}"
    )

    assert loaded(written(minimal, text)).analysis.platform_metrics == (
        PlatformLimits(
            region="westeurope",
            http5xx_rate_max=0.1,
            response_time_ms_max=900,
            health_check_min=80,
            min_requests=7,
            settle=timedelta(minutes=2),
        )
    )
