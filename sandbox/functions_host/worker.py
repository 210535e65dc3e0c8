"""Runs a function app on Microsoft's own worker library, in this process.

`azure_functions_runtime` is what the Functions Python worker delegates to: it imports
``function_app.py``, indexes its functions, converts trigger data and calls user code. The host's
side of that protocol is a handful of requests; they are made here as plain calls.
"""

import asyncio
import json
import logging
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sandbox.functions_host import messages
from sandbox.functions_host.messages import InvocationResponse, StatusResult, TypedData

_log = logging.getLogger("host.functions")


class IndexingError(Exception):
    """The app cannot be loaded, or has no functions; the message carries the traceback."""


class FunctionFailedError(Exception):
    """User code raised, or ran longer than ``functionTimeout``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One indexed function: its name and its bindings as function.json would hold them."""

    id: str
    name: str
    bindings: tuple[Mapping[str, Any], ...]

    @property
    def trigger(self) -> Mapping[str, Any]:
        """Return the binding that starts it."""
        return next(b for b in self.bindings if str(b["type"]).lower().endswith("trigger"))

    @property
    def trigger_type(self) -> str:
        """Return e.g. ``httptrigger``, in lower case: decorators and hosts vary in theirs."""
        return str(self.trigger["type"]).lower()


class Worker:
    """The worker's side of the host: index once, then invoke."""

    def __init__(self, app_directory: Path, *, timeout_seconds: float | None) -> None:
        self._app_directory = app_directory
        self._timeout_seconds = timeout_seconds
        self._runtime: Any = None
        self.functions: tuple[Function, ...] = ()

    async def start(self) -> None:
        """Import ``function_app.py`` and index it.

        Raises:
            IndexingError: it cannot be imported, or declares nothing.
        """
        # Imported late: it is heavy, and must see the app's settings in the environment.
        import azure_functions_runtime  # noqa: PLC0415 - see above

        self._runtime = azure_functions_runtime
        sys.path.insert(0, str(self._app_directory))
        self._runtime.start_threadpool_executor()
        init = messages.WorkerInitRequest(
            host_version="4", function_app_directory=str(self._app_directory)
        )
        _raise_if_failed(await self._ask("worker_init_request", init))
        response = await self._ask(
            "functions_metadata_request", messages.FunctionsMetadataRequest()
        )
        indexed: list[messages.RpcFunctionMetadata] = response.function_metadata_results or []
        for metadata in indexed:
            load = messages.FunctionLoadRequest(function_id=metadata.function_id, metadata=metadata)
            _raise_if_failed(await self._ask("function_load_request", load))
        self.functions = tuple(_function(metadata) for metadata in indexed)
        if not self.functions:
            raise IndexingError(f"No functions found in {self._app_directory / 'function_app.py'}.")

    def stop(self) -> None:
        """Let go of the thread pool that runs synchronous functions."""
        self._runtime.stop_threadpool_executor()

    async def invoke(
        self,
        function: Function,
        data: TypedData,
        *,
        metadata: Mapping[str, TypedData] | None = None,
        trace_parent: str = "",
    ) -> InvocationResponse:
        """Call *function* with *data* as its trigger's value.

        Raises:
            FunctionFailedError: it raised, or took longer than ``functionTimeout``. The real host
                then restarts the worker process; here the call is cancelled, and a synchronous
                function, which cannot be, runs on in its thread.
        """
        request = messages.InvocationRequest(
            invocation_id=str(uuid.uuid4()),
            function_id=function.id,
            input_data=[messages.ParameterBinding(name=function.trigger["name"], data=data)],
            trigger_metadata=metadata or {},
            trace_context=messages.RpcTraceContext(trace_parent=trace_parent or _new_trace()),
        )
        _log.info("Executing 'Functions.%s' (Id=%s)", function.name, request.invocation_id)
        started = time.monotonic()
        try:
            response = await self._within_timeout(function, request)
            _raise_if_function_failed(response)
        except FunctionFailedError as error:
            _log.error("Executed 'Functions.%s' (Failed) %s", function.name, error)
            raise
        took_ms = (time.monotonic() - started) * 1000
        _log.info("Executed 'Functions.%s' (Succeeded, %.0f ms)", function.name, took_ms)
        return response

    async def _within_timeout(
        self, function: Function, request: messages.InvocationRequest
    ) -> InvocationResponse:
        call = asyncio.create_task(self._ask("invocation_request", request))
        try:
            await asyncio.wait({call}, timeout=self._timeout_seconds)
            if call.cancelled():  # by the app itself; it must not pass for our own end
                raise FunctionFailedError(f"Function '{function.name}' was cancelled.")
            if call.done():
                response: InvocationResponse = call.result()
                return response
        finally:
            call.cancel()
        raise FunctionFailedError(
            f"Timeout value of {self._timeout_seconds} s exceeded by function '{function.name}'."
        )

    async def _ask(self, kind: str, message: object) -> Any:
        """Call the worker library as its gRPC dispatcher would."""
        request = SimpleNamespace(
            request=SimpleNamespace(**{kind: message}),
            properties={"host": "127.0.0.1", "protos": messages},
        )
        return await getattr(self._runtime, kind)(request)


def _function(metadata: messages.RpcFunctionMetadata) -> Function:
    return Function(
        id=metadata.function_id,
        name=metadata.name,
        bindings=tuple(json.loads(binding) for binding in metadata.raw_bindings),
    )


def _raise_if_failed(response: Any) -> None:
    result: StatusResult = response.result
    if result.status != StatusResult.Success:
        problem = result.exception or messages.RpcException(message="unknown")
        raise IndexingError(f"{problem.message}\n{problem.stack_trace}")


def _raise_if_function_failed(response: InvocationResponse) -> None:
    if response.result.status != StatusResult.Success:
        problem = response.result.exception or messages.RpcException(message="unknown")
        raise FunctionFailedError(f"{problem.message}\n{problem.stack_trace}")


def _new_trace() -> str:
    """Return a W3C ``traceparent`` of a trace that begins here and is not recorded."""
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-00"
