"""Passwords: asked for at each connection, and seen nowhere."""

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from controller.adapters.postgres.addresses import Secret, parse
from controller.adapters.postgres.database import PostgresDatabase
from controller.adapters.postgres.passwords import ENTRA_SCOPE, from_entra, from_secrets
from controller.core.errors import (
    AccessDeniedError,
    PermanentError,
    SlipwayError,
    TransientError,
)
from sandbox.postgres import PostgresServer, find_binaries
from sandbox.tls import create_authority
from tests.adapters.postgres.kit import ORDER, QUICK, database_at, fresh, migration, run

PASSWORD = "correct:horse/battery@staple"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        await running.create_user("shop", PASSWORD)
        yield running


async def shop(server: PostgresServer) -> str:
    """Return the URL of a database of the user shop."""
    name = (await fresh(server)).rpartition("/")[2].partition("?")[0]
    await server.execute(f"ALTER DATABASE {name} OWNER TO shop".encode())  # type: ignore[arg-type]
    return server.url(name, user="shop", password=PASSWORD)


class Rotating:
    """Secrets that change between two questions."""

    def __init__(self, *values: str | None) -> None:
        self.values = list(values)

    async def get(self, name: str) -> str | None:
        assert name == "shop-password"
        return self.values.pop(0)


class Credential:
    """An identity with one token, or none."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if isinstance(self.answer, Exception):
            raise self.answer
        return AccessToken(self.answer, 0)


async def test_each_connection_asks_anew_so_a_rotated_password_is_seen(
    server: PostgresServer,
) -> None:
    address, _ = parse(await shop(server))
    source = from_secrets(Rotating("the old one", PASSWORD, None), "shop-password")
    database = PostgresDatabase(address, source, QUICK)
    with pytest.raises(AccessDeniedError, match="password authentication failed"):
        await database.history()
    assert await database.history() == ()
    with pytest.raises(PermanentError, match="no secret 'shop-password'"):
        await database.history()


async def test_an_entra_token_is_the_password(server: PostgresServer) -> None:
    """The server of the sandbox knows no Entra: it takes the token as the password it is."""
    address, _ = parse(await shop(server))
    credential = Credential(PASSWORD)
    assert await PostgresDatabase(address, from_entra(credential), QUICK).history() == ()
    assert credential.scopes == [ENTRA_SCOPE]
    refused = from_entra(Credential(ClientAuthenticationError("no identity")))
    with pytest.raises(AccessDeniedError, match="no token"):
        await PostgresDatabase(address, refused, QUICK).history()
    away = from_entra(Credential(ServiceRequestError("no route")))
    with pytest.raises(TransientError):
        await PostgresDatabase(address, away, QUICK).history()


@pytest.mark.parametrize("broken", ["password", "user", "database", "port", "tls", "pooled"])
async def test_no_error_shows_the_password(server: PostgresServer, broken: str) -> None:
    url = await shop(server)
    wrong = "hunter2:very/wrong@password"
    address, _ = parse(url)
    change = {
        "password": url,
        "user": url.replace("//shop:", "//nobody:"),
        "database": url.replace(address.database, "not_there"),
        "port": url.replace(f":{server.port}/", ":1/"),
        "tls": url.replace("sslmode=disable", "sslmode=require"),
        "pooled": f"{url}&options=-c%20no_such_setting%3D{PASSWORD.replace(':', '%3A')}",
    }[broken]
    address, secret = parse(change)
    if broken == "password":
        secret = Secret(wrong)

    async def source() -> Secret | None:
        return secret

    database = PostgresDatabase(address, source, QUICK)
    with pytest.raises(SlipwayError) as caught:
        await database.apply([migration("001", "CREATE TABLE t ()")], ORDER)
    written = "".join(traceback.format_exception(caught.value)) + repr(database)
    assert PASSWORD not in written
    assert wrong not in written
    assert caught.value.fix


async def test_no_statement_record_or_row_shows_a_password(server: PostgresServer) -> None:
    url = await fresh(
        server, "CREATE TABLE t (n int, s text UNIQUE); INSERT INTO t VALUES (1, 'secret-row')"
    )
    database = database_at(url)
    role = migration("001", f"CREATE ROLE made_here PASSWORD '{PASSWORD}'")
    rehearsed = await database.rehearse([role], by="a test")
    (ran,) = await database.apply([role], ORDER)
    for shown in (rehearsed, ran, await database.history()):
        assert PASSWORD not in repr(shown)
    for script in (
        "ALTER TABLE t ALTER s TYPE int USING s::int",
        "INSERT INTO t VALUES (2, 'secret-row')",
        "DO $$ BEGIN PERFORM 'secret-row'::date; END $$",
    ):
        with pytest.raises(PermanentError) as caught:
            await database.apply([migration("002", script)], ORDER)
        assert "secret-row" not in "".join(traceback.format_exception(caught.value))
    await run(url, "DROP ROLE made_here")


async def test_while_migrations_run_the_password_is_in_no_process_list_and_no_log(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = database_at(await shop(server))
    applying = asyncio.create_task(
        database.apply([migration("001", "CREATE TABLE t (); SELECT pg_sleep(0.5)")], ORDER)
    )
    looked = 0
    while not applying.done():
        assert not any(PASSWORD.encode() in line for line in _command_lines())
        looked += 1
        await asyncio.sleep(0.05)
    await applying
    assert looked > 1
    assert PASSWORD not in caplog.text
    assert PASSWORD not in server.log


def _command_lines() -> list[bytes]:
    lines: list[bytes] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        if entry.parent.name != str(os.getpid()):
            with suppress(FileNotFoundError, ProcessLookupError):
                lines.append(entry.read_bytes())
    return lines


async def test_tls_is_checked_as_the_address_says(tmp_path: Path) -> None:
    authority, other = create_authority(tmp_path / "a"), create_authority(tmp_path / "b")
    if b"openssl" not in (find_binaries() / "postgres").read_bytes().lower():
        return  # the wheel's server has no TLS: its own test says so
    async with PostgresServer(authority) as server:
        full = server.url().replace("sslmode=require", "sslmode=verify-full")
        trusted = database_at(f"{full}&sslrootcert={authority.ca_file}")
        assert await trusted.history() == ()
        with pytest.raises(PermanentError, match="certificate"):
            await database_at(f"{full}&sslrootcert={other.ca_file}").history()
        with pytest.raises(AccessDeniedError, match="no encryption"):
            await database_at(full.replace("verify-full", "disable")).history()
