"""The platform's own backups and restores, by the real client, with a new process at each step."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers.models import Server, ServerProperties

from controller.adapters.azure.flexible_server import MARK
from controller.core.data import ServerName
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PermanentError,
    SlipwayError,
)
from controller.ports_data import PlatformBackup, PlatformServer, ServerRestore
from sandbox.app_service.database_servers import ON_DEMAND, Backup
from sandbox.app_service.errors import ArmError, server_is_busy
from sandbox.tls import Authority, create_authority
from tests.adapters.flexible_kit import GROUP, NAME, Stand, a_stand

BACKUP = "dr-20261123T074500Z-0123abcd"
SUBNET = "/subscriptions/s/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/d"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def stand(authority: Authority, tmp_path: Path) -> AsyncIterator[Stand]:
    async with a_stand(authority, tmp_path) as made:
        yield made


def place(name: str) -> ServerName:
    return ServerName(subscription=NAME.subscription, resource_group=GROUP, name=name)


async def taken(stand: Stand, backup: str = BACKUP) -> PlatformBackup | None:
    """One step towards a backup, by a process that is gone afterwards."""
    async with stand.platform() as platform:
        return await platform.take_backup(NAME, backup)


async def restored(stand: Stand, order: ServerRestore) -> PlatformServer | None:
    async with stand.platform() as platform:
        return await platform.restore(order)


def an_order(new: str = "shop-db-2") -> ServerRestore:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    return ServerRestore(source=NAME, new=new, at=at)


def on_demand(name: str, day: int) -> Backup:
    return Backup(name, ON_DEMAND, datetime(2026, 11, day, tzinfo=UTC))


# --- What the sandbox's Resource Manager says to the client as it comes ---------------------------


async def test_the_sdks_own_polling_ends_with_the_backup_and_with_the_new_server(
    stand: Stand,
) -> None:
    stand.databases.seconds = 0.05
    order = an_order()
    async with stand.client() as client:
        backups = client.backups_automatic_and_on_demand
        made = await (await backups.begin_create(GROUP, NAME.name, "by-hand")).result()
        assert (made.name, made.properties.backup_type) == ("by-hand", "Customer On-Demand")
        listed = [each.name async for each in backups.list_by_server(GROUP, NAME.name)]
        assert len(listed) == 4
        assert "by-hand" in listed
        await (await backups.begin_delete(GROUP, NAME.name, "by-hand")).result()
        with pytest.raises(ResourceNotFoundError):
            await backups.get(GROUP, NAME.name, "by-hand")

        wanted = Server(
            location="westeurope",
            properties=ServerProperties(
                create_mode="PointInTimeRestore",
                source_server_resource_id=NAME.resource_id,
                point_in_time_utc=order.at,
            ),
        )
        poller = await client.servers.begin_create_or_update(GROUP, order.new, wanted)
        server = await poller.result()
        assert server.properties.state == "Ready"
        assert server.properties.fully_qualified_domain_name == (
            "shop-db-2.postgres.database.azure.com"
        )
        names = [each.name async for each in client.servers.list_by_resource_group(GROUP)]
        assert names == ["shop-db", "shop-db-2"]


async def test_an_operation_that_fails_tells_the_sdk_why(stand: Stand) -> None:
    stand.databases.fail_next = ArmError(500, "InternalServerError", "it broke")
    async with stand.client() as client:
        backups = client.backups_automatic_and_on_demand
        poller = await backups.begin_create(GROUP, NAME.name, "by-hand")
        with pytest.raises(HttpResponseError, match="it broke"):
            await poller.result()
        assert len([each async for each in backups.list_by_server(GROUP, NAME.name)]) == 3


# --- What a server is -----------------------------------------------------------------------------


async def test_everything_that_the_platform_tells_of_a_server_arrives(stand: Stand) -> None:
    stand.server.geo_redundant, stand.server.retention_days = True, 21
    stand.server.high_availability = "ZoneRedundant"
    async with stand.platform() as platform:
        server = await platform.server(NAME)
        missing = await platform.server(place("no-db"))

    assert missing is None
    assert server is not None
    assert server.is_ready
    assert (server.tier, server.size, server.version) == (
        "GeneralPurpose",
        "Standard_D2ds_v5",
        "17",
    )
    assert (server.storage_gb, server.storage_type) == (128, "Premium_LRS")
    assert (server.high_availability, server.retention_days) == ("ZoneRedundant", 21)
    assert server.is_geo_redundant
    assert not server.is_private
    assert server.earliest_restore == stand.server.earliest_restore
    assert server.tags == {"team": "shop"}
    assert server.host == "shop-db.postgres.database.azure.com"


async def test_what_belongs_to_a_server_is_what_people_made_of_it(stand: Stand) -> None:
    """Parameters that nobody changed are none of it."""
    server = stand.server
    server.firewall_rules["office"] = ("198.51.100.1", "198.51.100.9")
    server.parameters["work_mem"] = "65536"
    server.administrators["9f"] = "dba@contoso.com"
    server.private_endpoints.append("pe-shop")
    server.replicas.append("shop-db-replica")
    server.virtual_endpoints.append("shop")
    async with stand.platform() as platform:
        found = await platform.surroundings(NAME)

    assert found.firewall_rules == {"office": ("198.51.100.1", "198.51.100.9")}
    assert found.parameters == {"work_mem": "65536"}
    assert found.administrators == ("dba@contoso.com",)
    assert found.private_endpoints == ("pe-shop",)
    assert found.replicas == ("shop-db-replica",)
    assert found.virtual_endpoints == ("shop",)


async def test_a_name_that_somebody_in_azure_has_is_not_free(stand: Stand) -> None:
    stand.databases.taken_names.add("shop-db-3")
    async with stand.platform() as platform:
        assert await platform.objection_to(place("shop-db-2")) == ""
        assert "already used" in await platform.objection_to(place("shop-db-3"))


# --- Backups on demand ----------------------------------------------------------------------------


@pytest.mark.parametrize("shows", [pytest.param(True, id="seen"), pytest.param(False, id="hidden")])
async def test_a_backup_is_one_however_often_and_by_whom_it_is_asked_for(
    stand: Stand, *, shows: bool
) -> None:
    """Each step is a new process. While it is made the platform may show it, or answer 500."""
    stand.databases.shows_unfinished = shows
    stand.databases.hold()
    assert await taken(stand) is None
    for _ in range(2):
        if shows:
            assert await taken(stand) is None
        else:
            with pytest.raises(BusyError, match="unexpected error"):
                await taken(stand)
    stand.databases.release()
    made = await taken(stand)
    again = await taken(stand)

    assert made is not None
    assert made == again
    assert (made.name, made.is_on_demand) == (BACKUP, True)
    assert made.completed_at is not None
    assert [each.name for each in stand.server.on_demand] == [BACKUP]


async def test_an_answer_that_was_lost_makes_no_second_backup(stand: Stand) -> None:
    stand.service.faults.lose_response("^PUT .*/backups/")
    with pytest.raises(BusyError):
        await taken(stand)

    made = await taken(stand)

    assert made is not None
    assert [each.name for each in stand.server.on_demand] == [BACKUP]


async def test_a_backup_that_failed_is_asked_for_again(stand: Stand) -> None:
    stand.databases.shows_unfinished = True
    stand.databases.fail_next = ArmError(500, "InternalServerError", "it broke")
    assert await taken(stand) is None
    assert await taken(stand) is None
    assert await taken(stand) is not None
    assert stand.writes() == [f"PUT {BACKUP}"] * 2


@pytest.mark.parametrize(
    ("tier", "storage", "because"),
    [
        pytest.param("Burstable", "Premium_LRS", "tier Burstable", id="burstable"),
        pytest.param("GeneralPurpose", "PremiumV2_LRS", "Premium SSD v2", id="ssd-v2"),
    ],
)
async def test_where_the_platform_takes_none_it_is_said_before_it_is_asked(
    stand: Stand, tier: str, storage: str, because: str
) -> None:
    stand.server.tier, stand.server.storage_type = tier, storage
    with pytest.raises(PermanentError, match=because) as refusal:
        await taken(stand)
    assert "dump" in refusal.value.fix
    assert stand.writes() == []
    async with stand.client() as client:
        with pytest.raises(HttpResponseError, match="not supported"):
            await client.backups_automatic_and_on_demand.begin_create(GROUP, NAME.name, BACKUP)


async def test_of_seven_backups_our_oldest_goes_before_the_next_one(stand: Stand) -> None:
    """People's own are older, and stay; so do those of the platform."""
    by_hand = on_demand("before-the-fair", 1)
    ours = [on_demand(f"dr-202611{day:02}T020000Z-0123abcd", day) for day in range(2, 8)]
    for each in (by_hand, *ours):
        stand.server.backups[each.name] = each
    async with stand.client() as client:
        with pytest.raises(HttpResponseError, match="7 on-demand backups"):
            await client.backups_automatic_and_on_demand.begin_create(GROUP, NAME.name, BACKUP)

    while (made := await taken(stand)) is None:
        assert len(stand.server.on_demand) <= 7

    names = [each.name for each in stand.server.on_demand]
    assert names == [by_hand.name, *(each.name for each in ours[1:]), made.name]
    assert stand.writes()[1:] == [f"DELETE {ours[0].name}", f"PUT {BACKUP}"]
    assert len(stand.server.backups) == 10


async def test_seven_backups_of_other_people_are_never_deleted(stand: Stand) -> None:
    for day in range(1, 8):
        stand.server.backups[f"mine-{day}"] = on_demand(f"mine-{day}", day)
    with pytest.raises(PermanentError, match="Slipway made none of them"):
        await taken(stand)
    assert stand.writes() == []


async def test_a_backup_of_the_platforms_own_is_not_taken_for_one_on_demand(stand: Stand) -> None:
    name = next(iter(stand.server.backups))
    with pytest.raises(PermanentError, match="of type Full"):
        await taken(stand, name)


# --- Refusals -------------------------------------------------------------------------------------

REFUSALS = [
    pytest.param(server_is_busy("shop-db"), OperationInProgressError, "busy", "", id="busy"),
    pytest.param(ArmError(503, "X", "down"), BusyError, "503", "", id="down"),
    pytest.param(
        ArmError(403, "AuthorizationFailed", "no"), AccessDeniedError, "no", "backups/write",
        id="role",
    ),
    pytest.param(
        ArmError(409, "ScopeLocked", "the following scope(s) are locked"), PermanentError,
        "locked", "lock", id="lock",
    ),
    pytest.param(
        ArmError(403, "RequestDisallowedByPolicy", "disallowed by policy"), PermanentError,
        "policy", "exempt", id="policy",
    ),
    pytest.param(
        ArmError(409, "MissingSubscriptionRegistration", "not registered"), PermanentError,
        "not registered", "Microsoft.DBforPostgreSQL", id="provider",
    ),
    pytest.param(ArmError(400, "Odd", "odd thing"), PermanentError, "odd thing", "", id="odd"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "raised", "said", "advice"), REFUSALS)
async def test_a_refusal_says_whether_to_come_back(
    stand: Stand, answer: ArmError, raised: type[SlipwayError], said: str, advice: str
) -> None:
    stand.service.faults.refuse("^PUT .*/backups/", answer)
    with pytest.raises(raised, match=said) as refusal:
        await taken(stand)
    assert type(refusal.value) is raised
    assert advice in refusal.value.fix
    assert len(stand.writes()) == 1  # never repeated by itself


# --- Restores to a point in time ------------------------------------------------------------------


@pytest.mark.parametrize("shows", [pytest.param(True, id="seen"), pytest.param(False, id="hidden")])
async def test_a_restore_is_one_server_however_often_it_is_asked_for(
    stand: Stand, *, shows: bool
) -> None:
    stand.databases.shows_unfinished = shows
    stand.databases.hold()
    order = an_order()
    assert await restored(stand, order) is None
    for _ in range(2):
        if shows:
            assert await restored(stand, order) is None
        else:
            with pytest.raises(BusyError):
                await restored(stand, order)
    stand.databases.release()
    made = await restored(stand, order)

    assert made is not None
    assert made.is_ready
    assert made == await restored(stand, order)
    assert made.tags == {"team": "shop", MARK: f"shop-db@{order.at.isoformat()}"}
    new = stand.databases.named("shop-db-2")
    assert (new.restored_from, new.restored_to) == (NAME.resource_id, order.at)
    assert stand.databases.named("shop-db") is stand.server


async def test_a_lost_answer_makes_no_second_server(stand: Stand) -> None:
    """The HTTP client repeats a PUT on a connection that broke; the second one is refused."""
    stand.service.faults.lose_response("^PUT .*/flexibleServers/")
    order = an_order()

    assert await restored(stand, order) is not None

    assert stand.writes() == ["PUT shop-db-2"] * 2
    assert stand.databases.named("shop-db-2").restored_from == NAME.resource_id


@pytest.mark.parametrize("state", ["Disabled", "Inaccessible"])
async def test_a_server_that_was_made_and_is_broken_is_no_success(stand: Stand, state: str) -> None:
    order = an_order()
    await restored(stand, order)
    assert await restored(stand, order) is not None
    stand.databases.named("shop-db-2").state = state
    with pytest.raises(PermanentError, match=state):
        await restored(stand, order)


async def test_a_server_that_somebody_else_made_is_never_touched(stand: Stand) -> None:
    """Neither one without our mark, nor one of another moment."""
    order = an_order()
    await restored(stand, order)
    assert await restored(stand, order) is not None
    earlier = ServerRestore(source=NAME, new=order.new, at=order.at - timedelta(hours=1))
    itself = ServerRestore(source=NAME, new=NAME.name, at=order.at)
    for other in (earlier, itself):
        with pytest.raises(PermanentError, match="is there already"):
            await restored(stand, other)
    assert stand.writes() == ["PUT shop-db-2"]


async def test_a_name_that_is_taken_elsewhere_is_final(stand: Stand) -> None:
    stand.databases.taken_names.add("shop-db-2")
    with pytest.raises(PermanentError, match="already in use") as refusal:
        await restored(stand, an_order())
    assert "unique in all of Azure" in refusal.value.fix


async def test_a_private_server_stays_in_its_network(stand: Stand) -> None:
    stand.server.subnet, stand.server.private_dns_zone = SUBNET, "/zone"
    order = an_order()
    await restored(stand, order)
    made = await restored(stand, order)

    assert made is not None
    assert made.is_private
    asked = next(each.body for each in stand.service.log if each.method == "PUT")
    assert asked["properties"]["network"] == {
        "delegatedSubnetResourceId": SUBNET,
        "privateDnsZoneArmResourceId": "/zone",
    }
    assert set(asked) == {"location", "tags", "properties"}


async def test_a_moment_outside_of_the_retention_is_refused_for_good(stand: Stand) -> None:
    order = ServerRestore(source=NAME, new="shop-db-2", at=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(PermanentError, match="retention"):
        await restored(stand, order)
    assert stand.databases.under_way(place("shop-db-2").resource_id) is None


async def test_a_server_that_is_not_there_is_named(stand: Stand) -> None:
    order = ServerRestore(source=place("no-db"), new="shop-db-2", at=an_order().at)
    with pytest.raises(PermanentError, match="no server 'no-db'"):
        await restored(stand, order)
