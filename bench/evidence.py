"""Draws docs/judge/demo-evidence.png: what the judge saw of four builds in a real demo run.

    python -m bench.evidence       about three minutes

The sandbox plays acts of `make demo`: the real controller, real telemetry, real clients. Of each
rollout the evidence of its last decision is fetched as anyone may fetch it, and computed again.
"""

import asyncio
import json
from argparse import ArgumentParser, RawTextHelpFormatter
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.cost import finished
from controller.verdict.explain import document
from controller.verdict.records import judge_again
from sandbox.clients import Clients
from sandbox.demo.api import Api
from sandbox.demo.script import ACTS, MAIN
from sandbox.village import Village

FILE = Path("docs/judge/demo-evidence.png")
KEPT = Path("bench/results/evidence.json")
_PLAYED = {
    "v2": ("healthy", "#3aa17e"),
    "v9": ("healthy, the database fails for 6 s", "#2c7fb8"),
    "v5": ("fails 6 % where 2 % is usual", "#e6a700"),
    "v3": ("fails 30 %", "#d1495b"),
}
_FLOOR, _CEILING = 1e-2, 1e4


async def measure() -> dict[str, dict[str, Any]]:
    """Play the acts; return what was said and seen of each, by version."""
    found: dict[str, dict[str, Any]] = {}
    async with Village(MAIN.options) as village:
        clients, api = Clients(village.site.url(), rate=MAIN.rate), Api(village.host)
        await clients.start()
        try:
            await asyncio.sleep(MAIN.history_seconds)
            for act in ACTS:
                if act.version in _PLAYED and not act.rollback:
                    found[act.version] = await _one(village, api, act)
        finally:
            await clients.stop()
            await api.close()
    return found


async def _one(village: Village, api: Api, act: Any) -> dict[str, Any]:
    digest = await village.push(act.version, **act.behaviour)
    meanwhile = asyncio.create_task(_meanwhile(village, api, act, digest))
    rollout = await finished(api, digest)
    meanwhile.cancel()
    full = await api.get(f"rollouts/{rollout['id']}") or {}
    names = [event["evidence"] for event in full["events"] if event.get("evidence")]
    turn = Path(str(names[-1])).stem.partition("-")[0]
    kept = await api.get(f"rollouts/{rollout['id']}/evidence/{turn}")
    return document(judge_again(kept)) | {"state": rollout["state"]}


async def _meanwhile(village: Village, api: Api, act: Any, digest: str) -> None:
    if act.meanwhile is None:
        return
    state = ""
    while state != act.meanwhile_in:
        await asyncio.sleep(0.3)
        known = ((await api.get("apps/shop")) or {}).get("rollouts", [])
        state = next((r["state"] for r in known if r["image"]["digest"] == digest), "")
    await act.meanwhile(village)


def draw(found: dict[str, dict[str, Any]]) -> None:
    """Draw the chart."""
    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    needed = 50.0
    for version, (label, colour) in _PLAYED.items():
        course = found[version]["course"]
        ends = [max(min(e, _CEILING), _FLOOR) for e in course["evidence"]]
        seconds = _seconds(course["starts"])
        needed = course["threshold"]
        said = found[version]["state"].replace("_", " ")
        axes.plot(seconds, ends, color=colour, linewidth=1.8, label=f"{version}: {label}; {said}")
        axes.plot(seconds[-1:], ends[-1:], "o", markersize=7, color=colour, clip_on=False)
    axes.axhline(needed, color="black", linestyle="--", linewidth=1)
    place = axes.get_yaxis_transform()
    said = f"taken back at {needed:.0f} : 1"
    axes.text(0.99, needed * 1.15, said, fontsize=9, ha="right", transform=place)
    axes.set_yscale("log")
    axes.set_ylim(_FLOOR, _CEILING)
    axes.set_xlabel("seconds since the build had its first users (times are compressed)")
    axes.set_ylabel("evidence against the build, : 1")
    axes.set_title("One run of the sandbox: four builds, judged by the controller")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FILE, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _seconds(starts: list[str]) -> list[float]:
    times = [datetime.fromisoformat(start).timestamp() for start in starts]
    return [time - times[0] + 1 for time in times]


if __name__ == "__main__":
    ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter).parse_args()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(asyncio.run(measure())), encoding="utf-8")
    draw(json.loads(KEPT.read_text(encoding="utf-8")))
    print(FILE)
