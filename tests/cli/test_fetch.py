"""`slipway backup fetch`: a part of a set from the storage account alone, as who is logged in."""

import base64
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.azure.vault_keys import KeyVaultKeyHolder
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import KeySecret, PassphraseKey, ScryptCost, SecretKey
from controller.cli.main import main
from controller.ports_data import KeyHolder, PartLabel
from controller.recovery.manifest import PartKind
from controller.recovery.names import SetId, set_id
from sandbox.identity import IdentityEndpoint
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.recovery.kit import BEGUN, manifest, stream

Run = Callable[..., tuple[int, str, str]]
InLoop = Callable[[Coroutine[Any, Any, Any]], Any]
DUMP = bytes(range(256)) * 400
KEY = base64.b64encode(bytes(range(32))).decode()


class Vaulted:
    """Implements `KeySecrets` as Key Vault does: by versions that it makes up."""

    async def read(self, name: str, version: str | None = None) -> KeySecret | None:
        return KeySecret(KEY, version or f"0a1b2c-{name}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def azurite(authority: Authority, tmp_path: Path, background: InLoop) -> Iterator[Storage]:
    storage = Storage(authority, tmp_path / "azurite")
    background(storage.start())
    yield storage
    background(storage.stop())


@pytest.fixture
def fetch(
    tmp_path: Path,
    authority: Authority,
    azurite: Storage,
    background: InLoop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run ``slipway backup fetch`` as a managed identity; returns status, output, messages."""
    identity = IdentityEndpoint("secret")
    background(identity.start())
    monkeypatch.chdir(tmp_path)
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLIPWAY_CA_FILE", str(authority.ca_file))

    def run(*arguments: str) -> tuple[int, str, str]:
        container = f"{azurite.blob_url}/backups"
        status = main(["backup", "fetch", *arguments, "--container", container])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield run
    background(identity.stop())


async def made(azurite: Storage, authority: Authority, keys: KeyHolder | None = None) -> SetId:
    """Return a set of one part in the account."""
    vault = BlobVault(
        azurite.blob_url,
        Credential("https://storage.azure.com"),
        sealer=StreamSealer(keys) if keys else None,
        options=connection_options(authority.ca_file),
    )
    identity = set_id("shop", BEGUN, "1a2b" if keys else "3c4d")
    label = PartLabel(identity, "database")
    part = await vault.put_part(label, stream(DUMP), kind=PartKind.DATABASE)
    await vault.finish(manifest(identity, part))
    await vault.close()
    return identity


@pytest.mark.parametrize("sealed", ["open", "secret", "passphrase"])
def test_a_part_comes_back_as_it_was_put_in(
    fetch: Run,
    azurite: Storage,
    authority: Authority,
    background: InLoop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sealed: str,
) -> None:
    """The vault that kept the key may be gone: a copy of the key is enough."""
    words = "correct horse battery staple"
    holders: dict[str, KeyHolder] = {
        "secret": SecretKey(Vaulted(), "backup-key"),
        "passphrase": PassphraseKey(words, ScryptCost(2, 1, 1)),
    }
    identity = background(made(azurite, authority, holders.get(sealed)))
    if sealed == "secret":
        monkeypatch.setenv("SLIPWAY_BACKUP_KEY_VALUE", KEY)
    if sealed == "passphrase":
        monkeypatch.setenv("SLIPWAY_BACKUP_PASSPHRASE_VALUE", words)

    status, _, said = fetch(identity, "database", "--output", "shop.dump")

    assert (status, said) == (0, f"database of {identity}: 102,400 bytes, as they were put in.\n")
    assert (tmp_path / "shop.dump").read_bytes() == DUMP
    assert not (tmp_path / "shop.dump.part").exists()


def test_a_key_that_stays_in_its_vault_is_named(
    fetch: Run, azurite: Storage, authority: Authority, background: InLoop, tmp_path: Path
) -> None:
    """Whoever is logged in asks the vault; the key's address comes from the command line alone."""
    vault = KeyVault(authority)
    vault.keys.put("backups")
    background(vault.start())
    try:
        identity = background(sealed_by(vault, azurite, authority))
        into = (identity, "database", "--output", "shop.dump", "--vault-key")

        status, _, said = fetch(*into, f"{vault.url}/keys/backups")

        assert (status, said.partition(":")[0]) == (0, f"database of {identity}")
        assert (tmp_path / "shop.dump").read_bytes() == DUMP
        assert "configured is key 'other'" in fetch(*into, f"{vault.url}/keys/other")[2]
        assert "is no key in Key Vault" in fetch(*into, f"{vault.url}/secrets/backups")[2]
    finally:
        background(vault.stop())


async def sealed_by(vault: KeyVault, azurite: Storage, authority: Authority) -> SetId:
    holder = KeyVaultKeyHolder(
        vault.url, "backups", Credential(AUDIENCE), verify_challenge_resource=False,
        options=lambda: connection_options(authority.ca_file),
    )  # fmt: skip
    identity = await made(azurite, authority, holder)
    await holder.close()
    return identity


def test_what_cannot_be_had_says_why_and_leaves_nothing(
    fetch: Run,
    azurite: Storage,
    authority: Authority,
    background: InLoop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    identity = background(made(azurite, authority, SecretKey(Vaulted(), "backup-key")))
    into = ("--output", "shop.dump")

    assert (
        "is encrypted with 'backup-key/0a1b2c-backup-key'" in fetch(identity, "database", *into)[2]
    )
    monkeypatch.setenv("SLIPWAY_BACKUP_KEY_VALUE", base64.b64encode(bytes(32)).decode())
    status, _, said = fetch(identity, "database", *into)
    assert (status, "SW221" in said) == (1, True)
    monkeypatch.setenv("SLIPWAY_BACKUP_KEY_VALUE", KEY)
    assert "Part 'database2' of" in fetch(identity, "database2", *into)[2]
    assert "is no backup set's id" in fetch("newest", "database", *into)[2]
    assert "cannot be written" in fetch(identity, "database", "--output", "no/such/place")[2]
    assert not list(tmp_path.glob("shop.dump*"))
