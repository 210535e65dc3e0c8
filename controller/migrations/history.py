"""Which migrations of a bundle a database has, by what its history says."""

from collections.abc import Collection

from controller.migrations.bundle import Bundle, BundleFormat, Migration


def applied_ids(bundle: Bundle, said: Collection[str]) -> frozenset[str]:
    """Return the ids of the bundle's migrations that ran.

    Alembic remembers its newest revision alone: what the bundle has before it ran, too.
    """
    ids = [migration.id for migration in bundle.migrations]
    if bundle.format is not BundleFormat.ALEMBIC:
        return frozenset(said).intersection(ids)
    newest = max((ids.index(id_) for id_ in said if id_ in ids), default=-1)
    return frozenset(ids[: newest + 1])


def pending(bundle: Bundle, said: Collection[str]) -> tuple[Migration, ...]:
    """Return the migrations that did not run, in order."""
    ran = applied_ids(bundle, said)
    return tuple(migration for migration in bundle.migrations if migration.id not in ran)
