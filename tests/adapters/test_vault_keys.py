"""Backups are sealed with an RSA key that stays in Key Vault, by the real SDK over sockets."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault_keys import KeyVaultKeyHolder
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.memory.vault import MemoryVault
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import (
    PASSPHRASE,
    KeyRing,
    PassphraseKey,
    PassphraseSecret,
    ScryptCost,
    wrap_with,
)
from controller.core.errors import (
    AccessDeniedError,
    BackupKeyError,
    ConfigurationError,
    TransientError,
)
from controller.ports_data import KeyHolder, PartLabel
from controller.recovery.manifest import PartKind, WrappedKey
from controller.recovery.names import set_id
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.recovery.kit import BEGUN, manifest, stream

KEY, CONTEXT = b"k" * 32, b"part\0set\0database"
CHEAP = ScryptCost(2, 1, 1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def vault(authority: Authority) -> AsyncIterator[KeyVault]:
    server = KeyVault(authority)
    server.keys.put("backups")
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def holder(
    vault: KeyVault, authority: Authority, name: str = "backups"
) -> AsyncIterator[KeyVaultKeyHolder]:
    made = KeyVaultKeyHolder(
        vault.url, name, Credential(AUDIENCE), verify_challenge_resource=False,
        options=lambda: {**connection_options(authority.ca_file), "retry_total": 0},
    )  # fmt: skip
    try:
        yield made
    finally:
        await made.close()


async def test_another_process_opens_what_was_wrapped_and_in_its_context_alone(
    vault: KeyVault, authority: Authority
) -> None:
    """The key never leaves the vault, which is asked a few times however many parts there are."""
    async with holder(vault, authority) as one, holder(vault, authority) as two:
        wrapped = [await one.wrap(KEY, context=CONTEXT) for _ in range(8)]
        for each in wrapped:
            assert await two.unwrap(each, context=CONTEXT) == KEY
        with pytest.raises(BackupKeyError):
            await two.unwrap(wrapped[0], context=CONTEXT + b"?")

    assert len({each.wrapped for each in wrapped}) == 8
    assert wrapped[0].key_id.startswith(f"{vault.url}/keys/backups/")
    assert vault.keys.calls["unwrapkey"] == 1
    assert sum(vault.keys.calls.values()) <= 4


async def test_after_a_rotation_older_sets_still_open(
    vault: KeyVault, authority: Authority
) -> None:
    async with holder(vault, authority) as one:
        old = await one.wrap(KEY, context=CONTEXT)
    vault.keys.put("backups")
    async with holder(vault, authority) as one:
        new = await one.wrap(KEY, context=CONTEXT)
        assert old.key_id != new.key_id
        assert await one.unwrap(old, context=CONTEXT) == KEY
        assert await one.unwrap(new, context=CONTEXT) == KEY


async def test_who_knows_the_public_key_alone_cannot_make_a_set_of_ours(
    vault: KeyVault, authority: Authority
) -> None:
    """Anybody may encrypt to it: what counts is the vault's signature."""
    async with holder(vault, authority) as one:
        real = await one.wrap(KEY, context=CONTEXT)
    public = vault.keys.keys["backups"][0].private.public_key()
    sha256 = hashes.SHA256()
    oaep = padding.OAEP(mgf=padding.MGF1(sha256), algorithm=sha256, label=None)
    theirs = b"t" * 32
    sealed = base64.b64encode(public.encrypt(theirs, oaep)).decode()
    forged = replace(
        real,
        wrapped=wrap_with(theirs, KEY, CONTEXT),
        parameters={**real.parameters, "key": sealed},
    )
    async with holder(vault, authority) as one:
        with pytest.raises(BackupKeyError, match="not signed"):
            await one.unwrap(forged, context=CONTEXT)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": "https://else.vault.azure.net/keys/backups/1"},
        {"key_id": "{url}/keys/other/1"},
        {"key_id": "{url}/secrets/backups/1"},
        {"algorithm": "scrypt+AES-256-GCM"},
        {"parameters": {}},
        {"parameters": {"key": "?", "signature": "?"}},
        {"wrapped": "AAAA"},
    ],
)
async def test_what_names_another_key_or_is_changed_is_refused(
    changes: dict[str, str], vault: KeyVault, authority: Authority
) -> None:
    async with holder(vault, authority) as one:
        real = await one.wrap(KEY, context=CONTEXT)
        if "key_id" in changes:
            changes = {"key_id": changes["key_id"].format(url=vault.url)}
        odd: WrappedKey = replace(real, **changes)  # type: ignore[arg-type]  # odd on purpose
        with pytest.raises(BackupKeyError):
            await one.unwrap(odd, context=CONTEXT)


async def test_refusals_say_what_is_missing(vault: KeyVault, authority: Authority) -> None:
    async with holder(vault, authority, "nothing") as one:
        with pytest.raises(ConfigurationError, match="There is no key 'nothing'"):
            await one.wrap(KEY, context=CONTEXT)
    async with holder(vault, authority) as one:
        wrapped = await one.wrap(KEY, context=CONTEXT)
    version = vault.keys.keys["backups"][0]
    version.enabled = False
    async with holder(vault, authority) as one:
        with pytest.raises(BackupKeyError, match="may not be used"):
            await one.unwrap(wrapped, context=CONTEXT)
    version.enabled = True
    vault.denied.add("controller")
    async with holder(vault, authority) as one:
        with pytest.raises(AccessDeniedError) as denied:
            await one.unwrap(wrapped, context=CONTEXT)
        assert "Key Vault Crypto User" in denied.value.fix
    vault.denied.clear()
    vault.keys.keys.clear()
    async with holder(vault, authority) as one:
        with pytest.raises(BackupKeyError, match="not in its vault any more"):
            await one.unwrap(wrapped, context=CONTEXT)
    await vault.stop()
    async with holder(vault, authority) as one:
        with pytest.raises(TransientError):
            await one.unwrap(wrapped, context=CONTEXT)


async def sealed_set(keys: KeyHolder) -> MemoryVault:
    vault = MemoryVault(StreamSealer(keys))
    made = manifest(set_id("shop", BEGUN, "0" * 16))
    part = await vault.put_part(PartLabel(made.id, "state"), stream(b"plain"), kind=PartKind.STATE)
    await vault.finish(replace(made, parts=(part,)))
    return vault


async def test_a_whole_set_is_sealed_and_opened_with_it(
    vault: KeyVault, authority: Authority
) -> None:
    async with holder(vault, authority) as one:
        shelf = await sealed_set(one)
        (found,) = await shelf.sets()
        assert (await shelf.verify(found.id)).passed


async def test_a_ring_seals_with_the_first_and_opens_with_each(
    vault: KeyVault, authority: Authority
) -> None:
    words = PassphraseKey("correct horse battery staple", CHEAP)
    older = await words.wrap(KEY, context=CONTEXT)
    async with holder(vault, authority) as one:
        ring = KeyRing({"key-vault-key RSA-OAEP-256+PS256+AES-256-GCM": one, PASSPHRASE: words})
        new = await ring.wrap(KEY, context=CONTEXT)
        assert new.key_id.startswith(vault.url)
        assert await ring.unwrap(new, context=CONTEXT) == KEY
        assert await ring.unwrap(older, context=CONTEXT) == KEY
        with pytest.raises(BackupKeyError):
            await KeyRing({"a": one}).unwrap(older, context=CONTEXT)


async def test_a_passphrase_is_read_when_it_is_needed() -> None:
    secrets = MemorySecrets({"words": "correct horse battery staple"})
    one = PassphraseSecret(secrets, "words", CHEAP)
    wrapped = await one.wrap(KEY, context=CONTEXT)
    assert await PassphraseSecret(secrets, "words").unwrap(wrapped, context=CONTEXT) == KEY
    with pytest.raises(ConfigurationError, match="'none'"):
        await PassphraseSecret(secrets, "none").wrap(KEY, context=CONTEXT)
    with pytest.raises(ConfigurationError, match="fewer than 12"):
        await PassphraseSecret(MemorySecrets({"words": "short"}), "words").wrap(KEY, context=b"")
