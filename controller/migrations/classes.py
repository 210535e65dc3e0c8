"""What is found out about one statement: its class, its locks, what it does to the old build."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from controller.migrations.bundle import Kind
from controller.migrations.catalog import Catalog
from controller.migrations.locks import LockMode, TableLock
from controller.migrations.rules import RULES

_GRAVITY: Final = (Kind.EXPAND, Kind.DATA, Kind.CONTRACT, Kind.IRREVERSIBLE)


def gravest(kinds: Iterable[Kind]) -> Kind:
    """Return the class of a whole whose parts are of *kinds*."""
    return max(kinds, key=_GRAVITY.index, default=Kind.EXPAND)


@dataclass(frozen=True, slots=True)
class Remark:
    """A rule that a statement breaks."""

    code: str
    says: str
    relation: str | None = None  # whose size decides how grave it is


@dataclass(slots=True)
class Notes:
    """Collects what the judges find out about one statement."""

    catalog: Catalog
    kind: Kind = Kind.EXPAND
    in_transaction: bool = True  # may it run in one?
    is_in_block: bool = False  # of a DO block
    locks: dict[str, LockMode] = field(default_factory=dict[str, LockMode])
    rewrites: set[str] = field(default_factory=set[str])
    scans: set[str] = field(default_factory=set[str])
    changes_rows: set[str] = field(default_factory=set[str])  # of tables that exist, maybe many
    why_not: list[str] = field(default_factory=list[str])  # the old build cannot live with it
    remarks: list[Remark] = field(default_factory=list[Remark])

    def is_(self, kind: Kind) -> None:
        """Note that the statement is at least of class *kind*."""
        self.kind = gravest((self.kind, kind))

    def lock(self, relation: str, mode: LockMode) -> None:
        """Note a lock, unless the table is new: then nobody else can wait for it."""
        if not self.catalog.is_new(relation):
            self.locks[relation] = max(mode, self.locks.get(relation, mode))

    def scan(self, relation: str) -> None:
        """Note that all rows are read."""
        if not self.catalog.is_new(relation):
            self.scans.add(relation)

    def rewrite(self, relation: str) -> None:
        """Note that all rows are written anew."""
        if not self.catalog.is_new(relation):
            self.rewrites.add(relation)

    def remark(self, code: str, says: str, *, on: str | None = None) -> None:
        """Note a broken rule. Locks on a table that nobody else knows break none."""
        if on is not None and self.catalog.is_new(on):
            return
        remark = Remark(code, says, on)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def breaks(self, code: str, says: str, *, kind: Kind = Kind.CONTRACT) -> None:
        """Note a step that the old build cannot live with."""
        self.is_(kind)
        self.why_not.append(says)
        self.remark(code, says)

    def table_locks(self) -> tuple[TableLock, ...]:
        """Return the locks in a stable order."""
        return tuple(TableLock(name, mode) for name, mode in sorted(self.locks.items()))

    def unknown(self, what: str) -> None:
        """Note something that no judge knows: what is not understood is not run."""
        self.breaks("SWM508", f"{what} {RULES['SWM508'].title}.")
