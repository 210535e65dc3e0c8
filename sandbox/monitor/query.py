"""Log Analytics' query API: one workspace, one resource, or a batch."""

import asyncio
import datetime as dt
import re
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from sandbox.monitor.catalog import CLASSIC
from sandbox.monitor.catalog import workspace as workspace_catalog
from sandbox.monitor.faults import MonitorFaults, QueryFault
from sandbox.monitor.kql import KqlRefusedError, Scope
from sandbox.monitor.results import Answer
from sandbox.monitor.store import Store, naive_utc
from sandbox.tokens import TokenRefusedError, check

AUDIENCE: Final = "https://api.loganalytics.io"
_LARGEST_BODY: Final = 16 << 20
_KEPT_RECORDS: Final = 1000
_DURATION: Final = re.compile(
    r"P(?:(?P<days>[\d.]+)D)?"
    r"(?:T(?:(?P<hours>[\d.]+)H)?(?:(?P<minutes>[\d.]+)M)?(?:(?P<seconds>[\d.]+)S)?)?"
)
_TEXTS: Final = {
    429: ("ThrottledError", "Rate limit is exceeded"),
    500: ("InternalServerError", "The service failed to process the request"),
    503: ("ServiceUnavailable", "The service is temporarily unavailable"),
    504: ("GatewayTimeout", "Gateway timeout"),
}
_PARTIAL: Final = {
    "code": "PartialError",
    "message": "There were some errors when processing your query.",
    "details": [
        {
            "code": "EngineError",
            "message": "Something went wrong processing your query on the server.",
            "innererror": {
                "code": "-2133196797",
                "message": "The results of this query exceed the set limit of 64000000 bytes, so "
                "not all records were returned (E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003).",
                "severity": 2,
                "severityName": "Error",
            },
        }
    ],
}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A query that was received, and how it was answered."""

    workspace: str
    query: str
    timespan: str | None
    status: int
    seconds: float


class QueryError(Exception):
    """A refusal in the form the service gives it."""

    def __init__(
        self, status: int, code: str, message: str, inner: Json | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        correlation = {"correlationId": str(uuid.uuid4())}
        innermost = {"innererror": inner} if inner else {}
        self.body: Json = {"error": {"message": message, "code": code, **correlation, **innermost}}


class Queries:
    """The API over *store*. An identity (object id) in `denied` may query nothing."""

    def __init__(self, store: Store, faults: MonitorFaults, workspaces: set[str]) -> None:
        self.denied: set[str] = set()
        self.records: deque[QueryRecord] = deque(maxlen=_KEPT_RECORDS)
        self.resources: set[str] = set()  # ids in lower case
        self.classic: set[str] = set()  # those of them that know the classic tables only
        self._store = store
        self._faults = faults
        self._workspaces = workspaces

    def application(self) -> web.Application:
        """Return the API as a web application."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/workspaces/{workspace}/query", self._query_workspace)
        app.router.add_post("/v1/$batch", self._query_batch)
        app.router.add_post("/v1/{resource:subscriptions/.+}/query", self._query_resource)
        return app

    async def _query_workspace(self, request: web.Request) -> web.Response:
        return await self._respond(request, workspace=request.match_info["workspace"])

    async def _query_resource(self, request: web.Request) -> web.Response:
        return await self._respond(request, resource=f"/{request.match_info['resource']}")

    async def _respond(
        self, request: web.Request, *, workspace: str = "", resource: str | None = None
    ) -> web.Response:
        try:
            self._authorize(request)
            body = await _json(request)
        except QueryError as error:
            return web.json_response(error.body, status=error.status)
        prefer = request.headers.get("Prefer", "")
        status, answer, headers = await self._answer(body, prefer, workspace, resource)
        return web.json_response(answer, status=status, headers=headers)

    async def _query_batch(self, request: web.Request) -> web.Response:
        try:
            self._authorize(request)
            body = await _json(request)
        except QueryError as error:
            return web.json_response(error.body, status=error.status)
        return web.json_response(
            {"responses": [await self._batch_item(one) for one in body.get("requests", [])]}
        )

    async def _batch_item(self, item: Json) -> Json:
        prefer = str(item.get("headers", {}).get("Prefer", ""))
        status, answer, headers = await self._answer(
            item["body"], prefer, str(item.get("workspace", "")), None
        )
        return {"id": item["id"], "status": status, "headers": headers, "body": answer}

    def _authorize(self, request: web.Request) -> None:
        authorization = request.headers.get("Authorization")
        if authorization is None:
            raise QueryError(
                401, "AuthorizationRequiredError", "Valid authentication was not provided"
            )
        try:
            claims = check(authorization, AUDIENCE)
        except TokenRefusedError as error:
            raise QueryError(
                403,
                "InvalidTokenError",
                "The provided authentication is not valid for this resource",
                {"code": "SignatureVerificationFailed", "message": str(error)},
            ) from error
        if claims.get("oid") in self.denied:
            raise QueryError(
                403,
                "InsufficientAccessError",
                "The provided credentials have insufficient access to perform the requested "
                "operation",
            )

    async def _answer(
        self, body: Json, prefer: str, workspace: str, resource: str | None
    ) -> tuple[int, Json, dict[str, str]]:
        """Run one query and return status, body and headers of the answer."""
        started = time.monotonic()
        try:
            answer, headers = await self._run(body, workspace, resource), dict[str, str]()
            status = 200
        except QueryError as error:
            answer, status, headers = error.body, error.status, error.headers
        seconds = time.monotonic() - started
        if status == 200 and "include-statistics=true" in prefer:
            answer["statistics"] = _statistics(seconds)
        record = QueryRecord(
            resource or workspace, str(body.get("query")), body.get("timespan"), status, seconds
        )
        self.records.append(record)
        return status, answer, {key.replace("_", "-"): value for key, value in headers.items()}

    async def _run(self, body: Json, workspace: str, resource: str | None) -> Json:
        fault = self._faults.next_query()
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.hangs:
            await asyncio.Event().wait()  # until the client gives up, or the server stops
        if fault.body is not None:
            return dict(fault.body)
        if fault.status != 200:
            raise _planned(fault)
        query = body.get("query")
        if not isinstance(query, str) or not query.strip():
            raise _bad_request({"code": "QueryMissing", "message": "The query is missing."})
        scope = self._scope(body, workspace, resource)
        try:
            answer = await self._store.query(query, scope)
        except KqlRefusedError as error:
            raise _refusal(query, error) from error
        return _tables(answer, partial=fault.partial)

    def _scope(self, body: Json, workspace: str, resource: str | None) -> Scope:
        """Return what the query may see, or refuse what does not exist."""
        now = naive_utc(dt.datetime.now(dt.UTC))
        since, until = _time_range(body.get("timespan"), now)
        if resource is not None and resource.lower() not in self.resources:
            raise QueryError(404, "ResourceNotFoundError", "The resource could not be found")
        others: list[str] = body.get("workspaces") or []
        workspaces = [workspace, *others] if resource is None else []
        if any(one not in self._workspaces for one in workspaces):
            raise QueryError(404, "WorkspaceNotFoundError", "The workspace could not be found")
        is_classic = resource is not None and resource.lower() in self.classic
        return Scope(
            now=now,
            workspaces=workspaces,
            resource=resource,
            catalog=CLASSIC if is_classic else workspace_catalog(self._faults.renamed_columns),
            since=since,
            until=until,
        )


async def _json(request: web.Request) -> Json:
    try:
        body: Json = await request.json()
    except ValueError as error:
        raise _bad_request({"code": "InvalidJsonBody", "message": str(error)}) from error
    return body


def _tables(answer: Answer, *, partial: bool) -> Json:
    rows = answer.rows[: (len(answer.rows) + 1) // 2] if partial else answer.rows
    table = {"name": "PrimaryResult", "columns": answer.columns, "rows": rows}
    return {"tables": [table], **({"error": _PARTIAL} if partial else {})}


def _planned(fault: QueryFault) -> QueryError:
    code, message = _TEXTS.get(fault.status, ("BadArgumentError", "The request is refused"))
    if fault.retry_after_seconds is None:
        return QueryError(fault.status, code, message)
    return QueryError(fault.status, code, message, Retry_After=f"{fault.retry_after_seconds:g}")


def _bad_request(inner: Json) -> QueryError:
    return QueryError(400, "BadArgumentError", "The request had some invalid properties", inner)


def _refusal(query: str, error: KqlRefusedError) -> QueryError:
    if not error.line:
        innermost: Json = {"code": "SEM0100", "message": str(error)}
        message = "A semantic error occurred."
        return _bad_request({"code": "SemanticError", "message": message, "innererror": innermost})
    lines = query.splitlines()
    line = lines[error.line - 1] if error.line <= len(lines) else ""
    token = (line[error.position - 1 :].split() or [""])[0]
    place = f"[{error.line},{error.position}]"
    innermost = {
        "code": "SYN0002",
        "message": f"Query could not be parsed at '{token}' on line {place}",
        "line": error.line,
        "pos": error.position,
        "token": token,
    }
    message = "A recognition error occurred in the query."
    return _bad_request({"code": "SyntaxError", "message": message, "innererror": innermost})


def _statistics(seconds: float) -> Json:
    memory = {"hits": 1, "misses": 0, "total": 1}
    return {"query": {"executionTime": seconds, "resourceUsage": {"cache": {"memory": memory}}}}


def _time_range(
    timespan: object, now: dt.datetime
) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the ends of an ISO 8601 interval or of a duration up to now."""
    if timespan is None:
        return None, None
    first, _, second = str(timespan).partition("/")
    try:
        if not second:
            return now - _duration(first), None
        if first.startswith("P"):
            end = _moment(second)
            return end - _duration(first), end
        start = _moment(first)
        return start, start + _duration(second) if second.startswith("P") else _moment(second)
    except (ValueError, OverflowError) as error:
        inner = {"code": "InvalidTimespan", "message": f"Invalid timespan {timespan!r}: {error}"}
        raise _bad_request(inner) from error


def _moment(text: str) -> dt.datetime:
    return naive_utc(dt.datetime.fromisoformat(text))


def _duration(text: str) -> dt.timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration")
    parts: Mapping[str, str] = found.groupdict(default="0")
    return dt.timedelta(**{unit: float(value) for unit, value in parts.items()})
