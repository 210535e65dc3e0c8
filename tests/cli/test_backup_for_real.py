"""`slipway backup` with the real API behind a socket, the real jobs, and a real PostgreSQL."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from controller.adapters.clock import SystemClock
from controller.adapters.memory.bus import MemoryBus
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.cli.main import main
from controller.core.backup_plan import BackupSpec, Keep, PartKind
from controller.core.errors import SlipwayError
from controller.core.plan import AppId, AppSpec
from controller.entry.http import Request, Response, refuse
from controller.entry.maintenance import MaintenanceApi, on_job
from controller.ports_data import DatabaseAddress, DatabaseLogin
from controller.runtime.backups import Backups
from controller.runtime.maintenance import Maintainer
from sandbox.postgres import PostgresServer
from sandbox.web import WebServer
from tests.adapters.postgres import kit
from tests.core.build import spec
from tests.runtime.backups_kit import Subjects, means

Run = Callable[..., tuple[int, str, str]]
BACKUP = BackupSpec(parts=(PartKind.DATABASE,), keep=Keep(keep_last=1, daily=0, min_verified=1))
ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)"
)


@dataclass(frozen=True, slots=True)
class OneApp:
    """Implements `Configuration`."""

    backup: BackupSpec

    async def apps(self) -> Mapping[AppId, AppSpec]:
        return {AppId("shop"): replace(spec(), id=AppId("shop"), backup=self.backup)}


class House:
    """The API on a socket, and one worker at the queue."""

    def __init__(self, database: DatabaseLogin) -> None:
        clock = SystemClock()
        store = MemoryStore()
        self.bus = MemoryBus(clock)
        backups = Backups(means(MemoryVault(), Subjects(database, BACKUP), clock))
        self.maintainer = Maintainer(
            jobs=store, bus=self.bus, clock=clock, history=store, backups=backups
        )
        api = MaintenanceApi(
            configuration=OneApp(BACKUP),
            maintainer=self.maintainer,
            jobs=store,
            clock=clock,
            backups=backups,
            pitr=None,
        )
        app = web.Application()
        app.router.add_post("/api/apps/{app}/backups/{verb}", _door(api.order))
        app.router.add_get("/api/apps/{app}/backups", _door(api.list_backups))
        app.router.add_get("/api/apps/{app}/backups/{set}/plan", _door(api.plan))
        app.router.add_get("/api/apps/{app}/jobs", _door(api.list_jobs))
        app.router.add_get("/api/jobs/{id}", _door(api.get_job))
        self.web = WebServer(app)
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.web.start()
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        await self.web.stop()
        if self._worker is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker

    async def _work(self) -> None:
        while True:
            delivery = self.bus.receive("maintenance")
            if delivery is None:
                await asyncio.sleep(0.02)
                continue
            message = delivery.message
            await on_job(
                message.body,
                session=message.session,
                deliveries=delivery.deliveries,
                message_id=message.id or "",
                maintainer=self.maintainer,
            )
            self.bus.complete(delivery)


def _door(handler: Callable[[Request], Coroutine[Any, Any, Response]]) -> Any:
    """Do what the worker's doors do: route, query and body in, JSON or the error's answer out."""

    async def answer(request: web.Request) -> web.Response:
        asked = Request(
            method=request.method,
            query=dict(request.query),
            route=dict(request.match_info),
            body=await request.read(),
        )
        try:
            said = await handler(asked)
        except SlipwayError as error:
            said = refuse(error)
        return web.json_response(said.body, status=said.status)

    return answer


@pytest.fixture
def database(server: PostgresServer) -> str:
    return asyncio.run(kit.fresh(server, ORDERS))


@pytest.fixture
def backup(
    database: str,
    server: PostgresServer,
    background: Callable[[Coroutine[Any, Any, Any]], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run ``slipway backup`` against the house; returns status, output, messages."""
    address = DatabaseAddress(
        host=server.host,
        port=server.port,
        database=_name(database),
        user=server.user,
        sslmode="disable",
    )
    house = House(DatabaseLogin(address=address, password=server.password))
    background(house.start())
    monkeypatch.setenv("SLIPWAY_URL", house.web.url)
    monkeypatch.delenv("SLIPWAY_KEY", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        waiting = ("--interval", "100ms", "--limit", "60s") if "--wait" in arguments else ()
        status = main(["backup", *arguments, *waiting])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield run
    background(house.stop())


def _name(url: str) -> str:
    return url.rsplit("/", 1)[1].partition("?")[0]


def rows(url: str) -> int:
    return len(asyncio.run(kit.run(url, "SELECT id FROM orders")))


def test_a_database_is_backed_up_lost_and_brought_back(backup: Run, database: str) -> None:
    """Every word of it typed as the plan says."""
    assert backup("list", "shop", "--check")[0] == 1

    status, out, err = backup("create", "shop", "--reason", "before the sale", "--wait")
    assert (status, err) == (0, "")
    made = next(line.split()[1] for line in out.splitlines() if line.startswith("Set "))
    status, out, _ = backup("list", "shop", "--check")
    assert status == 0
    assert "within the RPO of 24 h." in out.splitlines()[0]
    assert made in out
    assert "before the sale" in out

    asyncio.run(kit.run(database, "DELETE FROM orders WHERE id > 3"))
    status, out, err = backup("restore", "shop")
    assert (status, rows(database)) == (4, 3)
    assert "1 tables, 100 rows" in out
    typed = err.splitlines()[0].partition("slipway backup ")[2].split()
    assert typed[:4] == ["restore", made, "--confirm", _name(database)]

    status, out, err = backup(*typed)
    assert (status, err) == (0, "")
    assert rows(database) == 100
    assert "Safety set" in out


def test_a_set_is_verified_drilled_and_cleared_out(backup: Run) -> None:
    made: list[str] = []
    for _ in range(2):
        job = json.loads(backup("create", "shop", "--wait", "--json")[1].splitlines()[-1])
        made.append(job["result"]["set"])
        time.sleep(1.01)  # ids say the second: of two in one, chance says which is newer

    status, out, _ = backup("verify", "shop", "--wait")
    assert (status, "Passed" in out) == (0, True)
    status, out, _ = backup("drill", "shop", "--wait")
    assert status == 0
    assert "RTO objective" in out
    status, out, _ = backup("prune", "shop", "--wait")
    assert status == 0
    assert [line.split()[1:3] for line in out.splitlines() if line.startswith(made[0])] == [
        ["would", "go"]
    ]
    status, out, _ = backup("prune", "shop", "--apply", "--wait")
    assert status == 0
    left = json.loads(backup("list", "shop", "--json")[1])["backups"]
    assert [each["id"] for each in left] == [made[1]]
    status, out, _ = backup("jobs", "shop")
    assert (status, len(out.splitlines())) == (0, 7)
    assert backup("jobs", out.splitlines()[1].split()[0])[0] == 0


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (["create", "nobody"], 4, "SW302: There is no app 'nobody'. Configured apps: shop."),
        (
            ["restore", "{set}", "--confirm", "other"],
            4,
            "is not confirmed. Look at the plan",
        ),
        (
            ["restore", "{set}", "--confirm", "x", "--parts", "dreams"],
            4,
            "There is no part 'dreams'.",
        ),
        (["jobs", "shop-backup-20260101T000000Z-00000000"], 4, "SW310: There is no job"),
    ],
)
def test_what_is_refused_is_told(
    backup: Run, database: str, line: list[str], status: int, said: str
) -> None:
    made = json.loads(backup("create", "shop", "--wait", "--json")[1].splitlines()[-1])
    words = [word.replace("{set}", made["result"]["set"]) for word in line]

    got, out, err = backup(*words)

    assert got == status
    assert said in out + err
    assert rows(database) == 100
