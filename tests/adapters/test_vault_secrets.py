"""An app's secrets go into a set as Key Vault's own blobs; no value is read on the way."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault_secrets import KeyVaultSecrets, KeyVaultSecretsExport
from controller.adapters.registry_calls import login_name
from controller.core.backup_plan import BackupSpec
from controller.core.data import DatabaseSpec
from controller.core.errors import (
    BackupDamagedError,
    MalformedError,
    PermanentError,
    RestoreFailedError,
    TransientError,
)
from controller.core.plan import AppSpec, Target
from controller.ports_data import SiteExport, SlotExport
from controller.runtime.backups_parts import PartWanted
from controller.runtime.backups_tell import tell_nobody
from controller.runtime.restore_secrets import SecretsRestorer
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.core.build import spec
from tests.runtime.test_restore_parts import wanted

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


async def exported(
    export: KeyVaultSecretsExport, told: list[str] | None = None
) -> dict[str, dict[str, str]]:
    async def tell(text: str) -> None:
        (told if told is not None else []).append(text)

    document = b"".join([piece async for piece in export.export(APP, tell)])
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
        NO_SECRET=f"@Microsoft.KeyVault(SecretUri={vault.url}/keys/signing)",
        OTHER="@Microsoft.KeyVault(SecretUri=https://else.vault.azure.net/secrets/theirs)",
        PLAIN="secrets/plain",
    )

    told: list[str] = []
    found = await exported(exporter(vault, authority, site), told)

    held = {name for name, row in found.items() if "blob" in row}
    assert held == {"shop-db", "api-key"}
    assert set(found) == {*held, "scratch-db"}
    assert told == ["secret scratch-db is NOT in this set: there is no such secret"]
    assert found["scratch-db"]["missing_because"] == "there is no such secret"
    assert "theirs" not in found
    assert vault.requests["get"] == vault.requests["get-version"] == 0


async def test_a_missing_right_is_named_and_ends_nothing(
    vault: KeyVault, authority: Authority
) -> None:
    export = exporter(vault, authority)
    vault.denied.add("controller")

    told: list[str] = []
    found = await exported(export, told)

    assert "secrets/backup/action" in found["shop-db"]["missing_because"]
    assert any("shop-db" in each and "secrets/backup/action" in each for each in told)


async def test_a_firewall_is_no_missing_right(vault: KeyVault, authority: Authority) -> None:
    vault.behind_firewall = True

    found = await exported(exporter(vault, authority))

    assert "ForbiddenByFirewall" in found["shop-db"]["missing_because"]
    assert "lacks" not in found["shop-db"]["missing_because"]


async def test_secrets_of_doors_and_logins_are_there_only_if_they_exist(
    vault: KeyVault, authority: Authority
) -> None:
    vault.put("webhook-ghcr", "s")
    vault.put(login_name("r.io"), "u:p")
    vault.put(login_name("dr.io"), "u:p")
    app = replace(APP, backup=BackupSpec(copy_to="dr.io/spare"))
    export = KeyVaultSecretsExport(
        vault.url, Credential(AUDIENCE), doors=("webhook-ghcr", "webhook-acr"),
        verify_challenge_resource=False, options=connection_options(authority.ca_file),
    )  # fmt: skip

    rows = b"".join([piece async for piece in export.export(app, tell_nobody)]).splitlines()[1:]
    await export.close()

    names = {json.loads(row)["name"] for row in rows}
    assert names == {"shop-db", "webhook-ghcr", login_name("r.io"), login_name("dr.io")}


async def test_a_vault_that_is_away_is_asked_again_later(
    vault: KeyVault, authority: Authority
) -> None:
    export = exporter(vault, authority)
    await vault.stop()

    with pytest.raises(TransientError, match="Key Vault does not answer"):
        await exported(export)


# --- Restoring ------------------------------------------------------------------------------------


@pytest.fixture
async def holder(vault: KeyVault, authority: Authority) -> AsyncIterator[KeyVaultSecrets]:
    secrets = KeyVaultSecrets(
        vault.url, Credential(AUDIENCE), verify_challenge_resource=False,
        options=connection_options(authority.ca_file) | {"retry_backoff_factor": 0},
    )  # fmt: skip
    yield secrets
    await secrets.close()


async def part(vault: KeyVault, authority: Authority, site: Site) -> PartWanted:
    export = exporter(vault, authority, site)
    content = b"".join([piece async for piece in export.export(APP, tell_nobody)])
    await export.close()
    return wanted(content)


def restorer(holder: KeyVaultSecrets, pauses: list[float] | None = None) -> SecretsRestorer:
    async def sleep(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    return SecretsRestorer(vault=holder, url=holder.url, sleep=sleep)


async def test_what_is_gone_comes_back_and_what_is_there_stays(
    vault: KeyVault, authority: Authority, holder: KeyVaultSecrets
) -> None:
    """All versions return; a secret with a newer value keeps it; no value is ever asked for."""
    vault.put("shop-db", "newer")
    vault.put("soft", "was here")
    names = {
        n: f"@Microsoft.KeyVault(SecretUri={vault.url}/secrets/{n})" for n in ("api-key", "soft")
    }
    kept = await part(vault, authority, Site(**names))
    vault.put("api-key", "changed since")
    del vault.secrets["shop-db"]
    vault.deleted["soft"] = vault.secrets.pop("soft")
    vault.requests.clear()

    plan = await restorer(holder).plan(kept)
    assert plan.changes == (
        "restore secret shop-db with all its versions",
        "recover secret soft, which was deleted softly: as it was, not as in the set",
    )
    assert "Left as they are: api-key." in plan.notes
    assert any("scratch-db is not in the set" in note for note in plan.notes)
    assert vault.requests["restore"] == vault.requests["recover"] == 0

    pauses: list[float] = []
    vault.slow_recovery = 0
    assert await restorer(holder, pauses).restore(kept, tell_nobody) == (
        "secret shop-db is restored", "secret soft is recovered"
    )  # fmt: skip
    values = [each.value for each in vault.secrets["shop-db"].versions]
    assert values == ["s3cret", "newer"]
    assert vault.secrets["api-key"].versions[-1].value == "changed since"
    assert vault.secrets["soft"].versions[-1].value == "was here"
    assert vault.requests["get"] == vault.requests["get-version"] == 0
    assert await restorer(holder).restore(kept, tell_nobody) == ()  # twice is once


async def test_a_recovered_secret_is_waited_for(
    vault: KeyVault, authority: Authority, holder: KeyVaultSecrets
) -> None:
    kept = await part(vault, authority, Site())
    vault.deleted["shop-db"] = vault.secrets.pop("shop-db")
    assert (await restorer(holder).plan(kept)).changes
    pauses: list[float] = []
    slow = restorer(holder, pauses)
    recover = holder.recover

    async def recover_slowly(name: str) -> None:
        await recover(name)
        vault.slow_recovery = 2

    holder.recover = recover_slowly  # type: ignore[method-assign]  # Azure takes seconds for it
    assert await slow.restore(kept, tell_nobody) == ("secret shop-db is recovered",)
    assert len(pauses) == 2


async def test_a_secret_that_does_not_come_back_is_no_success(
    vault: KeyVault, authority: Authority, holder: KeyVaultSecrets
) -> None:
    kept = await part(vault, authority, Site())
    del vault.secrets["shop-db"]

    async def lost(name: str, blob: bytes) -> None:
        del name, blob

    holder.restore = lost  # type: ignore[method-assign]  # a vault that says yes and does nothing
    with pytest.raises(RestoreFailedError, match="shop-db"):
        await restorer(holder).restore(kept, tell_nobody)


async def test_a_missing_right_refuses_the_plan_and_a_strange_blob_the_restore(
    vault: KeyVault, authority: Authority, holder: KeyVaultSecrets
) -> None:
    kept = await part(vault, authority, Site())
    vault.denied.add("controller")
    plan = await restorer(holder).plan(kept)
    assert "secrets/readMetadata/action" in plan.refusal
    vault.denied.clear()
    vault.behind_firewall = True
    assert "network rules" in (await restorer(holder).plan(kept)).refusal
    vault.behind_firewall = False
    strange = wanted(
        json.dumps({"vault": vault.url}).encode() + b"\n"
        + json.dumps({"name": "x", "blob": base64.b64encode(b"?").decode()}).encode() + b"\n"
    )  # fmt: skip
    with pytest.raises(PermanentError, match="refuses to restore"):
        await restorer(holder).restore(strange, tell_nobody)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b'{"vault":"v"}\n{"name":"x"}\n',
        b'{"vault":"v"}\n{"name":"x","blob":"%"}\n',
    ],
)
async def test_a_strange_secrets_part_is_refused(content: bytes, holder: KeyVaultSecrets) -> None:
    with pytest.raises((BackupDamagedError, MalformedError)):
        await restorer(holder).plan(wanted(content))


async def test_a_vault_that_is_away_is_tried_again(
    vault: KeyVault, authority: Authority, holder: KeyVaultSecrets
) -> None:
    kept = await part(vault, authority, Site())
    await vault.stop()
    with pytest.raises(TransientError):
        await restorer(holder).restore(kept, tell_nobody)
