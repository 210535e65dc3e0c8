"""The pytest plugin that the suite runs with, in every worker process."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from azure.servicebus.aio._transport._pyamqp_transport_async import PyamqpTransportAsync

from sandbox.conformance import stand_ins
from sandbox.conformance.exceptions import EXCLUDED, SLOWEST
from sandbox.conformance.namespace import Namespace


def pytest_configure(config: pytest.Config) -> None:
    for marker in ("liveTest", "live_test_only"):  # declared by the suite's own conftest.py
        config.addinivalue_line("markers", f"{marker}: needs a Service Bus")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the namespace up before the suite is imported: its modules ask for its address."""
    namespace = Namespace()
    namespace.start()
    stand_ins.install(namespace)
    stand_ins.speak_without_tls()
    return (yield)


@pytest.fixture(autouse=True)
def _patches_end_with_their_test() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """One test puts a function of its own on a class of the client, and leaves it there."""
    before = dict(vars(PyamqpTransportAsync))
    yield
    for name in vars(PyamqpTransportAsync).keys() - before.keys():
        delattr(PyamqpTransportAsync, name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is excluded, and let the longest test begin first."""
    for item in items:
        reason = EXCLUDED.get(f"{Path(item.path).stem}::{item.name}")
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    order = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.name, len(order)))
