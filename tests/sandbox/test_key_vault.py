"""Key Vault, driven by azure-keyvault-secrets with azure-identity in front."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from sandbox.identity import SYSTEM_ASSIGNED, IdentityEndpoint
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from sandbox.tokens import mint


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def vault(authority: Authority) -> AsyncIterator[KeyVault]:
    server = KeyVault(authority, secrets={"Webhook-Key": "seeded"})
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(
    vault: KeyVault, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SecretClient]:
    identity = IdentityEndpoint("secret")
    await identity.start()
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    credential = ManagedIdentityCredential()
    async with credential, _client(vault, authority, credential) as client:
        yield client
    await identity.stop()


def _client(vault: KeyVault, authority: Authority, credential: object) -> SecretClient:
    return SecretClient(
        vault.url,
        credential,  # type: ignore[arg-type]  # a stub is enough where the token is the test
        connection_verify=str(authority.ca_file),
        verify_challenge_resource=False,  # an address has no domain to compare
        retry_total=0,
    )


class _Fixed:
    """A credential that always hands out the same token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)

    async def close(self) -> None:
        pass


async def test_a_seeded_secret_is_read_after_one_challenge(
    vault: KeyVault, client: SecretClient
) -> None:
    """The first request carries no token; names compare without case."""
    first = await client.get_secret("webhook-key")
    await client.get_secret("Webhook-Key")

    assert first.value == "seeded"
    assert vault.requests["challenge"] == 1


async def test_versions_are_kept_and_addressed(client: SecretClient) -> None:
    old = await client.set_secret("database", "one", tags={"a": "b"}, content_type="text/plain")
    new = await client.set_secret("database", "two")

    versions = [p.version async for p in client.list_properties_of_secret_versions("database")]
    assert versions == [old.properties.version, new.properties.version]
    assert (await client.get_secret("database")).value == "two"
    was = await client.get_secret("database", old.properties.version)
    assert (was.value, was.properties.tags, was.properties.content_type) == (
        "one",
        {"a": "b"},
        "text/plain",
    )


async def test_listing_follows_the_pages(vault: KeyVault, client: SecretClient) -> None:
    for number in range(30):
        vault.put(f"s{number:02}", "x")

    names = [p.name async for p in client.list_properties_of_secrets(max_page_size=7)]

    assert names == sorted(["Webhook-Key", *(f"s{n:02}" for n in range(30))], key=str.lower)


async def test_a_missing_secret_says_so(client: SecretClient) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        await client.get_secret("nope")

    assert caught.value.error is not None
    assert caught.value.error.code == "SecretNotFound"


async def test_a_disabled_secret_is_refused_until_it_is_enabled(client: SecretClient) -> None:
    await client.set_secret("s", "v", enabled=False)
    with pytest.raises(HttpResponseError) as caught:
        await client.get_secret("s")
    assert caught.value.status_code == 403

    await client.update_secret_properties("s", enabled=True)
    assert (await client.get_secret("s")).value == "v"


async def test_an_expired_secret_is_still_handed_out(vault: KeyVault, client: SecretClient) -> None:
    """As in Azure: whoever cares must read `expires_on`."""
    vault.put("old", "v", expires=int(time.time()) - 60)

    secret = await client.get_secret("old")

    assert secret.value == "v"
    assert secret.properties.expires_on is not None


async def test_an_expired_secret_is_refused_on_demand(authority: Authority) -> None:
    vault = KeyVault(authority, refuse_expired=True)
    vault.put("old", "v", expires=int(time.time()) - 60)
    await vault.start()
    try:
        async with _client(vault, authority, _Fixed(mint(AUDIENCE, SYSTEM_ASSIGNED)[0])) as client:
            with pytest.raises(HttpResponseError) as caught:
                await client.get_secret("old")
    finally:
        await vault.stop()

    assert caught.value.status_code == 403


async def test_deleted_recovered_purged(client: SecretClient) -> None:
    """A deleted name is taken until it is recovered or purged."""
    await client.set_secret("s", "v")
    deleted = await client.delete_secret("s")
    assert deleted.scheduled_purge_date is not None
    with pytest.raises(ResourceNotFoundError):
        await client.get_secret("s")
    with pytest.raises(ResourceExistsError):
        await client.set_secret("s", "again")
    assert [one.name async for one in client.list_deleted_secrets()] == ["s"]

    await client.recover_deleted_secret("s")
    assert (await client.get_secret("s")).value == "v"

    await client.delete_secret("s")
    await client.purge_deleted_secret("s")
    assert (await client.set_secret("s", "fresh")).value == "fresh"


async def test_a_backup_restores_every_version(client: SecretClient) -> None:
    old = await client.set_secret("s", "one")
    await client.set_secret("s", "two")
    backup = await client.backup_secret("s")
    await client.delete_secret("s")
    await client.purge_deleted_secret("s")

    await client.restore_secret_backup(backup)

    assert (await client.get_secret("s")).value == "two"
    assert (await client.get_secret("s", old.properties.version)).value == "one"
    with pytest.raises(ResourceExistsError):
        await client.restore_secret_backup(backup)


async def test_a_broken_backup_is_refused(client: SecretClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        await client.restore_secret_backup(b"not a backup")

    assert caught.value.status_code == 400


async def test_a_token_for_another_service_is_refused(
    vault: KeyVault, authority: Authority
) -> None:
    token, _ = mint("https://management.azure.com", SYSTEM_ASSIGNED)

    async with _client(vault, authority, _Fixed(token)) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.get_secret("Webhook-Key")


async def test_an_identity_without_a_role_is_forbidden(
    vault: KeyVault, client: SecretClient
) -> None:
    vault.denied.add(SYSTEM_ASSIGNED)

    with pytest.raises(HttpResponseError) as caught:
        await client.get_secret("Webhook-Key")

    assert caught.value.status_code == 403


async def test_the_vault_is_not_trusted_without_its_authority(
    vault: KeyVault, tmp_path: Path
) -> None:
    """The TLS is real: another authority's clients refuse the server."""
    token, _ = mint(AUDIENCE, SYSTEM_ASSIGNED)
    stranger = create_authority(tmp_path)

    async with _client(vault, stranger, _Fixed(token)) as client:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get_secret("Webhook-Key")
