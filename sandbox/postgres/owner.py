"""As whom the server runs: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_CANDIDATES = ("postgres", "nobody")

# Runs as a child, before the program: become the owner, ask the kernel for a signal when the
# parent is gone, give up if that has happened already, become the program. In this order: the
# kernel forgets the signal when a process changes its user. A `preexec_fn` would do the same, but
# Python runs it between fork and exec, where a process with threads may deadlock. SIGQUIT makes
# the server end at once, with all its children; SIGTERM would wait for the clients.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, user, group = map(int, sys.argv[1:4])
if os.getuid() != user:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
try:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
except AttributeError:
    pass  # no Linux
if os.getppid() == parent:
    os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """The operating system's user who owns the server's process and files."""

    user: int
    group: int

    def give(self, path: Path) -> None:
        """Make *path* and all below it the owner's, and nobody else's."""
        for place, _, names in os.walk(path):
            for entry in (Path(place), *(Path(place) / name for name in names)):
                os.chown(entry, self.user, self.group)
        path.chmod(0o700)

    def command(self, command: list[str]) -> list[str]:
        """Return *command* so that it runs as the owner and ends when this process does."""
        numbers = map(str, (os.getpid(), self.user, self.group))
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *numbers, *command]


def find_owner() -> Owner:
    """Return ourselves; if we are root, somebody who is not."""
    if os.getuid() != 0:
        return Owner(os.getuid(), os.getgid())
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(entry.pw_uid, entry.pw_gid)
    return Owner(65534, 65534)


def runnable(binaries: Path, owner: Owner) -> Path:
    """Return *binaries*, or a copy of them where *owner* can run none in place.

    Root's virtual environment is often below /root, which nobody else may enter.
    """
    if _runs(binaries, owner):
        return binaries
    installation = binaries.parent
    # The wheel's programs find their libraries two folders up: the copy keeps that shape.
    copy = Path(tempfile.gettempdir()) / f"slipway-postgres-{owner.user}-programs"
    target = copy / installation.parent.name / installation.name
    if not _runs(target / "bin", owner):
        _copy(installation, target)
        for libraries in installation.parent.parent.glob(f"{installation.parent.name}.libs"):
            _copy(libraries, copy / libraries.name)
        for place in (copy, target.parent):
            place.chmod(0o755)
    return target / "bin"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def _runs(binaries: Path, owner: Owner) -> bool:
    try:
        return (
            subprocess.run(
                owner.command([str(binaries / "postgres"), "--version"]),
                capture_output=True,
                timeout=30,
                check=False,
            ).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
