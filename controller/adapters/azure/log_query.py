"""Asking Log Analytics: one query, one answer in whole, or an error in our own words."""

import asyncio
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from azure.core.exceptions import AzureError, HttpResponseError
from azure.monitor.query import LogsQueryPartialResult, LogsTable
from azure.monitor.query.aio import LogsQueryClient

from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError

_SERVER_SECONDS: Final = 30
_INVALID: Final = frozenset({400, 404})
_DENIED: Final = frozenset({401, 403})


class LogQueries:
    """A client whose every call ends within *total*, and is one request."""

    def __init__(
        self, credential: Any, *, endpoint: str, audience: str, total: timedelta, **options: Any
    ) -> None:
        self._client = LogsQueryClient(
            credential, endpoint=endpoint, audience=audience, retry_total=0, **options
        )
        self._total = total.total_seconds()

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def ask(
        self, source: str, query: str, *, timespan: tuple[datetime, datetime]
    ) -> LogsTable:
        """Return the result of *query* in a workspace (its id, or its ARM id) or a component.

        Raises:
            ProviderError: there is none, or not all of it.
            QueryInvalidError, AccessDeniedError: there will be none.
        """
        # Further workspaces are asked for themselves: the SDK's query_resource sends their names
        # in a field that the service does not know, and would answer without them.
        ask = self._client.query_resource if "/" in source else self._client.query_workspace
        try:
            async with asyncio.timeout(self._total):
                result = await ask(source, query, timespan=timespan, server_timeout=_SERVER_SECONDS)
        except HttpResponseError as error:
            _refuse(source, error)
        except (AzureError, OSError, TimeoutError) as error:
            raise ProviderError(
                f"Log Analytics does not answer: {type(error).__name__}."
            ) from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:  # from the SDK
            raise ProviderError(
                f"Log Analytics gave an answer that cannot be read: {error!r}."
            ) from error
        if isinstance(result, LogsQueryPartialResult):
            told = getattr(result.partial_error, "message", "") or result.partial_error
            raise ProviderError(f"Log Analytics answered in part only: {told}")
        if not result.tables:
            raise ProviderError("Log Analytics answered without a table.")
        return result.tables[0]


def _refuse(source: str, error: HttpResponseError) -> NoReturn:
    status = error.status_code or 0
    told = " ".join((error.message or str(error)).split())[:500]
    if status in _DENIED:
        raise AccessDeniedError(
            f"Log Analytics refuses us {_called(source)}: {status}.",
            fix="Give Slipway's identity the role Log Analytics Reader on it.",
        ) from error
    if status in _INVALID:
        raise QueryInvalidError(
            f"Log Analytics cannot run the query on {_called(source)}: {told}",
            fix="See that analysis.workspace is its id and that the app reports to it.",
        ) from error
    raise ProviderError(
        f"Log Analytics answered {status}.", retry_after=_retry_after(error)
    ) from error


def _called(source: str) -> str:
    return source if "/" in source else f"workspace {source}"


def _retry_after(error: HttpResponseError) -> timedelta | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return timedelta(seconds=seconds) if math.isfinite(seconds) and seconds >= 0 else None
