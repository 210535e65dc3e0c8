"""An app's secrets go into a set as Key Vault's own blobs; no value is read on the way."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault_secrets import KeyVaultSecretsExport
from controller.core.backup_plan import BackupSpec
from controller.core.data import DatabaseSpec
from controller.core.errors import TransientError
from controller.core.plan import AppSpec, Target
from controller.ports_data import SiteExport, SlotExport
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.core.build import spec

APP: AppSpec = replace(
    spec(), database=DatabaseSpec(connection="shop-db"), backup=BackupSpec(scratch="scratch-db")
)


@pytest.fixture
def authority(tmp_path: Any) -> Authority:
    return create_authority(tmp_path / "tls")


@pytest.fixture
async def vault(authority: Authority) -> AsyncIterator[KeyVault]:
    server = KeyVault(authority, secrets={"shop-db": "s3cret", "api-key": "hunter2"})
    await server.start()
    yield server
    await server.stop()


class Site:
    """Implements `SiteExporter` with one slot."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings

    async def export(self, target: Target) -> SiteExport:
        return SiteExport(
            site={},
            slots={
                "blue": SlotExport(
                    settings=self.settings,
                    connection_strings={"db": ("Custom", self.settings.get("DB", ""))},
                )
            },
        )


def exporter(vault: KeyVault, authority: Authority, site: Site | None = None) -> Any:
    return KeyVaultSecretsExport(
        vault.url,
        Credential(AUDIENCE),
        sites=site,
        verify_challenge_resource=False,
        options=connection_options(authority.ca_file) | {"retry_backoff_factor": 0},
    )


async def exported(export: KeyVaultSecretsExport) -> dict[str, dict[str, str]]:
    document = b"".join([piece async for piece in export.export(APP)])
    await export.close()
    _, *rows = [json.loads(line) for line in document.splitlines()]
    return {row["name"]: row for row in rows}


async def test_what_configuration_and_settings_name_is_backed_up(
    vault: KeyVault, authority: Authority
) -> None:
    """The platform takes both forms of a reference; other vaults' secrets are not ours."""
    short = vault.url.removeprefix("https://").partition(":")[0].partition(".")[0]
    site = Site(
        KEY=f"@Microsoft.KeyVault(SecretUri={vault.url}/secrets/api-key/0123)",
        DB=f"@Microsoft.KeyVault(VaultName={short};SecretName=shop-db)",
        OTHER="@Microsoft.KeyVault(SecretUri=https://else.vault.azure.net/secrets/theirs)",
        PLAIN="secrets/plain",
    )

    found = await exported(exporter(vault, authority, site))

    held = {name for name, row in found.items() if "blob" in row}
    assert held == {"shop-db", "api-key"}
    assert found["scratch-db"]["missing_because"] == "there is no such secret"
    assert "theirs" not in found
    assert vault.requests["get"] == vault.requests["get-version"] == 0
    vault.secrets.clear()  # and Key Vault takes them back
    for row in (found["shop-db"], found["api-key"]):
        client = exporter(vault, authority)._client
        await client.restore_secret_backup(base64.b64decode(row["blob"]))
        await client.close()
    assert set(vault.secrets) == {"shop-db", "api-key"}


async def test_a_missing_right_is_named_and_ends_nothing(
    vault: KeyVault, authority: Authority
) -> None:
    export = exporter(vault, authority)
    vault.denied.add("controller")

    found = await exported(export)

    assert "secrets/backup/action" in found["shop-db"]["missing_because"]


async def test_a_vault_that_is_away_is_asked_again_later(
    vault: KeyVault, authority: Authority
) -> None:
    export = exporter(vault, authority)
    await vault.stop()

    with pytest.raises(TransientError, match="Key Vault does not answer"):
        await exported(export)
