"""Bad weather on demand: what a test asks Resource Manager to do wrong."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sandbox.app_service.errors import ArmError, allocation_changed, throttled
from sandbox.app_service.swap_weather import FINE, SwapWeather

Meanwhile = Callable[[], object]  # what it returns is awaited, where it can be


class Effect(StrEnum):
    """What becomes of the request's effect."""

    KEPT = "kept"
    SKIPPED = "skipped"
    LATE = "late"


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to the next *left* requests that *pattern* finds (None: to all of them)."""

    name: str
    pattern: re.Pattern[str]
    left: int | None = 1
    effect: Effect = Effect.KEPT
    answer: ArmError | None = None  # said instead of the true answer
    lose_answer: bool = False  # the connection closes without an answer
    delay_seconds: float = 0.0  # before anything is done
    late_seconds: float = 0.0  # from the answer to the effect, when LATE
    late_until: asyncio.Event | None = None  # and then until it is set
    weather: SwapWeather = FINE  # what a swap that is begun by the request will meet
    meanwhile: Meanwhile | None = None  # what somebody else does just before

    def matches(self, request: str) -> bool:
        """Tell whether this fault strikes the request "METHOD /path"."""
        return self.left != 0 and self.pattern.search(request) is not None


class ArmFaults:
    """Faults in the order they were added; the first one that matches strikes.

    Every *pattern* is a regular expression, searched without regard to case in
    "METHOD /subscriptions/...". ``count=None`` means until `clear`.
    """

    def __init__(self) -> None:
        self.routing_delay_seconds = 0.0
        """From a write of ramp-up rules to the moment when the front door obeys them."""
        self._faults: list[Fault] = []
        self._busy: dict[str, tuple[float, str]] = {}  # by site: until when, and its id
        self._prepared: set[tuple[str, str]] = set()

    def refuse(self, pattern: str, error: ArmError, *, count: int | None = 1) -> Fault:
        """Answer *error*; nothing happens."""
        return self._add("refused", pattern, count, effect=Effect.SKIPPED, answer=error)

    def pretend(self, pattern: str, *, count: int | None = 1) -> Fault:
        """Answer 200 without a word; nothing happens."""
        return self._add("pretended", pattern, count, effect=Effect.SKIPPED)

    def throttle(
        self, pattern: str, *, retry_after_seconds: int | None = None, count: int | None = 1
    ) -> Fault:
        """Answer 429, with Retry-After or (as it happens) without; nothing happens."""
        return self.refuse(pattern, throttled(pattern, retry_after_seconds), count=count)

    def fail_after_effect(self, pattern: str, error: ArmError, *, count: int | None = 1) -> Fault:
        """Do what was asked, then answer *error* all the same."""
        return self._add("failed after the effect", pattern, count, answer=error)

    def lose_request(self, pattern: str, *, count: int | None = 1) -> Fault:
        """Close the connection; nothing happens."""
        return self._add("lost request", pattern, count, effect=Effect.SKIPPED, lose_answer=True)

    def lose_response(self, pattern: str, *, count: int | None = 1) -> Fault:
        """Do what was asked, then close the connection without a word."""
        return self._add("lost response", pattern, count, lose_answer=True)

    def slow_effect(
        self,
        pattern: str,
        seconds: float = 0.0,
        *,
        count: int | None = 1,
        until: asyncio.Event | None = None,
    ) -> Fault:
        """Answer success at once; the effect lands later, over any later write.

        That is *seconds* later, and then not before *until* is set.
        """
        return self._add(
            "slow effect",
            pattern,
            count,
            effect=Effect.LATE,
            late_seconds=seconds,
            late_until=until,
        )

    def delay(self, pattern: str, seconds: float, *, count: int | None = 1) -> Fault:
        """Wait *seconds*, then behave."""
        return self._add("delayed", pattern, count, delay_seconds=seconds)

    def fail_operation(self, pattern: str, error: ArmError, *, count: int | None = 1) -> Fault:
        """Accept a swap with 202, then let its polling end in *error*, nothing swapped."""
        return self._add("failed operation", pattern, count, weather=SwapWeather(error=error))

    def allocation_changed(self, site: str, slot: str, *, count: int | None = 1) -> Fault:
        """Let the next swap of *site* end in 400 "allocation of VM instances has changed"."""
        weather = SwapWeather(error=allocation_changed(site, slot))
        return self.next_swap(site, weather, count=count)

    def next_swap(self, site: str, weather: SwapWeather, *, count: int | None = 1) -> Fault:
        """Let the next swap of *site* that is asked for meet *weather*."""
        return self._add(
            "swap weather",
            rf"^POST .*/sites/{re.escape(site)}(/slots/[^/]+)?/slotsswap$",
            count,
            effect=Effect.KEPT if weather.begins_when is None else Effect.LATE,
            late_until=weather.begins_when,
            answer=weather.answer,
            lose_answer=weather.lose_answer,
            weather=weather,
        )

    def meanwhile(self, pattern: str, action: Meanwhile, *, count: int | None = 1) -> Fault:
        """Let somebody else do *action* just before the request is handled as ever."""
        return self._add("somebody else first", pattern, count, meanwhile=action)

    def busy(self, site: str, seconds: float) -> None:
        """Let an operation hold *site* for *seconds*: every change is refused with 409."""
        self._busy[site.lower()] = (time.monotonic() + seconds, str(uuid.uuid4()))

    def busy_with(self, site: str) -> str | None:
        """Return the id of the operation by which `busy` still holds *site*."""
        until, operation = self._busy.get(site.lower(), (0.0, None))
        return operation if time.monotonic() < until else None

    def prepare_for_swap(self, site: str, slot: str = "production") -> None:
        """Refuse changes of the slot with 409 "prepared for swap" until resetSlotConfig."""
        self._prepared.add((site.lower(), slot.lower()))

    def is_prepared(self, site: str, slot: str) -> bool:
        """Tell whether `prepare_for_swap` still holds the slot."""
        return (site.lower(), slot.lower()) in self._prepared

    def reset(self, site: str, slot: str) -> None:
        """Undo `prepare_for_swap`, as resetSlotConfig does."""
        self._prepared.discard((site.lower(), slot.lower()))

    def clear(self) -> None:
        """Let the sun shine."""
        self._faults.clear()
        self._busy.clear()
        self._prepared.clear()
        self.routing_delay_seconds = 0.0

    def take(self, request: str) -> Fault | None:
        """Return the fault that strikes "METHOD /path", spent by one, or None."""
        for fault in self._faults:
            if fault.matches(request):
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None

    def _add(
        self,
        name: str,
        pattern: str,
        count: int | None,
        *,
        effect: Effect = Effect.KEPT,
        answer: ArmError | None = None,
        lose_answer: bool = False,
        delay_seconds: float = 0.0,
        late_seconds: float = 0.0,
        late_until: asyncio.Event | None = None,
        weather: SwapWeather = FINE,
        meanwhile: Meanwhile | None = None,
    ) -> Fault:
        fault = Fault(
            name=name,
            pattern=re.compile(pattern, re.IGNORECASE),
            left=count,
            effect=effect,
            answer=answer,
            lose_answer=lose_answer,
            delay_seconds=delay_seconds,
            late_seconds=late_seconds,
            late_until=late_until,
            weather=weather,
            meanwhile=meanwhile,
        )
        self._faults.append(fault)
        return fault
