"""Who may post to a registry's door: whoever says its secret, or signs with it."""

import logging

import pytest

from sandbox.registry import notices
from tests.entry.kit import SECRET, Doors, app, error_of, signed
from tests.entry.registry_kit import NAMES, OURS, post, sent, told


@pytest.mark.parametrize("registry", NAMES)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
async def test_no_door_opens_without_its_own_secret(registry: str, headers: dict[str, str]) -> None:
    answer = await post(Doors(), registry, b"{", headers)

    assert (answer.status, error_of(answer)["code"]) == (401, "SW307")
    assert SECRET not in answer.text()


@pytest.mark.parametrize("registry", NAMES)
@pytest.mark.parametrize("kept", [None, "", " \n"])
async def test_a_secret_that_is_not_kept_is_named(registry: str, kept: str | None) -> None:
    answer = await post(Doors(), registry, b"{", signed(registry, b"{", ""), secret=kept)

    assert (answer.status, error_of(answer)["code"]) == (503, "SW306")
    assert f"'webhook-{registry}'" in error_of(answer)["message"]
    assert f"{registry}.md" in error_of(answer)["fix"]


@pytest.mark.parametrize("registry", [name for name in NAMES if name != "ghcr"])
@pytest.mark.parametrize(
    ("headers", "query", "kept"),
    [
        ({"authorization": SECRET}, {}, SECRET),
        ({"authorization": f"Bearer {SECRET}"}, {}, SECRET),
        ({"authorization": f"Token {SECRET}"}, {}, SECRET),
        ({"authorization": f"Token {SECRET}"}, {}, f"Token {SECRET}"),
        ({"authorization": "Basic c2xpcHdheTpodXNo"}, {}, SECRET),  # slipway:hush
        ({"x-slipway-secret": SECRET}, {}, SECRET),
        ({}, {"key": SECRET}, SECRET),
        ({"authorization": SECRET}, {}, SECRET + "\n"),
    ],
)
async def test_a_secret_is_said_in_any_form_that_a_registry_has(
    registry: str, headers: dict[str, str], query: dict[str, str], kept: str
) -> None:
    answer = await post(Doors(), registry, b"{", headers, query=query, secret=kept)

    assert answer.status == 400  # past the secret, at the body


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": SECRET}, {"key": "wrong"}),
        ({"authorization": "Basic !!"}, {}),
        ({"authorization": "Basic c2xpcHdheQ=="}, {}),
        ({"authorization": "Basic \udce4\udce4\udce4"}, {}),
        ({"authorization": f"hus{'h' * 9}"}, {}),
        ({}, {"code": SECRET}),
    ],
)
async def test_a_secret_that_is_not_right_lets_nobody_in(
    headers: dict[str, str], query: dict[str, str]
) -> None:
    assert (await post(Doors(), "harbor", b"{", headers, query=query)).status == 401


async def test_githubs_signature_is_that_of_its_documentation() -> None:
    """The vector in "Validating webhook deliveries"."""
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    secret, body = "It's a Secret to Everybody", b"Hello, World!"

    async def status(signature: str, said: bytes = body) -> int:
        headers = {"x-hub-signature-256": signature, "x-github-event": "package"}
        return (await post(Doors(), "ghcr", said, headers, secret=secret)).status

    assert await status(right) == 400  # signed, and no JSON
    assert await status(right.upper()) == 400
    assert await status(right, b"Hello, World") == 401
    assert await status(right[:-1]) == 401
    assert await status(right.removeprefix("sha256=")) == 401
    assert await status("") == 401


@pytest.mark.parametrize("headers", [{"authorization": SECRET}, {"x-slipway-secret": SECRET}])
async def test_github_must_sign_it_is_not_enough_to_say_the_secret(
    headers: dict[str, str],
) -> None:
    answer = await post(Doors(), "ghcr", b"{}", headers, query={"key": SECRET})

    assert answer.status == 401
    assert "X-Hub-Signature-256" in error_of(answer)["fix"]


async def test_a_form_is_signed_as_it_came() -> None:
    """The signature is over the form's bytes, not over the JSON within."""
    notice = notices.github(SECRET, as_form=True)(told())
    assert notice is not None
    as_json = dict(notice.headers) | signed("ghcr", b"{}")

    assert (await post(Doors(app(**OURS)), "ghcr", notice.body, as_json)).status == 401


async def test_no_secret_stands_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for registry in NAMES:
        body = b"{}"
        await post(Doors(), registry, body, signed(registry, body), query={"key": SECRET})
        await post(Doors(), registry, body, {"authorization": SECRET + "x"})

    assert caplog.records
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("name", "same"), [("GHCR", "ghcr"), ("github", "ghcr")])
async def test_a_registry_has_other_names_too(name: str, same: str) -> None:
    notice = notices.github(SECRET)(told())
    doors = Doors(app(**OURS))

    answer = await sent(doors, "ghcr", notice)
    again = await post(doors, name, notice.body, dict(notice.headers)) if notice else None

    assert again is not None
    assert (answer.status, again.status, same) == (202, 202, "ghcr")
    assert len(doors.queued()) == 1


async def test_an_unknown_registry_is_404_with_the_list() -> None:
    answer = await post(Doors(), "quay", b"{}", {})

    assert (answer.status, error_of(answer)["code"]) == (404, "SW304")
    assert all(name in error_of(answer)["fix"] for name in NAMES)
