"""One long-lived Node.js process that checks queries, line by line."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.node import dying_with_parent, find_node, node_script

_SCRIPT = Path(__file__).with_name("check.js")
_PACKAGE = "@kusto/language-service-next/package.json"
_ANSWER_SECONDS = 60.0  # 10 ms when warm, 1 s for the first one; a loaded machine needs patience
_LONGEST_ANSWER = 4 << 20


class KqlCheckError(Exception):
    """The parser itself failed; says nothing about the query."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One remark about a query. *severity* is ``Error``, ``Warning``, ``Suggestion`` or so.

    *code* is Microsoft's (``KS142``: no such column), *start* an offset into the query and
    *text* what stands there.
    """

    severity: str
    code: str
    message: str
    start: int
    text: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the parser says about a query, and the columns that it would return."""

    diagnostics: list[Diagnostic]
    columns: list[tuple[str, str]]

    @property
    def errors(self) -> list[Diagnostic]:
        """The remarks for which the service would refuse the query."""
        return [one for one in self.diagnostics if one.severity == "Error"]


class KqlChecker:
    """Checks queries against *schema*: table name to column name to KQL type.

    Use as an asynchronous context manager, or call `start` and `stop`. Node.js also ends when
    this process does.
    """

    def __init__(self, schema: Mapping[str, Mapping[str, str]]) -> None:
        self._schema = json.dumps({table: dict(columns) for table, columns in schema.items()})
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start Node.js. It answers the first query about a second later.

        Raises:
            NodeMissingError: Node.js or the parser's package is not installed.
        """
        package = node_script(_PACKAGE).parent
        command = [find_node(), str(_SCRIPT), str(package), self._schema]
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_ANSWER,
        )

    @property
    def pid(self) -> int | None:
        """Process id of Node.js while it runs."""
        return self._process.pid if self._process else None

    async def stop(self) -> None:
        """End Node.js. Safe twice."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # reads the pipes to their end, so that they are closed

    async def check(self, query: str) -> CheckResult:
        """Return what Microsoft's parser says about *query*.

        Raises:
            KqlCheckError: there is no answer.
        """
        async with self._one_at_a_time:
            answer = await self._ask(query)
        if "failure" in answer:
            raise KqlCheckError(f"The KQL parser failed: {answer['failure']}")
        return CheckResult(
            diagnostics=[Diagnostic(**found) for found in answer["diagnostics"]],
            columns=[(name, kind) for name, kind in answer["columns"]],
        )

    async def _ask(self, query: str) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise KqlCheckError("The KQL check is not started.")
        self._asked += 1
        process.stdin.write(json.dumps({"id": self._asked, "query": query}).encode() + b"\n")
        line = b""
        with suppress(TimeoutError, ConnectionError):
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), _ANSWER_SECONDS)
        answer: dict[str, Any] = json.loads(line) if line.strip() else {}
        if answer.get("id") != self._asked:
            raise KqlCheckError("The KQL parser ended, or did not answer in time.")
        return answer
