"""Encrypts streams in chunks, so that no change, cut or exchange passes unseen.

The form of a sealed stream:

    SLIPWAY-SEALED-1, line feed, length of the header (4 bytes, big endian), header (JSON), chunks

Each chunk holds `chunk_bytes` of the plain stream, the last one what is left, each followed by
the 16 bytes of its tag (AES-256-GCM). The nonce is the header's 7 random bytes, the chunk's number
(4 bytes) and 1 for the last chunk, else 0. The associated data is the SHA-256 of everything up to
the first chunk, and the chunk's number (8 bytes).

Source: Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015, construction STREAM. Each part has a key of its own.
"""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controller.adapters.streams import ByteReader, closing
from controller.core.errors import BackupDamagedError, MalformedError
from controller.ports_data import KeyHolder, PartLabel
from controller.recovery.manifest import Encryption, WrappedKey
from controller.recovery.names import SetId
from controller.recovery.reading import parsed, read, written

ALGORITHM: Final = "AES-256-GCM-STREAM"
CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
_MAGIC: Final = b"SLIPWAY-SEALED-1\n"
_LENGTH_BYTES: Final = 4
_LONGEST_HEADER: Final = 1 << 16
_LARGEST_CHUNK: Final = 16 << 20  # what a header may ask us to hold in memory
_PREFIX_BYTES: Final = 7
_KEY_BITS: Final = 256
_WORTH_A_THREAD: Final = 1 << 16  # below, changing threads takes longer than the work
_ANOTHER: Final = "Restore another set: `slipway backup list`."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What a sealed stream says of itself; it can be opened without the manifest."""

    algorithm: str
    chunk_bytes: int
    set: str
    part: str
    nonce_prefix: str  # base64
    key: WrappedKey


class StreamSealer:
    """Implements `Sealer`: a new data key for each part, wrapped by *keys*."""

    def __init__(self, keys: KeyHolder, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._keys = keys
        self._chunk_bytes = chunk_bytes

    async def seal(
        self, label: PartLabel, plain: AsyncIterator[bytes]
    ) -> tuple[Encryption, AsyncIterator[bytes]]:
        """See `Sealer.seal`."""
        key = AESGCM.generate_key(_KEY_BITS)
        wrapped = await self._keys.wrap(key, context=_part_context(label))
        prefix = os.urandom(_PREFIX_BYTES)
        header = _Header(
            algorithm=ALGORITHM,
            chunk_bytes=self._chunk_bytes,
            set=label.set_id,
            part=label.name,
            nonce_prefix=base64.b64encode(prefix).decode(),
            key=wrapped,
        )
        encryption = Encryption(algorithm=ALGORITHM, key=wrapped)
        return encryption, _sealed(header, _Cipher(key, prefix, _preamble(header)), plain)

    async def open(
        self, label: PartLabel, encryption: Encryption, stored: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """See `Sealer.open`."""
        async with closing(stored):
            source = ByteReader(stored)
            header, preamble = await _header(label, source)
            _compare(label, encryption, header)
            key = await self._keys.unwrap(header.key, context=_part_context(label))
            cipher = _Cipher(key, _prefix(label, header), preamble)
            size = header.chunk_bytes + TAG_BYTES
            number = 0
            async with aclosing(source.pieces(size)) as pieces:
                async for piece, is_last in pieces:
                    yield await _opened(label, cipher, number, piece, is_last=is_last)
                    number += 1

    async def sign(self, set_id: SetId, sha256: str) -> WrappedKey:
        """See `Sealer.sign`: wrapping authenticates what is wrapped."""
        return await self._keys.wrap(bytes.fromhex(sha256), context=_seal_context(set_id))

    async def check(self, set_id: SetId, sha256: str, seal: WrappedKey) -> None:
        """See `Sealer.check`."""
        if await self._keys.unwrap(seal, context=_seal_context(set_id)) != bytes.fromhex(sha256):
            raise BackupDamagedError(
                f"The manifest of {set_id} was changed after it was written:"
                " its seal is that of another content.",
                fix=_ANOTHER,
            )


def _part_context(label: PartLabel) -> bytes:
    return f"part\0{label.set_id}\0{label.name}".encode()


def _seal_context(set_id: SetId) -> bytes:
    return f"manifest\0{set_id}".encode()


# --- Chunks ---------------------------------------------------------------------------------------


class _Cipher:
    """One part's key, its nonces, and what its chunks are bound to."""

    def __init__(self, key: bytes, prefix: bytes, preamble: bytes) -> None:
        self._gcm = AESGCM(key)
        self._prefix = prefix
        self._bound_to = hashlib.sha256(preamble).digest()

    async def encrypt(self, number: int, plain: bytes, *, is_last: bool) -> bytes:
        return await _aside(self._gcm.encrypt, *self._around(number, plain, is_last=is_last))

    async def decrypt(self, number: int, sealed: bytes, *, is_last: bool) -> bytes | None:
        """Return None where it is not authentic."""
        try:
            return await _aside(self._gcm.decrypt, *self._around(number, sealed, is_last=is_last))
        except InvalidTag:
            return None

    def _around(self, number: int, data: bytes, *, is_last: bool) -> tuple[bytes, bytes, bytes]:
        nonce = self._prefix + number.to_bytes(4, "big") + bytes([is_last])
        return nonce, data, self._bound_to + number.to_bytes(8, "big")


async def _aside(work: Callable[[bytes, bytes, bytes], bytes], *data: bytes) -> bytes:
    """Let the event loop go on meanwhile; OpenSSL does not hold the interpreter's lock."""
    nonce, text, bound = data
    if len(text) < _WORTH_A_THREAD:
        return work(nonce, text, bound)
    return await asyncio.to_thread(work, nonce, text, bound)


async def _sealed(
    header: _Header, cipher: _Cipher, plain: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    async with closing(plain):
        yield _preamble(header)
        number = 0
        async with aclosing(ByteReader(plain).pieces(header.chunk_bytes)) as pieces:
            async for piece, is_last in pieces:
                yield await cipher.encrypt(number, piece, is_last=is_last)
                number += 1


async def _opened(
    label: PartLabel, cipher: _Cipher, number: int, piece: bytes, *, is_last: bool
) -> bytes:
    plain = await cipher.decrypt(number, piece, is_last=is_last)
    if plain is not None:
        return plain
    if await cipher.decrypt(number, piece, is_last=not is_last) is None:
        raise _damaged(
            label,
            f"was changed: chunk {number} is not what was written there (or is another's,"
            " moved or cut short)",
        )
    if is_last:
        raise _damaged(label, f"was cut short: it ends after chunk {number}, and more is missing")
    raise _damaged(label, f"was changed: more follows chunk {number}, which was the last")


# --- The header -----------------------------------------------------------------------------------


def _preamble(header: _Header) -> bytes:
    text = written(header)
    return _MAGIC + len(text).to_bytes(_LENGTH_BYTES, "big") + text


async def _header(label: PartLabel, source: ByteReader) -> tuple[_Header, bytes]:
    start = await source.upto(len(_MAGIC) + _LENGTH_BYTES)
    length = int.from_bytes(start[len(_MAGIC) :], "big")
    if not start.startswith(_MAGIC) or length > _LONGEST_HEADER:
        raise _damaged(label, "is not encrypted by Slipway: it does not begin as such a part does")
    text = await source.upto(length)
    try:
        header = read(_Header, parsed(text, "Its header"), "header")
    except MalformedError as error:
        raise _damaged(label, f"has a damaged beginning: {error.what}") from error
    if header.algorithm != ALGORITHM or not 0 < header.chunk_bytes <= _LARGEST_CHUNK:
        how = f"{header.algorithm} in chunks of {header.chunk_bytes}"
        raise _damaged(label, f"says that it is encrypted as nobody does here: {how}")
    return header, start + text


def _compare(label: PartLabel, encryption: Encryption, header: _Header) -> None:
    if (header.set, header.part) != (label.set_id, label.name):
        raise _damaged(label, f"was exchanged: it is part {header.part!r} of {header.set!r}")
    if Encryption(algorithm=header.algorithm, key=header.key) != encryption:
        said, found = encryption.key.key_id, header.key.key_id
        keys = "another data key" if said == found else f"key {found!r} instead of {said!r}"
        raise _damaged(label, f"was encrypted again after the manifest was written: with {keys}")


def _prefix(label: PartLabel, header: _Header) -> bytes:
    try:
        prefix = base64.b64decode(header.nonce_prefix, validate=True)
    except binascii.Error:
        prefix = b""
    if len(prefix) != _PREFIX_BYTES:
        raise _damaged(label, "has a damaged beginning: its nonce has another length")
    return prefix


def _damaged(label: PartLabel, what: str) -> BackupDamagedError:
    return BackupDamagedError(f"Part {label.name!r} of {label.set_id} {what}.", fix=_ANOTHER)
