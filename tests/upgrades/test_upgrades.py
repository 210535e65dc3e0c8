"""What every released version left, the present code reads, continues and verifies.

Each check is also shown to fail where a form is not what it was.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.azure import swap_token
from controller.config.problems import InvalidConfigurationError
from controller.core.errors import SlipwayError
from controller.core.jobs import JobKind, JobState
from controller.core.model import State
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    MAINTENANCE_QUEUE,
    OBSERVATIONS_QUEUE,
    parse_command,
    parse_job,
    parse_poll,
)
from tests.upgrades import checks
from tests.upgrades.forms import ROOT, Plain, read, versions
from tests.upgrades.freezing import Tables, forms, sealers, table_of
from tests.upgrades.scenes import SCENES

in_one_loop = pytest.mark.asyncio(loop_scope="session")  # the tables are started once

VERSIONS = versions()
NEWEST = VERSIONS[-1]


def frozen(folder: str) -> list[Any]:
    """Return every frozen file of a kind, as parameters."""
    return [
        pytest.param(path, id=f"{version.name}-{path.stem}")
        for version in VERSIONS
        for path in sorted((version / folder).glob("*.json"))
    ]


each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


def test_every_released_version_is_here() -> None:
    """A release without its folder would never be tested against."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = {line[4:].partition("]")[0] for line in changelog.splitlines() if "## [" in line}
    assert {f"v{version}" for version in released if version[0].isdigit()} <= {
        path.name for path in VERSIONS
    }


# --- Rollouts -------------------------------------------------------------------------------------


@each_version
def test_a_rollout_of_every_state_is_here(version: Path) -> None:
    rows = [row for path in (version / "scenes").glob("*.json") for row in read(path)["rows"]]
    rollouts = [row["payload"] for row in rows if row["RowKey"].startswith("rollout:")]
    assert {each["state"] for each in rollouts} == set(State)
    kinds = {row["RowKey"].partition(":")[0] for row in rows if row["PartitionKey"] == "shop"}
    assert kinds == {"head", "rollout", "event", "seen", "bucket"}


@pytest.mark.parametrize("path", frozen("scenes"))
@in_one_loop
async def test_its_rows_are_read_decided_on_and_saved(path: Path, tables: Tables) -> None:
    """Through the adapter of the real table; the audit's chain holds before and after."""
    await checks.check_rows(tables, table_for(path), read(path))


def table_for(path: Path, tail: str = "") -> str:
    """Return a table of one's own: of a version, a file and a test."""
    return f"v{path.parents[1].name.replace('.', 'x')}{table_of(path.stem)}{tail}"


@pytest.mark.parametrize("path", frozen("scenes"))
@in_one_loop
async def test_it_is_finished_as_it_would_have_been(path: Path) -> None:
    """The version that began it was stopped half way; the present one takes table and queues."""
    house = await checks.check_goes_on(SCENES[path.stem], read(path))
    await house.assert_chained()


@each_version
@in_one_loop
async def test_jobs_are_read(version: Path, tables: Tables) -> None:
    rows = read(version / "jobs.json")
    await check_jobs(tables, f"jobs{version.name.replace('.', 'x')}", rows)
    assert {row["payload"]["kind"] for row in rows} == set(JobKind)
    assert {row["payload"]["state"] for row in rows} == set(JobState)


async def check_jobs(tables: Tables, table: str, rows: list[Plain]) -> None:
    async with tables.raw(table) as client:
        await checks.put(client, rows)
    async with tables.store(table) as store:
        found = {job.id: job for job in await store.jobs("shop", limit=100)}
    assert set(found) == {row["payload"]["id"] for row in rows}
    assert {job.why for job in found.values()} == {"by hand"}


# --- Messages -------------------------------------------------------------------------------------

PARSERS: dict[str, Callable[[bytes, str | None], Any]] = {
    COMMANDS_QUEUE: lambda body, session: parse_command(body, session=session),
    OBSERVATIONS_QUEUE: lambda body, _: parse_poll(body),
    MAINTENANCE_QUEUE: lambda body, session: parse_job(body, session=session),
}


def check_message(frozen_message: Plain) -> None:
    body = json.dumps(frozen_message["body"]).encode()
    parsed = PARSERS[frozen_message["queue"]](body, frozen_message["session"])
    now = parsed.model_dump(mode="json")
    for name, value in frozen_message["body"].items():
        assert now[name] == value, f"{name} is read as something else"


@each_version
def test_queued_messages_are_read(version: Path) -> None:
    """Of every queue, and every command that there was."""
    found = read(version / "messages.json")
    for each in found:
        check_message(each)
    schema = read(version / "messages.schema.json")
    assert {each["queue"] for each in found} == set(PARSERS)
    public = set(schema["discriminator"]["mapping"])
    assert public <= {each["subject"] for each in found}


@each_version
def test_what_pipelines_send_is_still_taken(version: Path) -> None:
    now = read(ROOT / "docs" / "messages.schema.json")
    assert checks.refused_messages(read(version / "messages.schema.json"), now) == []


# --- Backup sets, evidence, swaps, configuration --------------------------------------------------


@pytest.mark.parametrize("path", frozen("sets"))
@in_one_loop
async def test_a_backup_set_opens(path: Path) -> None:
    """Manifest, seal, marks, every part; its audit is one chain."""
    await checks.check_set(read(path), sealers()[path.stem])


@pytest.mark.parametrize("path", frozen("evidence"))
def test_a_decision_is_computed_again(path: Path) -> None:
    checks.check_evidence(read(path))


@each_version
def test_apps_yaml_means_what_it_meant(version: Path) -> None:
    text = (version / "apps.yaml").read_text(encoding="utf-8")
    checks.check_configuration(text, read(version / "apps.json"))


# --- Nothing changes in secret --------------------------------------------------------------------

WHAT_TO_DO = """
What is stored differs from {version}, and its form still has the same number:
  {changes}
Older versions would read it and lose what they do not know. So: raise the number
(controller/adapters/codec.py for rows, controller/recovery/manifest.py for backup sets), tell how
the old form becomes the new one, name it in CHANGELOG.md; docs/upgrading.md says how. While
{version} is not released: python tools/freeze.py {version} --again
"""


def test_a_form_that_changes_gets_another_number() -> None:
    changes = checks.changed_forms(read(NEWEST / "forms.json"), forms())
    assert not changes, WHAT_TO_DO.format(version=NEWEST.name[1:], changes="\n  ".join(changes))


@in_one_loop
async def test_rows_and_messages_still_have_the_same_columns(tables: Tables) -> None:
    """One rollout, stored by the present code: columns beside the payload are what they were."""
    from tests.upgrades.freezing import scene  # noqa: PLC0415 - beside its only use

    was, (now, _) = read(NEWEST / "scenes" / "baking.json"), await scene(tables, SCENES["baking"])
    assert columns(now["rows"]) == columns(was["rows"])
    assert envelopes(now["messages"]) == envelopes(was["messages"])


def columns(rows: list[Plain]) -> dict[str, dict[str, str]]:
    """Return names and types of each kind of row's columns."""
    return {
        row["RowKey"].partition(":")[0] + row["PartitionKey"].partition(":")[1]: {
            name: type(value).__name__ for name, value in row.items() if name != "payload"
        }
        for row in rows
    }


def envelopes(messages: list[Plain]) -> dict[str, Any]:
    return {
        each["subject"]: (each["queue"], each["session"], sorted(each["body"])) for each in messages
    }


# --- Shown to fail --------------------------------------------------------------------------------


def renamed(value: Any, name: str) -> Any:
    """Return a copy in which every field *name* has another one."""
    if isinstance(value, list):
        return [renamed(each, name) for each in value]
    if not isinstance(value, dict):
        return value
    return {f"{k}_" if k == name else k: renamed(each, name) for k, each in value.items()}


@pytest.mark.parametrize("name", ["spec", "image", "paused", "releases", "awaiting", "cursor"])
@in_one_loop
async def test_a_row_with_another_field_is_noticed(name: str, tables: Tables) -> None:
    """Needed ones, those with a default, and those deep inside."""
    path = NEWEST / "scenes" / "baking.json"
    broken = copy.deepcopy(read(path))
    for row in broken["rows"]:
        if "payload" in row:
            row["payload"] = renamed(row["payload"], name)
    with pytest.raises((ValueError, AssertionError)):
        await checks.check_rows(tables, table_for(path, f"renamed{name}"), broken)


@in_one_loop
async def test_a_changed_line_of_the_audit_is_noticed(tables: Tables) -> None:
    path = NEWEST / "scenes" / "baking.json"
    broken = read(path)
    line = next(row for row in broken["rows"] if row["RowKey"] == "event:0000000002")
    line["payload"]["why"] += "!"
    with pytest.raises(AssertionError):
        await checks.check_rows(tables, table_for(path, "audit"), broken)


@in_one_loop
async def test_another_state_of_a_rollout_is_noticed() -> None:
    """A machine that no longer knows what to do in a state does not come to the same end."""
    broken = read(NEWEST / "scenes" / "baking.json")
    for row in broken["rows"]:
        if row["RowKey"] == "head":
            row["payload"]["active"]["state"] = "rolling_back"
    with pytest.raises(AssertionError):
        await checks.check_goes_on(SCENES["baking"], broken)


@in_one_loop
async def test_a_job_with_another_field_is_noticed(tables: Tables) -> None:
    rows = read(NEWEST / "jobs.json")
    for row in rows:
        row["payload"] = renamed(row["payload"], "by")
    with pytest.raises(ValueError, match="by"):
        await check_jobs(tables, "jobsrenamed", rows)


@pytest.mark.parametrize("name", ["command", "app", "image", "turn", "due", "job", "v"])
def test_a_message_with_another_field_is_noticed(name: str) -> None:
    found = [each for each in read(NEWEST / "messages.json") if name in each["body"]]
    assert found
    for each in found:
        with pytest.raises(SlipwayError):
            check_message(each | {"body": renamed(each["body"], name)})


def test_a_message_that_pipelines_may_not_send_any_more_is_noticed() -> None:
    was = read(NEWEST / "messages.schema.json")
    now = copy.deepcopy(was)
    del now["$defs"]["SubmitBody"]["properties"]["override"]
    order = now["$defs"]["OrderBody"]
    order["required"] = ["command", "app", "rollout"]
    order["properties"]["command"]["enum"].remove("pause")
    order["properties"]["app"]["pattern"] = "^[a-z]+$"
    order["properties"]["reason"]["maxLength"] = 10
    assert sorted(checks.refused_messages(was, now)) == [
        "OrderBody.app has another pattern",
        "OrderBody.command no longer takes pause",
        "OrderBody.reason must be shorter",
        "OrderBody.rollout is needed now",
        "SubmitBody.override is gone",
    ]


@pytest.mark.parametrize("kind", list(sealers()))
@in_one_loop
async def test_a_manifest_with_another_field_is_noticed(kind: str) -> None:
    broken = read(NEWEST / "sets" / f"{kind}.json")
    (path,) = (path for path in broken["blobs"] if path.endswith("manifest.json"))
    text = broken["blobs"][path]["text"]
    assert '"requested_by":' in text
    broken["blobs"][path]["text"] = text.replace('"requested_by":', '"asked_by":')
    with pytest.raises(AssertionError, match="asked_by"):
        await checks.check_set(broken, sealers()[kind])


def test_evidence_with_another_field_is_noticed() -> None:
    broken = read(NEWEST / "evidence" / "observing.json")
    with pytest.raises(SlipwayError, match="unknown field 'limits_'"):
        checks.check_evidence(renamed(broken, "limits"))


def test_a_configuration_that_means_something_else_is_noticed() -> None:
    text = (NEWEST / "apps.yaml").read_text(encoding="utf-8")
    was = read(NEWEST / "apps.json")
    with pytest.raises(InvalidConfigurationError):
        checks.check_configuration(text.replace("strategy:", "strategies:"), was)
    was["shop"]["deadlines"]["staging"] = "PT1M"
    with pytest.raises(AssertionError, match=r"shop\.deadlines\.staging was"):
        checks.check_configuration(text, was)


def change_of_forms(change: Callable[[Plain], None], *, number: str | None = None) -> list[str]:
    was = read(NEWEST / "forms.json")
    now = copy.deepcopy(was)
    change(now["classes"])
    if number is not None:
        now["numbers"][number] += 1
    return checks.changed_forms(was, now)


def test_a_changed_form_is_noticed_and_another_number_allows_it() -> None:
    def more(classes: Plain) -> None:
        classes["Rollout"]["properties"]["colour"] = {"type": "string"}

    def less(classes: Plain) -> None:
        del classes["Manifest"]["properties"]["reason"]

    def other(classes: Plain) -> None:
        classes["Rollout"]["properties"]["turn"] = {"type": "string"}
        classes["State"]["enum"].append("tired")

    assert change_of_forms(more) == ["Rollout.colour is new"]
    assert change_of_forms(less) == ["Manifest.reason is gone"]
    assert change_of_forms(other) == ["Rollout.turn is of another type", "State has other values"]
    assert change_of_forms(more, number="rows") == []
    assert change_of_forms(less, number="backup sets") == []
    assert change_of_forms(less, number="rows") == ["Manifest.reason is gone"]


def test_a_swaps_token_is_read() -> None:
    """The form of 0.1.0, written out: an upgrade in the middle of a swap goes on following it."""
    token = '{"version":1,"poll":"https://management.azure.com/x?y=1"}'
    assert swap_token.read(token, endpoint="https://management.azure.com") is not None
    with pytest.raises(swap_token.ForeignTokenError):
        swap_token.read(token.replace("poll", "pull").replace("1,", "2,"), endpoint="https://m")
