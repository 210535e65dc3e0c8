"""The client's source distribution, which holds the tests that its wheel leaves out."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "azure-servicebus"
LOCK = Path(__file__).resolve().parents[2] / "requirements" / "dev.txt"

_WANTED = re.compile(r"[^/]+/tests/(?P<path>async_tests/\w+\.py|utilities\.py)")


class SourceMissingError(Exception):
    """The source distribution cannot be had, or is not what it should be."""


def lock_entry(lock: str, package: str) -> str:
    """Return the lines that pin *package* and its hashes."""
    found = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*\n?", lock, re.MULTILINE)
    if found is None:
        raise SourceMissingError(f"{LOCK} does not pin {package}.")
    return found.group()


def fetch(directory: Path) -> Path:
    """Download the source distribution into *directory*; return its path.

    pip takes it from the index this machine is configured for, and refuses it unless its
    SHA-256 is one of the lock's.
    """
    requirement = directory / "requirement.txt"
    requirement.write_text(lock_entry(LOCK.read_text(encoding="utf-8"), PACKAGE), encoding="utf-8")
    # Not with --no-build-isolation: pip builds the metadata, and the setuptools that a virtual
    # environment is born with is too old for it.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", PACKAGE]
    pip = [sys.executable, "-m", "pip", "download", *options, "--require-hashes"]
    done = subprocess.run(
        [*pip, "--dest", directory, "--requirement", requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SourceMissingError(f"pip could not download {PACKAGE}:\n{done.stderr.strip()}")
    (archive,) = directory.glob("*.tar.gz")
    return archive


def unpack(archive: Path, suite: Path) -> None:
    """Write the asynchronous tests, and the helpers they share, into *suite*.

    Not the suite's conftest.py: `plugin` is ours.
    """
    (suite / "async_tests").mkdir(parents=True)
    with tarfile.open(archive) as opened:
        for member in opened:
            found = _WANTED.fullmatch(member.name)
            content = opened.extractfile(member) if found else None
            if found and content:
                (suite / found["path"]).write_bytes(content.read())
