"""What several requests at once are said to have met."""

import asyncio

import pytest

from controller.adapters.azure.together import together
from controller.core.errors import SiteMissingError, SlotMissingError


async def fails(error: Exception, turns: int) -> str:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise error


async def answers(word: str) -> str:
    return word


async def test_answers_come_in_order() -> None:
    assert await together(answers("a"), answers("b")) == ["a", "b"]


@pytest.mark.parametrize("turns", [(0, 5), (5, 0)])
async def test_that_the_site_is_missing_says_more_than_that_a_slot_is(
    turns: tuple[int, int],
) -> None:
    """Whichever answer comes first."""
    with pytest.raises(SiteMissingError):
        await together(
            fails(SlotMissingError("no slot", fix="-"), turns[0]),
            fails(SiteMissingError("no site", fix="-"), turns[1]),
            answers("c"),
        )


async def test_else_the_first_in_order_is_told() -> None:
    with pytest.raises(SlotMissingError, match="one"):
        await together(
            fails(SlotMissingError("one", fix="-"), 5), fails(SlotMissingError("two", fix="-"), 0)
        )
