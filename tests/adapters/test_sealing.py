"""No change of a sealed stream passes unseen, and only the holder of the key opens it."""

import base64
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault_key import KeyVaultKeySecrets
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.sealing import CHUNK_BYTES, TAG_BYTES, StreamSealer
from controller.adapters.sealing_keys import (
    PassphraseKey,
    ScryptCost,
    SecretKey,
    UnversionedKeySecrets,
)
from controller.adapters.streams import ByteReader, Counted
from controller.core.errors import (
    AccessDeniedError,
    BackupDamagedError,
    BackupKeyError,
    ConfigurationError,
    TransientError,
)
from controller.ports_data import KeyHolder, PartLabel
from controller.recovery.manifest import Encryption, WrappedKey
from controller.recovery.names import set_id
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.recovery.kit import BEGUN, stream, whole

CHEAP = ScryptCost(n=2, r=1, p=1)
WORDS = "correct horse battery staple"
SET = set_id("shop", BEGUN, "1a2b")
LABEL = PartLabel(SET, "database")
CHUNK = 100
KEY = base64.b64encode(bytes(range(32))).decode()


def sealer(words: str = WORDS) -> StreamSealer:
    return StreamSealer(PassphraseKey(words, CHEAP), chunk_bytes=CHUNK)


async def sealed(
    data: bytes, label: PartLabel = LABEL, by: StreamSealer | None = None
) -> tuple[Encryption, bytes]:
    encryption, pieces = await (by or sealer()).seal(label, stream(data))
    return encryption, await whole(pieces)


async def opened(
    encryption: Encryption, data: bytes, label: PartLabel = LABEL, words: str = WORDS
) -> bytes:
    return await whole(sealer(words).open(label, encryption, stream(data)))


def chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return what comes before the chunks, and the chunks."""
    start = 21 + int.from_bytes(data[17:21], "big")
    size = CHUNK + TAG_BYTES
    return data[:start], [data[at : at + size] for at in range(start, len(data), size)]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK, 1234])
async def test_what_is_sealed_opens(size: int) -> None:
    """At every edge of a chunk; and nothing of it is to be seen."""
    data = bytes(at % 251 for at in range(size))
    encryption, stored = await sealed(data)

    assert await opened(encryption, stored) == data
    count = max(1, -(-size // CHUNK))
    assert len(chunks(stored)[1]) == count
    assert len(stored) == len(chunks(stored)[0]) + size + count * TAG_BYTES
    assert size < 20 or data[:20] not in stored


@given(data=st.binary(max_size=700), cuts=st.lists(st.integers(1, 300), max_size=9))
async def test_it_does_not_matter_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    """A pipe cuts where it likes."""

    async def pieces(of: bytes) -> AsyncIterator[bytes]:
        left = of
        for cut in cuts:
            yield left[:cut]
            left = left[cut:]
        yield left

    encryption, parts = await sealer().seal(LABEL, pieces(data))
    stored = await whole(parts)
    assert await whole(sealer().open(LABEL, encryption, pieces(stored))) == data


async def test_the_same_bytes_are_never_sealed_alike() -> None:
    """Each part has a key of its own."""
    one = sealer()
    (_, first), (_, second) = await sealed(b"x" * 500, by=one), await sealed(b"x" * 500, by=one)

    assert not set(chunks(first)[1]) & set(chunks(second)[1])


DATA = bytes(range(256)) * 2  # five whole chunks and one of 12 bytes

CHANGES: list[tuple[str, Callable[[bytes, list[bytes]], bytes], str]] = [
    ("swapped", lambda h, c: h + b"".join([c[1], c[0], *c[2:]]), "chunk 0 is not what was"),
    ("repeated", lambda h, c: h + b"".join([c[0], c[0], *c[1:]]), "chunk 1 is not what was"),
    ("dropped", lambda h, c: h + b"".join([*c[:2], *c[3:]]), "chunk 2 is not what was"),
    ("no-end", lambda h, c: h + b"".join(c[:-1]), "was cut short: it ends after chunk 4"),
    ("no-chunks", lambda h, _: h, "chunk 0 is not what was"),
    ("half-chunk", lambda h, c: h + b"".join(c)[:-20], "chunk 5 is not what was"),
    ("no-tag", lambda h, c: h + b"".join(c)[:-1], "chunk 5 is not what was"),
    ("appended", lambda h, c: h + b"".join(c) + b"x", "chunk 5 is not what was"),
    ("doubled", lambda h, c: h + b"".join([*c, *c]), "chunk 5 is not what was"),
    ("plain", lambda _h, _c: DATA, "is not encrypted by Slipway"),
    ("empty", lambda _h, _c: b"", "is not encrypted by Slipway"),
    ("half-header", lambda h, _: h[:-9], "has a damaged beginning"),
    ("nonce", lambda h, c: h.replace(b'"nonce_prefix":"', b'"nonce_prefix":"AAAA') + b"".join(c),
     "damaged beginning"),
    ("chunk-size", lambda h, c: h.replace(b":100,", b":101,") + b"".join(c), "chunk 0 is not"),
    ("huge", lambda h, c: h.replace(b":100,", b":1e9,") + b"".join(c), "a whole number"),
    ("algorithm", lambda h, c: h.replace(b"-STREAM", b"-SCREAM") + b"".join(c), "as nobody does"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"), [pytest.param(change, said, id=name) for name, change, said in CHANGES]
)
async def test_what_was_changed_is_named(
    change: Callable[[bytes, list[bytes]], bytes], words: str
) -> None:
    """And what was handed out before is right."""
    encryption, stored = await sealed(DATA)
    seen: list[bytes] = []

    async def read() -> None:
        async for piece in sealer().open(LABEL, encryption, stream(change(*chunks(stored)))):
            seen.append(piece)  # noqa: PERF401 - what came before the error is the point

    with pytest.raises(BackupDamagedError, match=words):
        await read()
    assert DATA.startswith(b"".join(seen))
    assert len(b"".join(seen)) < len(DATA)


async def test_every_single_bit_counts() -> None:
    """Of the header, the chunks and their tags."""
    encryption, stored = await sealed(b"a" * 150)
    for at in range(len(stored)):
        wrong = stored[:at] + bytes([stored[at] ^ (1 << at % 8)]) + stored[at + 1 :]
        with pytest.raises((BackupDamagedError, BackupKeyError)):
            await opened(encryption, wrong)


async def test_a_chunk_of_another_part_is_not_taken() -> None:
    """Of the same set and number, under the same passphrase."""
    one = sealer()
    encryption, stored = await sealed(DATA, by=one)
    _, other = await sealed(DATA[::-1], by=one)
    (head, mine), (_, theirs) = chunks(stored), chunks(other)

    with pytest.raises(BackupDamagedError, match="chunk 3 is not what was written"):
        await opened(encryption, head + b"".join([*mine[:3], theirs[3], *mine[4:]]))


async def test_a_part_of_another_set_says_whose_it_is() -> None:
    """Even if the manifest was edited to agree with it."""
    encryption, stored = await sealed(DATA)
    other = PartLabel(set_id("shop", BEGUN, "ffff"), "database")

    with pytest.raises(BackupDamagedError, match=f"exchanged: it is part 'database' of '{SET}'"):
        await opened(encryption, stored, other)
    renamed = stored.replace(SET.encode(), other.set_id.encode())
    with pytest.raises(BackupKeyError, match="belongs to another set"):
        await opened(encryption, renamed, other)


async def test_another_key_does_not_open_it() -> None:
    """Nor does it name the key; what was encrypted again is not what the manifest means."""
    encryption, stored = await sealed(DATA)
    with pytest.raises(BackupKeyError, match="does not open with 'passphrase'") as caught:
        await opened(encryption, stored, words="another passphrase")
    assert "another passphrase" not in str(caught.value)
    again, other = await sealed(DATA, by=sealer("another passphrase"))
    with pytest.raises(BackupDamagedError, match="was encrypted again"):
        await opened(encryption, other)
    assert await opened(again, other, words="another passphrase") == DATA


async def test_a_seal_is_of_one_manifest_of_one_set() -> None:
    one, other_set = sealer(), set_id("shop", BEGUN, "ffff")
    seal = await one.sign(SET, "ab" * 32)
    await sealer().check(SET, "ab" * 32, seal)

    with pytest.raises(BackupDamagedError, match="another content"):
        await one.check(SET, "cd" * 32, seal)
    with pytest.raises(BackupKeyError):
        await one.check(other_set, "ab" * 32, seal)
    with pytest.raises(BackupKeyError):
        await sealer("another passphrase").check(SET, "ab" * 32, seal)
    encryption, _ = await sealed(b"")
    with pytest.raises(BackupKeyError):
        await one.check(SET, "ab" * 32, encryption.key)


async def test_sealing_and_opening_take_flat_memory() -> None:
    """40 MiB pass with a few chunks in memory."""
    piece = bytes(1 << 16)

    async def plain() -> AsyncIterator[bytes]:
        for _ in range(40 * 16):
            yield piece

    one = StreamSealer(PassphraseKey(WORDS, CHEAP))
    tracemalloc.start()
    encryption, stored = await one.seal(LABEL, plain())
    count = 0
    async for each in one.open(LABEL, encryption, stored):
        count += len(each)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 40 << 20
    assert peak < 12 * CHUNK_BYTES


# --- Passphrases ----------------------------------------------------------------------------------


async def test_a_passphrase_opens_what_another_process_wrapped() -> None:
    """Salt and cost travel with what is wrapped, at the cost that we really use."""
    wrapped = await PassphraseKey(WORDS).wrap(b"k" * 32, context=b"c")

    assert wrapped.parameters.items() >= {"n": "32768", "r": "8", "p": "3"}.items()
    assert await PassphraseKey(WORDS, CHEAP).unwrap(wrapped, context=b"c") == b"k" * 32
    with pytest.raises(BackupKeyError):
        await PassphraseKey(WORDS).unwrap(wrapped, context=b"d")


async def test_a_passphrase_is_nowhere_to_be_seen() -> None:
    """Short ones are refused, without repeating them."""
    holder = PassphraseKey(WORDS, CHEAP)
    wrapped = await holder.wrap(b"k" * 32, context=b"c")
    assert WORDS not in repr(holder) + repr(wrapped)
    with pytest.raises(ConfigurationError, match="fewer than 12") as caught:
        PassphraseKey("secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"n": "many"}, {"n": "3"}, {"n": "0"}, {"n": str(1 << 40)}, {"p": "99"}, {"r": "0"},
        {"r": "-1"}, {"salt": "zz"}, {"r": str(1 << 22)},
    ],
)  # fmt: skip
async def test_a_document_cannot_ask_for_all_our_memory(parameters: dict[str, str]) -> None:
    """Costs come from what was stored; odd ones are refused."""
    holder = PassphraseKey(WORDS, CHEAP)
    wrapped = await holder.wrap(b"k" * 32, context=b"c")
    odd: dict[str, str] = {**wrapped.parameters, **parameters} if parameters else {}
    with pytest.raises(BackupKeyError):
        await holder.unwrap(replace(wrapped, parameters=odd), context=b"c")


@pytest.mark.parametrize("wrapped", ["", "AAAA", "!", "A" * 80])
async def test_what_is_no_wrapped_key_is_refused(wrapped: str) -> None:
    holder = PassphraseKey(WORDS, CHEAP)
    known = await holder.wrap(b"k" * 32, context=b"c")
    with pytest.raises(BackupKeyError):
        await holder.unwrap(replace(known, wrapped=wrapped), context=b"c")


# --- Secrets --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def key_vault(authority: Authority) -> AsyncIterator[tuple[KeyVault, KeyVaultKeySecrets]]:
    server = KeyVault(authority)
    await server.start()
    secrets = KeyVaultKeySecrets(
        server.url,
        Credential(AUDIENCE),
        verify_challenge_resource=False,  # an address has no domain to compare
        options={"retry_total": 0, **connection_options(authority.ca_file)},
    )
    yield server, secrets
    await secrets.close()
    await server.stop()


async def test_a_key_in_key_vault_may_be_rotated(
    key_vault: tuple[KeyVault, KeyVaultKeySecrets],
) -> None:
    """Old sets open with the version that sealed them, new ones use the new one."""
    server, secrets = key_vault
    holder: KeyHolder = SecretKey(secrets, "backup-key")
    with pytest.raises(ConfigurationError, match="no secret 'backup-key'"):
        await holder.wrap(b"k" * 32, context=b"c")
    server.put("backup-key", KEY)
    old = await holder.wrap(b"k" * 32, context=b"c")
    server.put("backup-key", base64.b64encode(b"n" * 32).decode())
    new = await holder.wrap(b"k" * 32, context=b"c")

    assert old.key_id != new.key_id
    assert old.key_id.startswith("backup-key/")
    for wrapped in (old, new):
        assert await holder.unwrap(wrapped, context=b"c") == b"k" * 32
    lost = replace(old, key_id="backup-key/" + "0" * 32)
    with pytest.raises(BackupKeyError, match="not there, disabled or expired"):
        await holder.unwrap(lost, context=b"c")
    with pytest.raises(BackupKeyError, match="does not open with"):
        await holder.unwrap(replace(old, key_id=new.key_id), context=b"c")


async def test_key_vaults_refusals_are_told_apart(
    key_vault: tuple[KeyVault, KeyVaultKeySecrets],
) -> None:
    """Disabled is gone; a missing role is ours to mend; no answer passes by itself."""
    server, secrets = key_vault
    holder = SecretKey(secrets, "backup-key")
    server.put("backup-key", KEY)
    wrapped = await holder.wrap(b"k" * 32, context=b"c")
    server.denied.add("controller")
    with pytest.raises(AccessDeniedError, match="Key Vault refuses us secret 'backup-key'"):
        await holder.unwrap(wrapped, context=b"c")
    server.denied.clear()
    server.secrets["backup-key"].versions[-1].enabled = False
    with pytest.raises(BackupKeyError, match="disabled"):
        await holder.unwrap(wrapped, context=b"c")
    await server.stop()
    with pytest.raises(TransientError):
        await holder.unwrap(wrapped, context=b"c")


async def test_a_secret_without_versions_is_told_by_its_value() -> None:
    """As in the environment: when another value is there, the old sets say so."""
    known = MemorySecrets()
    known.put("backup-key", KEY)
    holder = SecretKey(UnversionedKeySecrets(known), "backup-key")
    wrapped = await holder.wrap(b"k" * 32, context=b"c")
    assert await holder.unwrap(wrapped, context=b"c") == b"k" * 32
    assert KEY not in repr(wrapped)
    known.put("backup-key", base64.b64encode(b"n" * 32).decode())
    with pytest.raises(BackupKeyError, match="not there"):
        await holder.unwrap(wrapped, context=b"c")


@pytest.mark.parametrize("value", ["", "short", "!" * 44, base64.b64encode(b"x" * 31).decode()])
async def test_a_secret_that_is_no_key_is_a_configuration_error(value: str) -> None:
    """Said without the value."""
    known = MemorySecrets()
    known.put("backup-key", value)
    with pytest.raises(ConfigurationError) as caught:
        await SecretKey(UnversionedKeySecrets(known), "backup-key").wrap(b"k", context=b"c")
    assert not value or value not in str(caught.value)


async def test_what_one_kind_of_key_sealed_another_names() -> None:
    """So that the right one is configured."""
    known = MemorySecrets()
    known.put("backup-key", KEY)
    secret = SecretKey(UnversionedKeySecrets(known), "backup-key")
    holders: list[Any] = [secret, PassphraseKey(WORDS, CHEAP)]
    for mine, other in (holders, holders[::-1]):
        wrapped: WrappedKey = await mine.wrap(b"k" * 32, context=b"c")
        with pytest.raises(BackupKeyError, match=f"sealed with '{wrapped.key_id}'"):
            await other.unwrap(wrapped, context=b"c")


# --- Streams --------------------------------------------------------------------------------------


@given(parts=st.lists(st.binary(max_size=50), max_size=20), size=st.integers(1, 60))
async def test_a_stream_is_cut_into_pieces_of_one_size(parts: list[bytes], size: int) -> None:
    """All but the last, which is marked; nothing is lost or added."""
    data = b"".join(parts)
    counted = Counted(stream(*parts))
    pieces = [each async for each in ByteReader(counted).pieces(size)]

    assert b"".join(piece for piece, _ in pieces) == data
    assert [is_last for _, is_last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(len(piece) == size for piece, _ in pieces[:-1])
    assert counted.bytes == len(data)
