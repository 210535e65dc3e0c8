"""Holds a restored database against what its customers wrote down and what was last seen in it.

Nothing of Slipway's own account is used: the ledger is kept by the clients, the rows are read by
the demo. Orders are only ever added, so a backup of one moment holds a set of them that is a
moment's: each order that was acknowledged before it, and none that was sent after it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.ledger import Order
from sandbox.shop_database import Row, Table

ORDERS = "public.orders"
_CLOCKS_SECONDS = 1.0  # what is written as the data's moment may lie beside it by so much


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One table, before the loss and after the restore."""

    table: str
    rows_before: int
    rows_after: int  # without those written after the restore
    missing: int
    hash_before: str  # of those rows that are still there
    hash_after: str

    @property
    def is_equal(self) -> bool:
        """Whether each row that is there is the row that was there."""
        return self.hash_before == self.hash_after


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What came of it."""

    tables: list[Compared] = field(default_factory=list[Compared])
    problems: list[str] = field(default_factory=list[str])
    kept: int = 0  # acknowledged orders that are there
    lost: int = 0  # acknowledged orders that are not
    new: int = 0  # orders since the restore

    @property
    def rows(self) -> int:
        """All rows that were compared."""
        return sum(table.rows_after for table in self.tables)


def compare(
    before: Mapping[str, Table],
    after: Mapping[str, Table],
    orders: Iterable[Order],
    *,
    lost_at: float,
    data_at: float,
    read_at: float,
) -> Comparison:
    """Compare all rows of all tables.

    Args:
        before: what was there right before the loss.
        after: what is there now, with what was written since the restore.
        orders: all that anybody tried to place, before and since.
        lost_at: when the database was lost (Unix seconds).
        data_at: the moment that was brought back, as Slipway says (Unix seconds).
        read_at: when *after* was read, or a little before it (Unix seconds).
    """
    result = Comparison()
    written = {order.token: order for order in orders}
    times = _Times(lost_at=lost_at, data_at=data_at, read_at=read_at)
    if before.keys() != after.keys():
        result.problems.append(f"other tables: {sorted(before.keys() ^ after.keys())}")
    for name in sorted(before.keys() & after.keys()):
        old, now = before[name].rows, after[name].rows
        if name == ORDERS:
            now = [row for row in now if _sent_at(row, written) < lost_at]
            result.new = len(after[name].rows) - len(now)
            there = {row.values["token"] for row in now}
            kept = [row for row in old if row.values["token"] in there]
        else:
            kept = old
        result.tables.append(_compared(name, old, kept, now))
    for table in result.tables:
        if not table.is_equal:
            result.problems.append(f"{table.table} has other rows than before")
    if ORDERS in after:
        _hold_against_ledger(result, after[ORDERS].rows, written, times)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """When things were, in Unix seconds."""

    lost_at: float
    data_at: float
    read_at: float


def _compared(name: str, old: list[Row], kept: list[Row], now: list[Row]) -> Compared:
    return Compared(
        table=name,
        rows_before=len(old),
        rows_after=len(now),
        missing=len(old) - len(kept),
        hash_before=digest(kept),
        hash_after=digest(now),
    )


def digest(rows: Iterable[Row]) -> str:
    """Return a hash of all rows, in their order."""
    total = hashlib.sha256()
    for row in rows:
        total.update(json.dumps(row.text).encode() + b"\n")
    return total.hexdigest()


def _sent_at(row: Row, written: Mapping[str, Order]) -> float:
    order = written.get(row.values["token"])
    return order.sent_at if order else 0.0


def _hold_against_ledger(
    result: Comparison, rows: list[Row], written: Mapping[str, Order], times: _Times
) -> None:
    there: dict[str, dict[str, Any]] = {row.values["token"]: row.values for row in rows}
    if len(there) != len(rows):
        result.problems.append("an order is there twice")
    for token, values in there.items():
        order = written.get(token)
        if order is None or (values["customer"], values["cents"]) != (order.customer, order.cents):
            result.problems.append(f"order {token} is not what its customer wrote down")
    before = [order for order in written.values() if order.sent_at < times.lost_at]
    since = [order for order in written.values() if order.sent_at >= times.lost_at]
    present = [order for order in before if order.token in there]
    missing = [o for o in before if o.token not in there and o.acknowledged_at is not None]
    result.kept = sum(order.acknowledged_at is not None for order in present)
    result.lost = len(missing)
    for order in since:
        told = order.acknowledged_at is not None and order.acknowledged_at < times.read_at
        if told and order.token not in there:
            result.problems.append(f"order {order.token}, acknowledged since then, is not there")
    result.problems += _of_one_moment(present, missing, times)


def _of_one_moment(present: list[Order], missing: list[Order], times: _Times) -> list[str]:
    """Say what speaks against one moment before which all is there, and after which nothing."""
    earliest = max((order.sent_at for order in present), default=times.data_at)
    latest = min((order.acknowledged_at or 0 for order in missing), default=times.lost_at)
    if earliest > latest:
        by = f"{earliest - latest:.3f} s after one was acknowledged that is missing"
        return [f"what came back is of no single moment: an order is there, sent {by}"]
    if not earliest - _CLOCKS_SECONDS <= times.data_at <= latest + _CLOCKS_SECONDS:
        off = times.data_at - earliest
        return [f"the data is not of the moment that the set names: {off:+.3f} s"]
    return []
