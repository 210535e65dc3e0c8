"""Directories of servers, which a killed process cannot remove: the next server does."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "slipway-postgres-of-"
_LOCK = "lock"
_YOUNG_SECONDS = 60.0  # so new that its lock may not be held yet


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that is ours for as long as this process lives or until it is removed."""

    path: Path
    lock: int  # file descriptor; the kernel gives the lock back when we are gone

    def remove(self) -> None:
        """Remove it and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_place() -> Place:
    """Return a new directory. Those of processes that are gone are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _YOUNG_SECONDS and not _is_held(left):
                shutil.rmtree(left, ignore_errors=True)
    # Not below the caller's directory: the server's user may be kept out of that.
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    path.chmod(0o755)
    lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Place(path, lock)


def _is_held(path: Path) -> bool:
    with (path / _LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
