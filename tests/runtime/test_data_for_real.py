"""A release whose migrations are in a registry, for a database that is a PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from controller.activities.bundled_migrations import BundledMigrations
from controller.adapters.bundles.container import ContainerBundles
from controller.adapters.bundles.push import push_to_registry
from controller.adapters.bundles.registry import RegistryBundles
from controller.adapters.bundles.sources import BundleSources
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.postgres.opening import Connections, PostgresDatabases
from controller.adapters.registry_calls import AUDIENCE, RegistryCalls
from controller.core.data import BackupKind, ContractPolicy, DatabaseSpec
from controller.core.model import Rollout, State
from controller.core.plan import Source
from controller.migrations.manifest import with_manifest
from controller.ports_data import BundleName
from controller.runtime.messages import ImageName, SubmitBody
from sandbox import tokens
from sandbox.postgres import PostgresServer
from sandbox.registry import ImageSpec, Registry, RegistryClient
from sandbox.tls import create_authority
from tests.adapters.postgres.kit import fresh, run
from tests.adapters.stands import Credential
from tests.runtime.kit import SECOND, SHOP, Habit, House, Ports, spec, steps

pytestmark = pytest.mark.asyncio(loop_scope="module")

S = State
ORDERS = {
    "001_orders.up.sql": b"CREATE TABLE orders (id int PRIMARY KEY, total int);\n"
    b"INSERT INTO orders SELECT n, n FROM generate_series(1, 100) AS n;",
    "001_orders.down.sql": b"DROP TABLE orders;",
}
CURRENCY = {
    "002_currency.up.sql": b"ALTER TABLE orders ADD COLUMN currency text;\n"
    b"UPDATE orders SET currency = 'EUR' WHERE id <= 50;",
    "002_currency.down.sql": b"ALTER TABLE orders DROP COLUMN currency;",
    "003_index.up.sql": b"CREATE INDEX CONCURRENTLY by_total ON orders (total);",
    "003_index.down.sql": b"DROP INDEX CONCURRENTLY by_total;",
}
FAILS = {
    "002_unique.up.sql": b"ALTER TABLE orders ADD COLUMN n int;\n"
    b"UPDATE orders SET n = 1 / 0 WHERE id = 1;"
}
DROPS = {
    "002_total.up.sql": b"ALTER TABLE orders DROP COLUMN total;",
    "002_total.down.sql": b"ALTER TABLE orders ADD COLUMN total int;",
}
COLUMNS = (
    "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attnum > 0 AND"
    " NOT attisdropped AND attrelid = to_regclass('orders')"
)


@dataclass
class Place:
    """A registry, a server of databases, and what reaches both."""

    registry: Registry
    postgres: PostgresServer
    calls: RegistryCalls
    client: RegistryClient
    pushed: int = 0

    async def rolled_out(
        self, migrations: Mapping[str, bytes], habit: Habit | None = None, **changes: Any
    ) -> "Outcome":
        """Push an image with *migrations*, and roll it out over a database that has orders."""
        self.pushed += 1
        built = ImageSpec(files={"a": bytes([self.pushed])}, entrypoint=("a",), env={})
        digest = await self.client.push("shop", None, built)
        image = f"{self.registry.host}/shop@{digest}"
        files = with_manifest({**ORDERS, **migrations})
        await push_to_registry(self.calls, image, files, at=datetime(2026, 11, 23, tzinfo=UTC))
        url = await fresh(self.postgres)
        real = self.migrations(url)
        database = DatabaseSpec(connection="shop-db", backup=BackupKind.NONE, **changes)
        await real.apply(database, BundleName(image=image), ["001_orders"], rollout="before")
        house = self.house(database, real)
        house.registry.push(self.registry.host, "shop", digest, "v2")
        house.habits[digest] = habit or Habit()
        name = ImageName(registry=self.registry.host, repository="shop", digest=digest, tag="v2")
        await house.send(SubmitBody(app=SHOP, id="push", by="registry", image=name))
        await house.run()
        (rollout,) = await house.rollouts()
        return Outcome(rollout, await house.way(), url)

    def migrations(self, url: str) -> BundledMigrations:
        connections = Connections(secrets=MemorySecrets({"shop-db": url}), credential=None)
        sources = BundleSources(RegistryBundles(self.calls), ContainerBundles(None))
        return BundledMigrations(
            bundles=sources, databases=PostgresDatabases(connections=connections)
        )

    def house(self, database: DatabaseSpec, real: BundledMigrations) -> House:
        base = spec()
        quick = tuple(replace(s, min_observation=15 * SECOND) for s in steps(50))
        app = replace(
            base,
            source=Source(registry=self.registry.host, repository="shop"),
            strategy=replace(base.strategy, steps=quick, bake=10 * SECOND),
            database=database,
        )

        def wrap(ports: Ports) -> Ports:
            return replace(ports, migrations=real)

        return House([app], wrap=wrap)


@dataclass
class Outcome:
    rollout: Rollout
    way: list[State]
    url: str

    async def columns(self) -> str:
        ((found,),) = await run(self.url, COLUMNS)
        return str(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    authority = create_authority(tmp_path_factory.mktemp("tls"))
    registry = Registry(authority)
    await registry.start()
    calls = RegistryCalls(
        Credential(AUDIENCE), azure_hosts=frozenset({registry.host}), ca_file=authority.ca_file
    )
    token, _ = tokens.mint(AUDIENCE, "ci")
    ca_file = authority.ca_file
    async with (
        PostgresServer() as postgres,
        RegistryClient(registry.host, ca_file=ca_file, token=token) as client,
    ):
        yield Place(registry, postgres, calls, client)
    await calls.close()
    await registry.stop()


async def test_what_is_attached_to_the_image_is_tried_applied_and_kept(place: Place) -> None:
    done = await place.rolled_out(CURRENCY)

    assert done.rollout.state is S.SUCCEEDED, done.rollout.why
    assert done.way[:4] == [S.QUEUED, S.PREFLIGHT, S.MIGRATING, S.STAGING]
    assert await done.columns() == "id total currency"
    assert await run(done.url, "SELECT count(*), count(currency) FROM orders") == [(100, 50)]
    assert await run(
        done.url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_total'::regclass"
    ) == [(True,)]
    assert done.rollout.data is not None
    assert done.rollout.data.plan.dry_run.startswith("dry run: 2 statements in ")
    assert any("not tried: 003_index" in told for told in done.rollout.warnings)


async def test_what_would_fail_is_rejected_with_its_reason_and_leaves_nothing(
    place: Place,
) -> None:
    done = await place.rolled_out(FAILS)

    assert done.rollout.state is S.REJECTED
    assert "Dry run:" in done.rollout.why
    assert "002_unique, line 2: division by zero" in done.rollout.why
    assert await done.columns() == "id total"


async def test_what_takes_away_is_refused_or_taken_back(place: Place) -> None:
    refused = await place.rolled_out(DROPS)
    allowed = await place.rolled_out(DROPS, habit=Habit(failing=0.5), contract=ContractPolicy.ALLOW)

    assert refused.rollout.state is S.REJECTED
    assert "002_total takes away" in refused.rollout.why
    assert await refused.columns() == "id total"
    assert allowed.rollout.state is S.ROLLED_BACK
    assert "taken back from the database" in allowed.rollout.why
    assert await allowed.columns() == "id total"
