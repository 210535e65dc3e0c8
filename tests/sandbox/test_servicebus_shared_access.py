"""Shared access keys: the broker checks signatures, rights and reach as the service does."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.aio._base_handler_async import ServiceBusSharedKeyCredential
from azure.servicebus.exceptions import (
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
)

from sandbox import tokens
from sandbox.servicebus import Broker, QueueSpec, Right, SharedAccessRule
from sandbox.servicebus.broker import AUDIENCE
from sandbox.servicebus.errors import RefusedError
from sandbox.servicebus.shared_access import EVERY_RIGHT, entity_of, rights_by_signature

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ROOT = SharedAccessRule(name="root", key="root-key")
_SENDER = SharedAccessRule(name="sender", key="k1", rights=frozenset({Right.SEND}))
_LISTENER = SharedAccessRule(name="listener", key="k2", rights=frozenset({Right.LISTEN}))
_ONE = SharedAccessRule(name="one", key="k3", entity="One")
_RULES = [_ROOT, _SENDER, _LISTENER, _ONE]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def broker() -> AsyncIterator[Broker]:
    queues = [QueueSpec(name="one"), QueueSpec(name="two")]
    broker = Broker(queues, tls=None, shared_access=_RULES)
    await broker.start()
    yield broker
    await broker.stop()


class TokenCredential:
    """An identity with a token for *audience*."""

    def __init__(self, audience: str) -> None:
        self._audience = audience

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(*tokens.mint(self._audience, "someone"))

    async def close(self) -> None:
        pass


def by_key(rule: SharedAccessRule) -> AzureNamedKeyCredential:
    return AzureNamedKeyCredential(rule.name, rule.key)


async def signature(rule: SharedAccessRule, uri: str) -> str:
    """Return what the SDK itself signs."""
    return (await ServiceBusSharedKeyCredential(rule.name, rule.key).get_token(uri)).token


async def send(broker: Broker, queue: str, credential: object) -> None:
    made = ServiceBusClient(broker.namespace, credential, use_tls=False, retry_total=0)  # type: ignore[arg-type]  # some test it
    async with made as client, client.get_queue_sender(queue) as sender:
        await sender.send_messages(ServiceBusMessage("x"))


async def listen(broker: Broker, queue: str, credential: object) -> None:
    made = ServiceBusClient(broker.namespace, credential, use_tls=False, retry_total=0)  # type: ignore[arg-type]  # some test it
    async with made as client, client.get_queue_receiver(queue) as receiver:
        await receiver.peek_messages(1)


async def test_a_key_a_signature_and_an_access_token_open_the_queue(broker: Broker) -> None:
    uri = f"sb://{broker.namespace}/one"
    await send(broker, "one", by_key(_ROOT))
    await send(broker, "one", AzureSasCredential(await signature(_ROOT, uri)))
    await send(broker, "one", TokenCredential(AUDIENCE))
    assert len(broker.queue("one").active) == 3


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param(AzureNamedKeyCredential("root", "wrong"), id="wrong-key"),
        pytest.param(AzureNamedKeyCredential("nobody", "root-key"), id="unknown-rule"),
        pytest.param(TokenCredential("https://vault.azure.net"), id="token-for-another-service"),
    ],
)
async def test_what_proves_nothing_is_refused(broker: Broker, credential: object) -> None:
    with pytest.raises(ServiceBusAuthenticationError):
        await send(broker, "one", credential)


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        pytest.param(_SENDER, send, listen, id="send"),
        pytest.param(_LISTENER, listen, send, id="listen"),
    ],
)
async def test_a_right_is_needed_for_each_direction(
    broker: Broker,
    rule: SharedAccessRule,
    allowed: Callable[[Broker, str, object], Awaitable[None]],
    refused: Callable[[Broker, str, object], Awaitable[None]],
) -> None:
    await allowed(broker, "two", by_key(rule))
    with pytest.raises(ServiceBusAuthorizationError):
        await refused(broker, "two", by_key(rule))


async def test_the_key_of_one_queue_does_not_open_another(broker: Broker) -> None:
    await listen(broker, "one", by_key(_ONE))
    with pytest.raises(ServiceBusAuthenticationError):
        await listen(broker, "two", by_key(_ONE))


async def test_a_signature_covers_what_is_below_its_address_and_only_that() -> None:
    token = await signature(_ROOT, "sb://host/topic")
    assert rights_by_signature(token, "topic/subscriptions/s", _RULES) == EVERY_RIGHT
    with pytest.raises(RefusedError, match="InvalidAudience"):
        rights_by_signature(token, "topical", _RULES)
    whole = await signature(_ROOT, "sb://host/")
    assert rights_by_signature(whole, entity_of("sb://host/Any/"), _RULES) == EVERY_RIGHT


@pytest.mark.parametrize(
    "token", ["", "nonsense", "sr=sb%3A//h/q&sig=&se=&skn=root", "&&==", "sig=é&skn=root"]
)
async def test_what_is_no_signature_is_refused_as_one_that_is_wrong(token: str) -> None:
    with pytest.raises(RefusedError, match="InvalidSignature"):
        rights_by_signature(f"SharedAccessSignature {token}", "q", _RULES)


async def test_a_signature_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    token, later = await signature(_ROOT, "sb://host/q"), time.time() + 30 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(RefusedError, match="ExpiredToken"):
        rights_by_signature(token, "q", _RULES)
