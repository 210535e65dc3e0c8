"""The key of backups as a secret in Key Vault, by version."""

from collections.abc import Mapping
from typing import Any, Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets.aio import SecretClient

from controller.adapters.sealing_keys import KeySecret
from controller.core.errors import AccessDeniedError, TransientError

_DENIED: Final = frozenset({401, 403})
_UNUSABLE: Final = "is not allowed on a"  # disabled or expired: Key Vault answers 403 to that, too


class KeyVaultKeySecrets:
    """Implements `KeySecrets`. Nothing is kept in memory: a backup asks a few times.

    Args:
        url: the vault's URL.
        credential: aio token credential with the role Key Vault Secrets User.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        verify_challenge_resource: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = SecretClient(
            url, credential, verify_challenge_resource=verify_challenge_resource, **(options or {})
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def read(self, name: str, version: str | None = None) -> KeySecret | None:
        """See `KeySecrets.read`.

        Raises:
            AccessDeniedError: Slipway's identity may not read secrets.
            TransientError: Key Vault does not answer.
        """
        try:
            secret = await self._client.get_secret(name, version)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if _UNUSABLE in (error.message or ""):
                return None
            if error.status_code in _DENIED:
                raise AccessDeniedError(
                    f"Key Vault refuses us secret {name!r}: {error.status_code}.",
                    fix="Give Slipway's identity the role Key Vault Secrets User.",
                ) from error
            raise _away(name) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise _away(name) from error
        if secret.value is None or secret.properties.version is None:
            return None
        return KeySecret(secret.value, secret.properties.version)


def _away(name: str) -> TransientError:
    return TransientError(
        f"Secret {name!r} cannot be read: Key Vault gives no answer that can be used.",
        fix="See that Key Vault answers and grants Key Vault Secrets User.",
    )
