"""Figures of ten thousand push events, most of them repeated, in memory and virtual time."""

import asyncio
import time

from bench.report import Figure
from controller.runtime.messages import parse_command, to_message
from tests.runtime.kit import SHOP, submit
from tests.runtime.replay import Replayed, replay

_FEW, _MANY = 100, 10_000
_READINGS = 5_000


def replaying() -> list[Figure]:
    """Replay few and many events and compare."""
    few, many = (asyncio.run(replay(events)) for events in (_FEW, _MANY))
    per_event = many.cpu_seconds / many.events
    per_second = f"{1 / per_event:,.0f} per CPU second"
    return [
        Figure(
            name=f"{_MANY:,} shuffled, repeated push events: rollouts twice",
            measured=f"{many.duplicates} of {many.rollouts.total()}",
            goal="0",
            met=many.duplicates == 0,
        ),
        Figure(
            name=f"  calls of Resource Manager per rollout, {_FEW} and {_MANY:,} events",
            measured=f"{_calls(few)} and {_calls(many)}",
            goal="no more at many",
            met=many.calls_per_rollout <= few.calls_per_rollout,
        ),
        Figure(
            name="  one event from notice to record, CPU",
            measured=f"{per_event / _reading():.0f} x reading its message; {per_second}",
        ),
    ]


def _calls(result: Replayed) -> str:
    total = result.rollouts.total()
    return f"{result.reads / total:.1f} reads, {result.writes / total:.1f} writes"


def _reading() -> float:
    """Return the CPU seconds that it takes to read one message."""
    body = to_message(submit(2)).body
    started = time.process_time()
    for _ in range(_READINGS):
        parse_command(body, session=SHOP)
    return (time.process_time() - started) / _READINGS
