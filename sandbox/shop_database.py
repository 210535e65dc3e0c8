"""The PostgreSQL behind the first app: its users as they are on Azure, its data, its loss."""

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, IsolationLevel, sql

from sandbox.demo_app.images import demo_migrations
from sandbox.postgres import PostgresServer, find_binaries
from sandbox.terminal import slipway

DATABASE = "shop"
_FIRST_MIGRATION = "001_orders"  # what v1 needs
_SECRET = "shop-database"
_KEY_SECRET = "slipway-backup-key"
_OWNER = "shop_owner"  # migrates, backs up, restores
_APP = "shop_app"  # reads and writes rows
_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name,
           (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
            WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    ORDER BY 1, 2
"""
# What every client can see of a schema, and what it is made of besides: one line for each thing.
_SCHEMA = """
    SELECT format('column %s.%s.%s %s%s default %s', table_schema, table_name, column_name,
                  data_type, CASE is_nullable WHEN 'YES' THEN '' ELSE ' not null' END,
                  coalesce(column_default, 'none'))
    FROM information_schema.columns
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
    UNION ALL
    SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid <> 0 AND connamespace::regnamespace::text <> 'pg_catalog'
    AND connamespace::regnamespace::text <> 'information_schema'
    UNION ALL
    SELECT format('index %s%s', pg_get_indexdef(indexrelid),
                  CASE WHEN indisvalid THEN '' ELSE ' INVALID' END)
    FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    UNION ALL
    SELECT format('right %s on %s.%s for %s', privilege_type, table_schema, table_name, grantee)
    FROM information_schema.role_table_grants
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: as PostgreSQL writes it out whole, and by its columns."""

    text: str
    values: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Table:
    """The rows of a table in the order of its primary key."""

    name: str
    rows: list[Row] = field(default_factory=list[Row])


class ShopDatabase:
    """A server with the database of one app, and two users of it."""

    def __init__(self) -> None:
        self.server = PostgresServer()
        self._programs: Path = find_binaries()
        self._key = base64.b64encode(secrets.token_bytes(32)).decode()

    @property
    def owner_url(self) -> str:
        """Connection string of who migrates, backs up and restores."""
        return self.server.url(DATABASE, user=_OWNER, password=self._password(_OWNER))

    @property
    def app_url(self) -> str:
        """Connection string of the app, which may read and write rows and nothing else."""
        return self.server.url(DATABASE, user=_APP, password=self._password(_APP))

    def secrets(self) -> dict[str, str]:
        """Return what is in the Key Vault."""
        return {_SECRET: self.owner_url, _KEY_SECRET: self._key}

    def settings(self, blob_url: str) -> dict[str, str]:
        """Return the Function App's settings that are about data."""
        return {
            # A container has PostgreSQL's client programs of the server's version, or newer.
            "PATH": f"{self._programs}:{os.environ.get('PATH', '')}",
            "SLIPWAY_BACKUP_URL": f"{blob_url}/backups",
            "SLIPWAY_BACKUP_KEY": _KEY_SECRET,
        }

    def app_settings(self) -> dict[str, str]:
        """Return what the app's builds find the database by."""
        return {"DEMO_DATABASE": self.app_url}

    def configuration(self) -> dict[str, Any]:
        """Return what ``apps.yaml`` says of it."""
        return {"database": {"connection": _SECRET}, "backup": {"rpo": "10m", "rto": "5m"}}

    async def start(self, directory: Path) -> None:
        """Start the server and bring the database to where v1 needs it.

        Args:
            directory: where files may be left.
        """
        await self.server.start()
        await self.server.create_user(_OWNER, self._password(_OWNER))
        await self.server.create_user(_APP, self._password(_APP))
        # Ends the app's sessions where a database is exchanged, as azure_pg_admin may on Azure.
        await self.server.execute(
            sql.SQL("GRANT pg_signal_backend TO {}").format(sql.Identifier(_OWNER))
        )
        await self.server.create_database(DATABASE, owner=_OWNER)
        await self.run(
            "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO shop_app"
        )
        await self._migrate_by_hand(directory / "migrations")

    async def _migrate_by_hand(self, folder: Path) -> None:
        """Do what somebody does whose app was there before Slipway."""
        _write(folder, demo_migrations(_FIRST_MIGRATION))
        words = ("migrations", "apply", str(folder), "--yes")
        await slipway(*words, environment={"SLIPWAY_DATABASE": self.owner_url})

    async def stop(self) -> None:
        """End it; the data goes with it."""
        await self.server.stop()

    async def destroy(self) -> None:
        """Drop the database under everybody who uses it: somebody's accident."""
        await self.server.drop_database(DATABASE)

    async def run(self, script: str) -> None:
        """Run *script* as the owner."""
        async with await AsyncConnection.connect(self.owner_url, autocommit=True) as connection:
            await connection.execute(script.encode())

    async def tables(self) -> dict[str, Table]:
        """Return every row of every table, as of one moment."""
        async with await AsyncConnection.connect(self.server.url(DATABASE)) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            found: dict[str, Table] = {}
            for schema, name, key in await (await connection.execute(_TABLES)).fetchall():
                query = sql.SQL("SELECT t::text, to_jsonb(t) FROM {} AS t ORDER BY {}").format(
                    sql.Identifier(schema, name),
                    sql.SQL(", ").join(sql.Identifier(column) for column in key),
                )
                rows = await (await connection.execute(query)).fetchall()
                full = f"{schema}.{name}"
                found[full] = Table(
                    name=full, rows=[Row(text=text, values=values) for text, values in rows]
                )
            return found

    async def schema(self) -> tuple[str, ...]:
        """Return all that the schema is made of, one line for each thing."""
        rows = await self.server.execute(sql.SQL(_SCHEMA), database=DATABASE)
        return tuple(str(row[0]) for row in rows)

    def _password(self, user: str) -> str:
        return f"of-{user}-{self.server.password}"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
