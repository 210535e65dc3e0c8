"""KQL functions that the sandbox adds, through Microsoft's client."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError

from tests.sandbox.monitor_kit import World, running


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


async def test_a_hash_is_even_and_always_the_same(world: World) -> None:
    """Below the modulus, never negative."""
    query = 'range n from 1 to 5000 step 1 | summarize count() by hash(strcat("s", n), 10)'
    first = sorted(map(tuple, await world.ask(query)))
    again = sorted(map(tuple, await world.ask(query)))

    assert first == again
    assert [group for group, _ in first] == [*range(10)]
    assert all(400 < rows < 600 for _, rows in first)


async def test_a_hash_needs_a_modulus(world: World) -> None:
    """Kusto's own numbers are another function's: none that look like them are given."""
    with pytest.raises(HttpResponseError):
        await world.ask('print hash("a")')


# fmt: off
BINS = [
    # after 12:00:01, s      start of its bin of 15 s
    (0,                      0),
    (14.999999,              0),
    (15,                     15),
    (3607.5,                 3600),
    (-0.000001,              -15),
    (-15,                    -15),
]
# fmt: on


@pytest.mark.parametrize(("seconds", "start"), BINS)
async def test_bins_start_at_the_fixed_point(world: World, seconds: float, start: float) -> None:
    """The floor on both sides of it."""
    fixed = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    at = fixed + timedelta(seconds=seconds)
    found = await world.ask(
        f"let From = datetime({fixed.isoformat()}); let Size = 15s;"
        f"print bin_at(datetime({at.isoformat()}), Size, From)"
    )

    assert found == [[fixed + timedelta(seconds=start)]]
