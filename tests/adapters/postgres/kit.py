"""Databases of the sandbox's server, migrations for them, and what became of them."""

import asyncio
import hashlib
from collections.abc import Sequence
from itertools import count

from psycopg import AsyncConnection

from controller.adapters.postgres.addresses import parse
from controller.adapters.postgres.client_tools import find_tool
from controller.adapters.postgres.database import PostgresDatabase
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.passwords import constant
from controller.migrations.bundle import BundleFormat, Migration
from controller.migrations.scripts import refuses_transaction
from controller.migrations.splitting import statements, tree
from controller.ports_data import MigrationOrder
from sandbox.postgres import PostgresServer

QUICK = Limits(lock=0.3, turn=5.0, tries=2, pause=0.05, statement=20.0, alone=20.0, rehearsal=20.0)
ORDER = MigrationOrder(bundle="b" * 64, format=BundleFormat.SQL, by="a test")
_numbers = count(1)


def migration(
    id_: str, up: str, down: str | None = None, *, transactional: bool | None = None
) -> Migration:
    """Return a migration as the reader of bundles makes it."""
    ups = statements(f"{id_}.up.sql", up)
    alone = any(refuses_transaction(tree(statement.text)) for statement in ups)
    return Migration(
        id=id_,
        up=ups,
        down=None if down is None else statements(f"{id_}.down.sql", down),
        sha256=hashlib.sha256(up.encode()).hexdigest(),
        transactional=not alone if transactional is None else transactional,
    )


def order(kind: BundleFormat, by: str = "a test") -> MigrationOrder:
    return MigrationOrder(bundle="b" * 64, format=kind, by=by)


def database_at(url: str, limits: Limits = QUICK) -> PostgresDatabase:
    address, password = parse(url)
    return PostgresDatabase(address, constant(password), limits)


async def fresh(server: PostgresServer, script: str = "") -> str:
    """Make a database, run *script* in it, and return its URL."""
    url = await server.create_database(f"case_{next(_numbers)}")
    if script:
        await run(url, script)
    return url


async def run(url: str, script: str) -> list[tuple[object, ...]]:
    """Run a script, and return the rows of its last statement."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(script.encode())
        while cursor.nextset():
            pass
        return await cursor.fetchall() if cursor.description else []


async def schema(url: str) -> str:
    """Return the schema as pg_dump writes it, Slipway's own left out."""
    tool = await asyncio.to_thread(find_tool, "pg_dump")
    process = await asyncio.create_subprocess_exec(
        tool.path, "--schema-only", "--exclude-schema=slipway", url, stdout=asyncio.subprocess.PIPE
    )
    written, _ = await process.communicate()
    assert process.returncode == 0
    # Newer versions write a random word against injected commands.
    lines = written.decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


async def told(url: str) -> list[tuple[object, ...]]:
    """Return Slipway's history without its times."""
    return await run(
        url,
        "SELECT id, position, format, sha256, bundle_sha256, statements_done, statements_undone,"
        " statement_begun, is_undoing, finished_at IS NOT NULL, applied_by"
        " FROM slipway.slipway_migrations ORDER BY position",
    )


def ids(rows: Sequence[object]) -> list[str]:
    return [row.id for row in rows]  # type: ignore[attr-defined]
