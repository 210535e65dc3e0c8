"""Where evidence is kept."""

import hashlib


def beside(path: str, document: bytes) -> str:
    """Return where a second, different document for *path* goes: the first is evidence and stays.

    A crash between keeping evidence and saving the decision makes the next attempt judge again,
    with other buckets, under the same path.
    """
    name, dot, suffix = path.rpartition(".")
    mark = hashlib.sha256(document).hexdigest()[:12]
    return f"{name}-{mark}.{suffix}" if dot else f"{path}-{mark}"
