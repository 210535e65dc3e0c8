"""A real PostgreSQL on loopback, as short-lived as a test."""

import asyncio
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self
from urllib.parse import quote

import psycopg
from psycopg import AsyncConnection, sql

from sandbox.postgres.binaries import find_binaries
from sandbox.postgres.cluster import SUPERUSER, TEMPLATE_PASSWORD, make_cluster
from sandbox.postgres.owner import find_owner, runnable
from sandbox.postgres.places import Place, make_place
from sandbox.tls import Authority

_START_SECONDS = 60.0  # a quarter of a second when idle; a loaded machine needs patience
_STOP_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_PORT_TRIES = 3
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "fsync": "off",  # what a power cut destroys is thrown away anyway
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class PostgresServerError(Exception):
    """The server did not come up; the message holds what it logged."""


class PostgresServer:
    """A server with databases of your own. Use as an asynchronous context manager.

    Who connects needs a password (SCRAM); with *authority*, TLS as well. The user `postgres` is
    a superuser, which nobody is on Azure: `create_user` makes one like those there.

    The server ends when this process does, however it ends: its kernel sends it SIGQUIT. Where
    that is no Linux, a killed process leaves it behind. Data is on disk until `stop`; what a
    killed process left there, the next server removes.

    Args:
        authority: for TLS, which the wheel's server was built without.
        settings: of postgresql.conf, beside those that make it fast.
        binaries: directory of the programs; None: found.
    """

    def __init__(
        self,
        authority: Authority | None = None,
        *,
        settings: dict[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.user = SUPERUSER
        self.password = secrets.token_urlsafe(18)
        self._password_now = TEMPLATE_PASSWORD
        self._authority = authority
        self._settings = {**_SETTINGS, **(settings or {})}
        self._binaries = binaries
        self._owner = find_owner()
        self._place: Place | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What the server has logged."""
        path = self._place.path / "server.log" if self._place else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    def url(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """Return the connection string of *database*, password included."""
        login = f"{quote(user or self.user, safe='')}:{quote(password or self.password, safe='')}"
        sslmode = "require" if self._authority else "disable"
        place = f"{self.host}:{self.port}/{quote(database, safe='')}"
        return f"postgresql://{login}@{place}?sslmode={sslmode}"

    async def start(self) -> None:
        """Start it on a free port and return when it takes connections.

        Raises:
            PostgresServerError: it ended, or took no connections in time.
            PostgresMissingError: no PostgreSQL is installed.
        """
        binaries = await asyncio.to_thread(self._prepare)
        self._password_now = TEMPLATE_PASSWORD
        try:
            for left in reversed(range(_PORT_TRIES)):
                self.port = _free_port()
                await self._launch(binaries)
                if await self._is_up(may_lose_port=left > 0):
                    break
            await self._set_password()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it and its clients' connections, and remove its data. Safe twice."""
        await self._end(signal.SIGINT)
        place, self._place = self._place, None
        if place is not None:
            await asyncio.to_thread(place.remove)

    async def restart(self, *, crash: bool = False) -> None:
        """End it, with *crash* as if it had crashed, and start it with the same data and port."""
        await self._end(signal.SIGQUIT if crash else signal.SIGINT)
        await self._launch(await asyncio.to_thread(self._programs))
        await self._is_up(may_lose_port=False)

    async def create_database(self, name: str, *, owner: str | None = None) -> str:
        """Make a database and return its URL."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if owner is not None:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        await self.execute(statement)
        return self.url(name)

    async def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    async def create_user(self, name: str, password: str) -> None:
        """Make a user who may log in and create databases, and nothing else."""
        await self.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )

    async def execute(
        self, statement: LiteralString | sql.SQL | sql.Composed, *, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser and return its rows."""
        async with await AsyncConnection.connect(self.url(database), autocommit=True) as connection:
            cursor = await connection.execute(statement)
            return await cursor.fetchall() if cursor.description else []

    # --- The process ------------------------------------------------------------------------

    def _programs(self) -> Path:
        return runnable(self._binaries or find_binaries(), self._owner)

    def _prepare(self) -> Path:
        binaries = self._programs()
        self._place = make_place()
        make_cluster(binaries, self._owner, self._place.path / "data", self._authority)
        return binaries

    async def _launch(self, binaries: Path) -> None:
        if self._place is None:
            raise PostgresServerError("PostgreSQL is stopped, and its data is gone. Call start().")
        ssl = "on" if self._authority else "off"
        settings = {**self._settings, "port": str(self.port), "ssl": ssl}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(self._place.path / "data"), *options]
        with (self._place.path / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._owner.command(command),
                cwd=self._place.path,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _is_up(self, *, may_lose_port: bool) -> bool:
        """Wait until it takes connections; False if somebody took the port first."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers():
                    if self._process is None or self._process.returncode is not None:
                        break
                    await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    return True
        except TimeoutError:
            raise PostgresServerError(f"PostgreSQL took no connections:\n{self.log}") from None
        if "not supported by this build" in self.log:
            raise PostgresServerError(
                "This PostgreSQL was built without TLS, as that of the wheel is. Install another"
                " (Debian: postgresql), or give no authority."
            )
        if may_lose_port and "Address already in use" in self.log:
            return False
        raise PostgresServerError(f"PostgreSQL ended:\n{self.log}")

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        # It listens before it has recovered: only a login tells.
        with suppress(psycopg.OperationalError):
            url = self.url(password=self._password_now)
            async with await AsyncConnection.connect(url, connect_timeout=10):
                return True
        return False

    async def _set_password(self) -> None:
        async with await AsyncConnection.connect(
            self.url(password=TEMPLATE_PASSWORD), autocommit=True
        ) as connection:
            # Hashed here: the plain text never reaches the server, its log or its statistics.
            hashed = connection.pgconn.encrypt_password(
                self.password.encode(), SUPERUSER.encode(), b"scram-sha-256"
            )
            await connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(SUPERUSER), sql.Literal(hashed.decode())
                )
            )
        self._password_now = self.password

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        for sign in (how, signal.SIGQUIT, signal.SIGKILL):
            if process is None or process.returncode is not None:
                return
            with suppress(ProcessLookupError):
                process.send_signal(sign)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
