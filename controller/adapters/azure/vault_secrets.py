"""The secrets that an app needs, as Key Vault's own backup blobs: no value is ever read.

A blob can be restored only by Key Vault, into a vault of the same subscription and geography, with
all versions of the secret. It is opaque, but who may restore it may read it then: it goes into a
set as everything else does, encrypted where a key is configured.
"""

import base64
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets.aio import SecretClient

from controller.adapters.registry_calls import login_name
from controller.core.errors import TransientError
from controller.core.plan import AppSpec
from controller.ports_data import SiteExport, SiteExporter
from controller.recovery.reading import written

_REFERENCE: Final = re.compile(r"@Microsoft\.KeyVault\((.+)\)", re.IGNORECASE | re.DOTALL)
_URI: Final = re.compile(r"SecretUri=(\S+?)\s*(?:;|$)", re.IGNORECASE)
_NAMED: Final = re.compile(r"(VaultName|SecretName)=([^;\s]+)", re.IGNORECASE)
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_DENIED: Final = frozenset({401, 403})
_CLIENT_ERRORS: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})


class KeyVaultSecretsExport:
    """Implements `PartExporter`: the secrets that configuration and site name, in one vault.

    Args:
        url: the vault's URL.
        credential: aio token credential with the right ``secrets/backup/action``.
        sites: tells which Key Vault references the site's settings hold; None: nobody asks.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        sites: SiteExporter | None = None,
        verify_challenge_resource: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = SecretClient(
            url,
            credential,
            verify_challenge_resource=verify_challenge_resource,
            **{"retry_total": 2, **(options or {})},
        )
        self._url = url
        self._sites = sites

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def export(self, app: AppSpec) -> AsyncGenerator[bytes]:
        """See `PartExporter`. One JSON object per line; what cannot be backed up says why."""
        names = set(named_by(app))
        if self._sites is not None:
            names |= referred_to(await self._sites.export(app.target), self._url)
        yield written({"vault": self._url}) + b"\n"
        for name in sorted({name.lower(): name for name in names}.values(), key=str.lower):
            yield written(await self._secret(name)) + b"\n"

    async def _secret(self, name: str) -> Mapping[str, str]:
        try:
            blob = await self._client.backup_secret(name)
        except ResourceNotFoundError:
            return {"name": name, "missing_because": "there is no such secret"}
        except HttpResponseError as error:
            status = error.status_code or 0
            if status in _DENIED:
                why = "Slipway's identity lacks secrets/backup/action on the vault"
                return {"name": name, "missing_because": why}
            if status in _CLIENT_ERRORS and status not in _BUSY:
                return {"name": name, "missing_because": f"Key Vault answers {status}"}
            raise TransientError(f"Key Vault does not back {name!r} up now: {status}.") from error
        except AzureError as error:
            raise TransientError(f"Key Vault does not answer: {type(error).__name__}.") from error
        return {"name": name, "blob": base64.b64encode(blob or b"").decode()}


def named_by(app: AppSpec) -> Iterable[str]:
    """Return the names of the secrets that an app's configuration names."""
    if app.database is not None:
        yield app.database.connection
    if app.backup is not None and app.backup.scratch is not None:
        yield app.backup.scratch
    yield login_name(app.source.registry)


def referred_to(site: SiteExport, url: str) -> set[str]:
    """Return the names of the secrets in the vault at *url* that a site's settings refer to."""
    host = (urlsplit(url).hostname or "").lower()
    values = [
        value
        for slot in site.slots.values()
        for value in (
            *slot.settings.values(),
            *(text for _, text in slot.connection_strings.values()),
        )
    ]
    return {name for value in values if (name := _referred(value, host)) is not None}


def _referred(value: str, host: str) -> str | None:
    """Return the secret that a setting's value refers to, if it is in the vault at *host*."""
    reference = _REFERENCE.fullmatch(value.strip())
    if reference is None:
        return None
    words = reference[1].strip()
    if uri := _URI.search(words):
        parts = urlsplit(uri[1])
        path = parts.path.strip("/").split("/")
        named, where = (path[1] if len(path) > 1 else ""), (parts.hostname or "").lower()
    else:
        found = {key.lower(): text for key, text in _NAMED.findall(words)}
        named = found.get("secretname", "")
        vault = found.get("vaultname", "").lower()
        where = host if host.split(".", 1)[0] == vault else ""
    return named if where == host and _NAME.fullmatch(named) else None
