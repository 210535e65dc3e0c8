"""What may be wrong with a part of a backup set, in sentences."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from controller.adapters.shelf import Entry, Opened
from controller.adapters.streams import Counted
from controller.core.errors import BackupDamagedError, BackupMissingError, MalformedError
from controller.recovery.manifest import Part
from controller.recovery.names import SetId
from controller.recovery.reading import parsed, read

PART_KEY: Final = "slipway_part"  # of a blob's metadata
ANOTHER: Final = "Restore another set: `slipway backup list`."


def of(set_id: SetId, name: str) -> str:
    """Return what errors call a part."""
    return f"Part {name!r} of {set_id}"


def missing(set_id: SetId) -> BackupMissingError:
    """Return the error that a set is not offered."""
    return BackupMissingError(
        f"There is no backup set {set_id}, or it was never finished.",
        fix="`slipway backup list` shows the sets that are offered.",
    )


def part_in(metadata: Mapping[str, str]) -> Part | None:
    """Return what `put_part` wrote beside the bytes; None where that is lost."""
    try:
        document = base64.b64decode(metadata.get(PART_KEY, ""), validate=True)
        return read(Part, parsed(document, "A part's description"), "part")
    except (binascii.Error, MalformedError):
        return None


def problem_with(part: Part, entry: Entry | None) -> str | None:
    """Return what a listing tells about a part."""
    if entry is None:
        return "is missing"
    if not entry.is_whole:
        return "was never uploaded to its end"
    return _wrong_size(part, entry.size)


def _wrong_size(part: Part, size: int) -> str | None:
    if size == part.stored_bytes:
        return None
    how = "was cut short" if size < part.stored_bytes else "has grown"
    return f"{how}: it has {size} bytes, the manifest says {part.stored_bytes}"


def compare_before(set_id: SetId, part: Part, opened: Opened) -> None:
    """Refuse what can be refused before a byte is read."""
    written_as = part_in(opened.metadata)
    if written_as is not None and written_as.path != part.path:
        raise BackupDamagedError(
            f"{of(set_id, part.name)} was exchanged: what lies there is {written_as.path}.",
            fix=ANOTHER,
        )
    if problem := _wrong_size(part, opened.size):
        raise BackupDamagedError(f"{of(set_id, part.name)} {problem}.", fix=ANOTHER)


def compare_after(set_id: SetId, part: Part, stored: Counted, plain: Counted) -> None:
    """Refuse what did not come out as it was put in. Both have been read to their end."""
    for where, found, said in (
        ("what lies in the vault", stored, part.stored_sha256),
        ("what it opens to", plain, part.plain_sha256),
    ):
        if found.sha256 != said:
            raise BackupDamagedError(
                f"{of(set_id, part.name)} was changed: the SHA-256 of {where} is"
                f" {found.sha256[:12]}..., the manifest says {said[:12]}....",
                fix=ANOTHER,
            )
