"""Secrets from Key Vault, kept for some minutes; from the environment where there is no vault."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets.aio import SecretClient

from controller.adapters.clock import SystemClock
from controller.core.errors import TransientError

log = logging.getLogger("slipway.secrets")

_FRESH: Final = timedelta(minutes=5)
_FRESH_ABSENCE: Final = timedelta(seconds=30)
_STALE: Final = timedelta(hours=1)  # how long an old value serves while the vault is away
_DISABLED: Final = 403


@dataclass(frozen=True, slots=True)
class _Kept:
    value: str | None = field(repr=False)
    at: datetime


class KeyVaultSecrets:
    """Implements `Secrets`. Values never appear in logs, errors or representations.

    Args:
        url: the vault's URL.
        credential: aio token credential with the role Key Vault Secrets User.
        verify_challenge_resource: False only where the vault's host is not of Azure's domain.
        now: the clock.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        url: str,
        credential: Any,
        *,
        verify_challenge_resource: bool = True,
        now: Callable[[], datetime] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = SecretClient(
            url,
            credential,
            verify_challenge_resource=verify_challenge_resource,
            retry_total=1,
            **(options or {}),
        )
        self._now = now or SystemClock().now
        self._kept: dict[str, _Kept] = {}

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def get(self, name: str) -> str | None:
        """See `Secrets.get`. A rotated secret is seen when the kept one has aged."""
        kept = self._kept.get(name)
        now = self._now()
        if kept is not None:
            fresh = _FRESH if kept.value is not None else _FRESH_ABSENCE
            if now - kept.at < fresh:
                return kept.value
        try:
            value = await self._ask(name)
        except (AzureError, OSError, TimeoutError) as error:
            if kept is not None and kept.value is not None and now - kept.at < _STALE:
                log.warning("Key Vault does not answer; secret %s is served from memory", name)
                return kept.value
            raise TransientError(
                f"Secret {name!r} cannot be read: {type(error).__name__}.",
                fix="See that Key Vault answers and grants Key Vault Secrets User.",
            ) from error
        self._kept[name] = _Kept(value, now)
        return value

    async def _ask(self, name: str) -> str | None:
        try:
            return (await self._client.get_secret(name)).value
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if error.status_code == _DISABLED and "disabled" in (error.message or "").lower():
                log.warning("secret %s is disabled", name)
                return None
            raise


class EnvironmentSecrets:
    """Implements `Secrets` on settings: ``webhook-acr`` is ``SLIPWAY_SECRET_WEBHOOK_ACR``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def get(self, name: str) -> str | None:
        """See `Secrets.get`."""
        setting = "SLIPWAY_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        return self._environment.get(setting) or None
