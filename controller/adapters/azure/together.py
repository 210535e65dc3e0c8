"""Asks Resource Manager several things at once."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from controller.core.errors import SiteMissingError

T = TypeVar("T")


async def together(*asked: Awaitable[T]) -> list[T]:
    """Return all answers, in order.

    Raises:
        SiteMissingError: one of them found no site, whatever the others met first: of a site that
            is not there, Azure says of each slot that it is not there.
        BaseException: else what the first of them, in order, met.
    """
    found = await asyncio.gather(*asked, return_exceptions=True)
    failures = [each for each in found if isinstance(each, BaseException)]
    missing = (each for each in failures if isinstance(each, SiteMissingError))
    if failures:
        raise next(missing, failures[0])
    return [each for each in found if not isinstance(each, BaseException)]
