"""manifest.yaml or manifest.json: which files make a bundle, in which order, with which hashes."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.core.errors import MalformedError
from controller.migrations.bundle import BundleFormat
from controller.migrations.shapes import is_list, is_mapping

NAMES: Final = ("manifest.yaml", "manifest.yml", "manifest.json")
_LARGEST: Final = 1 << 20
_MOST_MIGRATIONS: Final = 10_000
_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,150}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = re.compile(r"(?P<number>[0-9]+)_(?P<name>[A-Za-z0-9_.\-]+?)\.(?P<way>up|down)\.sql")
_OF_ALL: Final = {"format", "engine"}
_OF_SQL: Final = _OF_ALL | {"migrations"}
_OF_SCRIPT: Final = _OF_ALL | {"up", "up_sha256", "down", "down_sha256"}
_OF_MIGRATION: Final = {"id", "up", "up_sha256", "down", "down_sha256", "transactional"}
_REWRITE: Final = "`slipway migrations push` writes a manifest from the files; or correct this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One migration as the manifest names it. Hashes are of the files' bytes."""

    id: str
    up: str
    up_sha256: str | None
    down: str | None
    down_sha256: str | None
    transactional: bool | None  # None: as its statements need it


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A manifest that was read. A generated script is one entry that holds many migrations."""

    format: BundleFormat
    engine: str
    entries: tuple[Entry, ...]


def sha256(data: bytes) -> str:
    """Return the hash as manifests spell it."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(file: str, data: bytes) -> Listing:
    """Return what a manifest says.

    Raises:
        MalformedError: with the line where YAML is wrong, or the field that is.
    """
    top = _mapping(file, "It", _parsed(file, data))
    kind = _format(file, top.get("format"))
    allowed = _OF_SQL if kind is BundleFormat.SQL else _OF_SCRIPT
    _refuse_unknown(file, "", top, allowed)
    engine = top.get("engine", "postgresql")
    if engine != "postgresql":
        raise MalformedError(
            f"{file}: engine is {engine!r}; Slipway migrates 'postgresql' only.",
            fix="Set `engine: postgresql`.",
        )
    if kind is not BundleFormat.SQL:
        return Listing(format=kind, engine=engine, entries=(_entry(file, "", top, id_="script"),))
    return Listing(format=kind, engine=engine, entries=_entries(file, top.get("migrations")))


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of a folder of NNN_name.up.sql and NNN_name.down.sql files.

    The same files give the same bytes, whatever their order: JSON, which is YAML, too.

    Raises:
        MalformedError: a name does not fit, two have one number, or a down script has no up.
    """
    ups, downs = _paired(name for name in files if name.endswith(".sql"))
    migrations: list[dict[str, str]] = []
    for id_, up in sorted(ups.items(), key=lambda item: _order(item[0])):
        row = {"id": id_, "up": up, "up_sha256": sha256(files[up])}
        if down := downs.get(id_):
            row |= {"down": down, "down_sha256": sha256(files[down])}
        migrations.append(row)
    written = {"format": "sql", "engine": "postgresql", "migrations": migrations}
    return (json.dumps(written, indent=2) + "\n").encode()


def with_manifest(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return *files* with a manifest, written where they are numbered and have none.

    One generated script stays alone: it is recognised by what it says.

    Raises:
        MalformedError: as `manifest_of`.
    """
    ups = [name for name in files if name.endswith(".sql") and not name.endswith(".down.sql")]
    is_numbered = len(ups) > 1 or any(name.endswith(".up.sql") for name in ups)
    if not is_numbered or any(name in files for name in NAMES):
        return dict(files)
    return {**files, NAMES[-1]: manifest_of(files)}


def _paired(names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    ups: dict[str, str] = {}
    downs: dict[str, str] = {}
    for name in sorted(names):
        match = _FILE.fullmatch(name)
        if match is None:
            raise MalformedError(
                f"{name} is not named like a migration.",
                fix="Name it NNN_name.up.sql or NNN_name.down.sql, as in 001_users.up.sql.",
            )
        id_ = f"{match['number']}_{match['name']}"
        (ups if match["way"] == "up" else downs)[id_] = name
    numbers: dict[int, str] = {}
    for id_ in ups:
        other = numbers.setdefault(_order(id_)[0], id_)
        if other != id_:
            raise MalformedError(
                f"{other} and {id_} have the same number, so their order is not known.",
                fix="Give one of them the next free number.",
            )
    if lonely := sorted(set(downs) - set(ups)):
        raise MalformedError(
            f"{downs[lonely[0]]} has no up script.", fix=f"Add {lonely[0]}.up.sql, or remove it."
        )
    return ups, downs


def _order(id_: str) -> tuple[int, str]:
    return int(id_.split("_", 1)[0]), id_


def _parsed(file: str, data: bytes) -> Any:
    if len(data) > _LARGEST:
        raise MalformedError(f"{file} has {len(data)} bytes; it is no manifest.", fix=_REWRITE)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{file} is not UTF-8.", fix="Save it as UTF-8.") from error
    if file.endswith(".json"):
        return _parsed_json(file, text)
    return _parsed_yaml(file, text)


def _parsed_json(file: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(file, pairs))
    except json.JSONDecodeError as error:
        raise MalformedError(
            f"{file}, line {error.lineno}, column {error.colno}: {error.msg}.", fix=_REWRITE
        ) from error
    except RecursionError as error:
        raise MalformedError(f"{file} nests too deep.", fix=_REWRITE) from error


def _parsed_yaml(file: str, text: str) -> Any:
    import yaml  # noqa: PLC0415 - a cold start does without

    # Every scalar stays a text, so a hash of digits alone or an id like 001 is not a number.
    try:
        events = list(yaml.parse(text, Loader=yaml.BaseLoader))
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise MalformedError(f"{file} uses an alias (*name).", fix="Write it out.")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}, line {mark.line + 1}" if mark else file
        raise MalformedError(f"{place}: {error.problem}.", fix=_REWRITE) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise MalformedError(f"{file} is not YAML.", fix=_REWRITE) from error
    return _plain(file, root)


def _plain(file: str, node: Any) -> Any:
    if node is None:
        return None
    if node.id == "mapping":
        pairs = [(_key(file, key), _plain(file, value)) for key, value in node.value]
        return _once(f"{file}, line {node.start_mark.line + 1}", pairs)
    if node.id == "sequence":
        return [_plain(file, item) for item in node.value]
    return node.value


def _key(file: str, node: Any) -> str:
    if node.id != "scalar":
        line = node.start_mark.line + 1
        raise MalformedError(f"{file}, line {line}: a field's name is a text.", fix=_REWRITE)
    return str(node.value)


def _once(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise MalformedError(f"{place}: {key!r} is said twice.", fix="Take one out.")
        found[key] = value
    return found


def _format(file: str, value: Any) -> BundleFormat:
    try:
        return BundleFormat(value)
    except ValueError as error:
        known = ", ".join(BundleFormat)
        raise MalformedError(
            f"{file}: format is {value!r}.", fix=f"Set `format:` to one of {known}."
        ) from error


def _entries(file: str, value: Any) -> tuple[Entry, ...]:
    if not is_list(value) or not value:
        raise MalformedError(f"{file}: migrations is not a list of migrations.", fix=_REWRITE)
    if len(value) > _MOST_MIGRATIONS:
        raise MalformedError(
            f"{file} names {len(value)} migrations; at most {_MOST_MIGRATIONS} are read.",
            fix="Squash the oldest ones.",
        )
    found: list[Entry] = []
    for number, item in enumerate(value, start=1):
        place = f"migration {number}: "
        row = _mapping(file, f"Migration {number}", item)
        _refuse_unknown(file, place, row, _OF_MIGRATION)
        found.append(_entry(file, place, row, id_=_id(file, place, row.get("id"))))
    _refuse_repeated(file, [entry.id for entry in found], "id")
    names = [name for entry in found for name in (entry.up, entry.down) if name]
    _refuse_repeated(file, names, "file")
    return tuple(found)


def _entry(file: str, place: str, row: Mapping[str, Any], *, id_: str) -> Entry:
    up = _text(file, place, row, "up")
    if up is None:
        raise MalformedError(f"{file}: {place}`up` is missing.", fix="Name the file that runs.")
    return Entry(
        id=id_,
        up=up,
        up_sha256=_hash(file, place, row, "up_sha256"),
        down=_text(file, place, row, "down"),
        down_sha256=_hash(file, place, row, "down_sha256"),
        transactional=_truth(file, place, row.get("transactional")),
    )


def _id(file: str, place: str, value: Any) -> str:
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise MalformedError(
        f"{file}: {place}id is {value!r}.",
        fix="Use 1 to 150 letters, digits, '_', '-' and '.', as in 001_users.",
    )


def _text(file: str, place: str, row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise MalformedError(f"{file}: {place}{key} is not a text.", fix=_REWRITE)
    return value


def _hash(file: str, place: str, row: Mapping[str, Any], key: str) -> str | None:
    value = _text(file, place, row, key)
    if value is not None and not _HASH.fullmatch(value):
        raise MalformedError(
            f"{file}: {place}{key} is not a SHA-256 (64 digits 0-9, a-f).", fix=_REWRITE
        )
    if value is None and _text(file, place, row, key.removesuffix("_sha256")) is not None:
        raise MalformedError(f"{file}: {place}{key} is missing.", fix=_REWRITE)
    return value


def _truth(file: str, place: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return bool(value == "true")
    raise MalformedError(f"{file}: {place}transactional is {value!r}.", fix="Use true or false.")


def _mapping(file: str, what: str, value: Any) -> Mapping[str, Any]:
    if not is_mapping(value):
        raise MalformedError(f"{file}: {what} is not a set of `field: value`.", fix=_REWRITE)
    return value


def _refuse_unknown(file: str, place: str, row: Mapping[str, Any], allowed: set[str]) -> None:
    if unknown := sorted(set(row) - allowed):
        raise MalformedError(
            f"{file}: {place}there is no field {unknown[0]!r}.",
            fix=f"Known are {', '.join(sorted(allowed))}.",
        )


def _refuse_repeated(file: str, values: list[str], what: str) -> None:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise MalformedError(f"{file}: {what} {twice[0]!r} is named twice.", fix=_REWRITE)
