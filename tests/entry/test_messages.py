"""The messages on the queues: one schema, there and back; ids that the queue takes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.errors import MalformedError
from controller.core.model import RolloutId
from controller.runtime.messages import (
    MAX_MESSAGE_ID,
    ImageName,
    ObservedBody,
    OrderBody,
    PollBody,
    RetryBody,
    RollbackBody,
    SubmitBody,
    TickBody,
    parse_command,
    parse_poll,
    poll_again,
    poll_message,
    short_name,
    to_message,
)
from tests.runtime.kit import digest

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
LONG_APP = "a" * 40
LONG_ROLLOUT = RolloutId(f"20260101T000000000-{LONG_APP}-01234567-999")

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Zs", "Cc")), min_size=1)
ids = names.filter(lambda text: len(text) <= 200)
apps = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
said: dict[str, Any] = {"app": apps, "id": ids, "by": ids, "reason": ids}
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
images = st.builds(
    ImageName,
    registry=st.just("r.io"),
    repository=st.just("team/shop"),
    digest=digests,
    tag=st.none() | names.filter(lambda text: len(text) <= 128),
)
bodies = st.one_of(
    st.builds(SubmitBody, **said, image=images),
    st.builds(RollbackBody, **said, to=st.none() | ids),
    st.builds(RetryBody, **said, digest=digests),
    st.builds(
        OrderBody,
        **said,
        command=st.sampled_from(("approve", "reject", "pause", "resume", "abort", "promote")),
    ),
    st.builds(TickBody, app=apps, rollout=st.none() | ids, turn=st.none() | st.integers(0)),
    st.builds(ObservedBody, app=apps, rollout=ids, workspace=ids),
)


@given(bodies)
def test_every_message_comes_back_as_it_went(body: Any) -> None:
    message = to_message(body)

    assert parse_command(message.body, session=message.session, message_id="other") == body
    assert message.subject == body.command
    assert message.session == body.app
    assert message.id is None or len(message.id) <= MAX_MESSAGE_ID


@given(st.datetimes(timezones=st.just(UTC)), st.text(min_size=1, max_size=100))
def test_a_poll_comes_back_as_it_went(due: datetime, workspace: str) -> None:
    message = poll_message(workspace, due)

    assert parse_poll(message.body) == PollBody(workspace=workspace, due=due)
    assert len(message.id or "") <= MAX_MESSAGE_ID
    assert len(poll_again(workspace, due, due).id or "") <= MAX_MESSAGE_ID


@given(st.text(), st.text(), st.integers(40, 200))
def test_short_names_fit_and_differ_where_names_do(one: str, other: str, limit: int) -> None:
    for name in (one, one + "x" * 300, "x" * 300 + one):
        assert len(short_name(name, limit)) <= limit
    long, longer = "x" * 300 + one, "x" * 300 + other
    assert (short_name(long, limit) == short_name(longer, limit)) == (one == other)
    assert short_name("plain", limit) == "plain"


@pytest.mark.parametrize("name", [f"{LONG_ROLLOUT}/9999999", f"{LONG_ROLLOUT}/99/sweep/1767268800"])
def test_the_longest_wake_up_has_a_readable_id(name: str) -> None:
    body = TickBody(app=LONG_APP, rollout=LONG_ROLLOUT, turn=9_999_999)

    assert to_message(body, message_id=name).id == name


def test_one_order_id_in_two_apps_is_two_messages() -> None:
    one, two = (OrderBody(app=app, command="abort", id="same") for app in ("one", "two"))

    assert to_message(one).id != to_message(two).id


def test_the_same_poll_is_one_message_and_again_is_another() -> None:
    first, second = poll_message("w", NOW), poll_message("w", NOW)
    again = poll_again("w", NOW, NOW)

    assert first.id == second.id
    assert again.id != first.id
    assert poll_again("w", NOW, NOW + timedelta(milliseconds=1)).id != again.id
    assert again.body == first.body
    assert (first.at, again.at) == (NOW, None)


def test_an_order_without_an_id_is_named_by_its_message() -> None:
    raw = b'{"command": "abort", "app": "shop"}'

    named = parse_command(raw, session="shop", message_id="m7")
    unnamed = [parse_command(raw, session="shop") for _ in range(2)]

    assert isinstance(named, OrderBody)
    assert named.id == "m7"
    assert unnamed[0] != unnamed[1]


@pytest.mark.parametrize("length", [128, 201, 5000])
def test_an_order_named_by_an_endless_message_id_is_still_an_order(length: int) -> None:
    raw = b'{"command": "abort", "app": "shop"}'

    named = parse_command(raw, session=None, message_id="m" * length)

    assert parse_command(named.model_dump_json().encode(), session=None) == named


def test_a_message_in_another_apps_session_is_refused() -> None:
    body = SubmitBody(
        app="shop", image=ImageName(registry="r.io", repository="shop", digest=digest(2))
    )

    with pytest.raises(MalformedError, match="session 'bank'"):
        parse_command(body.model_dump_json().encode(), session="bank")


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000, b'"tick"'])
def test_what_is_no_message_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_command(raw, session="shop")
    with pytest.raises(MalformedError):
        parse_poll(raw)
