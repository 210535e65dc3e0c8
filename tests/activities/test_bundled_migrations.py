"""One migration per call, whatever ran before it; and never of another bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.activities.bundled_migrations import BundledMigrations
from controller.core.data import DatabaseSpec
from controller.core.errors import PermanentError
from controller.migrations.bundle import Applied, Bundle, Migration
from controller.migrations.catalog import Schema, TableShape
from controller.ports_data import BundleName, DatabaseFacts, MigrationOrder, Ran, Rehearsal
from tests.migrations.bundles import bundle_of

SPEC = DatabaseSpec(connection="shop-db")
NAME = BundleName(image="r.io/shop@sha256:2", tag="v2")
BUNDLE = bundle_of(
    "create table users (id bigint primary key)",
    "alter table users add column email text",
    "alter table users add column phone text",
    downs={2: "alter table users drop column email", 3: "alter table users drop column phone"},
)
FIRST, SECOND, THIRD = (m.id for m in BUNDLE.migrations)
PLANNED = BundleName(image=NAME.image, tag="v2", sha256=BUNDLE.sha256)


@dataclass
class Fake:
    """A bundle, and a database that keeps a history."""

    bundle: Bundle | None = BUNDLE
    rows: list[Applied] = field(default_factory=list[Applied])
    shape: Schema = field(default_factory=Schema)
    did: list[tuple[str, list[str], str]] = field(default_factory=list[Any])

    async def find(self, _: DatabaseSpec, __: BundleName) -> Bundle | None:
        return self.bundle

    async def open(self, _: DatabaseSpec) -> "Fake":
        return self

    async def history(self) -> tuple[Applied, ...]:
        return tuple(self.rows)

    async def apply(
        self, migrations: Sequence[Migration], order: MigrationOrder
    ) -> tuple[Ran, ...]:
        self.did.append(("up", [m.id for m in migrations], order.by))
        self.rows = [r for r in self.rows if r.is_whole] + [whole(m.id) for m in migrations]
        return tuple(Ran(migration=m.id, statements=(), seconds=1.25) for m in migrations)

    async def undo(self, migrations: Sequence[Migration], order: MigrationOrder) -> tuple[Ran, ...]:
        self.did.append(("down", [m.id for m in migrations], order.by))
        gone = {m.id for m in migrations}
        self.rows = [r for r in self.rows if r.id not in gone]
        return tuple(Ran(migration=m.id, statements=(), seconds=1.25) for m in migrations)

    async def rehearse(self, migrations: Sequence[Migration], *, by: str) -> Rehearsal:
        self.did.append(("tried", [m.id for m in migrations], by))
        return Rehearsal(ran=())

    async def schema(self) -> Schema:
        return self.shape

    async def facts(self) -> DatabaseFacts:
        raise NotImplementedError


def whole(name: str) -> Applied:
    return Applied(id=name, sha256=None, applied_at=None, statements_done=1)


def over(fake: Fake) -> BundledMigrations:
    return BundledMigrations(bundles=fake, databases=fake)


async def test_looking_reads_and_changes_nothing() -> None:
    fake = Fake(rows=[whole(FIRST)])

    facts = await over(fake).look(SPEC, NAME)

    assert [m.id for m in facts.pending] == [SECOND, THIRD]
    assert facts.bundle == BUNDLE.sha256
    assert (await over(Fake(bundle=None)).look(SPEC, NAME)).bundle is None
    assert fake.did == []


async def test_each_call_applies_one_and_says_how_far_it_is() -> None:
    fake = Fake(rows=[whole(FIRST)])
    ids = (SECOND, THIRD)

    steps = [await over(fake).apply(SPEC, PLANNED, ids, rollout="r1") for _ in range(3)]

    assert [step.is_done for step in steps] == [False, True, True]
    assert steps[0].detail == f"{SECOND} applied in 1.2 s; 1 of 2 to go"
    assert fake.did == [("up", [SECOND], "r1"), ("up", [THIRD], "r1")]


async def test_what_stopped_half_way_goes_on_and_goes_back() -> None:
    half = Applied(id=SECOND, sha256=None, applied_at=None, statements_done=0, is_whole=False)
    forth, back = Fake(rows=[whole(FIRST), half]), Fake(rows=[whole(FIRST), half])

    await over(forth).apply(SPEC, PLANNED, (SECOND,), rollout="r1")
    await over(back).revert(SPEC, PLANNED, (SECOND,), rollout="r1")

    assert forth.did == [("up", [SECOND], "r1")]
    assert back.did == [("down", [SECOND], "r1")]


async def test_only_what_was_planned_is_taken_back_newest_first() -> None:
    fake = Fake(rows=[whole(FIRST), whole(SECOND), whole(THIRD)])
    ids = (SECOND, THIRD)

    steps = [await over(fake).revert(SPEC, PLANNED, ids, rollout="r1") for _ in range(3)]

    assert [step.is_done for step in steps] == [False, True, True]
    assert [names for _, names, _ in fake.did] == [[THIRD], [SECOND]]
    assert [row.id for row in fake.rows] == [FIRST]


@pytest.mark.parametrize("bundle", [None, bundle_of("create table other (id int)")])
async def test_another_bundle_is_not_run_in_either_direction(bundle: Bundle | None) -> None:
    fake = Fake(bundle=bundle, rows=[whole(FIRST)])

    for act in (over(fake).apply, over(fake).revert):
        with pytest.raises(PermanentError, match="was planned"):
            await act(SPEC, PLANNED, (SECOND,), rollout="r1")
    assert fake.did == []


async def test_the_dry_run_tries_what_is_pending_up_to_what_stopped_half_way() -> None:
    half = Applied(id=THIRD, sha256=None, applied_at=None, statements_done=1, is_whole=False)
    fake = Fake(rows=[whole(FIRST), half])

    rehearsal = await over(fake).rehearse(SPEC, PLANNED, (SECOND, THIRD), app="shop", rollout="r1")

    assert fake.did == [("tried", [SECOND], "r1")]
    assert [(skipped.migration, skipped.why) for skipped in rehearsal.not_tried] == [
        (THIRD, "One stopped half way, and goes on from there.")
    ]
    again = await over(Fake(rows=[whole(FIRST)])).rehearse(
        SPEC, PLANNED, (FIRST,), app="", rollout="r1"
    )
    assert again == Rehearsal(ran=())


async def test_the_lint_knows_how_small_the_tables_are() -> None:
    """What locks a table of ten rows is no reason to refuse anything."""
    bundle = bundle_of(
        "create table users (id bigint primary key, name text)",
        "create index users_name on users (name)",
    )
    rows = [whole(bundle.migrations[0].id)]
    small = Schema(tables={"users": TableShape(rows=10)})

    blind = await over(Fake(bundle=bundle, rows=rows)).look(SPEC, NAME)
    knowing = await over(Fake(bundle=bundle, rows=rows, shape=small)).look(SPEC, NAME)

    assert ["SWM206" in error for error in blind.errors] == [True]
    assert knowing.errors == ()
