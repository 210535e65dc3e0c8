"""Seals backups with an RSA key of a Key Vault, which never leaves it.

A random key of our own does the wrapping (AES-256-GCM, bound to its context). It is itself wrapped
by the vault's key (RSA-OAEP-256) and signed by it (PS256): anybody may encrypt to a public key,
and only who may sign with it can make a set that we take for ours. Both travel with what is
wrapped, and the key is named with its version: after a rotation older sets still open.
"""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.keyvault.keys import KeyVaultKey
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import KeyWrapAlgorithm, SignatureAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient

from controller.adapters.sealing_keys import FIND_KEY, open_with, wrap_with
from controller.core.errors import (
    AccessDeniedError,
    BackupKeyError,
    ConfigurationError,
    SlipwayError,
    TransientError,
)
from controller.recovery.manifest import WrappedKey

ALGORITHM: Final = "key-vault-key RSA-OAEP-256+PS256+AES-256-GCM"
_KEY_BYTES: Final = 32
_DENIED: Final = frozenset({401, 403})
_CLIENT_ERRORS: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})
_REMEMBERED: Final = 16  # opened keys: a set has one
_WRAP, _SIGN = KeyWrapAlgorithm.rsa_oaep_256, SignatureAlgorithm.ps256


class KeyVaultKeyHolder:
    """Implements `KeyHolder` with a key in Key Vault.

    One process asks the vault twice to seal, however many parts a set has, and twice for each key
    that it opens.

    Args:
        url: the vault's URL.
        name: of the RSA key there.
        credential: aio token credential with the role Key Vault Crypto User.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        options: gives keywords for one client each, such as a transport, which it closes.
    """

    def __init__(
        self,
        url: str,
        name: str,
        credential: Any,
        *,
        verify_challenge_resource: bool = True,
        options: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._url = url.rstrip("/")
        self._name = name
        self._credential = credential
        self._verifies = verify_challenge_resource
        self._options = options
        self._keys = KeyClient(self._url, credential, **self._more())
        self._sealing: tuple[bytes, WrappedKey] | None = None
        self._opened: dict[tuple[str, str], bytes] = {}
        self._one_at_a_time = asyncio.Lock()

    async def close(self) -> None:
        """Close what is open."""
        await self._keys.close()

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """See `KeyHolder.wrap`."""
        async with self._one_at_a_time:
            if self._sealing is None:
                self._sealing = await self._made()
        ours, form = self._sealing
        return WrappedKey(
            algorithm=ALGORITHM,
            key_id=form.key_id,
            wrapped=wrap_with(ours, key, context),
            parameters=form.parameters,
        )

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See `KeyHolder.unwrap`."""
        if wrapped.algorithm != ALGORITHM or not self._is_ours(wrapped.key_id):
            raise BackupKeyError(
                f"The backup was sealed with {wrapped.key_id!r} ({wrapped.algorithm});"
                f" configured is key {self._name!r} of {self._url}.",
                fix=FIND_KEY,
            )
        said = wrapped.parameters.get("key", ""), wrapped.parameters.get("signature", "")
        async with self._one_at_a_time:
            if said not in self._opened:
                while len(self._opened) >= _REMEMBERED:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[said] = await self._open(wrapped.key_id, *said)
        return open_with(self._opened[said], wrapped, context)

    def _is_ours(self, key_id: str) -> bool:
        """Tell whether it is a version of our key: nobody else's is asked, whatever a set says."""
        path = urlsplit(key_id).path.strip("/").split("/")
        return key_id.lower().startswith(f"{self._url.lower()}/keys/") and (
            len(path) == 3 and path[1].lower() == self._name.lower()  # noqa: PLR2004 - keys/name/version
        )

    async def _made(self) -> tuple[bytes, WrappedKey]:
        """Return a new key, and its form as the vault wrapped and signed it."""
        ours = os.urandom(_KEY_BYTES)
        try:
            known = await self._keys.get_key(self._name)
            async with self._client(known) as client:
                sealed = (await client.wrap_key(_WRAP, ours)).encrypted_key
                signature = (await client.sign(_SIGN, _digest(sealed))).signature
        except ResourceNotFoundError as error:
            raise ConfigurationError(
                f"There is no key {self._name!r} in {self._url} to seal backups with.",
                fix="Create it: az keyvault key create --kty RSA --size 3072 --ops wrapKey"
                " unwrapKey sign verify",
            ) from error
        except (AzureError, OSError, TimeoutError, ValueError) as error:
            raise self._error(error, "seal with", self._name) from error
        form = {
            "key": base64.b64encode(sealed).decode(),
            "signature": base64.b64encode(signature).decode(),
        }
        return ours, WrappedKey(
            algorithm=ALGORITHM, key_id=str(known.id), wrapped="", parameters=form
        )

    async def _open(self, key_id: str, key: str, signature: str) -> bytes:
        """Return the key that the vault's key wrapped, if it signed it, too."""
        try:
            sealed = base64.b64decode(key, validate=True)
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_ours(key_id) from error
        try:
            known = await self._keys.get_key(self._name, key_id.rpartition("/")[2])
            async with self._client(known) as client:
                if not (await client.verify(_SIGN, _digest(sealed), signed)).is_valid:
                    raise _not_ours(key_id)
                return (await client.unwrap_key(_WRAP, sealed)).key
        except ResourceNotFoundError as error:
            raise BackupKeyError(
                f"The backup was sealed with {key_id!r}, which is not in its vault any more.",
                fix="Recover the key in Key Vault; without it the backup is lost.",
            ) from error
        except ValueError as error:  # the SDK's own refusal, of a disabled or expired key
            raise BackupKeyError(
                f"The backup was sealed with {key_id!r}, which may not be used: {error}",
                fix="Enable the key's version in Key Vault.",
            ) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise self._error(error, "open with", key_id) from error

    def _client(self, key: KeyVaultKey) -> CryptographyClient:
        return CryptographyClient(key, self._credential, **self._more())

    def _more(self) -> dict[str, Any]:
        more = {"retry_total": 2, **self._options()}
        return {"verify_challenge_resource": self._verifies, **more}

    def _error(self, error: Exception, doing: str, key: str) -> SlipwayError:
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if status in _DENIED:
            inner: Any = getattr(getattr(error, "error", None), "innererror", None) or {}
            code = str(inner.get("code") or "")
            if code in {"KeyDisabled", "KeyExpired", "KeyNotYetValid"}:
                return BackupKeyError(
                    f"Key {key!r} may not be used: {code}.", fix="Enable its version in Key Vault."
                )
            return AccessDeniedError(
                f"Key Vault does not let us {doing} key {key!r}: {status} {code}".rstrip() + ".",
                fix="Give Slipway's identity the role Key Vault Crypto User.",
            )
        if status is not None and status in _CLIENT_ERRORS and status not in _BUSY:
            return BackupKeyError(
                f"Key Vault refuses to {doing} key {key!r}: {status}.", fix=FIND_KEY
            )
        how = f"answers {status}" if status else f"does not answer ({type(error).__name__})"
        return TransientError(f"Key Vault {how}.", fix="It is tried again.")


def _digest(sealed: bytes) -> bytes:
    return hashlib.sha256(b"slipway backup key\0" + sealed).digest()


def _not_ours(key_id: str) -> BackupKeyError:
    return BackupKeyError(
        f"What the backup says of its key was not signed with {key_id!r}: somebody changed it, or"
        " made it without the right to.",
        fix="Restore another set: `slipway backup list`.",
    )
