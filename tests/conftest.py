"""No test asserts on wall time, those that search for examples neither: machines are busy."""

import pytest
from hypothesis import settings

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what mostly waits, so that one process is at it while the others compute."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
