"""What can go wrong with the registry on demand."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(slots=True)
class _Failure:
    left: int
    status: int
    kind: str | None
    retry_after_seconds: int | None


@dataclass(slots=True)
class RegistryFaults:
    """Set ``delay_seconds`` for a slow registry; call `fail_next` for a failing one."""

    delay_seconds: float = 0.0
    _failures: list[_Failure] = field(default_factory=list[_Failure])

    def fail_next(
        self,
        requests: int,
        status: int,
        *,
        kind: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Answer the next *requests* with *status* instead of doing what they ask.

        *kind* limits this to one of the names that `Registry.requests` counts by.
        """
        self._failures.append(_Failure(requests, status, kind, retry_after_seconds))

    def clear(self) -> None:
        """Work again."""
        self.delay_seconds = 0.0
        self._failures.clear()

    async def strike(self, kind: str) -> web.Response | None:
        """Wait as told, then return the failure this request meets, if any."""
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        for failure in self._failures:
            if failure.left and failure.kind in {None, kind}:
                failure.left -= 1
                return _response(failure)
        return None


def _response(failure: _Failure) -> web.Response:
    code = "TOOMANYREQUESTS" if failure.status == 429 else "UNKNOWN"
    wait = failure.retry_after_seconds
    return web.json_response(
        {"errors": [{"code": code, "message": "failing on demand"}]},
        status=failure.status,
        headers={} if wait is None else {"Retry-After": str(wait)},
    )
