"""The environment, read once: everything that is wrong at once, and no secret in sight."""

from datetime import timedelta

import pytest

from controller.adapters.azure.entra import ACTION_GROUPS, AUTHORITY
from controller.core.errors import ConfigurationError
from controller.settings import Settings
from controller.wiring import House

LEAST = {
    "SLIPWAY_CONFIG": "apps.yaml",
    "ServiceBus__fullyQualifiedNamespace": "slipway.servicebus.windows.net",
    "AzureWebJobsStorage__accountName": "slipwaystate",
}
CONNECTION = "Endpoint=sb://localhost;SharedAccessKeyName=Root;SharedAccessKey=hush-hush"


def test_three_settings_are_enough_on_azure() -> None:
    settings = Settings.read(LEAST)

    assert settings.table_url == "https://slipwaystate.table.core.windows.net"
    assert settings.blob_url == "https://slipwaystate.blob.core.windows.net"
    assert settings.arm_endpoint == "https://management.azure.com"
    assert settings.logs_endpoint == "https://api.loganalytics.io"
    assert settings.table == "slipway"
    assert settings.site_scheme == "https"
    assert settings.sweep_grace == timedelta(seconds=60)
    assert settings.config_refresh == timedelta(seconds=30)
    assert settings.acr_hosts == frozenset()
    assert settings.key_vault_url is None
    assert settings.key_vault_verify_challenge is True
    assert settings.ca_file is None


def test_every_problem_is_named_at_once() -> None:
    wrong = {
        "KEY_VAULT_VERIFY_CHALLENGE": "perhaps",
        "KEY_VAULT_URL": "slipway-vault",
        "ARM_ENDPOINT": "management.azure.com",
        "SLIPWAY_SITE_SCHEME": "ftp",
        "SLIPWAY_SWEEP_GRACE_SECONDS": "soon",
        "SLIPWAY_CONFIG_REFRESH_SECONDS": "-1",
        "AzureWebJobsStorage__blobServiceUri": "blobs",
    }

    with pytest.raises(ConfigurationError) as refused:
        Settings.read(wrong)

    for name in (
        *wrong,
        "SLIPWAY_CONFIG",
        "ServiceBus__fullyQualifiedNamespace",
        "AzureWebJobsStorage__tableServiceUri",
    ):
        assert f"{name} " in refused.value.what
    assert "docs/settings.md" in refused.value.fix


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e99", "-0.1", "1 min", "0x10"])
def test_odd_numbers_of_seconds_are_refused(seconds: str) -> None:
    with pytest.raises(ConfigurationError, match="SWEEP_GRACE"):
        Settings.read(LEAST | {"SLIPWAY_SWEEP_GRACE_SECONDS": seconds})


@pytest.mark.parametrize("missing", sorted(LEAST))
@pytest.mark.parametrize("value", [None, "", "   "])
def test_what_is_required_is_asked_for_by_name(missing: str, value: str | None) -> None:
    given = {n: v for n, v in LEAST.items() if n != missing} | ({missing: value} if value else {})

    with pytest.raises(ConfigurationError, match=missing.split("__", maxsplit=1)[0]):
        Settings.read(given)


def test_an_emulators_connection_string_stands_for_the_namespace_and_is_never_shown() -> None:
    given = {n: v for n, v in LEAST.items() if not n.startswith("ServiceBus")}

    settings = Settings.read(given | {"ServiceBus": CONNECTION})

    assert settings.service_bus_connection == CONNECTION
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in str(settings)
    assert "hush-hush" not in repr(House(settings))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", set[str]()),
        ("a.io", {"a.io"}),
        ("A.io, b.io ,,", {"a.io", "b.io"}),
        (" , ", set[str]()),
    ],
)
def test_registries_that_may_see_our_token_are_read_with_care(text: str, hosts: set[str]) -> None:
    """An empty name among them would match a registry without a host."""
    assert Settings.read(LEAST | {"SLIPWAY_ACR_HOSTS": text}).acr_hosts == hosts


def test_addresses_lose_their_last_slash() -> None:
    given = {
        "ARM_ENDPOINT": "https://arm.test/",
        "KEY_VAULT_URL": "https://vault.test/",
        "AzureWebJobsStorage__tableServiceUri": "http://127.0.0.1:10002/devstoreaccount1/",
    }

    settings = Settings.read(LEAST | given)

    assert settings.arm_endpoint == "https://arm.test"
    assert settings.key_vault_url == "https://vault.test"
    assert settings.table_url == "http://127.0.0.1:10002/devstoreaccount1"
    assert settings.blob_url == "https://slipwaystate.blob.core.windows.net"


async def test_a_configuration_file_that_is_not_there_is_named() -> None:
    house = House(Settings.read(LEAST | {"SLIPWAY_CONFIG": "/nowhere/apps.yaml"}))

    with pytest.raises(ConfigurationError, match="/nowhere/apps"):
        await house.configuration.apps()


# --- Secure webhooks ------------------------------------------------------------------------------

TENANT = "99999999-AAAA-4444-bbbb-000000000000"


def test_without_an_audience_no_token_is_accepted() -> None:
    assert House(Settings.read(LEAST)).callers is None


async def test_an_audience_and_a_tenant_are_enough_for_a_secure_webhook() -> None:
    given = {"SLIPWAY_ALERTS_AUDIENCE": "api://Slipway, 42", "SLIPWAY_ALERTS_TENANT": TENANT}

    settings = Settings.read(LEAST | given)

    assert settings.alerts_audience == {"api://Slipway", "42"}
    assert settings.alerts_tenant == TENANT.lower()
    assert settings.alerts_app_ids == {ACTION_GROUPS}
    assert settings.alerts_authority == AUTHORITY
    assert House(settings).callers is not None


@pytest.mark.parametrize("tenant", ["", "contoso.onmicrosoft.com", TENANT + "/"])
def test_an_audience_without_the_guid_of_a_tenant_is_refused(tenant: str) -> None:
    given = {"SLIPWAY_ALERTS_AUDIENCE": "api://slipway", "SLIPWAY_ALERTS_TENANT": tenant}

    with pytest.raises(ConfigurationError, match="SLIPWAY_ALERTS_TENANT"):
        Settings.read(LEAST | given)
