"""Whom we trust: the public roots, and one authority more where the network has its own."""

import ssl
from pathlib import Path


def trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a client context for the public roots and, in addition, *ca_file* (PEM)."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context
