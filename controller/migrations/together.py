"""What is wrong with statements of one migration only because they run together."""

from dataclasses import dataclass, field

from controller.migrations.bundle import Migration, Statement
from controller.migrations.catalog import name_of, walk
from controller.migrations.classes import Notes, Remark
from controller.migrations.splitting import Node


@dataclass(slots=True)
class Together:
    """Collects what the statements of one migration do, in order."""

    migration: Migration
    own: list[tuple[Statement, Notes]] = field(default_factory=list[tuple[Statement, Notes]])
    found: list[tuple[Statement, Remark]] = field(default_factory=list[tuple[Statement, Remark]])
    added_constraints: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    added_values: set[str] = field(default_factory=set[str])

    def add(self, statement: Statement, node: Node, notes: Notes) -> None:
        """Note one more statement, of which the judges told *notes*."""
        self.own.append((statement, notes))
        if self.migration.transactional:
            self._in_one_transaction(statement, node)

    def remarks(self) -> list[tuple[Statement, Remark]]:
        """Return what is wrong, with the statement to put it on."""
        return [*self.found, *self._alone(), *self._rows_under_lock()]

    def _in_one_transaction(self, statement: Statement, node: Node) -> None:
        kind = type(node).__name__
        if kind == "AlterTableStmt":
            self._constraints(statement, node)
        elif kind == "AlterEnumStmt" and node.oldVal is None:
            self.added_values.add(node.newVal)
        elif self.added_values and self._names_new_value(node):
            self.found.append(
                (statement, Remark("SWM304", "A value of an enum is used before it is committed."))
            )

    def _constraints(self, statement: Statement, node: Node) -> None:
        table = name_of(node.relation)
        for command in node.cmds:
            step = command.subtype.name
            if step == "AT_AddConstraint" and command.def_.skip_validation:
                self.added_constraints.add((table, command.def_.conname or ""))
            elif (
                step == "AT_ValidateConstraint" and (table, command.name) in self.added_constraints
            ):
                says = f"{command.name} of {table} is added and validated in one transaction."
                self.found.append((statement, Remark("SWM211", says, table)))

    def _names_new_value(self, node: Node) -> bool:
        return any(
            type(part).__name__ == "A_Const"
            and getattr(part.val, "sval", None) in self.added_values
            for part in walk(node)
        )

    def _alone(self) -> list[tuple[Statement, Remark]]:
        found: list[tuple[Statement, Remark]] = []
        for statement, notes in self.own:
            if notes.in_transaction:
                continue
            if self.migration.transactional:
                says = f"{self.migration.id} runs in a transaction, and this cannot."
                found.append((statement, Remark("SWM301", says)))
            elif len(self.own) > 1:
                says = f"{self.migration.id} has {len(self.own)} statements and no transaction."
                found.append((statement, Remark("SWM302", says)))
        return found

    def _rows_under_lock(self) -> list[tuple[Statement, Remark]]:
        if not self.migration.transactional:
            return []
        locked = {
            relation
            for _, notes in self.own
            for relation, mode in notes.locks.items()
            if mode.stops_writes
        }
        return [
            (statement, Remark("SWM402", f"{', '.join(sorted(locked))} stays locked meanwhile."))
            for statement, notes in self.own
            if notes.changes_rows and locked
        ]
