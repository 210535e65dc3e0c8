"""Dumps and restores by PostgreSQL's own programs, against a real server."""

import asyncio
import os
import signal
import stat
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from controller.adapters.postgres.client_tools import failure, find_tool
from controller.adapters.postgres.dumps import PostgresDumper
from controller.core.errors import (
    AccessDeniedError,
    BackupDamagedError,
    PermanentError,
    SlipwayError,
    TransientError,
)
from controller.ports_data import DatabaseLogin
from sandbox.postgres import find_binaries
from tests.runtime.backups_kit import (
    SHOP,
    a_database,
    a_server,
    connected,
    contents,
    end_sessions,
    run,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[3]
PROGRAMS = [find_binaries()]  # of the server's own version
DUMPER = PostgresDumper(places=PROGRAMS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[DatabaseLogin]:
    async with a_server() as login:
        yield login


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(server: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    async with a_database(server, SHOP) as login:
        yield login


@pytest_asyncio.fixture(loop_scope="module")
async def empty(server: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    async with a_database(server) as login:
        yield login


def dump(login: DatabaseLogin, *, snapshot: str | None = None) -> AsyncGenerator[bytes]:
    return DUMPER.dump(login.address, login.password, snapshot=snapshot)


async def whole(login: DatabaseLogin) -> bytes:
    return b"".join([piece async for piece in dump(login)])


async def pieces(data: bytes, size: int = 1000) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def restore(login: DatabaseLogin, stream: AsyncIterator[bytes]) -> None:
    await DUMPER.restore(login.address, login.password, stream)


# --- There and back -------------------------------------------------------------------------------


async def test_everything_comes_back_row_for_row(shop: DatabaseLogin, empty: DatabaseLogin) -> None:
    await restore(empty, dump(shop))

    assert await contents(empty) == await contents(shop)
    next_id = "INSERT INTO orders (customer) VALUES (1) RETURNING id"
    assert await run(empty, next_id) == [(2001,)]


async def test_a_dump_is_of_the_snapshot_it_is_given(
    server: DatabaseLogin, empty: DatabaseLogin
) -> None:
    """What is written after the snapshot was taken is not in it."""
    script = "CREATE TABLE a AS SELECT generate_series(1, 2000)"
    async with a_database(server, script) as login, connected(login) as holder:
        await holder.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        cursor = await holder.execute("SELECT pg_export_snapshot()")
        (name,) = await cursor.fetchone() or ("",)
        await run(login, "DELETE FROM a", "CREATE TABLE b ()")
        await restore(empty, dump(login, snapshot=name))
    assert await run(empty, "SELECT count(*) FROM a") == [(2000,)]
    assert await run(empty, "SELECT to_regclass('b')") == [(None,)]


async def test_who_reads_slowly_slows_the_dump_down(server: DatabaseLogin) -> None:
    """Nothing is read ahead but what pipes hold: the program waits in its write."""
    noise = (
        "CREATE TABLE noise (data bytea);"
        "INSERT INTO noise SELECT (SELECT string_agg(sha512((n * 64 + m)::text::bytea), ''::bytea)"
        " FROM generate_series(1, 64) m) FROM generate_series(1, 4000) n"  # 16 MB, incompressible
    )
    async with a_database(server, noise) as login, aclosing(dump(login)) as stream:
        count = len(await anext(stream))
        (child,) = children("pg_dump")
        seen: deque[int] = deque(maxlen=8)  # it waits when nothing has moved for so many looks
        await until(lambda: seen.append(written_by(child)) or seen.count(seen[0]) == 8)
        assert written_by(child) < 6 << 20
        count += sum([len(piece) async for piece in stream])
        assert count > 16 << 20


# --- Nobody hears the password --------------------------------------------------------------------


async def test_the_password_is_in_no_argument_of_any_process(
    shop: DatabaseLogin, empty: DatabaseLogin
) -> None:
    """Every process's command line is looked at while both programs run."""
    seen: list[str] = []

    async def watched() -> AsyncIterator[bytes]:
        async for piece in dump(shop):
            for _ in range(3):
                seen.extend(command_lines())
                await asyncio.sleep(0.01)
            yield piece

    await restore(empty, watched())
    assert any("pg_dump" in line for line in seen)
    assert any("pg_restore" in line for line in seen)
    assert not [line for line in seen if shop.password in line]


async def test_a_wrong_password_is_told_without_it(shop: DatabaseLogin) -> None:
    wrong = replace(shop, password="hunter2-and-more")
    with pytest.raises(AccessDeniedError, match="password authentication failed") as raised:
        await whole(wrong)
    assert "hunter2" not in str(raised.value)
    assert str(shop.address) in str(raised.value)


@pytest.mark.parametrize(
    ("said", "kind", "shown", "hidden"),
    [
        pytest.param(
            "pg_dump: error: server version: 17.2; pg_dump version: 15.4\n"
            "pg_dump: detail: aborting because of server version mismatch",
            PermanentError, "postgresql-client-17", "aborting", id="older-client",
        ),
        pytest.param(
            "pg_restore: error: could not execute query: ERROR:  duplicate key value\n"
            "DETAIL:  Key (mail)=(eve@example.com) already exists.\nCONTEXT: COPY a, line 1",
            PermanentError, "duplicate key value", "eve@example.com", id="rows",
        ),
        pytest.param(
            'pg_restore: error: COPY failed for table "a": ERROR:  invalid input syntax for type'
            ' integer: "4111 1111"', PermanentError, "invalid input syntax", "4111", id="values",
        ),
        pytest.param(
            'pg_dump: error: connection to server at "db" failed: FATAL:  s3cret-word rejected',
            PermanentError, "*** rejected", "s3cret-word", id="password",
        ),
        pytest.param(
            'pg_dump: error: Dumping the contents of table "a" failed: PQgetResult() failed.\n'
            "pg_dump: detail: Error message from server: server closed the connection unexpectedly",
            TransientError, "server closed the connection", "\n", id="cut",
        ),
        pytest.param("", PermanentError, "said nothing", "s3cret", id="silence"),
    ],
)  # fmt: skip
async def test_complaints_are_shortened_and_masked(
    said: str, kind: type[SlipwayError], shown: str, hidden: str, server: DatabaseLogin
) -> None:
    error = failure(said.encode(), 1, server.address, "s3cret-word")
    assert type(error) is kind
    assert shown in str(error)
    assert hidden not in str(error)


# --- Half a dump ----------------------------------------------------------------------------------


async def test_a_connection_that_is_cut_half_way_is_an_error_after_the_stream(
    server: DatabaseLogin,
) -> None:
    rows = "CREATE TABLE a AS SELECT n, md5(n::text) FROM generate_series(1, 600000) n"
    async with a_database(server, rows) as login:

        async def read() -> None:
            async with aclosing(dump(login)) as stream:
                async for _ in stream:
                    await end_sessions(login)

        with pytest.raises(TransientError):
            await read()


async def test_who_stops_reading_leaves_no_child(shop: DatabaseLogin) -> None:
    async with aclosing(dump(shop)) as stream:
        await anext(stream)
    assert children("pg_dump") == []


async def test_a_killed_parent_leaves_no_child(shop: DatabaseLogin) -> None:
    """SIGKILL while pg_dump waits for a lock, where no pipe would tell it."""
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from controller.adapters.postgres.dumps import PostgresDumper\n"
        "from controller.ports_data import DatabaseAddress\n"
        "async def main():\n"
        "    address = DatabaseAddress(host=sys.argv[1], port=int(sys.argv[2]),"
        " database=sys.argv[3], user=sys.argv[4], sslmode='disable')\n"
        "    dumper = PostgresDumper(places=[Path(sys.argv[5])])\n"
        "    async for _ in dumper.dump(address, sys.stdin.readline().strip()): pass\n"
        "asyncio.run(main())\n"
    )
    at = shop.address
    async with connected(shop) as locking:
        await locking.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, at.host, str(at.port), at.database, at.user,
            str(PROGRAMS[0]), cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert parent.stdin is not None
        parent.stdin.write(f"{shop.password}\n".encode())
        await parent.stdin.drain()
        child = await until_there(parent.pid)
        os.kill(parent.pid, signal.SIGKILL)
        await parent.wait()
        await until(lambda: not is_running(child))


async def test_a_stream_that_breaks_stops_the_restore(
    shop: DatabaseLogin, empty: DatabaseLogin
) -> None:
    """The vault says that the rest is damaged: that is the error, and no program is left."""
    data = await whole(shop)

    async def damaged() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        raise BackupDamagedError("Part database was changed.", fix="Take another.")

    with pytest.raises(BackupDamagedError, match="was changed"):
        await restore(empty, damaged())
    assert children("pg_restore") == []


@pytest.mark.parametrize("kept", [0, 3, 40, 2000])
async def test_half_a_dump_is_not_restored(
    kept: int, shop: DatabaseLogin, empty: DatabaseLogin
) -> None:
    data = await whole(shop)
    with pytest.raises(PermanentError):
        await restore(empty, pieces(data[:kept]))


async def test_the_stream_is_read_to_its_end_even_if_the_program_has_enough(
    shop: DatabaseLogin, empty: DatabaseLogin
) -> None:
    """Only the end of the stream tells that it was whole."""
    data = await whole(shop)
    ended = False

    async def longer() -> AsyncIterator[bytes]:
        nonlocal ended
        yield data
        for _ in range(64):
            yield bytes(1 << 16)
        ended = True

    await restore(empty, longer())
    assert ended


async def test_a_restore_over_what_is_there_fails_at_the_first_error(
    shop: DatabaseLogin,
) -> None:
    with pytest.raises(PermanentError, match="already exists"):
        await restore(shop, dump(shop))


# --- Which program --------------------------------------------------------------------------------


def a_program(place: Path, name: str, version: str) -> Path:
    place.mkdir()
    path = place / name
    path.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n", encoding="ascii")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return place


async def test_the_newest_program_is_taken(tmp_path: Path) -> None:
    places = [
        a_program(tmp_path / version, "pg_dump", version) for version in ("9.6.2", "17.1", "15.4")
    ]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pg_dump").write_text("no program", encoding="ascii")
    found = find_tool("pg_dump", [tmp_path / "broken", *places])
    assert (found.path, found.major) == (str(tmp_path / "17.1" / "pg_dump"), 17)


async def test_no_program_at_all_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="postgresql-client"):
        find_tool("pg_dump", [tmp_path])


# --- Looking at processes -------------------------------------------------------------------------


def command_lines() -> list[str]:
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # gone meanwhile
    return lines


def children(name: str, parent: int | None = None) -> list[int]:
    """Return our children that dump or restore by *name* (and do not only tell their version)."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            rest = (path / "stat").read_text().rpartition(")")[2].split()
            words = (path / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # gone meanwhile
        runs = Path(words[0]).name == name and "--format=custom" in words
        if runs and int(rest[1]) == (parent or os.getpid()):
            found.append(int(path.name))
    return found


async def until_there(parent: int) -> int:
    """Return the pg_dump of *parent* that waits for its lock."""
    await until(lambda: bool(children("pg_dump", parent)))
    return children("pg_dump", parent)[0]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def written_by(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
