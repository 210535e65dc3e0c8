"""What one swap meets: on its way in, on its way, and at its end."""

import asyncio
from dataclasses import dataclass

from sandbox.app_service.errors import ArmError


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapWeather:
    """Fine where nothing is said."""

    answer: ArmError | None = None  # said instead of 202, though the swap was taken
    lose_answer: bool = False  # nobody says that it was taken
    begins_when: asyncio.Event | None = None  # taken at once, begun then: before, nothing shows
    takes_seconds: float = 0.0  # longer than the restarts take anyway, before anything moves
    gate: asyncio.Event | None = None  # goes on when it is set, before anything moves
    error: ArmError | None = None  # it ends in this, nothing swapped
    leaves_prepared: bool = False  # with `error`: not undone, both slots stay locked till reset

    async def pass_by(self) -> None:
        """Wait as long as the swap takes; then fail, if it shall."""
        await asyncio.sleep(self.takes_seconds)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


FINE = SwapWeather()
