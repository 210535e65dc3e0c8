"""A folder of migrations on this machine, and where in it something stands."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.cli.exits import CommandError, Exit
from controller.core.errors import MalformedError
from controller.migrations.bundle import Bundle, BundleFormat
from controller.migrations.manifest import NAMES, manifest_of, read_manifest
from controller.migrations.reading import read_bundle

_WRITTEN: Final = NAMES[-1]  # manifest.json
_FOLDER: Final = "Name a folder of NNN_name.up.sql files, or of a script by EF Core or Alembic."


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that was read as a bundle."""

    path: Path
    files: Mapping[str, bytes]  # with the manifest, written where there was none
    bundle: Bundle
    ups: Mapping[str, str]  # migration -> its file
    downs: Mapping[str, str]

    def file_of(self, migration: str, *, is_down: bool = False) -> str:
        """Return the path of a migration's script as one types it from here."""
        name = (self.downs if is_down else self.ups).get(migration)
        return shown_path(self.path / name) if name and self.path.is_dir() else str(self.path)


class MalformedFolderError(CommandError):
    """What is in the folder is no bundle; ``error`` says which file and line."""

    def __init__(self, error: MalformedError) -> None:
        super().__init__(f"{error.code}: {error.what}", error.fix, Exit.CONFIGURATION)
        self.error = error


def read_folder(path: Path) -> Folder:
    """Return the bundle in a folder, or of one generated script.

    Raises:
        CommandError: there is no such folder, or it is no bundle.
    """
    try:
        return _read(path)
    except MalformedError as error:
        raise MalformedFolderError(error) from error


def _read(path: Path) -> Folder:
    files = _files(path)
    if not any(name in files for name in NAMES) and _is_numbered(files):
        files[_WRITTEN] = manifest_of(files)
    bundle = read_bundle(files)
    ups, downs = _scripts(files, bundle)
    return Folder(path=path, files=files, bundle=bundle, ups=ups, downs=downs)


def shown_path(path: Path) -> str:
    """Return *path* from the current directory where it is below that, with slashes."""
    relative = os.path.relpath(path)
    return (path if relative.startswith("..") else Path(relative)).as_posix()


def _files(path: Path) -> dict[str, bytes]:
    try:
        if path.is_file():
            return {path.name: path.read_bytes()}
        if not path.is_dir():
            raise CommandError(f"There is no folder {path}.", _FOLDER, Exit.USAGE)
        found = {
            each.name: each.read_bytes()
            for each in sorted(path.iterdir())
            if each.is_file() and (each.suffix == ".sql" or each.name in NAMES)
        }
    except OSError as error:
        raise CommandError(
            f"{error.filename or path} cannot be read: {error.strerror}.",
            "Correct its permissions.",
            Exit.USAGE,
        ) from error
    if not found:
        raise CommandError(f"{path} holds no migrations.", _FOLDER, Exit.CONFIGURATION)
    return found


def _is_numbered(files: Mapping[str, bytes]) -> bool:
    """Tell whether these are files of migrations, and not one generated script."""
    ups = [name for name in files if not name.endswith(".down.sql")]
    return len(ups) != 1 or ups[0].endswith(".up.sql")


def _scripts(files: Mapping[str, bytes], bundle: Bundle) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files by migrations. A generated script is the file of all of them."""
    manifest = next((name for name in NAMES if name in files), None)
    if manifest is None:
        pairs = [(name, name.endswith(".down.sql")) for name in files]
        up = next(name for name, is_down in pairs if not is_down)
        down = next((name for name, is_down in pairs if is_down), None)
    else:
        entries = read_manifest(manifest, files[manifest]).entries
        if bundle.format is BundleFormat.SQL:
            downs = {entry.id: entry.down for entry in entries if entry.down}
            return {entry.id: entry.up for entry in entries}, downs
        up, down = entries[0].up, entries[0].down
    ids = [migration.id for migration in bundle.migrations]
    return dict.fromkeys(ids, up), dict.fromkeys(ids, down) if down else {}
