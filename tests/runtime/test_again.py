"""An order that meets trouble is tried again for hours, once in effect; then somebody is called."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import ConfigurationError, QueueUnavailableError
from controller.core.model import State
from controller.entry.queue import MAX_REPEATS
from controller.ports import Message
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    MAX_MESSAGE_ID,
    REJECTED_QUEUE,
    OrderBody,
    RollbackBody,
    parse_command,
)
from tests.runtime.kit import MINUTE, SECOND, SHOP, House, Ports, digest, spec, submit

HOUR = timedelta(hours=1)


def rollback(**changes: Any) -> RollbackBody:
    return RollbackBody(app=SHOP, id="incident", by="ann", reason="customers call", **changes)


async def released(house: House, *numbers: int) -> None:
    for number in numbers:
        await house.send(submit(number))
        await house.run()


def outage(house: House, calls: int, operation: str = "load") -> None:
    house.weather.script(operation, *[Fault.TRANSIENT] * calls)


async def test_a_rollback_survives_a_store_that_is_away_for_minutes() -> None:
    """Ten deliveries are over in a fraction of a second; the order must not be."""
    house = House()
    await released(house, 2)
    outage(house, 3 * 9)
    before = house.clock.now()

    await house.send(rollback())
    await house.run()

    assert list(house.users_get().values()) == [(100, digest(1))]
    assert house.clock.now() - before > 4 * MINUTE
    assert house.bus.waiting(REJECTED_QUEUE) == []
    assert [r.order for r in await house.records() if r.kind == "submitted"][-1] == "incident"


async def test_it_is_tried_three_times_at_once_and_then_ever_more_rarely() -> None:
    house = House()
    outage(house, 10_000)
    await house.send(rollback())
    start, times = house.clock.now(), list[timedelta]()
    for _ in range(12):
        await house.settle()
        due = house.bus.next_due()
        assert due is not None
        times.append(due - start)
        house.clock.set(due)

    pauses = [b - a for a, b in zip([timedelta(), *times], times, strict=False)]
    assert pauses == [2**n * SECOND for n in range(9)] + [5 * MINUTE] * 3
    assert house.handled == 3 * 12


async def test_what_fails_for_hours_is_given_up_kept_and_paged() -> None:
    house = House()
    await released(house, 2)
    outage(house, 3 * MAX_REPEATS + 10)
    before = house.clock.now()

    await house.send(rollback())
    await house.run()
    assert 4 * HOUR < house.clock.now() - before < 6 * HOUR
    await house.sweeper.sweep()

    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert parse_command(kept.body, session=SHOP).model_dump() == rollback().model_dump()
    pages = [r.why for r in await house.records() if r.kind == "page"]
    assert len(pages) == 1
    assert "'rollback' was given up" in pages[0]


@pytest.mark.parametrize("deliveries", [1, 2])
async def test_an_order_that_was_done_but_not_answered_is_not_done_twice(deliveries: int) -> None:
    """The state was saved, the wake-up could not be sent: sent again it only sends the wake-up."""
    house = House()
    house.weather.script("stage", Fault.THROTTLED)  # so that it has to wait
    await house.send(submit(2))
    house.weather.script("send", *[Fault.TRANSIENT] * deliveries)
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]
    assert [r.kind for r in await house.records()].count("submitted") == 1


class Unreadable:
    """An apps.yaml that nobody can read."""

    async def apps(self) -> Any:
        raise ConfigurationError("apps.yaml line 3", fix="Mend it.")


async def test_an_order_waits_for_a_configuration_that_is_mended() -> None:
    house = House()
    house.configuration.broken = True
    await house.send(submit(2))
    await house.run_for(20 * MINUTE)
    house.configuration.broken = False
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]


async def test_a_person_s_orders_stay_in_order_over_a_short_trouble() -> None:
    """What passes within three deliveries keeps its place in the session."""
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    outage(house, 2)

    await house.send(
        OrderBody(app=SHOP, id="1", by="ann", command="pause"),
        OrderBody(app=SHOP, id="2", by="ann", command="abort"),
    )
    await house.settle()

    orders = [r.what for r in await house.records() if r.order in {"1", "2"}]
    assert orders == ["Pause", "Abort"]


@pytest.mark.parametrize("length", [1, 100, 128])
async def test_every_repetition_has_a_name_of_its_own_that_the_queue_takes(length: int) -> None:
    house = House()
    outage(house, 10_000)
    names = set[str]()
    body = OrderBody(app=SHOP, by="ann", command="pause").model_dump_json(exclude={"id"}).encode()
    for first in ("a", "b"):
        name = first + "x" * (length - 1)
        await house.bus.send([Message(queue=COMMANDS_QUEUE, session=SHOP, body=body, id=name)])
    for _ in range(20):
        await house.settle()
        waiting = house.bus.waiting(COMMANDS_QUEUE)
        assert len(waiting) == 2
        names |= {m.id or "" for m in waiting}
        assert len({parse_command(m.body, session=SHOP).model_dump()["id"] for m in waiting}) == 2
        due = house.bus.next_due()
        assert due is not None
        house.clock.set(due)

    assert len(names) == 40
    assert all(0 < len(name) <= MAX_MESSAGE_ID for name in names)


class SendsNothing:
    """A queue that takes nothing."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def send(self, messages: Sequence[Message]) -> None:
        if self.is_away:
            raise QueueUnavailableError("no messages today")
        await self._port.send(messages)


async def test_where_nothing_can_be_sent_the_platform_delivers_again() -> None:
    queues: list[SendsNothing] = []

    def wrap(ports: Ports) -> Ports:
        queues.append(SendsNothing(ports.bus))
        return replace(ports, bus=queues[0])

    house = House(wrap=wrap)
    await house.send(rollback())
    outage(house, 10_000)
    queues[0].is_away = True
    await house.settle()

    assert house.handled == 10
    queues[0].is_away = False
    house.weather._script.clear()
    assert (await house.sweeper.sweep()).dead_letters == 1


async def test_a_wake_up_for_one_who_waits_is_owed_again_when_its_message_is_redelivered() -> None:
    """It waits for the cookies; its wake-up was never sent, and nothing else would wake it."""
    pinned = spec(strategy=replace(spec().strategy, pinned_for=HOUR))
    house = House([pinned])
    await released(house, 2, 3)
    await house.send(submit(4))
    house.weather.script("send", Fault.TRANSIENT)
    await house.settle()

    active = await house.active()
    assert active is not None
    assert active.state is State.QUEUED
    assert active.wake_at is not None
    assert active.wake_at > house.clock.now()
    await house.assert_awake()
    await house.run()
    assert (await house.ends())[-1] == ("v4", State.SUCCEEDED)
