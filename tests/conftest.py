"""No test asserts on wall time, those that search for examples neither: machines are busy."""

import os

import pytest
from hypothesis import settings

# No test talks to a public server, and each client would read 140 public roots: 40 ms of work.
# Set before anything is imported that reads them. Whom a test trusts, it says.
os.environ["SSL_CERT_FILE"] = os.devnull

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what mostly waits, so that one process is at it while the others compute."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
