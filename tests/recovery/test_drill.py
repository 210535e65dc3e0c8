"""A drill names each thing that did not come back, and measures by the promises."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.errors import MalformedError
from controller.recovery.drill import (
    Objectives,
    differences,
    from_json,
    notes,
    report,
    text,
    to_json,
)
from controller.recovery.facts import DatabaseFacts, TableFacts
from controller.recovery.names import set_id
from tests.recovery.kit import BEGUN, FACTS

ID = set_id("shop", BEGUN, "1a2b")
ORDERS, CUSTOMERS = FACTS.tables
MINUTE = timedelta(minutes=1)


def restored(**changes: Any) -> DatabaseFacts:
    return replace(FACTS, **changes)


def test_what_came_back_has_no_differences() -> None:
    """Sizes, times and orders are no part of it."""
    same = restored(
        taken_at=BEGUN + timedelta(days=1),
        tables=[replace(CUSTOMERS, size_bytes=1), ORDERS],
        size_bytes=7,
    )
    assert differences(FACTS, same) == ()
    assert notes(FACTS, same) == ()


CASES = [
    ("head", {"migration_head": "0006"}, "The migration head was 0007_orders; it is 0006."),
    ("no-head", {"migration_head": None}, "The migration head was 0007_orders; it is none."),
    ("table-gone", {"tables": (ORDERS,)}, "Table public.customers is missing; it had 30 rows."),
    (
        "table-new",
        {"tables": (*FACTS.tables, TableFacts(name="public.x", rows=1, checksum=""))},
        "Table public.x is extra; it was not in the backup.",
    ),
    (
        "rows",
        {"tables": (replace(ORDERS, rows=1199), CUSTOMERS)},
        "Table public.orders had 1200 rows; it has 1199.",
    ),
    (
        "checksum",
        {"tables": (replace(ORDERS, checksum="zz"), CUSTOMERS)},
        "Table public.orders has its 1200 rows, but not what was in them.",
    ),
    (
        "sequence",
        {"sequences": {"public.orders_id_seq": 1}},
        "Sequence public.orders_id_seq stands at 1; in the backup it was 1200.",
    ),
    ("seq-gone", {"sequences": {}}, "Sequence public.orders_id_seq is missing."),
    (
        "seq-new",
        {"sequences": {**FACTS.sequences, "s": 1}},
        "Sequence s is extra; it was not in the backup.",
    ),
    ("constraint", {"constraints": ()}, "Constraint is missing: public.orders: PRIMARY KEY (id)."),
    ("con-new", {"constraints": (*FACTS.constraints, "c")}, "Constraint is extra: c."),
    ("index", {"indexes": ()}, f"Index is missing: {FACTS.indexes[0]}."),
    (
        "extension",
        {"extensions": {"plpgsql": "1.1"}},
        "Extension plpgsql has version 1.1; in the backup it was 1.0.",
    ),
    ("ext-gone", {"extensions": {}}, "Extension plpgsql is missing."),
]


@pytest.mark.parametrize(
    ("change", "sentence"), [pytest.param(change, said, id=name) for name, change, said in CASES]
)
def test_each_difference_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    assert differences(FACTS, restored(**change)) == (sentence,)


def test_another_server_is_worth_a_note_and_no_fault() -> None:
    newer = restored(server_version="17.1")
    assert differences(FACTS, newer) == ()
    assert notes(FACTS, newer) == ("The server's version was 15.4; it was restored to 17.1.",)


def drilled(**changes: Any) -> Any:
    """Return the report of a drill three hours after the backup that took four minutes."""
    begun = BEGUN + timedelta(hours=3)
    given: dict[str, Any] = {
        "app": "shop",
        "set_id": ID,
        "drilled_at": begun,
        "newest_data_at": BEGUN,
        "restore_started_at": begun + MINUTE,
        "verified_at": begun + 5 * MINUTE,
        "objectives": Objectives(rpo=timedelta(hours=24), rto=timedelta(hours=1)),
        "recorded": FACTS,
        "restored": FACTS,
    }
    return report(**{**given, **changes})


def test_a_good_drill_measures_rpo_and_rto() -> None:
    """From the data's moment to the drill's, and from the restore's start to its check."""
    drill = drilled()

    assert (drill.rpo_seconds, drill.rto_seconds) == (3 * 3600, 240)
    assert (drill.tables, drill.rows) == (2, 1230)
    assert drill.is_good
    assert "Drill of shop passed" in text(drill)
    assert "3 h (objective 1 d)" in text(drill)
    assert "4 min (objective 1 h)" in text(drill)


BAD = [
    (
        "old",
        {"objectives": Objectives(rpo=timedelta(hours=2), rto=timedelta(hours=1))},
        "The newest verified data is 3 h old; the objective (RPO) is 2 h.",
    ),
    (
        "slow",
        {"objectives": Objectives(rpo=timedelta(days=1), rto=timedelta(seconds=90))},
        "Restore and check took 4 min; the objective (RTO) is 1 min 30 s.",
    ),
    (
        "none",
        {
            "set_id": None,
            "newest_data_at": None,
            "restore_started_at": None,
            "verified_at": None,
            "recorded": None,
            "restored": None,
        },
        "No set is verified: the recovery point objective of 1 d is not met.",
    ),
    (
        "failed",
        {"verified_at": None, "restored": None, "problems": ("pg_restore ended with 1.",)},
        "pg_restore ended with 1.",
    ),
    ("lost", {"restored": None}, "The database was not restored."),
    (
        "different",
        {"restored": restored(migration_head=None)},
        "The migration head was 0007_orders; it is none.",
    ),
]


@pytest.mark.parametrize(
    ("change", "sentence"), [pytest.param(change, said, id=name) for name, change, said in BAD]
)
def test_a_bad_drill_says_why(change: dict[str, Any], sentence: str) -> None:
    """And is never taken for a good one."""
    drill = drilled(**change)

    assert not drill.is_good
    assert f"    - {sentence}\n" in text(drill)
    assert "FAILED" in text(drill)


def test_clocks_that_differ_make_no_negative_times() -> None:
    drill = drilled(newest_data_at=BEGUN + timedelta(days=1))
    assert drill.rpo_seconds == 0


@pytest.mark.parametrize("change", [{}, *(change for _, change, _ in BAD)])
def test_programs_read_the_same_report(change: dict[str, Any]) -> None:
    """With its verdict in the document."""
    drill = drilled(**change)
    document = to_json(drill)

    assert from_json(document) == drill
    assert ('"is_good": true' in document) is drill.is_good
    with pytest.raises(MalformedError, match="report"):
        from_json("{}")
