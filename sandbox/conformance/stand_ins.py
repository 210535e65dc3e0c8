"""What the suite imports from outside: Microsoft's test tools and management library."""

import sys
from enum import StrEnum
from types import ModuleType
from typing import Any

from azure.core.credentials import AccessToken
from azure.servicebus.aio import ServiceBusClient

from sandbox import tokens
from sandbox.conformance import preparers
from sandbox.conformance.namespace import Namespace
from sandbox.conformance.preparers import Test
from sandbox.servicebus.broker import AUDIENCE


class Credential:
    """An identity which Azure would know."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        del scopes, options
        return AccessToken(*tokens.mint(AUDIENCE, "conformance"))

    async def close(self) -> None:
        """Nothing is held open."""


def get_credential(*, is_async: bool) -> Credential:
    if not is_async:
        raise NotImplementedError("Only the asynchronous tests are run.")
    return Credential()


class RecordedTestCase:
    """Base class of the suite's tests: here it records nothing."""

    @staticmethod
    def await_prepared_test(test: Test) -> Test:
        return test


class AccessRights(StrEnum):
    manage = "Manage"
    send = "Send"
    listen = "Listen"


def install(namespace: Namespace) -> None:
    """Put the stand-ins where the suite's imports find them."""
    _module("servicebus_preparer", preparers.names(namespace))
    _module(
        "devtools_testutils",
        {
            "AzureMgmtRecordedTestCase": RecordedTestCase,
            "AzureRecordedTestCase": RecordedTestCase,
            "RandomNameResourceGroupPreparer": None,  # imported, never used
            "get_credential": get_credential,
        },
    )
    _module("azure.mgmt.servicebus", {})
    _module("azure.mgmt.servicebus.models", {"AccessRights": AccessRights})


def _module(name: str, content: dict[str, object]) -> None:
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(content)


def speak_without_tls() -> None:
    """Make every client do what an emulator's connection string makes it do.

    The tests name a host and a credential, and expect TLS on Service Bus's own port.
    """
    connect = ServiceBusClient.__init__

    def connect_plainly(self: ServiceBusClient, *args: Any, **options: Any) -> None:
        connect(self, *args, **options | {"use_tls": False})

    ServiceBusClient.__init__ = connect_plainly  # type: ignore[method-assign]  # that is the point
