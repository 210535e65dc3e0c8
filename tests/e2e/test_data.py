"""The data half on the whole village: migrations, backups, restores and drills, killed half way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from azure.storage.blob.aio import BlobServiceClient

from sandbox.demo_app.images import demo_migrations
from sandbox.village import APP, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Json, under_load, until
from tests.e2e.records import Somebody, kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

MIGRATIONS = {
    **demo_migrations("001_orders", "002_currency"),
    # Takes seconds, and everything of it or nothing: to be killed in the middle of.
    "003_slow.up.sql": (
        b"CREATE TABLE slow (id integer PRIMARY KEY);\n"
        b"INSERT INTO slow SELECT 1 FROM pg_sleep(1.2);\n"
    ),
    "003_slow.down.sql": b"DROP TABLE slow;\n",
}
# So much that it goes up in several blocks, and cannot be made smaller.
LARGE = (
    "CREATE TABLE large AS SELECT n, (SELECT string_agg(sha512((n || '-' || m)::bytea), '')"
    " FROM generate_series(1, 16) AS m) AS noise FROM generate_series(1, 10000) AS n;"
    " ALTER TABLE large ADD PRIMARY KEY (n)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        lock_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        database=True,
        changes={**QUICK, "deadlines": {**QUICK["deadlines"], "migrating": "3m"}},
    )
    async with Village(options) as village:
        yield village


async def job_done(app: App, path: str) -> Json:
    """Return the job at *path* when it has ended; it has to have ended well."""
    job = await job_ended(app, path)
    assert job["state"] == "succeeded", job
    return job


async def job_ended(app: App, path: str) -> Json:
    """Return the job at *path* when it has ended."""

    async def look() -> Json | None:
        job = await app.api.get(path)
        return job if job is not None and job["state"] in {"succeeded", "failed"} else None

    return await until(look, what=f"the end of {path}")


async def ordered(app: App, verb: str, **body: str | bool) -> str:
    """Order maintenance; return where the job is told of."""
    body = {"by": "ann", "reason": "a test", **body}
    status, answer = await app.api.post(f"apps/{app.name}/backups/{verb}", body)
    assert status == 202, answer
    return str(answer["status_url"]).removeprefix("/api/")


async def backups(app: App) -> list[Json]:
    async def look() -> Json | None:
        return await app.api.get(f"apps/{app.name}/backups")

    return list((await until(look, what="the list of backups"))["backups"])


async def arrives(app: App, digest: str) -> Json:
    """Bring a rollout home without waiting for its evidence; return it."""
    await app.reaches(digest, "observing")
    await app.order("promote", by="ann", reason="in a hurry")
    return await app.reaches(digest, "succeeded")


async def happens(village: Village, query: str, what: str) -> None:
    """Wait until the server has a session that does what *query* finds."""

    async def look() -> bool:
        rows = await village.database.server.execute(
            # Else this session would find itself.
            f"SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {query}"  # type: ignore[arg-type]  # noqa: S608 - a test's own words
        )
        return bool(rows)

    await until(look, what=what)


async def test_an_expand_migration_is_applied_once_though_the_controller_is_killed_in_it(
    village: Village,
) -> None:
    """SIGKILL while a statement runs: nothing is half done, and the rollout arrives.

    A set was made before anything ran, and read back. The new build finds its column, the old one
    lives on.
    """
    query = "SELECT id FROM slipway.slipway_migrations ORDER BY id"
    database = village.database.server
    async with kept_well(village, APP), under_load(village, APP) as shop:
        before = await backups(shop)
        digest = await shop.push("v2", migrations=MIGRATIONS, needs="customer,cents,currency")
        await shop.reaches(digest, "migrating")
        await happens(village, "query LIKE 'INSERT INTO slow%'", "the slow statement")
        village.host.kill()
        half = await database.execute("SELECT to_regclass('slow')::text", database="shop")
        await village.host.restart()
        rollout = await arrives(shop, digest)
        await shop.serves("v2")

        assert before == []
        states = [event["to"] for event in rollout["events"] if event["to"]]
        assert states.index("backup") < states.index("migrating") < states.index("staging")
        (made,) = await backups(shop)
        assert (made["condition"], made["verified"]) == ("complete", True)
        assert half == [(None,)]
        assert await database.execute("SELECT id FROM slow", database="shop") == [(1,)]
        applied = [name for (name,) in await database.execute(query, database="shop")]
        assert applied == ["001_orders", "002_currency", "003_slow"]
        assert len(await shop.rollouts(digest)) == 1
        assert shop.failures() == {}


@asynccontextmanager
async def container(village: Village) -> AsyncIterator[Any]:
    """Look at the blobs of backup sets past the controller."""
    service = BlobServiceClient(
        village.storage.blob_url,
        credential=Somebody(),
        connection_verify=str(village.authority.ca_file),
    )
    async with service:
        yield service.get_container_client("backups")


async def uploads(village: Village) -> None:
    """Wait until a part of a set is half there: some of its blocks, and no blob yet."""
    async with container(village) as blobs:

        async def look() -> bool:
            if not await blobs.exists():
                return False
            whole = {name async for name in blobs.list_blob_names()}
            begun = {blob.name async for blob in blobs.list_blobs(include=["uncommittedblobs"])}
            return bool(begun - whole)

        await until(look, what="an upload")


async def test_a_controller_killed_while_a_backup_uploads_ends_it_and_offers_nothing_half(
    village: Village,
) -> None:
    """SIGKILL between two blocks: no set is offered that does not verify; the job goes on."""
    await village.database.run(LARGE)
    async with kept_well(village, APP), under_load(village, APP) as shop:
        known = {each["id"] for each in await backups(shop)}
        path = await ordered(shop, "create")
        await uploads(village)
        village.host.kill()
        await village.host.restart()
        between = [each for each in await backups(shop) if each["id"] not in known]
        job = await job_done(shop, path)
        verified = await job_done(shop, await ordered(shop, "verify", set=job["result"]["set"]))

        assert [each for each in between if each["condition"] == "complete"] == []
        assert job["tries"] >= 2
        assert verified["result"]["passed"] is True
        new = [each for each in await backups(shop) if each["id"] not in known]
        assert [(each["id"], each["condition"]) for each in new] == [
            (job["result"]["set"], "complete")
        ]
        assert shop.failures() == {}


async def test_a_restore_by_http_is_refused_without_the_name_and_brings_every_row_back(
    village: Village,
) -> None:
    """Under traffic: what is there is kept under another name, and backed up before."""
    database = village.database
    async with kept_well(village, APP), under_load(village, APP) as shop:
        chosen = next(s["id"] for s in await backups(shop) if s["condition"] == "complete")
        then = await database.tables()
        await database.run("DELETE FROM large; UPDATE customers SET name = 'nobody'")
        plan = await shop.api.get(f"apps/{APP}/backups/{chosen}/plan")
        wrong = {"by": "ann", "reason": "a test", "set": chosen, "confirm": "ship"}
        status, refusal = await shop.api.post(f"apps/{APP}/backups/restore", wrong)
        untouched = await database.server.execute("SELECT count(*) FROM large", database="shop")
        job = await job_done(shop, await ordered(shop, "restore", set=chosen, confirm="shop"))
        await shop.serves("v2")
        now = await database.tables()

        assert plan is not None
        assert plan["target"] == "shop"
        assert plan["overwrites"] is True
        assert (status, untouched) == (409, [(0,)]), refusal
        assert now == then
        safety = {each["id"]: each for each in await backups(shop)}[job["result"]["safety_set"]]
        assert safety["condition"] == "complete"
        kept = await database.server.execute(
            "SELECT count(*) FROM large", database=job["result"]["kept_as"]
        )
        assert kept == [(0,)]


async def test_a_drill_by_timer_restores_compares_measures_and_cleans_up(village: Village) -> None:
    database = village.database
    query = "SELECT datname FROM pg_database ORDER BY 1"
    async with kept_well(village, APP), under_load(village, APP, rate=None) as shop:
        before = await database.server.execute(query)
        async with (
            aiohttp.ClientSession(headers={"x-functions-key": village.host.master_key}) as http,
            http.post(f"{village.host.url}/admin/functions/dr_drill", json={}) as answer,
        ):
            assert answer.status == 202

        async def look() -> str | None:
            view = await shop.api.get(f"apps/{APP}/jobs")
            drills = [job for job in (view or {"jobs": []})["jobs"] if job["kind"] == "drill"]
            return f"jobs/{drills[0]['id']}" if drills else None

        job = await job_done(shop, await until(look, what="a drill"))

        assert job["result"]["passed"] is True
        assert job["result"]["problems"] == []
        assert job["result"]["rpo_seconds"] > 0
        assert job["result"]["rto_seconds"] > 0
        assert await database.server.execute(query) == before
        (newest, *_) = await backups(shop)
        assert newest["last_mark"]["passed"] is True
