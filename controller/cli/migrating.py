"""A folder of migrations against a database: what is planned, done and undone, and what failed."""

import os
from argparse import Namespace
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from controller import wiring_cli
from controller.cli.exits import CommandError, Exit
from controller.cli.folder import Folder
from controller.cli.verb import user
from controller.core.errors import (
    AccessDeniedError,
    ConfigurationError,
    SlipwayError,
    TransientError,
)
from controller.migrations.bundle import Applied, Bundle, Kind, Migration
from controller.migrations.history import applied_ids, pending
from controller.migrations.lint import Contract, LintPolicy, LintReport, kinds_alone, lint
from controller.migrations.plan import MigrationPlan, Reason, plan
from controller.migrations.rollback import WayBack, way_back
from controller.ports_data import Database, DatabaseAddress, MigrationOrder, Ran, Rehearsal

T = TypeVar("T")

_AGAIN: Final = "Nothing to do: Slipway tries again"
_VAULT: Final = "where it is kept (Key Vault), or make Slipway's identity a user of the database."
_IDENTITY: Final = "Give the Functions app an identity"
_CONNECTION: Final = (
    "Set it to the connection string, such as postgresql://user:password@host:5432/database, or "
    "name another variable with --connection-env."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a folder and a database say of each other."""

    address: DatabaseAddress
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    report: LintReport  # of what is pending
    plan: MigrationPlan
    back: WayBack  # for code, once all that is pending ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """What a rollback of the database runs."""

    address: DatabaseAddress
    migrations: tuple[Migration, ...]  # newest first
    kinds: dict[str, Kind]  # what their up scripts did
    head_after: str | None


def policy_of(arguments: Namespace) -> LintPolicy:
    """Return how strict the command line wants the lint."""
    accepted = frozenset(code for codes in arguments.accept for code in codes)
    return LintPolicy(contract=Contract(arguments.contract), accept=accepted)


def linted(folder: Folder, arguments: Namespace) -> LintReport:
    """Return what the lint says of the folder alone."""
    applied = _named_applied(folder.bundle, arguments)
    return lint(folder.bundle, policy=policy_of(arguments), applied=applied)


def _named_applied(bundle: Bundle, arguments: Namespace) -> list[str]:
    """Return the migrations that are not judged.

    Raises:
        CommandError: the folder has no such migration.
    """
    ids = [migration.id for migration in bundle.migrations]
    listed = [name for some in arguments.applied for name in some]
    named = [arguments.after] if arguments.after else listed
    if unknown := [name for name in named if name not in ids]:
        raise CommandError(
            f"The folder has no migration {unknown[0]!r}.", f"It has {', '.join(ids)}.", Exit.USAGE
        )
    return ids[: ids.index(arguments.after) + 1] if arguments.after else named


def outlook(folder: Folder, arguments: Namespace) -> Outlook:
    """Ask the database what it has, and plan the rest.

    Raises:
        CommandError: it cannot be asked.
    """

    async def look(address: DatabaseAddress, database: Database) -> Outlook:
        applied = await database.history()
        whole = [row.id for row in applied if row.is_whole]
        schema = await database.schema()
        policy = policy_of(arguments)
        report = lint(folder.bundle, policy=policy, applied=whole, schema=schema)
        left = pending(folder.bundle, whole)
        return Outlook(
            address=address,
            applied=applied,
            pending=left,
            report=report,
            plan=plan(
                folder.bundle,
                applied,
                report,
                resume=True,
                out_of_order=arguments.out_of_order,
            ),
            back=way_back(left, report),
        )

    return with_database(arguments, look)


def history(arguments: Namespace) -> tuple[DatabaseAddress, tuple[Applied, ...]]:
    """Return what the database remembers."""

    async def look(
        address: DatabaseAddress, database: Database
    ) -> tuple[DatabaseAddress, tuple[Applied, ...]]:
        return address, await database.history()

    return with_database(arguments, look)


def rehearse(outlook: Outlook, arguments: Namespace) -> Rehearsal:
    """Run all that is planned in a transaction that is rolled back."""
    steps = [replace(step.migration, up=step.statements) for step in outlook.plan.steps]

    async def work(_: DatabaseAddress, database: Database) -> Rehearsal:
        return await database.rehearse(steps, by=arguments.by or user())

    return with_database(arguments, work)


def apply(
    folder: Folder,
    migrations: Sequence[Migration],
    arguments: Namespace,
    tell: Callable[[Ran], None],
) -> None:
    """Apply *migrations* one after the other, and *tell* of each."""

    async def work(_: DatabaseAddress, database: Database) -> None:
        for migration in migrations:
            for ran in await database.apply([migration], _order(folder, arguments)):
                tell(ran)

    with_database(arguments, work)


def undo(
    folder: Folder,
    migrations: Sequence[Migration],
    arguments: Namespace,
    tell: Callable[[Ran], None],
) -> None:
    """Run the down scripts of *migrations*, in this order, and *tell* of each."""

    async def work(_: DatabaseAddress, database: Database) -> None:
        for migration in migrations:
            for ran in await database.undo([migration], _order(folder, arguments)):
                tell(ran)

    with_database(arguments, work)


def undoing(folder: Folder, arguments: Namespace) -> Undoing:
    """Return what a rollback to ``--to``, or by ``--steps``, runs.

    Raises:
        CommandError: that is not possible from where the database is.
    """
    address, applied = history(arguments)
    bundle = folder.bundle
    begun = applied_ids(bundle, [row.id for row in applied])
    there = [migration for migration in bundle.migrations if migration.id in begun]
    undone = _chosen(there, arguments)
    stays = [migration.id for migration in there[: len(there) - len(undone)]]
    kinds = kinds_alone(bundle)
    report = lint(bundle, policy=LintPolicy(contract=Contract.ALLOW), applied=stays)
    refusals = plan(bundle, applied, report, resume=True).refusals
    newer = [refusal.migration for refusal in refusals if refusal.reason is Reason.NEWER]
    if newer:
        raise CommandError(
            f"{address} has {newer[-1]}, which {folder.path} does not know.",
            "Roll back from the folder that has it: what is newest is undone first.",
            Exit.REFUSED,
        )
    return Undoing(
        address=address,
        migrations=undone,
        kinds={migration.id: kinds[migration.id] for migration in undone},
        head_after=stays[-1] if stays else bundle.base,
    )


def _chosen(there: Sequence[Migration], arguments: Namespace) -> tuple[Migration, ...]:
    """Return which of the applied migrations are undone, newest first."""
    ids = [migration.id for migration in there]
    if arguments.to is not None:
        if arguments.to not in ids:
            raise CommandError(
                f"{arguments.to!r} is not applied, so nothing leads back to it.",
                f"Applied are: {', '.join(ids) or 'none'}.",
                Exit.USAGE,
            )
        count = len(ids) - ids.index(arguments.to) - 1
    else:
        count = int(arguments.steps)
    if count > len(ids):
        raise CommandError(
            f"Only {len(ids)} of the folder's migrations are applied, not {count}.",
            "Give fewer --steps.",
            Exit.USAGE,
        )
    return tuple(reversed(there[len(ids) - count :]))


# --- The database --------------------------------------------------------------------------------


def with_database(
    arguments: Namespace, work: Callable[[DatabaseAddress, Database], Coroutine[Any, Any, T]]
) -> T:
    """Return what *work* makes of the database that the environment names.

    Raises:
        CommandError: in the words of who stands at a terminal.
    """
    name = str(arguments.connection_env)
    text = os.environ.get(name, "").strip()
    if not text:
        raise CommandError(f"The environment variable {name} is not set.", _CONNECTION, Exit.USAGE)
    ca_file = os.environ.get("SLIPWAY_CA_FILE")

    async def opened() -> T:
        opening = wiring_cli.opened_database(text, ca_file=Path(ca_file) if ca_file else None)
        async with opening as (address, database):
            return await work(address, database)

    with told(name):
        return wiring_cli.run(opened())


@contextmanager
def told(variable: str, *, denied: str = "") -> Generator[None]:
    """Say what goes wrong inside as is right where nobody tries again by itself.

    *variable* holds what may be wrong; *denied* is what to do where we are not let in.
    """
    try:
        yield
    except SlipwayError as error:
        fix = error.fix.replace(_VAULT, f"in the connection string that {variable} holds.")
        fix = fix.replace(_IDENTITY, "Log in with `az login`")
        what = error.what
        if isinstance(error, ConfigurationError):
            what = f"{what} ({variable})"
        no_token = error.what.startswith("No token")
        if denied and (isinstance(error, AccessDeniedError) or no_token):
            fix = denied
        elif fix.startswith(_AGAIN):
            fix = f"Run it again{fix.removeprefix(_AGAIN)}"
        raise CommandError(f"{error.code}: {what}", fix, _status(error)) from None


def _status(error: SlipwayError) -> Exit:
    match error:
        case AccessDeniedError():
            return Exit.REFUSED
        case ConfigurationError():
            return Exit.USAGE
        case TransientError():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED


def _order(folder: Folder, arguments: Namespace) -> MigrationOrder:
    bundle = folder.bundle
    return MigrationOrder(bundle=bundle.sha256, format=bundle.format, by=arguments.by or user())
