"""People are told of alerts in Slack, by a real request; the address is told to nobody."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.notify_slack import SlackNotifier, message
from controller.entry.alert_payloads import parse
from controller.entry.alerts import MAX_ALERT_BYTES
from controller.entry.http import Request, Response
from controller.entry.notifications import NotificationDoor, notice_of
from controller.ports import Notice
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer
from tests.entry.alert_kit import SAMPLES, alert, measured, metric
from tests.entry.kit import error_of

LOOP = pytest.mark.asyncio(loop_scope="module")
SECRET = "hush"
PATH = "/services/T000/B000/s3cret-p4th"


class Chat:
    """Slack: takes what an incoming webhook takes."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[web.Response] = []

    async def take(self, request: web.Request) -> web.Response:
        if self.answers:
            return self.answers.pop(0)
        self.posted.append(await request.json())
        return web.Response(text="ok")


class Stand:
    """The door with the real notifier."""

    def __init__(self, chat: Chat, url: str, authority: Authority) -> None:
        self.chat = chat
        values = {"webhook-alerts": SECRET, "notify-slack": f"{url}{PATH}\n"}
        self.secrets = MemorySecrets(values)
        self.slack = SlackNotifier(self.secrets, ca_file=authority.ca_file)
        self.door = NotificationDoor(
            secrets=self.secrets, callers=None, notifiers={"slack": self.slack}
        )

    async def post(self, body: Any, channel: str = "slack", key: str = SECRET) -> Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.door.take(
            Request(
                method="POST", query={"key": key}, headers={}, body=raw, route={"channel": channel}
            )
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slack(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Chat, str, Authority]]:
    chat = Chat()
    authority = create_authority(tmp_path_factory.mktemp("authority"))
    app = web.Application()
    app.add_routes([web.post(PATH, chat.take)])
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    yield chat, server.url, authority
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stand(slack: tuple[Chat, str, Authority]) -> AsyncIterator[Stand]:
    chat, url, authority = slack
    chat.posted.clear()
    chat.answers.clear()
    made = Stand(chat, url, authority)
    yield made
    await made.slack.close()


def fired(**essentials: Any) -> Any:
    return alert("Platform", measured("Static", metric()), alertRule="shop-5xx", **essentials)


def shown(posted: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in posted["attachments"][0]["blocks"]]


@LOOP
async def test_an_alert_is_told(stand: Stand) -> None:
    answer = await stand.post(fired())

    assert (answer.status, answer.body) == (200, {"told": True, "channel": "slack"})
    (posted,) = stand.chat.posted
    title, text = shown(posted)
    assert title == posted["text"] == "Fired: shop-5xx"
    assert "Fired at 20" in text


@LOOP
async def test_that_it_has_passed_is_told_in_another_colour(stand: Stand) -> None:
    await stand.post(fired())
    await stand.post(fired(monitorCondition="Resolved"))

    first, second = stand.chat.posted
    assert shown(second)[0] == "Resolved: shop-5xx"
    assert first["attachments"][0]["color"] != second["attachments"][0]["color"]


@pytest.mark.parametrize("name", sorted(name for name in SAMPLES if "noncommon" not in name))
def test_every_kind_of_alert_can_be_told(name: str) -> None:
    notice = notice_of(parse(SAMPLES[name]))
    posted = message(notice)

    assert notice.title.split(": ", 1)[1]
    assert all(1 <= len(text) <= 3000 for text in shown(posted))
    assert len(shown(posted)[0]) <= 150


def test_a_text_mentions_nobody_and_hides_no_link() -> None:
    posted = message(Notice(title="Fired: <!channel> & co", lines=("<https://a|b> " * 400,)))

    assert posted["text"] == "Fired: &lt;!channel&gt; &amp; co"
    assert {b["text"]["type"] for b in posted["attachments"][0]["blocks"]} == {"plain_text"}
    assert len(shown(posted)[1]) <= 2900


@LOOP
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (web.Response(status=429, headers={"Retry-After": "30"}), 503),
        (web.Response(status=500, text="oops"), 503),
        (web.Response(status=404, text="no_service"), 502),
        (web.Response(status=403, text="action_prohibited"), 502),
        (web.Response(status=302, headers={"Location": "https://evil.example/"}), 502),
    ],
)
async def test_what_slack_does_not_take_is_tried_again_or_told_to_be_wrong(
    stand: Stand, answer: web.Response, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    stand.chat.answers.append(answer)
    with caplog.at_level(logging.DEBUG):
        got = await stand.post(fired())

    assert got.status == status
    assert "s3cret-p4th" not in f"{got.body}{caplog.text}"
    assert (await stand.post(fired())).status == 200


@LOOP
async def test_slack_that_is_away_is_tried_again_and_its_address_is_not_told(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.secrets.put("notify-slack", f"https://127.0.0.1:9{PATH}")
    with caplog.at_level(logging.DEBUG):
        got = await stand.post(fired())

    assert (got.status, error_of(got)["code"]) == (503, "SW101")
    assert "s3cret-p4th" not in f"{got.body}{caplog.text}"


@LOOP
@pytest.mark.parametrize(
    ("value", "status"),
    [("", 503), ("hooks.slack.example/x", 502), ("http://x/y", 502), ("https://[", 502)],
)
async def test_an_address_that_is_none(stand: Stand, value: str, status: int) -> None:
    stand.secrets.put("notify-slack", value)

    got = await stand.post(fired())

    assert got.status == status
    assert "notify-slack" in str(got.body)
    assert stand.chat.posted == []


@LOOP
async def test_only_who_knows_the_secret_is_heard(stand: Stand) -> None:
    assert (await stand.post(fired(), key="wrong")).status == 401
    assert (await stand.post(fired(), channel="teams")).status == 404
    assert (await stand.post(b"{")).status == 400
    assert (await stand.post({"schemaId": "AzureMonitorMetricAlert", "data": {}})).status == 400
    assert (await stand.post(b" " * (MAX_ALERT_BYTES + 1))).status == 413
    assert stand.chat.posted == []


@LOOP
async def test_a_bug_is_tried_again(stand: Stand) -> None:
    class Broken:
        async def tell(self, notice: Notice) -> None:
            raise ZeroDivisionError

    door = NotificationDoor(secrets=stand.secrets, callers=None, notifiers={"slack": Broken()})
    got = await door.take(
        Request(
            method="POST",
            query={"key": SECRET},
            headers={},
            body=json.dumps(fired()).encode(),
            route={"channel": "slack"},
        )
    )

    assert got.status == 503
