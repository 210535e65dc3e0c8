"""What Slipway asks of Azure, counted: two healthy rollouts of different length, and an idle while.

    python -m bench.cost       about three minutes; prints the table of docs/cost.md

Two rollouts that differ in their number of polls tell what a rollout takes however long it lasts,
and what each poll adds. Counted are Slipway's own calls; the Functions host's are not among them.
"""

import asyncio
import json
import re
from argparse import ArgumentParser, RawTextHelpFormatter
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.clients import Clients
from sandbox.demo.api import Api
from sandbox.storage import Storage
from sandbox.village import APP, Options, Village

REPORT = Path("bench-cost.json")
_ENDS = frozenset({"succeeded", "rolled_back", "rejected", "superseded"})
_EXECUTED = re.compile(r"Executed 'Functions\.(\w+)' \(\w+, (\d+) ms\)")
_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP')
_LOOKING = "get_app"  # how the bench sees that a rollout is over
_QUEUES = ("rollouts", "observations", "maintenance")
_LIMIT_SECONDS = 240
_IDLE_SWEEPS = 6
_BAKES = ("4s", "45s")
_NEVER = "0 0 0 1 1 *"  # a sweep within a rollout would be counted with it
# A restless machine must not keep the builds from being counted: little is asked of them.
_PATIENT: Mapping[str, Any] = {
    "analysis": {
        "judge": {"quantiles": [], "acceptance": {"error_ratio": 4.0, "error_absolute": 0.05}},
        "limits": {"latency_ms_max": 5000},
    }
}


class CountedStorage(Storage):
    """Azurite that tells what it was asked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: Counter[str] = Counter()

    def _command(self) -> list[str]:
        return [word for word in super()._command() if word != "--silent"]

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout and (line := await process.stdout.readline()):
            self._lines.append(line)
            if found := _ACCESS.search(line.decode(errors="replace")):
                self.asked[_kind(found["method"], found["path"])] += 1


def _kind(method: str, path: str) -> str:
    is_table = "$batch" in path or re.search(r"/devstoreaccount1/(slipway|Tables)", path)
    what = "write" if method in {"POST", "PUT", "PATCH", "DELETE", "MERGE"} else "read"
    return f"{'table' if is_table else 'blob'} {what}s"


class Counts:
    """Everything that was counted so far; `since` gives what came on top."""

    def __init__(self, village: Village) -> None:
        executed = _EXECUTED.findall(village.host.output)
        arm = village.app_service.log
        reads = sum(r.method == "GET" or "list" in r.path for r in arm)
        queues = [village.broker.queue(name).counters for name in _QUEUES]
        storage = village.storage
        assert isinstance(storage, CountedStorage)
        ours = [(name, ms) for name, ms in executed if name != _LOOKING]
        self.looks = len(executed) - len(ours)
        self.all = Counter(
            {
                **{f"executions of {n}": c for n, c in Counter(n for n, _ in ours).items()},
                **storage.asked,
                "executions": len(ours),
                "milliseconds executed": sum(int(ms) for _, ms in ours),
                "ARM reads": reads,
                "ARM writes": len(arm) - reads,
                "queries": len(village.monitor.queries),
                "messages sent": sum(q.sends for q in queues),
                "messages delivered": sum(q.deliveries for q in queues),
                "messages completed": sum(q.completed for q in queues),
            }
        )

    def since(self, earlier: "Counts", reads_per_look: float = 0.0) -> dict[str, int]:
        """Return what came on top of *earlier*, but for the bench's own looks at the app."""
        more = {name: self.all[name] - earlier.all[name] for name in sorted(self.all)}
        more["table reads"] -= round(reads_per_look * (self.looks - earlier.looks))
        return more


async def _reads_per_look(village: Village, api: Api) -> float:
    before, looks = Counts(village), 10
    for _ in range(looks):
        await api.get(f"apps/{APP}")
    await asyncio.sleep(1)
    return (Counts(village).all["table reads"] - before.all["table reads"]) / looks


async def _village(bake: str) -> dict[str, dict[str, int]]:
    options = Options(sweep_schedule=_NEVER, changes={**_PATIENT, "strategy": {"bake": bake}})
    village = Village(options)
    village.storage = CountedStorage(village.authority, village.directory / "storage")
    async with village:
        clients, api = Clients(village.site.url()), Api(village.host)
        await clients.start()
        try:
            await _rollout(
                village, api, "v2"
            )  # what is imported and opened once is over after this
            before = Counts(village)
            await _rollout(village, api, "v3")
            after = Counts(village)
            each = await _reads_per_look(village, api)
            return {f"rollout, bake {bake}": after.since(before, each)}
        finally:
            await clients.stop()
            await api.close()


async def _idle() -> dict[str, dict[str, int]]:
    village = Village(Options(sweep_schedule="*/5 * * * * *", changes=_PATIENT))
    village.storage = CountedStorage(village.authority, village.directory / "storage")
    async with village:
        clients, api = Clients(village.site.url()), Api(village.host)
        await clients.start()
        try:
            await _rollout(village, api, "v2")
            await clients.stop()
            await asyncio.sleep(12)  # bake's last poll, cookies, idle sessions
            before = Counts(village)
            async with asyncio.timeout(_LIMIT_SECONDS):
                while (  # noqa: ASYNC110 - the host's log is all there is to look at
                    Counts(village).since(before)["executions of sweep"] < _IDLE_SWEEPS
                ):
                    await asyncio.sleep(0.2)
            return {f"{_IDLE_SWEEPS} sweeps, idle": Counts(village).since(before)}
        finally:
            await clients.stop()
            await api.close()


async def _rollout(village: Village, api: Api, version: str) -> None:
    rollout = await finished(api, await village.push(version, seed=1))
    assert rollout["state"] == "succeeded", rollout


async def finished(api: Api, digest: str) -> dict[str, Any]:
    """Wait for the rollout of *digest* to end and return it."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            await asyncio.sleep(0.5)
            known = ((await api.get(f"apps/{APP}")) or {}).get("rollouts", [])
            mine = next((r for r in known if r["image"]["digest"] == digest), None)
            if mine and mine["state"] in _ENDS:
                return dict(mine)


def per_poll(short: Mapping[str, int], long: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Return of each count what a rollout takes once, and what each poll adds."""
    polls = "executions of on_observe"
    more = long[polls] - short[polls]
    result: dict[str, tuple[float, float]] = {}
    for name in sorted({*short, *long}):
        slope = (long.get(name, 0) - short.get(name, 0)) / more
        result[name] = (short.get(name, 0) - slope * short[polls], slope)
    return result


def main() -> None:
    """Count, print, write the report."""
    counted: dict[str, dict[str, int]] = {}
    for bake in _BAKES:
        counted |= asyncio.run(_village(bake))
    counted |= asyncio.run(_idle())
    short, long = (counted[f"rollout, bake {bake}"] for bake in _BAKES)
    fitted = per_poll(short, long)
    print(f"{'':28}{'once':>10}{'per poll':>10}{'a sweep':>10}")
    idle = counted[f"{_IDLE_SWEEPS} sweeps, idle"]
    for name, (once, slope) in fitted.items():
        print(f"{name:28}{once:10.1f}{slope:10.2f}{idle.get(name, 0) / _IDLE_SWEEPS:10.2f}")
    REPORT.write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")
    print(f"Details: {REPORT}.")


if __name__ == "__main__":
    ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter).parse_args()
    main()
