"""Secrets from Key Vault, kept for some minutes; from the environment where there is no vault."""

import asyncio
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
_AWAY: Final = timedelta(seconds=10)  # not asked again so soon after it did not answer
_TOTAL_SECONDS: Final = 5.0  # a webhook's sender waits ten
_FORBIDDEN: Final = 403
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer of the vault and when it gave it."""

    value: str | None = field(repr=False)
    at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now - self.at < (_FRESH if self.value is not None else _FRESH_ABSENCE)

    def may_stand_in(self, now: datetime) -> bool:
        return self.value is not None and now - self.at < _STALE


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
            **{"retry_total": 1, "retry_backoff_factor": 0.2, **(options or {})},
        )
        self._now = now or SystemClock().now
        self._kept: dict[str, _Kept] = {}
        self._away_until: datetime | None = None
        self._lock = asyncio.Lock()  # when a value ages, one asks and the others wait

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def get(self, name: str) -> str | None:
        """See `Secrets.get`. A rotated secret is seen when the kept one has aged."""
        if not _NAME.fullmatch(name):
            return None  # Key Vault has no such names
        kept = self._kept.get(name)
        if kept is not None and kept.is_fresh(self._now()):
            return kept.value
        async with self._lock:
            return await self._refreshed(name)

    async def _refreshed(self, name: str) -> str | None:
        kept, now = self._kept.get(name), self._now()
        if kept is not None and kept.is_fresh(now):
            return kept.value
        if self._away_until is not None and now < self._away_until:
            return _stand_in(name, kept, now)  # else every webhook would wait for its own time-out
        try:
            async with asyncio.timeout(_TOTAL_SECONDS):
                value = await self._ask(name)
        except (AzureError, OSError, TimeoutError) as error:
            self._away_until = now + _AWAY
            log.warning("Key Vault does not give secret %s: %s", name, type(error).__name__)
            return _stand_in(name, kept, now, because=error)
        self._kept[name] = _Kept(value, now)
        self._away_until = None
        return value

    async def _ask(self, name: str) -> str | None:
        try:
            return (await self._client.get_secret(name)).value
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if error.status_code == _FORBIDDEN and _says_unusable(error):
                log.warning("Key Vault does not give secret %s: disabled or expired", name)
                return None
            raise


def _stand_in(
    name: str, kept: _Kept | None, now: datetime, *, because: Exception | None = None
) -> str | None:
    """Return what was read last, if that is not too long ago."""
    if kept is None or not kept.may_stand_in(now):
        raise TransientError(
            f"Secret {name!r} cannot be read: Key Vault gives no answer that can be used.",
            fix="See that Key Vault answers and grants Key Vault Secrets User.",
        ) from because
    log.warning("secret %s is served from memory, read %s ago", name, now - kept.at)
    return kept.value


def _says_unusable(error: HttpResponseError) -> bool:
    """Tell a disabled or expired secret from a missing role: both are 403."""
    return "is not allowed on a" in (error.message or "")


class EnvironmentSecrets:
    """Implements `Secrets` on settings: ``webhook-acr`` is ``SLIPWAY_SECRET_WEBHOOK_ACR``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def get(self, name: str) -> str | None:
        """See `Secrets.get`."""
        setting = "SLIPWAY_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        return self._environment.get(setting) or None
