"""Packs what runs in Azure Functions, and nothing else: dist/slipway-VERSION.zip.

    python tools/package.py             the zip, and dist/package/ with the same files
    python tools/package.py --check     and load it in a new environment with requirements.txt alone

The same tree gives the same bytes. Dependencies are not in it: the platform's remote build installs
requirements.txt (docs/azure.md).
"""

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
DIST: Final = ROOT / "dist"
BUDGET: Final = 1 << 20  # bytes of the zip: each cold start fetches it
_FILES: Final = ("function_app.py", "host.json", "requirements.txt")
_KINDS: Final = frozenset({".py", ".kql"})
_PEOPLE: Final = ("cli", "wiring_cli.py")  # the command line is installed elsewhere
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip knows
_IMPORTS: Final = 5
_LOAD: Final = """
import json, sys, time
begin = time.perf_counter()
import function_app
seconds = time.perf_counter() - begin
names = [each.get_function_name() for each in function_app.app.get_functions()]
print(json.dumps({"functions": names, "seconds": seconds, "modules": len(sys.modules)}))
"""


def contents() -> Iterator[Path]:
    """Yield what runs, relative to the root, in order."""
    found = [ROOT / name for name in _FILES]
    for path in (ROOT / "controller").rglob("*"):
        inside = path.relative_to(ROOT / "controller")
        if path.suffix in _KINDS and path.is_file() and inside.parts[0] not in _PEOPLE:
            found.append(path)
    yield from sorted(path.relative_to(ROOT) for path in found)


def build(target: Path) -> Path:
    """Write the zip and the folder below *target*, and return the zip's path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder, archive = target / "package", target / f"slipway-{project['version']}.zip"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in contents():
            content = (ROOT / path).read_bytes()
            entry = zipfile.ZipInfo(path.as_posix(), _LONG_AGO)
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, content, zipfile.ZIP_DEFLATED)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    return archive


class PackageError(SystemExit):
    """What was packed cannot be used."""


def loaded(python: list[str], folder: Path, *, before: str = "") -> dict[str, Any]:
    """Return what *python* finds when it loads the package, as the Functions worker does.

    *before* is code that it runs first.

    Raises:
        PackageError: it does not load.
    """
    command = [*python, "-c", before + _LOAD]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise PackageError(f"The package does not load:\n{ran.stderr}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def check(archive: Path) -> None:
    """Load the package in a new environment that has what requirements.txt names, and say so."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(place / "app")
        python = place / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        wanted = ["--require-hashes", "-r", str(place / "app" / "requirements.txt")]
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
        if subprocess.run([*uv, *wanted], check=False).returncode:
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *wanted], check=True)
        first = loaded([str(python)], place / "app")  # nothing is compiled yet
        again = [loaded([str(python)], place / "app") for _ in range(_IMPORTS)]
    seconds = statistics.median(each["seconds"] for each in again)
    print(f"{len(first['functions'])} functions are indexed with requirements.txt alone")
    print(f"import: {first['seconds']:.2f} s the first time, {seconds:.2f} s compiled (median)")


def main() -> None:
    """Build, say what came of it, and refuse what is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="load it in a new environment")
    arguments = parser.parse_args()
    archive = build(DIST)
    size = archive.stat().st_size
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    print(f"{archive.relative_to(ROOT)}  {size:,} bytes  sha256:{digest}")
    if size > BUDGET:
        raise PackageError(f"The package has {size:,} bytes, and may have {BUDGET:,}.")
    if arguments.check:
        check(archive)


if __name__ == "__main__":
    main()
