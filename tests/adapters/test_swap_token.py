"""The token of a swap: stored by one invocation, read by another, perhaps of another version."""

import json

import pytest

from controller.adapters.azure import swap_token


@pytest.mark.parametrize(
    "url",
    [
        "https://example.test/operationresults/1",
        "https://management.azure.com.example.test/operationresults/1",
        "http://management.azure.com/operationresults/1",
        "https://management.azure.com:8443/operationresults/1",
        "https://[/operationresults/1",
        "file:///etc/passwd",
    ],
)
def test_our_credential_goes_nowhere_but_to_resource_manager(url: str) -> None:
    with pytest.raises(swap_token.ForeignTokenError):
        swap_token.read(swap_token.written(url), endpoint="https://management.azure.com")


def test_a_region_of_resource_manager_is_resource_manager() -> None:
    for host in ("management.azure.com", "westeurope.management.azure.com"):
        url = f"https://{host}/subscriptions/s/operationresults/1?api-version=2025-05-01"
        token = swap_token.written(url)
        assert swap_token.read(token, endpoint="https://management.azure.com") == url
        assert json.loads(token)["version"] == 1


def test_a_swap_that_cannot_be_asked_about_has_a_token_too() -> None:
    assert swap_token.read(swap_token.written(None), endpoint="https://arm.test") is None
