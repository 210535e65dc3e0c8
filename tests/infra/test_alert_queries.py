"""The alerts on Slipway fire on the lines that its code logs: each critical line is one alert's."""

import datetime as dt
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.infra.kit import PARAMETERS
from tests.sandbox.monitor_kit import WORKSPACE, World, running
from tools.infra_check.evaluate import deploy

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
CRITICAL, ERROR, INFORMATION = 4, 3, 1

# As the code words it, what stands in its places, how severe it is, and whose line it is.
LINES = [
    (
        "app %s rollout %s: %s %s: %s",
        ("shop", "r-1", "tick", "page", "the backup job of the database was held"),
        CRITICAL,
        "rollout-needs-you",
    ),
    (
        "queue %s: the platform gave up on a message after %s deliveries: %s %s",
        ("rollouts", "20", "MaxDeliveryCountExceeded", ""),
        CRITICAL,
        "rollout-needs-you",
    ),
    ("app %s: what is due cannot be asked for: %s", ("shop", "x"), CRITICAL, "rollout-needs-you"),
    (
        "app %s: %s job %s failed: %s",
        ("shop", "backup", "j-1", "no verified backup"),
        CRITICAL,
        "backup-or-drill-failed",
    ),
    (
        "app %s: %s job %s failed: %s",
        ("shop", "drill", "j-2", "rows differ"),
        CRITICAL,
        "backup-or-drill-failed",
    ),
    ("app %s: %s job %s failed: %s", ("shop", "restore", "j-3", "x"), ERROR, ""),
    (
        "no backup set is verified, so nothing is known to restore",
        None,
        CRITICAL,
        "no-verified-backup",
    ),
    ("the newest verified backup has the data of ", None, CRITICAL, "no-verified-backup"),
    (
        "the configuration cannot be read, drift is not looked for: %s",
        ("SW400",),
        CRITICAL,
        "configuration-unreadable",
    ),
    ("job %s: succeeded", ("j-1",), INFORMATION, ""),
]


def rules() -> dict[str, tuple[str, str]]:
    """Return query and operator of each alert on Slipway's log, as the templates make them."""
    deployment = deploy(ROOT / "infra/main.bicep", PARAMETERS)
    assert deployment.findings == []
    found: dict[str, tuple[str, str]] = {}
    for each in deployment.declared("Microsoft.Insights/scheduledQueryRules"):
        condition = each.properties["criteria"]["allOf"][0]
        name = str(each.name).removeprefix("shop-slipway-")
        found[name] = (condition["query"], condition["operator"])
    return found


RULES = rules()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


async def fired(world: World, message: str, severity: int) -> set[str]:
    """Return the alerts whose query finds that line."""
    row = {"Message": message, "SeverityLevel": severity}
    await world.monitor.insert(WORKSPACE, "AppTraces", [row], ingested_at=NOW)
    return {name for name, (query, _) in RULES.items() if await world.ask(query)}


def test_there_is_an_alert_for_each_thing_that_a_person_has_to_see() -> None:
    assert set(RULES) == {
        "rollout-needs-you",
        "backup-or-drill-failed",
        "no-verified-backup",
        "configuration-unreadable",
        "does-not-run",
    }
    assert RULES["does-not-run"][1] == "LessThan"


@pytest.mark.parametrize(("wording", "given", "severity", "whose"), LINES)
async def test_a_critical_line_is_one_alerts_and_no_others(
    world: World, wording: str, given: tuple[str, ...] | None, severity: int, whose: str
) -> None:
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "controller").rglob("*.py"))
    assert wording in source, "the code words it otherwise: the alert would not fire"

    message = f"app shop: {wording}" if given is None else wording % given

    assert await fired(world, message, severity) == ({whose} if whose else set())


async def test_a_sweep_that_runs_keeps_the_alert_on_its_absence_still(world: World) -> None:
    source = (ROOT / "controller/entry/doors.py").read_text(encoding="utf-8")
    wording = '"sweep%s: %s"'
    assert wording in source
    for late in ("", " (past due)"):
        line = re.sub(r'"', "", wording) % (late, "1 app")
        assert "does-not-run" in await fired(world, line, INFORMATION)
