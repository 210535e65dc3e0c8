"""Looks whether audit lines that come from elsewhere are one unbroken chain."""

from collections.abc import Sequence

from controller.adapters.codec import encode
from controller.core.audit import GENESIS, first_break
from controller.core.errors import MalformedError
from controller.core.model import Record
from controller.ports import AuditRow


def checked_chain(audit: Sequence[AuditRow]) -> str:
    """Return the hash of the last line.

    Raises:
        MalformedError: one was changed, moved or lost.
    """
    links = [(row.previous_hash, encode(row.record, Record), row.hash) for row in audit]
    broken = first_break(links)
    numbers = [row.sequence for row in audit]
    if broken is None and numbers != list(range(1, len(audit) + 1)):
        broken = next(n for n, number in enumerate(numbers) if number != n + 1)
    if broken is not None:
        raise MalformedError(
            f"The audit does not hold together: line {broken + 1} is not the one that was written.",
            fix="Restore the state from another set.",
        )
    return audit[-1].hash if audit else GENESIS
