"""A manifest says the same for ever, and one that was touched is not believed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.errors import MalformedError
from controller.recovery.manifest import (
    SCHEMA,
    Encryption,
    Manifest,
    WrappedKey,
    content_hash,
    read_manifest,
    sealed_by_hash,
    write_manifest,
)
from controller.recovery.names import app_of, begun_at, check_part_name, check_set_id, set_id
from controller.recovery.reading import written
from tests.recovery.kit import BEGUN, FACTS, manifest, part

ID = set_id("shop", BEGUN, "1a2b")
KEY = WrappedKey(algorithm="a", key_id="k/1", wrapped="AAAA", parameters={"n": "2"})
SEALED = replace(part(ID), encryption=Encryption(algorithm="b", key=KEY), stored_bytes=99)


def made(**changes: Any) -> Manifest:
    return sealed_by_hash(manifest(ID, part(ID), part(ID, "configuration", b"{}"), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"database": None, "release": None},
        {"reason": 'a "quoted" ü\n reason'},
        {"parts": (SEALED,), "seal": KEY},
    ],
    ids=["plain", "no-database", "odd-words", "sealed"],
)
def test_what_is_written_is_read(changes: dict[str, Any]) -> None:
    """And written again it is the same bytes."""
    whole = made(**changes)
    document = write_manifest(whole)

    assert read_manifest(document) == whole
    assert write_manifest(read_manifest(document)) == document
    assert whole.sha256 == content_hash(whole)


def test_the_hash_does_not_depend_on_how_things_were_held() -> None:
    """Lists or tuples, other zones, other orders of names: the same content is the same hash."""
    zone = BEGUN.astimezone().tzinfo
    other = replace(
        FACTS,
        tables=list(FACTS.tables),
        constraints=list(FACTS.constraints),
        taken_at=FACTS.taken_at.astimezone(zone),
        extensions=dict(reversed(list(FACTS.extensions.items()))),
    )
    assert made(database=other).sha256 == made().sha256
    assert made(reason="other").sha256 != made().sha256


def edited(change: Callable[[dict[str, Any]], object], *, with_hash: bool = True) -> bytes:
    """Return a document that was changed; *with_hash*: by somebody who knows how we hash."""
    document: dict[str, Any] = json.loads(write_manifest(made()))
    change(document)
    if with_hash:
        content = {**document, "sha256": "", "seal": None}
        document["sha256"] = hashlib.sha256(written(content)).hexdigest()
    return json.dumps(document).encode()


WRONG: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("unknown", lambda d: d.update(color="red"), "unknown field 'color'"),
    ("missing", lambda d: d.pop("parts"), "lacks 'parts'"),
    ("schema", lambda d: d.update(schema=2), "the form 2; this Slipway reads 1"),
    ("no-schema", lambda d: d.pop("schema"), "the form None"),
    (
        "type",
        lambda d: d["parts"][0].update(plain_bytes="4"),
        r"parts\[0\].plain_bytes must be a whole",
    ),
    ("truth", lambda d: d["parts"][0].update(plain_bytes=True), "must be a whole number, not True"),
    ("kind", lambda d: d["parts"][0].update(kind="dump"), "must be one of database, application"),
    ("zone", lambda d: d.update(started_at="2026-11-23T07:45"), "a time with its zone"),
    ("id", lambda d: d.update(id="../../etc"), "is no backup set's id"),
    ("app", lambda d: d.update(app="other"), "is of app 'other'"),
    ("begun", lambda d: d.update(started_at="2026-11-23T07:44:00Z"), "was begun at"),
    ("ends", lambda d: d.update(finished_at="2026-11-23T07:44:00Z"), "ends before it begins"),
    ("path", lambda d: d["parts"][0].update(path="shop/x"), "is at 'shop/x'"),
    ("part-name", lambda d: d["parts"][0].update(name="../manifest"), "cannot be called"),
    ("negative", lambda d: d["parts"][0].update(stored_bytes=-1), "less than nothing"),
    ("hash-form", lambda d: d["parts"][0].update(plain_sha256="0"), "no SHA-256"),
    ("not-same", lambda d: d["parts"][0].update(plain_bytes=5), "not encrypted and yet not"),
    ("twice", lambda d: d["parts"].append(d["parts"][0]), "names a part twice"),
    ("no-parts", lambda d: d.update(parts=[]), "has no parts"),
]


@pytest.mark.parametrize(
    ("change", "words"), [pytest.param(change, words, id=name) for name, change, words in WRONG]
)
def test_what_is_odd_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Even if whoever changed it made the hash right."""
    with pytest.raises(MalformedError, match=words):
        read_manifest(edited(change))


def test_an_edited_manifest_betrays_itself() -> None:
    """Any change of content without the hash."""
    for change in (
        lambda d: d.update(reason="other"),
        lambda d: d["database"]["tables"][0].update(rows=1),
        lambda d: d["parts"][0].update(content_type="x"),
    ):
        with pytest.raises(MalformedError, match="changed after it was written"):
            read_manifest(edited(change, with_hash=False))


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"\xff", b'{"a":1,"a":2}', b'{"schema":NaN}', b"[" * 100_000],
    ids=["empty", "half", "list", "bytes", "twice", "nan", "deep"],
)
def test_what_is_no_manifest_is_malformed(document: bytes) -> None:
    """And nothing worse."""
    with pytest.raises(MalformedError, match="manifest"):
        read_manifest(document)


def test_a_set_is_encrypted_whole_or_not() -> None:
    """A part that lost its encryption shows."""
    with pytest.raises(MalformedError, match="encrypted parts and others"):
        made(parts=(SEALED, part(ID, "configuration")))
    with pytest.raises(MalformedError, match="is sealed, its parts are not"):
        made(seal=KEY)


def test_ids_sort_as_times_do() -> None:
    """And tell app and time."""
    ids = [set_id("shop-2", BEGUN + timedelta(minutes=n * 7), "ffff") for n in range(300)]

    assert ids == sorted(ids)
    assert app_of(ids[0]) == "shop-2"
    assert begun_at(ids[1]) == BEGUN + timedelta(minutes=7)
    assert ID == "20261123T074500Z-shop-1a2b"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "20261123T074500Z-shop", "20261123T074500Z-Shop-1a2b", "20261323T074500Z-a-1a2b",
        "20261123T074500Z-a/b-1a2b", "20261123T074500Z-..-1a2b", "20261123T074500Z-shop-1a2b\n",
    ],
)  # fmt: skip
def test_other_texts_are_no_ids(text: str) -> None:
    """Least of all those that would lead elsewhere."""
    with pytest.raises(MalformedError, match="no backup set's id"):
        check_set_id(text)


@pytest.mark.parametrize("text", ["", ".x", "a/b", "a..b", "A", "a b", "x" * 81, "a\n"])
def test_other_texts_are_no_names_of_parts(text: str) -> None:
    """A name is a piece of a path."""
    with pytest.raises(MalformedError, match="cannot be called"):
        check_part_name(text)


def test_a_stored_manifest_of_the_first_form_is_read() -> None:
    """Bytes as they were written by the first version: they have to be read for ever."""
    assert SCHEMA == 1
    document = b"".join(
        [
            b'{"app":"shop","database":null,"finished_at":"2026-11-23T07:46:00Z",',
            b'"id":"20261123T074500Z-shop-1a2b","parts":[{"content_type":"text/plain",',
            b'"encryption":null,"kind":"state","name":"state",',
            b'"path":"shop/20261123T074500Z-shop-1a2b/parts/state","plain_bytes":0,',
            b'"plain_sha256":"' + b"e" * 64 + b'","stored_bytes":0,',
            b'"stored_sha256":"' + b"e" * 64 + b'"}],"reason":"r","release":null,',
            b'"requested_by":"w","schema":1,"seal":null,',
            b'"sha256":"HASH",',
            b'"slipway_version":"0.1.0","started_at":"2026-11-23T07:45:00Z"}',
        ]
    )
    with pytest.raises(MalformedError, match="changed after"):
        read_manifest(document)
    kept = "d9ff27ac93fa74a2e8d26eb392347ad9f8e08e9c69cfc47ae9ef25588171a46a"
    assert read_manifest(document.replace(b"HASH", kept.encode())).sha256 == kept
