"""Whom we trust: the public roots, and one authority more where the network has its own."""

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final

_KEPT: Final = 8  # a process has one authority; tests have several


def trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a client context for the public roots and, in addition, *ca_file* (PEM).

    All who ask for the same have the same one: reading the public roots takes 40 ms of CPU, and
    each client asks. A file that has changed is read again.
    """
    if ca_file is None:
        return _context(None, 0, 0)
    found = ca_file.stat()
    return _context(str(ca_file), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=_KEPT)
def _context(ca_file: str | None, _changed: int, _size: int) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
