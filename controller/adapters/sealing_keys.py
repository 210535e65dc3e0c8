"""Who holds the key of backups: a passphrase, a secret in Key Vault, or several of them.

Both wrap with AES-256-GCM. The 256-bit key is the value of a Key Vault *secret*, named by name and
version: whoever may read that secret can open the backups. A key that never leaves its vault is in
`controller.adapters.azure.vault_keys`.
"""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controller.core.errors import BackupKeyError, ConfigurationError
from controller.ports import Secrets
from controller.ports_data import KeyHolder
from controller.recovery.manifest import WrappedKey

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_SHORTEST: Final = 12  # characters of a passphrase
PASSPHRASE: Final = "scrypt+AES-256-GCM"  # noqa: S105 - an algorithm
SECRET: Final = "key-vault-secret+AES-256-GCM"  # noqa: S105 - an algorithm
_LARGEST_COST: Final = 1 << 23  # of n * r: 1 GiB of memory
FIND_KEY: Final = "Configure the key that the set was made with."


def wrap_with(holder: bytes, key: bytes, context: bytes) -> str:
    """Return *key* under *holder*, in base64: it opens in the same *context* only."""
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(holder).encrypt(nonce, key, context)).decode()


def open_with(holder: bytes, wrapped: WrappedKey, context: bytes) -> bytes:
    """Return what `wrap_with` wrapped.

    Raises:
        BackupKeyError: under another key, in another context, or it was changed.
    """
    try:
        sealed = base64.b64decode(wrapped.wrapped, validate=True)
        return AESGCM(holder).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise BackupKeyError(
            f"A backup's data key does not open with {wrapped.key_id!r}: that is another key now,"
            " or what was wrapped belongs to another set or was changed.",
            fix=FIND_KEY,
        ) from error


def _check_kind(wrapped: WrappedKey, ours: str, name: str) -> None:
    if wrapped.algorithm != ours:
        raise BackupKeyError(
            f"The backup was sealed with {wrapped.key_id!r} ({wrapped.algorithm});"
            f" configured is {name!r} ({ours}).",
            fix=FIND_KEY,
        )


# --- A passphrase ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """What guessing a passphrase costs: memory is 128 * n * r bytes, time goes with p.

    Source: OWASP Password Storage Cheat Sheet; these three need 32 MiB and are held equal there
    to n = 2^17, r = 8, p = 1, which needs 128 MiB.
    """

    n: int = 1 << 15
    r: int = 8
    p: int = 3


@dataclass(slots=True)
class PassphraseKey:
    """Implements `KeyHolder` with a passphrase; salt and cost are kept with what it wraps."""

    passphrase: str = field(repr=False)
    cost: ScryptCost = field(default_factory=ScryptCost)
    _salt: bytes = field(default_factory=lambda: os.urandom(_SALT_BYTES), init=False)
    _keys: dict[tuple[bytes, ScryptCost], bytes] = field(
        default_factory=dict[tuple[bytes, ScryptCost], bytes], init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Refuse what can be guessed."""
        if len(self.passphrase) < _SHORTEST:
            raise ConfigurationError(
                f"The passphrase for backups has fewer than {_SHORTEST} characters.",
                fix="Use a long one, such as `openssl rand -base64 32` prints.",
            )

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """See `KeyHolder.wrap`."""
        holder = await self._key(self._salt, self.cost)
        cost = {"n": str(self.cost.n), "r": str(self.cost.r), "p": str(self.cost.p)}
        return WrappedKey(
            algorithm=PASSPHRASE,
            key_id="passphrase",
            wrapped=wrap_with(holder, key, context),
            parameters={"salt": self._salt.hex(), **cost},
        )

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See `KeyHolder.unwrap`."""
        _check_kind(wrapped, PASSPHRASE, "passphrase")
        salt, cost = _parameters(wrapped.parameters)
        return open_with(await self._key(salt, cost), wrapped, context)

    async def _key(self, salt: bytes, cost: ScryptCost) -> bytes:
        known = self._keys.get((salt, cost))
        if known is None:
            known = await asyncio.to_thread(_derived, self.passphrase, salt, cost)
            self._keys[salt, cost] = known
        return known


def _derived(passphrase: str, salt: bytes, cost: ScryptCost) -> bytes:
    return hashlib.scrypt(
        passphrase.encode(),
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=128 * cost.n * cost.r + (1 << 20) * (1 + cost.p),
        dklen=_KEY_BYTES,
    )


def _parameters(parameters: Mapping[str, str]) -> tuple[bytes, ScryptCost]:
    """Return salt and cost; a document that asks for gigabytes is refused."""
    try:
        salt = bytes.fromhex(parameters["salt"])
        n, r, p = (int(parameters[name]) for name in "nrp")
    except (KeyError, ValueError) as error:
        raise BackupKeyError(
            "The backup does not say how its key comes from the passphrase.",
            fix="Restore another set.",
        ) from error
    is_power = n > 1 and n & (n - 1) == 0
    is_usual = is_power and r in range(1, 33) and p in range(1, 17)
    if not is_usual or n * r > _LARGEST_COST:
        raise BackupKeyError(
            f"The backup asks for a passphrase at a cost that nobody uses: n={n}, r={r}, p={p}.",
            fix="Restore another set.",
        )
    return salt, ScryptCost(n, r, p)


class PassphraseSecret:
    """Implements `KeyHolder` with a passphrase that is a secret, read when it is first needed.

    Args:
        secrets: where it is.
        name: of the secret.
        cost: what guessing it costs.
    """

    def __init__(self, secrets: Secrets, name: str, cost: ScryptCost | None = None) -> None:
        self._secrets = secrets
        self._name = name
        self._cost = cost or ScryptCost()
        self._known: PassphraseKey | None = None

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """See `KeyHolder.wrap`."""
        return await (await self._key()).wrap(key, context=context)

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See `KeyHolder.unwrap`."""
        return await (await self._key()).unwrap(wrapped, context=context)

    async def _key(self) -> PassphraseKey:
        value = await self._secrets.get(self._name)
        if value is None:
            raise ConfigurationError(
                f"There is no secret {self._name!r} with the passphrase of backups.",
                fix="Put a long one there, such as `openssl rand -base64 32` prints.",
            )
        if self._known is None or self._known.passphrase != value:
            self._known = PassphraseKey(value, self._cost)
        return self._known


class KeyRing:
    """Implements `KeyHolder` with several: the first seals, each opens what its kind has sealed.

    Args:
        holders: by the algorithm that they write, the one that seals first.
    """

    def __init__(self, holders: Mapping[str, KeyHolder]) -> None:
        self._holders = dict(holders)
        self._first = next(iter(self._holders.values()))

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """See `KeyHolder.wrap`."""
        return await self._first.wrap(key, context=context)

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See `KeyHolder.unwrap`."""
        holder = self._holders.get(wrapped.algorithm)
        if holder is None:
            raise BackupKeyError(
                f"The backup was sealed with {wrapped.key_id!r} ({wrapped.algorithm});"
                f" configured is {' and '.join(self._holders)}.",
                fix=FIND_KEY,
            )
        return await holder.unwrap(wrapped, context=context)


# --- A secret in Key Vault ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeySecret:
    """A secret and which version of it."""

    value: str = field(repr=False)
    version: str


class KeySecrets(Protocol):
    """Knows secrets by name and version."""

    async def read(self, name: str, version: str | None = None) -> KeySecret | None:
        """Return that version, or the current one; None where there is none."""
        ...


class UnversionedKeySecrets:
    """Implements `KeySecrets` where secrets have no versions, as in the environment.

    The version is a fingerprint of the value: another value is another version, and lost.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def read(self, name: str, version: str | None = None) -> KeySecret | None:
        """See `KeySecrets.read`."""
        value = await self._secrets.get(name)
        if value is None:
            return None
        print_ = hashlib.sha256(b"slipway-fingerprint\0" + value.encode()).hexdigest()[:16]
        return KeySecret(value, print_) if version in {None, print_} else None


class GivenKeySecrets:
    """Implements `KeySecrets` with one value, whatever name and version are asked for.

    For the day on which the vault that kept the key is gone, and somebody has a copy.
    """

    def __init__(self, value: str) -> None:
        self._value = value

    async def read(self, name: str, version: str | None = None) -> KeySecret | None:
        """See `KeySecrets.read`."""
        del name
        return KeySecret(self._value, version or "given")


class SecretKey:
    """Implements `KeyHolder` with a 256-bit key that is a secret's value, in base64.

    Wrapping uses the current version, unwrapping the one that wrapped: rotate at will, and keep
    the old versions for as long as there are sets that need them.

    Args:
        secrets: where it is.
        name: of the secret. A set that names another one is refused: whoever knows any secret of
            the vault could have made it.
        is_any: take whatever name a set gives; for one value that a person brings along.
    """

    def __init__(self, secrets: KeySecrets, name: str, *, is_any: bool = False) -> None:
        self._secrets = secrets
        self._name = name
        self._is_any = is_any

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """See `KeyHolder.wrap`."""
        secret = await self._secrets.read(self._name)
        if secret is None:
            raise ConfigurationError(
                f"There is no secret {self._name!r} to encrypt backups with.",
                fix="Put the output of `openssl rand -base64 32` there.",
            )
        return WrappedKey(
            algorithm=SECRET,
            key_id=f"{self._name}/{secret.version}",
            wrapped=wrap_with(self._bytes(self._name, secret), key, context),
            parameters={},
        )

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See `KeyHolder.unwrap`."""
        _check_kind(wrapped, SECRET, self._name)
        name, _, version = wrapped.key_id.partition("/")
        if name != self._name and not self._is_any:
            raise BackupKeyError(
                f"The backup was sealed with secret {name!r}; configured is {self._name!r}.",
                fix=FIND_KEY,
            )
        secret = await self._secrets.read(name, version)
        if secret is None:
            raise BackupKeyError(
                f"The backup was sealed with version {version!r} of secret {name!r},"
                " which is not there, disabled or expired.",
                fix="Recover or enable it in Key Vault; without it the backup is lost.",
            )
        return open_with(self._bytes(name, secret), wrapped, context)

    @staticmethod
    def _bytes(name: str, secret: KeySecret) -> bytes:
        try:
            value = base64.b64decode(secret.value.strip(), validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != _KEY_BYTES:
            raise ConfigurationError(
                f"Secret {name!r} is not a 256-bit key in base64.",
                fix="Put the output of `openssl rand -base64 32` there.",
            )
        return value
