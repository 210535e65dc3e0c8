"""Who may call by token, checked by the keys of a real endpoint; every forgery there is."""

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.adapters.azure.entra import ACTION_GROUPS, ROLE, EntraCallers
from controller.adapters.memory.clock import ManualClock
from controller.core.errors import CallerRefusedError, TransientError
from sandbox.identity import IdentityEndpoint
from sandbox.tokens import TENANT, Issuer, mint

AUDIENCE = "api://slipway"
TENANTS_OWN, STRANGER = Issuer(), Issuer()  # making a key takes its time
CLIENT = "33333333-3333-3333-3333-333333333333"


class Stand:
    """The checker, and the tenant whose tokens it checks."""

    def __init__(self, endpoint: IdentityEndpoint) -> None:
        self.endpoint = endpoint
        self.clock = ManualClock()
        self.callers = EntraCallers(
            TENANT, [AUDIENCE, CLIENT], authority=endpoint.url, now=self.clock.now
        )

    def token(self, application: str = ACTION_GROUPS, **claims: Any) -> str:
        given = {"audience": AUDIENCE, "roles": [ROLE], **claims}
        return self.endpoint.issuer.mint(given.pop("audience"), application, **given)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    endpoint = IdentityEndpoint("secret")
    endpoint.issuer = TENANTS_OWN
    await endpoint.start()
    stand = Stand(endpoint)
    yield stand
    await stand.callers.close()
    await endpoint.stop()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"audience": AUDIENCE + "/"},
        {"audience": CLIENT},
        {"roles": ["Other", ROLE]},
        {"tid": None},
        {"appid": None, "azp": ACTION_GROUPS, "ver": "2.0"},
    ],
)
async def test_a_true_token_tells_who_calls(stand: Stand, claims: dict[str, Any]) -> None:
    assert await stand.callers.check(stand.token(**claims)) == ACTION_GROUPS


async def test_a_token_of_version_2_is_as_good(stand: Stand) -> None:
    issuer = f"{stand.endpoint.url}/{TENANT}/v2.0"

    assert await stand.callers.check(stand.token(iss=issuer)) == ACTION_GROUPS


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"audience": "api://other"}, "another audience"),
        ({"audience": AUDIENCE.upper()}, "another audience"),
        ({"aud": None}, "lacks a claim"),
        ({"aud": []}, "lacks a claim|another audience"),
        ({"lifetime_seconds": -600}, "expired"),
        ({"exp": None}, "lacks a claim"),
        ({"exp": "soon"}, "broken"),
        ({"nbf": int(time.time()) + 3600}, "not valid yet"),
        ({"iss": "https://sts.windows.net/common/"}, "another issuer"),
        ({"iss": None}, "lacks a claim"),
        ({"tid": "99999999-9999-9999-9999-999999999999"}, "another tenant"),
        ({"appid": "44444444-4444-4444-4444-444444444444"}, "another application"),
        ({"appid": None}, "another application"),
        ({"roles": []}, "lacks the role"),
        ({"roles": ROLE}, "lacks the role"),
    ],
)
async def test_a_token_that_is_not_for_this_is_refused_with_the_reason(
    stand: Stand, claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(CallerRefusedError, match=why):
        await stand.callers.check(stand.token(**claims))


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(stand: Stand) -> str:
    _, claims, _ = stand.token().split(".")
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{claims}."


def by_the_public_key_as_secret(stand: Stand) -> str:
    """The classic confusion: the key that everybody knows, used as if it were shared."""
    key = stand.endpoint.issuer.keys()["keys"][0]
    public = stand.endpoint.issuer._key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, claims, _ = stand.token().split(".")
    head = _part({"alg": "HS256", "typ": "JWT", "kid": key["kid"]})
    mac = hmac.new(pem, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    return f"{head}.{claims}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def by_a_managed_identity(_: Stand) -> str:
    return mint(AUDIENCE, ACTION_GROUPS)[0]


def by_a_stranger(_: Stand) -> str:
    return STRANGER.mint(AUDIENCE, ACTION_GROUPS, roles=[ROLE])


def by_a_stranger_with_the_keys_name(stand: Stand) -> str:
    stranger = Issuer()
    stranger._made = STRANGER._key
    stranger._name = stand.endpoint.issuer.keys()["keys"][0]["kid"]
    return stranger.mint(AUDIENCE, ACTION_GROUPS, roles=[ROLE])


def with_a_changed_claim(stand: Stand) -> str:
    head, claims, signature = stand.token(roles=[]).split(".")
    padded = claims + "=" * (-len(claims) % 4)
    changed = {**json.loads(base64.urlsafe_b64decode(padded)), "roles": [ROLE]}
    return f"{head}.{_part(changed)}.{signature}"


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        by_the_public_key_as_secret,
        by_a_managed_identity,
        by_a_stranger,
        by_a_stranger_with_the_keys_name,
        with_a_changed_claim,
    ],
)
async def test_a_forged_token_is_refused(stand: Stand, forge: Callable[[Stand], str]) -> None:
    assert await stand.callers.check(stand.token())

    with pytest.raises(CallerRefusedError):
        await stand.callers.check(forge(stand))


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\x00.\x00.\x00", "e30.e30.e30", "x" * 20_000, "W10.W10.W10"],
)
async def test_what_is_no_token_is_refused_before_any_key_is_asked_for(
    stand: Stand, token: str
) -> None:
    with pytest.raises(CallerRefusedError):
        await stand.callers.check(token)

    assert stand.endpoint.key_requests == 0


async def test_keys_are_asked_for_once_and_again_when_a_new_one_appears(stand: Stand) -> None:
    for _ in range(3):
        await stand.callers.check(stand.token())
    assert stand.endpoint.key_requests == 1

    stand.clock.advance(timedelta(minutes=1))
    stand.endpoint.issuer = Issuer()
    await stand.callers.check(stand.token())
    assert stand.endpoint.key_requests == 2


async def test_strangers_cannot_make_it_ask_for_keys_again_and_again(stand: Stand) -> None:
    await stand.callers.check(stand.token())

    for _ in range(5):
        with pytest.raises(CallerRefusedError):
            await stand.callers.check(by_a_stranger(stand))

    assert stand.endpoint.key_requests == 1


async def test_without_keys_nothing_can_be_said_so_the_caller_shall_come_again(
    stand: Stand,
) -> None:
    await stand.endpoint.stop()

    with pytest.raises(TransientError):
        await stand.callers.check(stand.token())


async def test_known_keys_serve_while_the_endpoint_is_away_but_not_for_ever(stand: Stand) -> None:
    token = stand.token(lifetime_seconds=3600)
    await stand.callers.check(token)
    await stand.endpoint.stop()

    stand.clock.advance(timedelta(hours=13))
    assert await stand.callers.check(token) == ACTION_GROUPS

    stand.clock.advance(timedelta(days=3))
    with pytest.raises(TransientError):
        await stand.callers.check(token)


async def test_no_token_is_ever_said_or_logged(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    token = stand.token(audience="api://other")

    with caplog.at_level(logging.DEBUG), pytest.raises(CallerRefusedError) as refused:
        await stand.callers.check(token)

    said = f"{refused.value!s} {refused.value!r} {caplog.text}"
    assert all(part not in said for part in token.split("."))
