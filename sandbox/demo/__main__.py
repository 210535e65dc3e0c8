"""The main job, live: ``make demo``. Swaps and alerts: ``make demo-swap``; data: ``demo-data``.

Real HTTP clients send a steady stream through the front door while builds are pushed: healthy,
failing, slow, a little worse, slow in the tail, leaking, dead, healthy in a bad hour; then a person
rolls back by HTTP. Exit status 0 means that every outcome was the expected one and that no client
failed but by a bad build's own fault, or by what fails for every build alike.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from sandbox.clients import Clients
from sandbox.demo.api import Api
from sandbox.demo.data_script import DATA
from sandbox.demo.play import Outcome, Stage, play
from sandbox.demo.script import MAIN, Programme
from sandbox.demo.swap_script import SWAP
from sandbox.demo.view import figures, line, screen, summary
from sandbox.ledger import Ledger
from sandbox.village import Village

_PROGRAMMES = {programme.name: programme for programme in (MAIN, SWAP, DATA)}
_LOG = Path("demo-functions.log")


class _Shown:
    """Draws where it can, prints a line where something changed elsewhere."""

    def __init__(self, console: Console, started: float) -> None:
        self._console = console
        self._started = started
        self._live: Live | None = None
        self._last = ""

    @contextlib.contextmanager
    def open(self) -> Generator[None]:
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def update(self, stage: Stage) -> None:
        if self._live is not None:
            self._live.update(screen(stage), refresh=True)
            return
        now = line(stage)
        if now != self._last:
            self._last = now
            self._console.print(f"{time.monotonic() - self._started:6.1f} s  {now}")


async def _run(console: Console, programme: Programme) -> list[Outcome]:
    console.print("Starting Azure's pieces on loopback, and Slipway in its Functions host ...")
    started = time.monotonic()
    async with Village(programme.options) as village:
        api = Api(village.host)
        stages = {app: _stage(app, village, api, programme) for app in programme.apps}
        places = ", ".join(f"{stage.app} at {stage.clients.url}" for stage in stages.values())
        console.print(f"Up in {time.monotonic() - started:.1f} s. v1 serves: {places}")
        outcomes: list[Outcome] = []
        try:
            for stage in stages.values():
                await stage.clients.start()
            console.print(f"For {programme.history_seconds:.0f} s v1 is watched alone: its past.")
            await asyncio.sleep(programme.history_seconds)
            shown = _Shown(console, started)
            with shown.open():
                for act in programme.acts:
                    stage = stages[act.app]
                    notice = functools.partial(shown.update, stage)
                    perform = act.perform or play
                    outcomes.append(await perform(stage, act, notice))
        except BaseException:
            console.print(village.host.output[-4000:], markup=False)
            raise
        finally:
            for stage in stages.values():
                await stage.clients.stop()
            await api.close()
        if not all(outcome.as_expected for outcome in outcomes):
            _keep_log(console, village.host.output)
        return outcomes


def _stage(app: str, village: Village, api: Api, programme: Programme) -> Stage:
    ledger = Ledger() if programme.orders else None
    clients = Clients(village.app_service.site(app).url(), rate=programme.rate, ledger=ledger)
    return Stage(app=app, village=village, api=api, clients=clients)


def _keep_log(console: Console, text: str) -> None:
    _LOG.write_text(text)
    console.print(f"The controller's log is kept in {_LOG}.")


def _report(outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    return {
        "as_expected": all(outcome.as_expected for outcome in outcomes),
        "seconds": round(seconds, 1),
        "client_failures_beyond_bad_builds": sum(len(o.unexplained) for o in outcomes),
        "acts": [
            {
                "app": outcome.act.app,
                "act": outcome.act.title,
                "version": outcome.act.version,
                "expected": {
                    "state": outcome.act.expect_state,
                    "serving": outcome.act.expect_serving,
                },
                "actual": {
                    "state": outcome.rollout["state"] if outcome.rollout else None,
                    "serving": outcome.serving,
                    "rollout": outcome.rollout["id"] if outcome.rollout else None,
                    "why": outcome.rollout["why"] if outcome.rollout else None,
                },
                "as_expected": outcome.as_expected,
                "problems": outcome.problems,
                "seconds": round(outcome.seconds, 1),
                "controller_seconds": round(outcome.controller_seconds, 2),
                "requests": outcome.requests,
                "requests_by_build": dict(outcome.by_version),
                "failures_by_build": dict(outcome.failures),
                "usual_failures": outcome.usual,
                "failures_of_the_dependency": dict(outcome.dependency),
                "seen": outcome.figures,
                "measured": outcome.measured,
            }
            for outcome in outcomes
        ],
    }


def _conclude(
    console: Console, programme: Programme, outcomes: list[Outcome], seconds: float
) -> int:
    console.print(summary(outcomes))
    if any(outcome.figures for outcome in outcomes):
        console.print(figures(outcomes))
    for outcome in outcomes:
        for problem in outcome.problems:
            console.print(f"✗ {outcome.act.title}: {problem}", style="red", markup=False)
    report = _report(outcomes, seconds)
    Path(programme.report).write_text(json.dumps(report, indent=2) + "\n")
    beyond = report["client_failures_beyond_bad_builds"]
    console.print(
        f"{len(outcomes)} acts in {seconds:.0f} s; client failures beyond the bad builds' own: "
        f"{beyond}. Details: {programme.report}"
    )
    return 0 if report["as_expected"] and len(outcomes) == len(programme.acts) else 1


async def main(programme: Programme) -> int:
    """Play *programme*; on Ctrl-C or SIGTERM everything is taken down first."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    started = time.monotonic()
    task = asyncio.create_task(_run(console, programme))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        outcomes = await task
    except asyncio.CancelledError:
        console.print("Interrupted; everything was taken down.")
        return 130
    return _conclude(console, programme, outcomes, time.monotonic() - started)


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    _parser.add_argument("programme", nargs="?", choices=sorted(_PROGRAMMES), default="main")
    sys.exit(asyncio.run(main(_PROGRAMMES[_parser.parse_args().programme])))
