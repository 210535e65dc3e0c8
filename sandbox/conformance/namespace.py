"""A broker in a thread of its own: the tests block their own event loop at times."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace

from sandbox.servicebus import Broker, QueueSpec, Right, SharedAccessRule

ROOT = SharedAccessRule(name="RootManageSharedAccessKey", key="a-key-which-is-no-secret")


class Namespace:
    """What the tests take for a Service Bus namespace."""

    def __init__(self) -> None:
        self.broker = Broker([], tls=None, shared_access=[ROOT])
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._run(self.broker.start())

    def stop(self) -> None:
        self._run(self.broker.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def create_queue(self, spec: QueueSpec) -> str:
        """Create a queue with a name of its own that begins as *spec* says; return it."""
        name = self._new_name(spec.name)
        self._call(lambda: self.broker.add_queue(replace(spec, name=name)))
        return name

    def create_topic(self, prefix: str) -> str:
        name = self._new_name(prefix)
        self._call(lambda: self.broker.add_topic(name))
        return name

    def create_subscription(self, topic: str, spec: QueueSpec) -> str:
        name = self._new_name(spec.name)
        self._call(lambda: self.broker.add_subscription(topic, replace(spec, name=name)))
        return name

    def create_rule(self, rights: frozenset[Right], entity: str = "") -> str:
        """Create a shared access rule; return a connection string with its key."""
        rule = SharedAccessRule(
            name=self._new_name("rule"), key=self._new_name("key"), rights=rights, entity=entity
        )
        self._call(lambda: self.broker.shared_access.append(rule))
        return self.connection_string(rule)

    def connection_string(self, rule: SharedAccessRule) -> str:
        parts = [
            f"Endpoint={self.broker.endpoint_address}",
            f"SharedAccessKeyName={rule.name}",
            f"SharedAccessKey={rule.key}",
            "UseDevelopmentEmulator=true",
        ]
        return ";".join([*parts, f"EntityPath={rule.entity}"] if rule.entity else parts)

    def _new_name(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"

    def _call(self, act: Callable[[], None]) -> None:
        async def acting() -> None:
            act()

        self._run(acting())

    def _run(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)
