"""The HTTP API and the real command, as people and their scripts use them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Json, steps, under_load
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("slipway")
STRATEGY = {"steps": steps(50), "bake": "0s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    changes = {**QUICK, "strategy": STRATEGY}
    options = Options(
        cookie_seconds=2,
        sweep_schedule=NEVER,
        slots=("blue",),
        changes=changes,
        more_apps=(MoreApp(name="till", slots=("blue",), changes=changes),),
    )
    async with Village(options) as village:
        yield village


@dataclass(frozen=True, slots=True)
class Said:
    """What the command printed and how it ended."""

    status: int
    out: str
    err: str

    def json(self) -> Json:
        parsed: Json = json.loads(self.out)
        return parsed


class Terminal:
    """Runs ``slipway`` as a process of its own."""

    def __init__(self, village: Village) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "SLIPWAY_URL": village.host.url,
            "SLIPWAY_KEY": village.host.host_key,
        }

    async def run(self, *words: str, **environment: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *words,
            cwd=ROOT,
            env={**self._environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def wait_for(self, *words: str) -> Said:
        return await self.run(*words, "--wait", "--interval", "300ms", "--by", "ann")


@pytest.fixture
def terminal(village: Village) -> Terminal:
    return Terminal(village)


async def test_without_a_good_key_nothing_is_told_and_nothing_is_done(
    village: Village, terminal: Terminal
) -> None:
    """401 for reads and orders alike; the command says which setting to look at."""
    api = f"{village.host.url}/api"
    statuses: list[int] = []
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"x-functions-key": "wrong"}):
            for path in ("apps", f"apps/{APP}", "rollouts/none", "health"):
                async with session.get(f"{api}/{path}", headers=headers) as answer:
                    statuses.append(answer.status)
            async with session.post(f"{api}/apps/{APP}/abort", headers=headers) as answer:
                statuses.append(answer.status)
    said = await terminal.run("apps", SLIPWAY_KEY="wrong")

    assert statuses == [401] * 10
    assert (said.status, said.out) == (4, "")
    assert "SLIPWAY_KEY" in said.err


async def test_what_makes_no_sense_is_refused_with_advice(
    village: Village, terminal: Terminal
) -> None:
    """At the door where the door can tell; else in the app's audit."""
    async with under_load(village, APP, rate=None) as shop:
        unknown = await terminal.run("status", "nobody")
        no_tag = await terminal.run("deploy", APP, "--tag", "v77")
        no_reason = await terminal.run("rollback", APP)
        empty_reason = await shop.api.post(f"apps/{APP}/rollback", {"reason": ""})
        no_command = await shop.api.post(f"apps/{APP}/explode", {})
        no_field = await shop.api.post(f"apps/{APP}/abort", {"force": "yes"})
        nothing_runs = await terminal.run("pause", APP, "--reason", "lunch", "--by", "ann")
        elsewhere = village.reference(village.registry.digest("till", "v1"), app="till")
        not_ours = await terminal.run("deploy", APP, "--image", elsewhere)
        no_release = await terminal.run("rollback", APP, "--to", "v0", "--reason", "nostalgia")
        refused = [
            await shop.event("refused", "no rollout under way"),
            await shop.event("refused", f"takes images from {village.registry.host}/{APP}"),
            await shop.event("refused", "no earlier release 'v0'"),
        ]

        assert [s.status for s in (unknown, no_tag, no_reason)] == [4, 4, 2]
        assert "Push it first" in no_tag.err
        assert [status for status, _ in (empty_reason, no_command, no_field)] == [400, 404, 400]
        assert [s.status for s in (nothing_runs, not_ours, no_release)] == [0, 0, 0]
        assert [event["what"] for event in refused] == ["Pause", "Submit", "RollBack"]
        assert refused[0]["by"] == "ann"
        assert "deploy an image" in refused[0]["why"]


async def test_a_person_deploys_looks_and_goes_back_from_the_terminal(
    village: Village, terminal: Terminal
) -> None:
    """Each word of the command against the real controller; users notice nothing."""
    async with kept_well(village, APP), under_load(village, APP) as shop:
        await village.push("build-7")  # no tag that begins a rollout by itself
        deployed = await terminal.wait_for("deploy", APP, "--tag", "build-7")
        await shop.serves("build-7")
        apps = await terminal.run("apps")
        status = await terminal.run("status", APP, "--json")
        back = await terminal.wait_for("rollback", APP, "--reason", "customers call")
        await shop.serves("v1")
        after = await terminal.run("status", APP, "--json")
        told = await terminal.run("status", str(after.json()["rollouts"][0]["id"]))

        assert [said.status for said in (deployed, apps, status, back, after, told)] == [0] * 6
        assert "succeeded" in deployed.out
        assert "build-7" in apps.out
        assert status.json()["stable"]["tag"] == "build-7"
        assert [r["kind"] for r in after.json()["rollouts"][:2]] == ["rollback", "release"]
        assert after.json()["quarantine"][0]["reason"] == "customers call"
        assert "customers call" in told.out
        assert shop.failures() == {}


async def released(app: App, version: str) -> str:
    """Push a build and bring it home without waiting for its evidence."""
    digest = await app.push(version)
    await app.reaches(digest, "observing")
    await app.order("promote", by="ann", reason="in a hurry")
    await app.reaches(digest, "succeeded")
    return digest


async def test_a_release_that_no_slot_holds_any_more_is_gone_back_to_quickly(
    village: Village,
) -> None:
    """Its recorded digest is staged and proved again, then everyone gets it: no canary, no bake."""
    async with kept_well(village, "till"), under_load(village, "till") as till:
        first = await released(till, "v2")
        await released(till, "v3")
        await released(till, "v4")
        held = {slot.running_digest for slot in till.site.slots.values()}
        await till.order("rollback", to="v2", by="ann", reason="the old prices, please")
        rollout = await till.reaches(first, "succeeded")
        await till.serves("v2")

        assert first not in held
        states = [event["to"] for event in rollout["events"] if event["to"]]
        assert "staging" in states
        assert "warming" in states
        assert not {"shifting", "observing", "baking"} & set(states)
        for change in till.routing.changes:
            assert change.unproved == ()
        assert till.failures() == {}
