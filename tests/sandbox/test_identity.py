"""The managed-identity endpoint, asked by azure-identity itself."""

import asyncio
from collections.abc import AsyncIterator

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError
from azure.identity import DefaultAzureCredential as SyncDefaultCredential
from azure.identity import ManagedIdentityCredential as SyncManagedIdentity
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from sandbox.identity import SYSTEM_ASSIGNED, IdentityEndpoint
from sandbox.tokens import check_token

USER_ASSIGNED = "11111111-1111-1111-1111-111111111111"
VAULT = "https://vault.azure.net"


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    server = IdentityEndpoint("the-secret", user_assigned=[USER_ASSIGNED])
    await server.start()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield server
    await server.stop()


async def test_default_credential_gets_a_token_every_server_accepts(
    endpoint: IdentityEndpoint,
) -> None:
    """The audience is the scope without /.default, and the request is counted."""
    async with DefaultAzureCredential() as credential:
        token = await credential.get_token(f"{VAULT}/.default")

    assert check_token(token.token, VAULT)["oid"] == SYSTEM_ASSIGNED
    assert endpoint.requests == {VAULT: 1}


async def test_a_user_assigned_identity_is_chosen_by_its_client_id(
    endpoint: IdentityEndpoint,
) -> None:
    async with ManagedIdentityCredential(client_id=USER_ASSIGNED) as credential:
        token = await credential.get_token("https://management.azure.com/.default")

    assert check_token(token.token, "https://management.azure.com/")["oid"] == USER_ASSIGNED


async def test_an_identity_the_app_does_not_have_is_refused(endpoint: IdentityEndpoint) -> None:
    async with ManagedIdentityCredential(client_id="nobody", retry_total=0) as credential:
        with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
            await credential.get_token(f"{VAULT}/.default")

    assert (sum(endpoint.requests.values()), endpoint.refusals) == (0, 1)


async def test_the_synchronous_credentials_work_too(endpoint: IdentityEndpoint) -> None:
    def ask() -> list[str]:
        with SyncDefaultCredential() as default, SyncManagedIdentity() as managed:
            return [c.get_token(f"{VAULT}/.default").token for c in (default, managed)]

    tokens = await asyncio.to_thread(ask)

    assert [check_token(token, VAULT)["oid"] for token in tokens] == [SYSTEM_ASSIGNED] * 2


async def test_a_wrong_secret_gets_no_token(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "a guess")

    async with ManagedIdentityCredential(retry_total=0) as credential:
        with pytest.raises(ClientAuthenticationError):
            await credential.get_token(f"{VAULT}/.default")

    assert endpoint.refusals == 1


async def test_the_token_expires_when_the_endpoint_says_so() -> None:
    """`expires_on` reaches the client as the token's own expiry."""
    server = IdentityEndpoint("s", lifetime_seconds=600)
    await server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            async with ManagedIdentityCredential() as credential:
                token = await credential.get_token(f"{VAULT}/.default")
    finally:
        await server.stop()

    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert claims["exp"] == token.expires_on
    assert claims["exp"] - claims["iat"] == 600
