"""Reads the files of a bundle, whatever they were made by, and trusts none of them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from controller.core.errors import MalformedError
from controller.migrations import alembic, ef_core
from controller.migrations.bundle import Bundle, BundleFormat, Migration, Statement
from controller.migrations.manifest import NAMES, Entry, Listing, read_manifest, sha256
from controller.migrations.manifest import manifest_of as manifest_of  # noqa: PLC0414 - its place
from controller.migrations.scripts import Script, migrations_of, must_run_alone
from controller.migrations.splitting import decode, statements

LARGEST_BUNDLE: Final = 16 << 20  # bytes of all files
_MOST_FILES: Final = 20_000


def read_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Return the bundle that *files* (name -> bytes) are.

    With a manifest, every hash in it must be right and no SQL file may be left over. Without one,
    the files are a generated script (EF Core, Alembic; `*.down.sql` is its way back).

    Raises:
        MalformedError: which file and line is wrong, and what to do.
    """
    _refuse_too_much(files)
    manifests = [name for name in NAMES if name in files]
    if len(manifests) > 1:
        raise MalformedError(
            f"{manifests[0]} and {manifests[1]} are both here.", fix="Keep one of them."
        )
    listing = read_manifest(manifests[0], files[manifests[0]]) if manifests else _guessed(files)
    _refuse_left_over(files, listing)
    if listing.format is BundleFormat.SQL:
        migrations = tuple(_migration(files, entry) for entry in listing.entries)
        return _bundle(files, listing, migrations, base=None)
    entry = listing.entries[0]
    up = _script(files, listing.format, entry.up, entry.up_sha256, is_down=False)
    down = (
        _script(files, listing.format, entry.down, entry.down_sha256, is_down=True)
        if entry.down
        else None
    )
    return _bundle(files, listing, migrations_of(up, down), base=up.base)


def _guessed(files: Mapping[str, bytes]) -> Listing:
    """Return the manifest that a generated script alone stands for."""
    names = sorted(name for name in files if name.endswith(".sql"))
    ups = [name for name in names if not name.endswith(".down.sql")]
    downs = [name for name in names if name.endswith(".down.sql")]
    if not names:
        raise MalformedError(
            "The bundle holds neither a manifest nor an SQL file.",
            fix="`slipway migrations push FOLDER` makes a bundle of a folder.",
        )
    if len(ups) != 1 or len(downs) > 1:
        raise MalformedError(
            f"The bundle holds {len(names)} SQL files and no manifest that says their order.",
            fix=f"Add {NAMES[0]}; `slipway migrations push FOLDER` writes it.",
        )
    entry = Entry(
        id="script",
        up=ups[0],
        up_sha256=None,
        down=downs[0] if downs else None,
        down_sha256=None,
        transactional=None,
    )
    kind = _detected(ups[0], decode(ups[0], files[ups[0]]))
    return Listing(format=kind, engine="postgresql", entries=(entry,))


def _detected(name: str, text: str) -> BundleFormat:
    if ef_core.is_ef_core(text):
        return BundleFormat.EF_CORE
    if alembic.is_alembic(text):
        return BundleFormat.ALEMBIC
    raise MalformedError(
        f"{name} is neither EF Core's nor Alembic's script, and there is no manifest.",
        fix="Name the files NNN_name.up.sql and push the folder, which writes a manifest.",
    )


def _migration(files: Mapping[str, bytes], entry: Entry) -> Migration:
    up = _statements(files, entry.up, entry.up_sha256)
    down = _statements(files, entry.down, entry.down_sha256) if entry.down else None
    if not up:
        raise MalformedError(f"{entry.up} holds no statement.", fix="Write one, or remove it.")
    return Migration(
        id=entry.id,
        up=up,
        down=down,
        sha256=sha256(files[entry.up]),
        transactional=not must_run_alone(up)
        if entry.transactional is None
        else entry.transactional,
    )


def _script(
    files: Mapping[str, bytes],
    kind: BundleFormat,
    name: str,
    expected: str | None,
    *,
    is_down: bool,
) -> Script:
    text = decode(name, _verified(files, name, expected))
    if kind is BundleFormat.EF_CORE:
        return ef_core.read_script(name, text, is_down=is_down)
    return alembic.read_script(name, text, is_down=is_down)


def _statements(
    files: Mapping[str, bytes], name: str, expected: str | None
) -> tuple[Statement, ...]:
    return statements(name, decode(name, _verified(files, name, expected)))


def _verified(files: Mapping[str, bytes], name: str, expected: str | None) -> bytes:
    data = files.get(name)
    if data is None:
        raise MalformedError(
            f"The manifest names {name}, which is not in the bundle.", fix="Push the folder anew."
        )
    if expected is not None and sha256(data) != expected:
        raise MalformedError(
            f"{name} is not the file that the manifest was written for: its SHA-256 is "
            f"{sha256(data)}, not {expected}.",
            fix="If the change is meant, write the manifest anew; else find who changed the file.",
        )
    return data


def _bundle(
    files: Mapping[str, bytes],
    listing: Listing,
    migrations: tuple[Migration, ...],
    *,
    base: str | None,
) -> Bundle:
    """Return the bundle. Its hash is of what it holds, not of how the manifest is laid out."""
    named = [name for entry in listing.entries for name in (entry.up, entry.down) if name]
    said = {
        "format": str(listing.format),
        "engine": listing.engine,
        "files": [sha256(files[name]) for name in named],
        "migrations": [[m.id, m.sha256, m.down is not None, m.transactional] for m in migrations],
    }
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Bundle(
        format=listing.format,
        engine=listing.engine,
        migrations=migrations,
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        base=base,
    )


def _refuse_left_over(files: Mapping[str, bytes], listing: Listing) -> None:
    named = {name for entry in listing.entries for name in (entry.up, entry.down)}
    if forgotten := sorted(n for n in files if n.endswith(".sql") and n not in named):
        raise MalformedError(
            f"{forgotten[0]} is in the bundle, but the manifest does not name it.",
            fix="Write the manifest anew, or take the file out.",
        )


def _refuse_too_much(files: Mapping[str, bytes]) -> None:
    if not files:
        raise MalformedError(
            "The bundle is empty.", fix="`slipway migrations push FOLDER` makes a bundle."
        )
    size = sum(len(data) for data in files.values())
    if size > LARGEST_BUNDLE or len(files) > _MOST_FILES:
        raise MalformedError(
            f"The bundle has {len(files)} files and {size} bytes; at most {_MOST_FILES} files "
            f"and {LARGEST_BUNDLE} bytes are read.",
            fix="Squash old migrations, and load data outside of them.",
        )
