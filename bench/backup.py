"""Backup and restore of ours against `pg_dump -Fc | cat > file` and `pg_restore`, in one run.

    python -m bench.backup --gb 1

Everything runs on one machine: PostgreSQL, Azurite (which Azure would run elsewhere), and we.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from psycopg import sql

from bench.report import Figure, show, spread
from sandbox import tokens
from sandbox.postgres import PostgresServer, find_binaries
from sandbox.storage import Storage
from sandbox.tls import create_authority

ROOT = Path(__file__).resolve().parents[1]
_ROW_BYTES = 500  # on disk, about
_FILL = """
CREATE TABLE orders AS
SELECT n AS id, n % 100000 AS customer, now() - n * interval '1 second' AS at,
       (random() * 10000)::numeric(12, 2) AS price,
       md5(n::text) || md5((n * 7)::text) || repeat(' lorem ipsum dolor sit amet', 12) AS note
FROM generate_series(1, {rows}) n
"""
_FINISH = ("ALTER TABLE orders ADD PRIMARY KEY (id)", "CREATE INDEX ON orders (customer)")
_DUMP = "{bin}/pg_dump {where} -Fc shop | cat > {place}/plain.dump"
_GOAL = 1.3
_GOAL_MB = 200


class Bench:
    """One server, one storage, one database."""

    def __init__(
        self, server: PostgresServer, storage: Storage, ca_file: Path, place: Path
    ) -> None:
        self.server = server
        self.place = place
        self.binaries = find_binaries()
        self.given: dict[str, Any] = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "binaries": str(self.binaries),
            "blob_url": storage.blob_url,
            "ca_file": str(ca_file),
            "token": tokens.mint("https://storage.azure.com", "bench")[0],
        }

    async def fill(self, gigabytes: float) -> int:
        """Make the database and return its size in bytes."""
        await self.server.create_database("shop")
        rows = int(gigabytes * (1 << 30) / _ROW_BYTES)
        for statement in (
            sql.SQL(_FILL).format(rows=rows),
            *_FINISH,
            "VACUUM ANALYZE",
            "CHECKPOINT",
        ):
            await self.server.execute(statement, database="shop")
        ((size,),) = await self.server.execute("SELECT pg_database_size('shop')")
        return int(size)

    async def ours(self, what: str, database: str, **more: str) -> dict[str, Any]:
        """Run one piece of our work in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.backup_worker", cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        given = json.dumps({**self.given, "what": what, "database": database, **more})
        printed, _ = await process.communicate(given.encode())
        return dict(json.loads(printed))

    async def empty(self, name: str | None = None) -> None:
        """Remove what was restored, make *name*, and let the server write all it owes."""
        for other in ("plain", "loaded", "restored"):
            await self.server.drop_database(other)
        if name is not None:
            await self.server.create_database(name)
        await self.server.execute("CHECKPOINT")

    async def plain(self, command: str) -> float:
        """Run a shell's pipeline and return its seconds."""
        environment = {**os.environ, "PGPASSWORD": self.server.password}
        where = f"-h {self.server.host} -p {self.server.port} -U {self.server.user}"
        begin = time.perf_counter()
        await asyncio.to_thread(
            subprocess.run,
            ["/bin/sh", "-c", command.format(bin=self.binaries, where=where, place=self.place)],
            env=environment,
            check=True,
        )
        return time.perf_counter() - begin


async def measure(gigabytes: float) -> list[Figure]:
    """Measure everything in one run."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        authority = create_authority(place)
        settings = {"max_wal_size": "4GB"}
        async with (
            PostgresServer(settings=settings) as server,
            Storage(authority, place, in_memory=False) as storage,
        ):
            bench = Bench(server, storage, authority.ca_file, place)
            return await _figures(bench, await bench.fill(gigabytes))


async def _figures(bench: Bench, size: int) -> list[Figure]:
    """Measure theirs before and after ours: what else the machine does shows in both."""
    dumping = [await bench.plain(_DUMP)]
    dump = await bench.ours("dump", "shop")
    create = await bench.ours("create", "shop")
    dumping.append(await bench.plain(_DUMP))
    restoring = [await _restored(bench)]
    await bench.empty("loaded")
    load = await bench.ours("load", "loaded", set_id=create["said"])
    await bench.empty()
    restore = await bench.ours("restore", "shop", set_id=create["said"])
    restoring.append(await _restored(bench))
    stored = (bench.place / "plain.dump").stat().st_size
    return [
        Figure(name="database, its dump", measured=f"{size >> 20} MiB, {stored >> 20} MiB"),
        Figure(name="pg_dump -Fc | cat > file", measured=spread(dumping)),
        *_against("dump, sealed and uploaded", dump, dumping),
        *_against("whole set, with what it has to equal", create, dumping),
        Figure(name="pg_restore", measured=spread(restoring)),
        *_against("downloaded, opened and restored", load, restoring),
        *_against("restored, compared and exchanged", restore, restoring),
    ]


async def _restored(bench: Bench) -> float:
    await bench.empty("plain")
    return await bench.plain("{bin}/pg_restore {where} -d plain {place}/plain.dump")


def _against(name: str, ours: dict[str, Any], theirs: list[float]) -> list[Figure]:
    ratio = ours["seconds"] / (sum(theirs) / len(theirs))
    return [
        Figure(
            name=name,
            measured=f"{ours['seconds']:.1f} s, {ratio:.2f} x",
            goal=f"<= {_GOAL} x",
            met=ratio <= _GOAL,
        ),
        Figure(
            name="  peak memory of its process",
            measured=f"{ours['peak_mb']:.0f} MB",
            goal=f"< {_GOAL_MB} MB",
            met=ours["peak_mb"] < _GOAL_MB,
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gb", type=float, default=1.0, help="size of the database")
    show(asyncio.run(measure(parser.parse_args().gb)))


if __name__ == "__main__":
    main()
