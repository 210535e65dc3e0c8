"""The host itself: puts worker, triggers and HTTP together and runs until it is told to stop."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from azure.servicebus.aio import ServiceBusClient

from sandbox.functions_host.admin import add_admin
from sandbox.functions_host.configuration import (
    HostConfigurationError,
    load_configuration,
    resolve_expression,
)
from sandbox.functions_host.connections import service_bus_client
from sandbox.functions_host.event_grid_trigger import add_event_grid
from sandbox.functions_host.http_trigger import HttpFront
from sandbox.functions_host.keys import Keys
from sandbox.functions_host.service_bus_trigger import Pumps, QueueTrigger
from sandbox.functions_host.timers import Timer
from sandbox.functions_host.worker import Function, Worker

_log = logging.getLogger("host")

_SUPPORTED = frozenset({"httptrigger", "timertrigger", "servicebustrigger", "eventgridtrigger"})
_GRACE_SECONDS = 5.0


class Host:
    """One Functions host for one app."""

    def __init__(self, app_directory: Path, *, keys: Keys, ca_file: Path | None) -> None:
        self._settings: Mapping[str, str] = os.environ
        self._configuration = load_configuration(app_directory, self._settings)
        self._worker = Worker(
            app_directory, timeout_seconds=self._configuration.function_timeout_seconds
        )
        self._keys = keys
        self._ca_file = ca_file
        self._clients: dict[str, ServiceBusClient] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket, ready: Callable[[list[str]], None]) -> None:
        """Serve on *listener* until SIGTERM or SIGINT. *ready* hears the functions' names.

        Raises:
            IndexingError: the app cannot be loaded.
            HostConfigurationError: a trigger or setting that this host cannot serve.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self._worker.start()
        timers = self._timers()
        pumps = Pumps(self._queue_triggers(), self._worker, self._configuration)
        runner = await self._listen(listener, timers)
        pumps.start()
        for timer in timers.values():
            self._run(timer.run())
        names = [function.name for function in self._worker.functions]
        _log.info("ready: %s", ", ".join(names))
        ready(names)
        await stop.wait()
        await self._stop(runner, pumps)

    async def _listen(self, listener: socket.socket, timers: Mapping[str, Timer]) -> web.AppRunner:
        front = HttpFront(self._worker, self._configuration, self._keys)

        async def run_timer(function: Function) -> None:
            self._run(timers[function.id].fire())

        add_admin(front, self._worker, run_timer)
        add_event_grid(front, self._worker)
        # Kestrel does not decompress requests either.
        runner = web.AppRunner(
            front.app, access_log=None, shutdown_timeout=_GRACE_SECONDS, auto_decompress=False
        )
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    async def _stop(self, runner: web.AppRunner, pumps: Pumps) -> None:
        """Stop taking work, let running functions end, then leave; closing is the kernel's."""
        _log.info("stopping")
        for task in self._background:
            task.cancel()
        await asyncio.gather(runner.cleanup(), pumps.stop(grace_seconds=_GRACE_SECONDS))
        self._worker.stop()

    def _timers(self) -> dict[str, Timer]:
        self._refuse_unsupported()
        return {
            function.id: Timer(self._worker, function, self._settings)
            for function in self._worker.functions
            if function.trigger_type == "timertrigger"
        }

    def _queue_triggers(self) -> list[QueueTrigger]:
        return [
            self._queue_trigger(function)
            for function in self._worker.functions
            if function.trigger_type == "servicebustrigger"
        ]

    def _queue_trigger(self, function: Function) -> QueueTrigger:
        binding = function.trigger
        if "queueName" not in binding or str(binding.get("cardinality", "one")).lower() != "one":
            raise HostConfigurationError(
                f"'{function.name}': the sandbox serves queues, one message at a time."
            )
        connection = str(binding.get("connection") or "AzureWebJobsServiceBus")
        if connection not in self._clients:
            self._clients[connection] = service_bus_client(
                connection, self._settings, self._ca_file
            )
        return QueueTrigger(
            function=function,
            client=self._clients[connection],
            queue_name=resolve_expression(str(binding["queueName"]), self._settings),
            sessions=bool(binding.get("isSessionsEnabled")),
        )

    def _refuse_unsupported(self) -> None:
        """Fail the start over a binding we would otherwise ignore in silence."""
        for function in self._worker.functions:
            others = [b["type"] for b in function.bindings if b is not function.trigger]
            unknown = [kind for kind in others if str(kind).lower() != "http"]
            if function.trigger_type not in _SUPPORTED or unknown:
                raise HostConfigurationError(
                    f"'{function.name}' uses bindings the sandbox does not have: "
                    f"{[function.trigger['type'], *unknown]}"
                )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
