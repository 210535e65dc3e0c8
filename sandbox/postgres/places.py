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
_MEMORY = Path("/dev/shm")  # noqa: S108 - with a name nobody can foresee, as any other
_PLENTY_BYTES = 4 << 30  # far more than the servers of a whole test run fill
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
    for directory in (Path(tempfile.gettempdir()), _MEMORY):
        for left in directory.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _YOUNG_SECONDS and not _is_held(left):
                    shutil.rmtree(left, ignore_errors=True)
    # Not below the caller's directory: the server's user may be kept out of that.
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_memory()))
    path.chmod(0o755)
    lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Place(path, lock)


def _memory() -> Path | None:
    """Return a file system in memory that has plenty of room, None if there is none.

    A database is hundreds of files: on some machines a disk takes ten times as long to make one.
    """
    with suppress(OSError):
        room = os.statvfs(_MEMORY)
        if room.f_bavail * room.f_frsize >= _PLENTY_BYTES:
            return _MEMORY
    return None


def _is_held(path: Path) -> bool:
    with (path / _LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
