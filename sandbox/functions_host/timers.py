"""Timer triggers: NCRONTAB with seconds, or a constant interval."""

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Mapping

from croniter import croniter

from sandbox.functions_host.configuration import (
    HostConfigurationError,
    is_timespan,
    parse_timespan,
    resolve_expression,
)
from sandbox.functions_host.messages import TypedData
from sandbox.functions_host.worker import Function, FunctionFailedError, Worker

_log = logging.getLogger("host.timers")
_NEVER = "0001-01-01T00:00:00"  # .NET's default DateTime


class Timer:
    """Runs one function by its schedule, never two runs at once. Times are UTC."""

    def __init__(self, worker: Worker, function: Function, settings: Mapping[str, str]) -> None:
        self._worker = worker
        self._function = function
        self._schedule = resolve_expression(str(function.trigger["schedule"]), settings)
        self._last: dt.datetime | None = None
        self.next_occurrence(dt.datetime.now(dt.UTC))  # a bad schedule fails the start

    def next_occurrence(self, after: dt.datetime) -> dt.datetime:
        """Return the first occurrence later than *after*.

        Raises:
            HostConfigurationError: the schedule is neither NCRONTAB nor hh:mm:ss.
        """
        if is_timespan(self._schedule):
            return after + dt.timedelta(seconds=parse_timespan(self._schedule))
        fields = len(self._schedule.split())
        try:
            if fields not in {5, 6}:
                raise ValueError(f"{fields} fields")  # noqa: TRY301 - one message for both
            schedule = croniter(self._schedule, after, second_at_beginning=True)
            return schedule.get_next(dt.datetime)
        except ValueError as error:
            raise HostConfigurationError(
                f"The schedule expression '{self._schedule}' of '{self._function.name}' "
                f"was not recognized as a valid cron expression or timespan string: {error}"
            ) from error

    async def run(self) -> None:
        """Run for ever. The next occurrence is computed when a run has ended."""
        if self._function.trigger.get("runOnStartup"):
            await self.fire()
        while True:
            now = dt.datetime.now(dt.UTC)
            due = self.next_occurrence(now)
            await asyncio.sleep((due - now).total_seconds())
            await self.fire(due)

    async def fire(self, due: dt.datetime | None = None) -> None:
        """Run the function once, now. A failure is logged: the schedule goes on."""
        monitored = self._function.trigger.get("useMonitor", True)
        info = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": self._status() if monitored else None,
            "IsPastDue": False,
        }
        try:
            await self._worker.invoke(self._function, TypedData(json=json.dumps(info)))
        except FunctionFailedError:
            _log.debug("%s failed; its schedule goes on", self._function.name)
        self._last = due or self._last

    def _status(self) -> dict[str, str]:
        last = self._last.isoformat() if self._last else _NEVER
        following = self.next_occurrence(dt.datetime.now(dt.UTC)).isoformat()
        return {"Last": last, "LastUpdated": last, "Next": following}
