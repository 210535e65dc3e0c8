"""A server, a database with something of everything in it, and backups of that."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.adapters.postgres.client_tools import connection_words
from controller.adapters.postgres.dumps import PostgresDumper
from controller.adapters.postgres.servers import PostgresServer as Databases
from controller.core.backup_plan import BackupSpec
from controller.core.plan import AppId
from controller.ports import Clock
from controller.ports_data import BackupSubject, DatabaseAddress, DatabaseLogin, Vault
from controller.runtime.backups_means import BackupMeans, BackupRequest
from sandbox.postgres import PostgresServer, find_binaries
from tests.core.build import spec

AT = datetime(2026, 11, 23, 7, 45, 12, tzinfo=UTC)

SHOP = """
CREATE TABLE customers (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, born date CHECK (born > '1900-01-01')
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer int NOT NULL REFERENCES customers, price numeric(12, 4), paid boolean,
    note text, data bytea, tags text[], document jsonb, at timestamptz DEFAULT now()
);
CREATE INDEX orders_by_price ON orders (price DESC) WHERE paid;
CREATE SCHEMA "odd Name";
CREATE TABLE "odd Name"."Empty" (a int, "B c" text);
CREATE VIEW paid AS SELECT * FROM orders WHERE paid;
INSERT INTO customers (name, born)
    SELECT 'name ' || n || ' \u00e4\u20ac\U0001f600', date '1950-01-01' + n
    FROM generate_series(1, 50) n;
INSERT INTO orders (customer, price, paid, note, data, tags, document)
    SELECT 1 + n % 50, n * 1.0001, n % 3 = 0, CASE WHEN n % 5 = 0 THEN NULL ELSE repeat('x', n % 99)
    END, decode(md5(n::text), 'hex'), ARRAY['a', NULL, n::text], jsonb_build_object('n', n)
    FROM generate_series(1, 2000) n;
CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(price) FROM orders GROUP BY 1;
CREATE TABLE "__EFMigrationsHistory" (
    "MigrationId" varchar(150) PRIMARY KEY, "ProductVersion" varchar(32) NOT NULL
);
INSERT INTO "__EFMigrationsHistory" VALUES ('20261001000000_Orders', '9.0.0');
"""


@asynccontextmanager
async def a_server() -> AsyncGenerator[DatabaseLogin]:
    """Yield the superuser's login to a server of our own."""
    async with PostgresServer() as server:
        address = DatabaseAddress(
            host=server.host, port=server.port, database="postgres", user=server.user,
            sslmode="disable",
        )  # fmt: skip
        yield DatabaseLogin(address=address, password=server.password)


@asynccontextmanager
async def connected(login: DatabaseLogin) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(
        connection_words(login.address), password=login.password
    ) as connection:
        yield connection


async def run(login: DatabaseLogin, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements and return the rows of the last."""
    rows: list[tuple[Any, ...]] = []
    async with connected(login) as connection:
        await connection.set_autocommit(True)
        for statement in statements:
            cursor = await connection.execute(statement.encode())
            rows = await cursor.fetchall() if cursor.description else []
    return rows


async def databases(login: DatabaseLogin) -> set[str]:
    found = await run(login.to("postgres"), "SELECT datname FROM pg_database")
    return {str(row[0]) for row in found}


async def contents(login: DatabaseLogin) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, as text."""
    tables = await run(
        login,
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE relkind IN ('r', 'm', 'v') AND nspname NOT IN ('pg_catalog', 'information_schema')",
    )
    every = "SELECT t::text FROM {} t ORDER BY 1"
    return {str(name): await run(login, every.format(name)) for (name,) in tables}


async def end_sessions(login: DatabaseLogin) -> None:
    """Cut every connection to the database."""
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
    await run(login.to("postgres"), ending.format(login.address.database))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, with a bound."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - processes send no events
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class Subjects:
    """Implements `BackupSubjects` with one app."""

    database: DatabaseLogin | None
    backup: BackupSpec = field(default_factory=BackupSpec)

    async def subject(self, app: str) -> BackupSubject:
        return self.of(app)

    def of(self, app: str) -> BackupSubject:
        return BackupSubject(
            app=replace(spec(), id=AppId(app)),
            backup=self.backup,
            database=self.database,
        )


@dataclass(slots=True)
class Ticking:
    """Implements `Clock`: each look at it is a second later."""

    time: datetime = AT

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def request(job: str = "job-1", **changes: Any) -> BackupRequest:
    wanted = BackupRequest(app="shop", job=job, why="nightly", by="timer", at=AT)
    return replace(wanted, **changes)


@asynccontextmanager
async def a_database(
    server: DatabaseLogin, script: str = "", *, template: str = "template0"
) -> AsyncGenerator[DatabaseLogin]:
    """A new database on *server*, gone afterwards."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    await run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    login = server.to(name)
    try:
        if script:
            await run(login, script)
        yield login
    finally:
        await run(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def means(vault: Vault, subjects: Subjects, clock: Clock | None = None) -> BackupMeans:
    return BackupMeans(
        vault=vault,
        subjects=subjects,
        clock=clock or Ticking(),
        version="0.1.0",
        dumper=PostgresDumper(places=[find_binaries()]),
        server=Databases(),
        registry=MemoryRegistry(),
        store=MemoryStore(),
    )
