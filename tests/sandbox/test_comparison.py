"""What the demo says of a restored database: each kind of difference is told."""

from collections.abc import Callable

import pytest

from sandbox.demo.comparison import ORDERS, Comparison, compare
from sandbox.ledger import Order
from sandbox.shop_database import Row, Table

DATA_AT = 10.5
LOST_AT = 20.0
READ_AT = 40.0
Change = Callable[[list[Row]], list[Row]]


def _order(number: int, at: float) -> Order:
    return Order(
        token=f"t{number:02}", customer=1, cents=number, sent_at=at, acknowledged_at=at + 0.1
    )


def _row(number: int, cents: int | None = None) -> Row:
    values = {"token": f"t{number:02}", "customer": 1, "cents": cents or number}
    return Row(text=f"({number},t{number:02},1,{cents or number})", values=values)


def _compared(change: Change = lambda rows: rows, *, data_at: float = DATA_AT) -> Comparison:
    """Ten orders before the backup, five after it, three since the restore."""
    orders = [_order(n, float(n)) for n in range(1, 16)] + [_order(n, 30.0) for n in (31, 32, 33)]
    before = {ORDERS: Table(name=ORDERS, rows=[_row(n) for n in range(1, 16)])}
    after = [_row(n) for n in (*range(1, 11), 31, 32, 33)]
    return compare(
        before,
        {ORDERS: Table(name=ORDERS, rows=change(after))},
        orders,
        lost_at=LOST_AT,
        data_at=data_at,
        read_at=READ_AT,
    )


def test_what_is_of_one_moment_and_row_for_row_the_same_has_no_problem() -> None:
    found = _compared()

    assert found.problems == []
    assert (found.kept, found.lost, found.new) == (10, 5, 3)
    assert [(t.rows_before, t.rows_after, t.missing) for t in found.tables] == [(15, 10, 5)]


# fmt: off
DAMAGE = [
    # id            what became of the rows                            what is said
    ("changed",     lambda rows: [_row(1, cents=99), *rows[1:]],        "other rows"),
    ("hole",        lambda rows: rows[:4] + rows[5:],                   "no single moment"),
    ("too-much",    lambda rows: [*rows, _row(15)],                     "no single moment"),
    ("twice",       lambda rows: [rows[0], *rows],                      "twice"),
    ("strange",     lambda rows: [*rows, _row(77)],                     "not what its customer"),
    ("lost-since",  lambda rows: rows[:-1],                             "acknowledged since then"),
    ("out-of-order", lambda rows: [rows[1], rows[0], *rows[2:]],        "other rows"),
]
# fmt: on


@pytest.mark.parametrize(("change", "said"), [pytest.param(*d[1:], id=d[0]) for d in DAMAGE])
def test_whatever_is_different_is_told(change: Change, said: str) -> None:
    assert said in "; ".join(_compared(change).problems)


def test_data_of_another_moment_than_the_set_names_is_told() -> None:
    assert "not of the moment" in "; ".join(_compared(data_at=5.0).problems)
