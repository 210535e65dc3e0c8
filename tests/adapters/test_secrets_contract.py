"""What every `Secrets` keeps, asked of the memory twin, the environment and Key Vault."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Protocol

import pytest

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.key_vault import EnvironmentSecrets, KeyVaultSecrets
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.memory.world import Fault
from controller.core.errors import TransientError
from controller.ports import Secrets
from sandbox.key_vault import AUDIENCE, KeyVault
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential

NAME = "webhook-acr"
VALUE = "s3cret & value"


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def secrets(self) -> Secrets: ...

    def put(self, value: str) -> None:
        """Give `NAME` a new value."""
        ...

    def age(self) -> None:
        """Let what may be kept in memory become old."""
        ...


class MemoryStand:
    def __init__(self) -> None:
        self.secrets = MemorySecrets()

    def put(self, value: str) -> None:
        self.secrets.put(NAME, value)

    def age(self) -> None:
        pass


class EnvironmentStand:
    def __init__(self) -> None:
        self._environment: dict[str, str] = {"SLIPWAY_SECRET_EMPTY": ""}
        self.secrets = EnvironmentSecrets(self._environment)

    def put(self, value: str) -> None:
        self._environment["SLIPWAY_SECRET_WEBHOOK_ACR"] = value

    def age(self) -> None:
        pass


class VaultStand:
    """The adapter, its SDK, over sockets."""

    def __init__(self, vault: KeyVault, authority: Authority) -> None:
        self.vault = vault
        self.clock = ManualClock()
        self.secrets = KeyVaultSecrets(
            vault.url,
            Credential(AUDIENCE),
            verify_challenge_resource=False,  # an address has no domain to compare
            now=self.clock.now,
            options={"retry_total": 0, **connection_options(authority.ca_file)},
        )

    def put(self, value: str) -> None:
        self.vault.put(NAME, value)

    def age(self) -> None:
        self.clock.advance(timedelta(minutes=5))

    def asked(self) -> int:
        return self.vault.requests["get"] + self.vault.requests["get-version"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def vault(authority: Authority) -> AsyncIterator[VaultStand]:
    server = KeyVault(authority)
    await server.start()
    stand = VaultStand(server, authority)
    yield stand
    await stand.secrets.close()
    await server.stop()


@pytest.fixture(params=["memory", "environment", "vault"])
def stand(request: pytest.FixtureRequest, vault: VaultStand) -> Stand:
    if request.param == "vault":
        return vault
    return MemoryStand() if request.param == "memory" else EnvironmentStand()


async def test_a_secret_is_given_by_name(stand: Stand) -> None:
    """As it is, blanks and all."""
    stand.put(VALUE)

    assert await stand.secrets.get(NAME) == VALUE


async def test_a_secret_that_is_not_there_is_none(stand: Stand) -> None:
    """Nor is an empty one, nor a name that cannot be."""
    for name in ("nobody", "empty", "", "a/b", "../x", "ü"):
        assert await stand.secrets.get(name) is None


async def test_a_rotated_secret_is_seen(stand: Stand) -> None:
    """Once what is kept has aged, without a restart."""
    stand.put(VALUE)
    assert await stand.secrets.get(NAME) == VALUE
    stand.put("rotated")
    stand.age()

    assert await stand.secrets.get(NAME) == "rotated"


async def test_a_secret_that_comes_later_is_seen(stand: Stand) -> None:
    """That it was absent is not remembered for long."""
    assert await stand.secrets.get(NAME) is None
    stand.put(VALUE)
    stand.age()

    assert await stand.secrets.get(NAME) == VALUE


async def test_values_do_not_show(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a representation nor in a log, however talkative."""
    with caplog.at_level(logging.DEBUG):
        stand.put(VALUE)
        assert await stand.secrets.get(NAME) == VALUE
        shown = f"{stand.secrets!r} {vars(stand.secrets).get('_kept')!r}"

    assert VALUE not in shown
    assert not any(VALUE in record.getMessage() for record in caplog.records)


# --- Key Vault alone ------------------------------------------------------------------------------


async def test_the_vault_is_asked_once_per_five_minutes(vault: VaultStand) -> None:
    """However many webhooks come at once; an absent secret is asked for again after 30 s."""
    vault.put(VALUE)
    await asyncio.gather(*(vault.secrets.get(NAME) for _ in range(20)))
    vault.clock.advance(timedelta(minutes=4, seconds=59))
    assert await vault.secrets.get(NAME) == VALUE
    assert vault.asked() == 1

    before = vault.asked()
    for seconds in (0, 29, 1):
        vault.clock.advance(timedelta(seconds=seconds))
        await vault.secrets.get("nobody")
    assert vault.asked() == before + 2


async def test_an_old_value_serves_while_the_vault_is_away_but_not_for_ever(
    vault: VaultStand, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour from when it was read; the log says so; then it is an error."""
    vault.put(VALUE)
    assert await vault.secrets.get(NAME) == VALUE
    await vault.vault.stop()
    vault.clock.advance(timedelta(minutes=59))
    assert await vault.secrets.get(NAME) == VALUE
    assert "served from memory" in caplog.text
    assert VALUE not in caplog.text
    vault.clock.advance(timedelta(minutes=1))

    with pytest.raises(TransientError, match=NAME):
        await vault.secrets.get(NAME)


async def test_a_vault_that_is_away_is_not_asked_at_every_webhook(
    vault: VaultStand, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten seconds pass between attempts, and the value comes back fresh after them."""
    vault.put(VALUE)
    await vault.secrets.get(NAME)
    vault.vault.denied.add("controller")
    vault.age()
    for _ in range(5):
        assert await vault.secrets.get(NAME) == VALUE
    assert caplog.text.count("does not give") == 1
    with pytest.raises(TransientError):
        await vault.secrets.get("never-read")
    assert caplog.text.count("does not give") == 1

    vault.vault.denied.clear()
    vault.put("rotated")
    assert await vault.secrets.get(NAME) == VALUE
    vault.clock.advance(timedelta(seconds=10))
    assert await vault.secrets.get(NAME) == "rotated"


async def test_a_missing_role_is_an_error_and_not_an_absent_secret(vault: VaultStand) -> None:
    """Else every webhook would be refused as unsigned, and nobody would know why."""
    vault.put(VALUE)
    vault.vault.denied.add("controller")

    with pytest.raises(TransientError, match="Key Vault Secrets User"):
        await vault.secrets.get(NAME)


async def test_a_disabled_secret_is_no_secret(vault: VaultStand) -> None:
    """Whoever disables it wants it out of use, even where an old value is in memory."""
    vault.put(VALUE)
    assert await vault.secrets.get(NAME) == VALUE
    vault.vault.put(NAME, "leaked", enabled=False)
    vault.age()

    assert await vault.secrets.get(NAME) is None


async def test_a_silent_vault_is_given_up_in_time(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who takes the connection and says nothing costs a bounded time."""
    monkeypatch.setattr("controller.adapters.azure.key_vault._TOTAL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        options: dict[str, Any] = connection_options(authority.ca_file)
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        secrets = KeyVaultSecrets(url, Credential(AUDIENCE), options=options)
        async with asyncio.timeout(10):
            with pytest.raises(TransientError):
                await secrets.get(NAME)
        await secrets.close()


# --- The memory twin alone ------------------------------------------------------------------------


async def test_bad_weather_can_be_ordered() -> None:
    """A fault meets the next call only; a secret can be taken away."""
    secrets = MemorySecrets({NAME: VALUE})
    secrets.weather.script("secret", Fault.TRANSIENT)
    with pytest.raises(TransientError):
        await secrets.get(NAME)
    assert await secrets.get(NAME) == VALUE
    secrets.put(NAME, None)
    assert await secrets.get(NAME) is None
