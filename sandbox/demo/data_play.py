"""Plays the acts on data: releases with migrations, a backup, a loss, a restore, a drill.

What became of the database is looked at past Slipway: its schema before and after, its rows, and
the ledger that the clients keep.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.clients import Seen
from sandbox.demo.comparison import Comparison, compare
from sandbox.demo.play import Outcome, Stage, begin, conclude, play
from sandbox.demo.script import Act, Perform
from sandbox.ledger import Ledger
from sandbox.shop_database import DATABASE

Json = dict[str, Any]
Notice = Callable[[], None]

_POLL_SECONDS = 0.3
_TRAFFIC_SECONDS = 4.0  # between the backup and the loss: what is lost
_OUTAGE_FAILURES = 20  # so many users notice before anybody does something
_AFTER_SECONDS = 3.0  # of traffic on what was restored
_SETTLED_SECONDS = 1.0  # after the first good answer some requests are still on their way
_HASH_SHOWN = 12


# --- Releases with migrations ---------------------------------------------------------------------


def release(
    *, adds: tuple[str, ...] = (), restore_point: bool = False, shared: bool = False
) -> Perform:
    """Return what plays a release.

    Args:
        adds: how what is new in the schema begins afterwards; everything else has to be as before.
        restore_point: a backup set has to be made before anything runs.
        shared: users have to place orders with both builds on the new schema.
    """

    async def perform(stage: Stage, act: Act, notice: Notice) -> Outcome:
        database = stage.village.database
        before, sets = await database.schema(), await _backups(stage)
        began = time.time()
        outcome = await play(stage, act, notice)
        after = await database.schema()
        new = sorted(set(after) - set(before))
        strange = [each for each in new if not each.startswith(adds or ("-",))]
        missing = [each for each in adds if not any(n.startswith(each) for n in new)]
        gone = sorted(set(before) - set(after))
        if strange or missing or gone:
            outcome.problems.append(
                f"schema: new {strange or 'nothing'}, gone {gone or 'nothing'},"
                f" expected and missing {missing or 'nothing'}"
            )
        outcome.figures["schema"] = ", ".join(new) if new else "as before"
        made = [each for each in await _backups(stage) if each["id"] not in _ids(sets)]
        if restore_point:
            _check_restore_point(outcome, made)
        elif made:
            outcome.problems.append(f"{len(made)} backup sets were made for nothing")
        if shared:
            _check_shared(outcome, stage, began)
        return outcome

    return perform


def _ids(sets: list[Json]) -> set[str]:
    return {each["id"] for each in sets}


def _check_restore_point(outcome: Outcome, made: list[Json]) -> None:
    good = [each for each in made if each["verified"]]
    if len(good) != 1:
        outcome.problems.append(f"restore points that were read back: {len(good)}, expected 1")
        return
    outcome.figures["restore point"] = f"{good[0]['id']}, {good[0]['stored_bytes']:,} bytes"


def _check_shared(outcome: Outcome, stage: Stage, began: float) -> None:
    orders = [o for o in ledger_of(stage).orders.values() if o.sent_at >= began and o.by]
    by = {version: sum(o.by == version for o in orders) for version in {o.by for o in orders}}
    outcome.figures["orders by build"] = ", ".join(f"{who} {n}" for who, n in sorted(by.items()))
    if len(by) < 2:
        outcome.problems.append("not both builds placed orders on the new schema")


def ledger_of(stage: Stage) -> Ledger:
    """Return what the clients wrote down."""
    if stage.clients.ledger is None:
        raise RuntimeError("the clients keep no ledger")
    return stage.clients.ledger


async def _backups(stage: Stage) -> list[Json]:
    answer = await _answered(lambda: stage.api.get(f"apps/{stage.app}/backups"), "the backups")
    found: list[Json] = answer["backups"]
    return found


async def _answered(ask: Callable[[], Awaitable[Json | None]], what: str) -> Json:
    for _ in range(20):
        if (answer := await ask()) is not None:
            return answer
        await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"Slipway's API does not tell {what}")


# --- Jobs -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Job:
    """An order of maintenance, watched as a person watches it."""

    stage: Stage
    outcome: Outcome
    notice: Notice
    ordered_at: float = 0.0  # time.monotonic()

    async def run(self, verb: str, **body: str | bool) -> Json:
        """Order it and return it when it has ended, or when the act's patience has."""
        api, app = self.stage.api, self.stage.app
        self.ordered_at = time.monotonic()
        status, accepted = await api.post(
            f"apps/{app}/backups/{verb}", {"by": "ann", "reason": self.outcome.act.title, **body}
        )
        if status != 202:
            raise RuntimeError(f"{verb} was answered {status}: {accepted}")
        path = accepted["status_url"].removeprefix("/api/")
        job: Json = {"state": "waiting", "steps": [], "error": ""}
        while time.monotonic() - self.ordered_at < self.outcome.act.patience_seconds:
            job = await api.get(path) or job
            self._show(job)
            if job["state"] in {"succeeded", "failed"}:
                break
            await asyncio.sleep(_POLL_SECONDS)
        if job["state"] != "succeeded":
            self.outcome.problems.append(f"{verb} {job['state']}: {job['error']}")
        return job

    def _show(self, job: Json) -> None:
        """Draw the job as the view draws a rollout."""
        steps = job["steps"]
        why = steps[-1]["text"] if steps else ""
        self.outcome.rollout = {
            "id": job.get("id", ""), "state": job["state"], "why": job["error"] or why,
            "is_over": True, "events": [],
        }  # fmt: skip
        self.stage.events = [
            {"at": step["at"], "from": None, "to": "", "kind": "step", "why": step["text"]}
            for step in steps
        ]
        self.notice()


Work = Callable[[Stage, Outcome, _Job], Coroutine[Any, Any, None]]


def maintenance(work: Work) -> Perform:
    """Return what plays an act of maintenance. What breaks in *work* is a problem of the act."""

    async def perform(stage: Stage, act: Act, notice: Notice) -> Outcome:
        outcome = begin(stage, act)
        try:
            await work(stage, outcome, _Job(stage, outcome, notice))
        except Exception as error:  # noqa: BLE001 - shown in the table; the other acts go on
            outcome.problems.append(f"{type(error).__name__}: {error}")
        await conclude(stage, outcome, notice)
        return outcome

    return perform


async def back_up(stage: Stage, outcome: Outcome, order: _Job) -> None:
    """A person orders a backup while users order on."""
    job = await order.run("create")
    result: Json = job.get("result") or {}
    listed = [each for each in await _backups(stage) if each["id"] == result.get("set")]
    if not listed or listed[0]["condition"] != "complete" or not listed[0]["encrypted"]:
        outcome.problems.append(f"the set is not offered, whole and encrypted: {listed}")
    else:
        made = listed[0]
        outcome.figures["backup set"] = made["id"]
        outcome.figures["its parts"] = ", ".join(part["name"] for part in made["parts"])
        outcome.figures["took"] = f"{result['seconds']:.1f} s, {made['stored_bytes']:,} bytes"


async def drill(stage: Stage, outcome: Outcome, order: _Job) -> None:
    """A person wants to know whether the newest set restores."""
    databases = await _databases(stage)
    job = await order.run("drill")
    result: Json = job.get("result") or {}
    if not result.get("passed") or result.get("problems"):
        outcome.problems.append(f"the drill did not pass: {result.get('problems')}")
    else:
        outcome.measured = {name: result[name] for name in ("rpo_seconds", "rto_seconds")}
        outcome.figures["RPO, the newest data's age"] = f"{result['rpo_seconds']:.1f} s"
        outcome.figures["RTO, until it was compared"] = f"{result['rto_seconds']:.1f} s"
    if left := await _databases(stage) - databases:
        outcome.problems.append(f"the drill left databases behind: {sorted(left)}")


async def _databases(stage: Stage) -> set[str]:
    server = stage.village.database.server
    return {str(row[0]) for row in await server.execute("SELECT datname FROM pg_database")}


# --- The loss and the way back --------------------------------------------------------------------


async def destroy_and_restore(stage: Stage, outcome: Outcome, order: _Job) -> None:
    """Somebody drops the database while users order on; a person restores the newest backup."""
    database = stage.village.database
    await asyncio.sleep(_TRAFFIC_SECONDS)
    before = await database.tables()
    lost_at, lost = time.time(), time.monotonic()
    await database.destroy()
    await _until(lambda: _failed_since(stage, lost) >= _OUTAGE_FAILURES, "users notice the loss")
    newest = await _newest(stage)
    data_at = datetime.fromisoformat(newest["data_at"]).timestamp()
    await order.run("restore", set=newest["id"], confirm=DATABASE)
    first = await _until(lambda: _first_good(stage, order.ordered_at), "users are served again")
    await asyncio.sleep(_AFTER_SECONDS)
    read_at = time.time()
    after = await database.tables()
    orders = list(ledger_of(stage).orders.values())
    compared = compare(before, after, orders, lost_at=lost_at, data_at=data_at, read_at=read_at)
    outcome.problems += compared.problems
    outcome.measured = {
        "rpo_seconds": round(lost_at - data_at, 2),
        "rto_seconds": round(first - order.ordered_at, 2),
        "outage_seconds": round(first - lost, 2),
        "rows_compared": compared.rows,
        "orders_kept": compared.kept,
        "orders_lost": compared.lost,
        "orders_since": compared.new,
    }
    outcome.figures |= {
        "RPO, the data's age at the loss": f"{lost_at - data_at:.1f} s",
        "RTO, from the order to an answer": f"{first - order.ordered_at:.1f} s",
        "outage as users saw it": f"{first - lost:.1f} s",
    }
    _check_traffic(outcome, stage, lost, first)
    _tell(outcome, compared)


async def _newest(stage: Stage) -> Json:
    """Return the newest backup set that was read back."""
    for each in await _backups(stage):
        if each["verified"]:
            return each
    raise RuntimeError("There is no verified backup set to restore.")


async def _until(holds: Callable[[], float], what: str, *, seconds: float = 60.0) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := holds():
            return answer
        await asyncio.sleep(0.1)
    raise RuntimeError(f"It did not happen that {what}.")


def _failed_since(stage: Stage, since: float) -> int:
    return sum(seen.failed for seen in stage.clients.since(since))


def _first_good(stage: Stage, since: float) -> float:
    return next((seen.at for seen in stage.clients.since(since) if not seen.failed), 0.0)


def _check_traffic(outcome: Outcome, stage: Stage, lost: float, first: float) -> None:
    """Users fail by the dependency alone, between the loss and the first good answer."""
    during = [seen for seen in stage.clients.since(lost, first) if seen.failed]
    others = [seen for seen in during if seen.cause != "dependency"]
    late = [s for s in stage.clients.since(first + _SETTLED_SECONDS) if s.failed]
    if others or late:
        outcome.problems.append(
            f"{len(others)} failures of another cause, {len(late)} after the restore: "
            f"{_told((others or late)[0])}"
        )
    outcome.figures["failures meanwhile"] = f"{len(during)}, each of the dependency"


def _told(seen: Seen) -> str:
    return f"{seen.status} {seen.cause or ''} {seen.problem}".strip()


def _tell(outcome: Outcome, compared: Comparison) -> None:
    for table in compared.tables:
        same = "=" if table.is_equal else "≠"
        outcome.figures[table.table] = (
            f"{table.rows_after} rows: SHA-256 {table.hash_before[:_HASH_SHOWN]} {same} "
            f"{table.hash_after[:_HASH_SHOWN]}"
        )
    outcome.figures["orders that users know of"] = (
        f"{compared.kept} are there, {compared.lost} since the backup are lost"
    )
    outcome.figures["orders since the restore"] = f"{compared.new}"
    if not compared.kept or not compared.new:
        outcome.problems.append("no order is there that was there before, or none is new")
