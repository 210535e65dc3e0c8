"""Stand-in for the suite's module `servicebus_preparer`: decorators which provide resources.

Microsoft's own create them in Azure. Each decorator here hands its resource to the test, and
to the decorators below it, as a keyword argument. All resources are fresh: the suite's
`Cached...` variants only save time.
"""

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox.conformance.namespace import ROOT, Namespace
from sandbox.servicebus import QueueSpec, Right

Test = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Resource:
    name: str


class Preparer(ABC):
    """One decorator: what it provides depends on what those above it did."""

    def __init__(
        self, namespace: Namespace, *, name_prefix: str = "t", parameter_name: str = "", **spec: Any
    ) -> None:
        self.namespace = namespace
        self.prefix = name_prefix
        self.parameter = parameter_name
        self.spec = spec

    def __call__(self, test: Test) -> Test:
        @functools.wraps(test)
        async def prepared(instance: object, **given: Any) -> None:
            await test(instance, **given, **self.provide(given))

        return prepared

    @abstractmethod
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        """Create the resource; return the keyword arguments that tell of it."""


class ResourceGroupPreparer(Preparer):
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        del given
        return {}


class NamespacePreparer(Preparer):
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        del given
        return {
            "servicebus_namespace": Resource("127.0.0.1"),  # the suite appends the suffix
            "servicebus_namespace_connection_string": self.namespace.connection_string(ROOT),
            "servicebus_namespace_key_name": ROOT.name,
            "servicebus_namespace_primary_key": ROOT.key,
        }


class QueuePreparer(Preparer):
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        del given
        name = self.namespace.create_queue(_spec(self.prefix, self.spec))
        return {self.parameter or "servicebus_queue": Resource(name)}


class TopicPreparer(Preparer):
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        del given
        return {"servicebus_topic": Resource(self.namespace.create_topic(self.prefix))}


class SubscriptionPreparer(Preparer):
    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        spec = _spec(self.prefix, {"lock_duration": "PT60S", **self.spec})
        name = self.namespace.create_subscription(given["servicebus_topic"].name, spec)
        return {"servicebus_subscription": Resource(name)}


class RulePreparer(Preparer):
    """A key of the namespace."""

    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        del given
        connection_string = self.namespace.create_rule(self._rights())
        return {"servicebus_authorization_rule_connection_string": connection_string}

    def _rights(self) -> frozenset[Right]:
        named = {right.value for right in self.spec.get("access_rights", Right)}
        return frozenset(right for right in Right if right.value in named)


class QueueRulePreparer(RulePreparer):
    """A key of one queue."""

    def provide(self, given: dict[str, Any]) -> dict[str, Any]:
        queue = given["servicebus_queue"].name
        connection_string = self.namespace.create_rule(self._rights(), entity=queue)
        return {"servicebus_queue_authorization_rule_connection_string": connection_string}


def _spec(name: str, said: dict[str, Any]) -> QueueSpec:
    """Translate the words of Azure's resource model into the broker's."""
    duplicates = said.get("requires_duplicate_detection", False)
    return QueueSpec(
        name=name,
        requires_session=said.get("requires_session", False),
        dead_letter_on_expiry=said.get("dead_lettering_on_message_expiration", False),
        duplicate_detection_seconds=600 if duplicates else None,
        lock_seconds=_seconds(said.get("lock_duration", "PT30S")),
    )


def _seconds(duration: str) -> float:
    found = re.fullmatch(r"PT(\d+)([SM])", duration)
    if found is None:
        raise ValueError(f"No duration in whole seconds or minutes: {duration!r}.")
    return float(found[1]) * (60 if found[2] == "M" else 1)


def names(namespace: Namespace) -> dict[str, object]:
    """Return what the stand-in module holds."""
    kinds: dict[str, type[Preparer]] = {
        "ResourceGroup": ResourceGroupPreparer,
        "Namespace": NamespacePreparer,
        "Queue": QueuePreparer,
        "Topic": TopicPreparer,
        "Subscription": SubscriptionPreparer,
        "NamespaceAuthorizationRule": RulePreparer,
        "QueueAuthorizationRule": QueueRulePreparer,
    }
    made: dict[str, object] = {"SERVICEBUS_ENDPOINT_SUFFIX": f":{namespace.broker.port}"}
    for kind, preparer in kinds.items():
        for cached in ("", "Cached"):
            made[f"{cached}ServiceBus{kind}Preparer"] = functools.partial(preparer, namespace)
    return made
