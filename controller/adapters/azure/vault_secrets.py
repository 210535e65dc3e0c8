"""The secrets that an app needs, as Key Vault's own backup blobs: no value is ever read.

A blob can be restored only by Key Vault, into a vault of the same subscription and geography, with
all versions of the secret. It is opaque, but who may restore it may read it then: it goes into a
set as everything else does, encrypted where a key is configured.
"""

import base64
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.rest import HttpRequest
from azure.keyvault.secrets.aio import SecretClient

from controller.adapters.registry_calls import login_name
from controller.core.errors import AccessDeniedError, PermanentError, TransientError
from controller.core.plan import AppSpec
from controller.ports_data import SecretState, SiteExport, SiteExporter, Tell
from controller.recovery.reading import written

_REFERENCE: Final = re.compile(r"@Microsoft\.KeyVault\((.+)\)", re.IGNORECASE | re.DOTALL)
_URI: Final = re.compile(r"SecretUri=(\S+?)\s*(?:;|$)", re.IGNORECASE)
_SECRET_PATH: Final = re.compile(r"/secrets/([^/]+)(?:/[^/]*)?/?", re.IGNORECASE)
_NAMED: Final = re.compile(r"(VaultName|SecretName)=([^;\s]+)", re.IGNORECASE)
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_FIREWALL: Final = "ForbiddenByFirewall"
_DENIED: Final = frozenset({401, 403})
_RIGHT_MISSING: Final = frozenset({"", "ForbiddenByRbac", "ForbiddenByPolicy", "AccessDenied"})
_CLIENT_ERRORS: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})


class _Client:
    """The SDK's client, its errors in our words."""

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        verify_challenge_resource: bool,
        options: Mapping[str, Any] | None,
    ) -> None:
        self.url = url
        self.sdk = SecretClient(
            url,
            credential,
            verify_challenge_resource=verify_challenge_resource,
            **{"retry_total": 2, **(options or {})},
        )

    async def close(self) -> None:
        """Close what is open."""
        await self.sdk.close()


class KeyVaultSecretsExport(_Client):
    """Implements `PartExporter`: the secrets that configuration and site name, in one vault.

    Args:
        url: the vault's URL.
        credential: aio token credential with the right ``secrets/backup/action``.
        sites: tells which Key Vault references the site's settings hold; None: nobody asks.
        doors: secrets of the webhooks that are on.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        sites: SiteExporter | None = None,
        doors: Iterable[str] = (),
        verify_challenge_resource: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            url, credential, verify_challenge_resource=verify_challenge_resource, options=options
        )
        self._sites = sites
        self._doors = frozenset(doors)

    async def export(self, app: AppSpec, tell: Tell) -> AsyncGenerator[bytes]:
        """See `PartExporter`. One JSON object per line; what cannot be backed up says why."""
        names = set(named_by(app))
        if self._sites is not None:
            names |= referred_to(await self._sites.export(app.target), self.url)
        # Public registries and those with a managed identity have no login, and doors may be shut.
        perhaps = {*self._doors, *perhaps_named_by(app)} - names
        yield written({"vault": self.url}) + b"\n"
        for name in sorted(
            {each.lower(): each for each in names | perhaps}.values(), key=str.lower
        ):
            row = await self._secret(name)
            if row is None and name in perhaps:
                continue
            found = row or {"name": name, "missing_because": "there is no such secret"}
            if why := found.get("missing_because"):
                await tell(f"secret {name} is NOT in this set: {why}")
            yield written(found) + b"\n"

    async def _secret(self, name: str) -> Mapping[str, str] | None:
        """Return the row of a secret; None where there is none."""
        try:
            blob = await self.sdk.backup_secret(name)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if error.status_code in _CLIENT_ERRORS and error.status_code not in _BUSY:
                return {"name": name, "missing_because": _refusal(error, "backup")}
            raise _away(error) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise _away(error) from error
        return {"name": name, "blob": base64.b64encode(blob or b"").decode()}


class KeyVaultSecrets(_Client):
    """Implements `SecretVault`. It never asks for a value.

    Args:
        url: the vault's URL.
        credential: aio token credential with ``secrets/readMetadata/action``,
            ``secrets/restore/action`` and ``secrets/recover/action``.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        options: keywords for the client, such as a transport.
    """

    async def state(self, name: str) -> SecretState:
        """See `SecretVault.state`."""
        try:
            async for _ in self.sdk.list_properties_of_secret_versions(name):
                return SecretState.THERE
        except ResourceNotFoundError:
            pass  # a vault may answer so, or with an empty list
        except (AzureError, OSError, TimeoutError) as error:
            raise _error(error, name, "readMetadata") from error
        try:
            await self.sdk.get_deleted_secret(name)
        except ResourceNotFoundError:
            return SecretState.GONE
        except (AzureError, OSError, TimeoutError) as error:
            raise _error(error, name, "readMetadata") from error
        return SecretState.DELETED

    async def restore(self, name: str, blob: bytes) -> None:
        """See `SecretVault.restore`."""
        try:
            await self.sdk.restore_secret_backup(blob)
        except ResourceExistsError:
            return  # somebody was faster
        except (AzureError, OSError, TimeoutError) as error:
            raise _error(error, name, "restore") from error

    async def recover(self, name: str) -> None:
        """See `SecretVault.recover`. The SDK's own verb waits by reading the secret's value."""
        request = HttpRequest("POST", f"/deletedsecrets/{quote(name)}/recover")
        try:
            answer = await self.sdk.send_request(request)
            # Gone for good, back already, or on its way: who asks looks what came of it.
            if answer.status_code not in {_NOT_FOUND, _CONFLICT}:
                answer.raise_for_status()
        except (AzureError, OSError, TimeoutError) as error:
            raise _error(error, name, "recover") from error


# --- What Key Vault says ------------------------------------------------------------------------


def _error(error: Exception, name: str, action: str) -> Exception:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if not isinstance(error, HttpResponseError) or status is None:
        return _away(error)
    if status not in _CLIENT_ERRORS or status in _BUSY:
        return _away(error)
    what = f"Key Vault refuses to {action} secret {name!r}: {_refusal(error, action)}."
    if _codes(error)[1] == _FIREWALL:
        fix = "Let Slipway's subnet or private endpoint into the vault's network rules."
        return AccessDeniedError(what, fix=fix)
    if status in _DENIED:
        return AccessDeniedError(what, fix="See the rights in docs/data.md.")
    if action == "restore":
        fix = "A blob is taken only by a vault of the same subscription and geography as its own."
        return PermanentError(what, fix=fix)
    return PermanentError(what, fix="Look at the secret in the vault.")


def _refusal(error: HttpResponseError, action: str) -> str:
    """Return why Key Vault refuses, in its own code: a 403 has many reasons."""
    code, inner = _codes(error)
    if error.status_code in _DENIED and inner in _RIGHT_MISSING:
        said = f" ({inner})" if inner else ""
        return f"Slipway's identity lacks secrets/{action}/action on the vault{said}"
    if inner == _FIREWALL:
        return f"the vault's firewall does not let Slipway in ({inner})"
    said = " ".join(each for each in (code, inner) if each)
    return f"Key Vault answers {error.status_code}{f' ({said})' if said else ''}"


def _codes(error: HttpResponseError) -> tuple[str, str]:
    """Return the error's code and the one within it; neither says a value."""
    told: Any = error.error
    inner: Any = getattr(told, "innererror", None) or {}
    return str(getattr(told, "code", None) or ""), str(inner.get("code") or "")


def _away(error: Exception) -> TransientError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    how = f"answers {status}" if status else f"does not answer ({type(error).__name__})"
    return TransientError(f"Key Vault {how}.", fix="It is tried again.")


# --- Which secrets are an app's -----------------------------------------------------------------


def named_by(app: AppSpec) -> Iterable[str]:
    """Return the names of the secrets that an app's configuration names."""
    if app.database is not None:
        yield app.database.connection
    if app.backup is not None and app.backup.scratch is not None:
        yield app.backup.scratch


def perhaps_named_by(app: AppSpec) -> Iterable[str]:
    """Return the names of secrets that an app may need: logins of its registries."""
    yield login_name(app.source.registry)
    if app.backup is not None and app.backup.copy_to is not None:
        yield login_name(app.backup.copy_to.partition("/")[0])


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
        path = _SECRET_PATH.fullmatch(parts.path)  # /keys and /certificates are no secrets
        named, where = (path[1] if path else ""), (parts.hostname or "").lower()
    else:
        found = {key.lower(): text for key, text in _NAMED.findall(words)}
        named = found.get("secretname", "")
        vault = found.get("vaultname", "").lower()
        where = host if host.split(".", 1)[0] == vault else ""
    return named if where == host and _NAME.fullmatch(named) else None
