"""Whom we trust: the public roots, and one authority more where the network has its own."""

import ssl
from pathlib import Path


def trust(extra_authority: Path | None = None) -> ssl.SSLContext:
    """Return a client context for the public roots and, in addition, *extra_authority* (PEM)."""
    context = ssl.create_default_context()
    if extra_authority is not None:
        context.load_verify_locations(cafile=str(extra_authority))
    return context
