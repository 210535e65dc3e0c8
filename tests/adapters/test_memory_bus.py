"""The other end of the memory queues: what whoever plays the Functions host relies on."""

from datetime import timedelta

import pytest

from controller.adapters.memory.bus import Delivery, MemoryBus
from controller.adapters.memory.clock import START, ManualClock
from controller.adapters.memory.world import Fault
from controller.core.errors import QueueUnavailableError
from controller.ports import Message

SECOND = timedelta(seconds=1)
QUEUE = "rollouts"


def message(session: str | None, text: str, seconds: float = 0, **more: object) -> Message:
    at = START + seconds * SECOND if seconds else None
    return Message(queue=QUEUE, session=session, body=text.encode(), at=at, **more)  # type: ignore[arg-type]  # fields by name


def text(delivery: Delivery | None) -> str | None:
    return delivery.message.body.decode() if delivery else None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bus(clock: ManualClock) -> MemoryBus:
    return MemoryBus(clock, max_deliveries=2)


async def test_a_session_has_one_holder_and_keeps_its_order(bus: MemoryBus) -> None:
    """Its next message comes after the one before was settled; other sessions go on."""
    await bus.send([message("a", "a1"), message("a", "a2"), message("b", "b1")])
    first, second = bus.receive(QUEUE), bus.receive(QUEUE)

    assert (text(first), text(second), bus.receive(QUEUE)) == ("a1", "b1", None)
    assert first is not None
    bus.complete(first)
    assert text(bus.receive(QUEUE)) == "a2"


async def test_no_session_starves_the_others(bus: MemoryBus) -> None:
    """After one message of a busy session it is the next one's turn."""
    await bus.send([message("a", f"a{n}") for n in range(3)] + [message("b", "b0")])
    order: list[str | None] = []
    while delivery := bus.receive(QUEUE):
        order.append(text(delivery))
        bus.complete(delivery)

    assert order == ["a0", "b0", "a1", "a2"]


async def test_messages_without_a_session_hold_nothing(bus: MemoryBus) -> None:
    """Any number of them may be in somebody's hands."""
    await bus.send([message(None, "1"), message(None, "2")])

    assert [text(bus.receive(QUEUE)) for _ in range(3)] == ["1", "2", None]


async def test_what_is_given_back_comes_again_first_and_then_dies(bus: MemoryBus) -> None:
    """Its count rises; after the last delivery it is a dead letter with the reason given."""
    await bus.send([message("a", "poison", id="p"), message("a", "next")])
    counts: list[int] = []
    for _ in range(2):
        delivery = bus.receive(QUEUE)
        assert delivery is not None
        assert text(delivery) == "poison"
        counts.append(delivery.deliveries)
        bus.abandon(delivery, description="ValueError")

    assert counts == [1, 2]
    assert text(bus.receive(QUEUE)) == "next"
    (letter,) = await bus.take_dead_letters(QUEUE, limit=9)
    assert (letter.id, letter.deliveries, letter.description) == ("p", 2, "ValueError")
    (copy,) = bus.waiting("rejected")
    assert copy.properties["reason"] == letter.reason == "MaxDeliveryCountExceeded"
    assert copy.properties["session"] == "a"


async def test_the_clock_may_jump_to_what_is_due_next(bus: MemoryBus, clock: ManualClock) -> None:
    """Now, at the earliest time for which something is scheduled, or never."""
    assert bus.next_due() is None
    await bus.send([message("a", "late", 20), message("b", "early", 10)])
    assert bus.next_due() == START + 10 * SECOND
    assert bus.receive(QUEUE) is None

    clock.set(START + 10 * SECOND)
    assert bus.next_due() == clock.now()
    assert text(bus.receive(QUEUE)) == "early"
    assert bus.next_due() == START + 20 * SECOND
    clock.advance(10 * SECOND)
    late = bus.receive(QUEUE)
    assert text(late) == "late"
    assert bus.next_due() is None


async def test_a_scheduled_message_queues_up_when_it_is_due(
    bus: MemoryBus, clock: ManualClock
) -> None:
    """Behind what was sent before that moment: a wake-up does not overtake a command."""
    await bus.send([message("a", "tick", 10)])
    await bus.send([message("a", "abort")])
    clock.set(START + 10 * SECOND)

    assert [m.body for m in bus.waiting(QUEUE)] == [b"abort", b"tick"]
    assert text(bus.receive(QUEUE)) == "abort"


async def test_an_id_may_be_used_again_after_its_window(bus: MemoryBus, clock: ManualClock) -> None:
    """Ten minutes from when it was sent."""
    for wait in (0, 600, 1):
        clock.advance(wait * SECOND)
        await bus.send([message("a", f"{wait}", id="same")])

    assert [m.body for m in bus.waiting(QUEUE)] == [b"0", b"1"]
    assert bus.sent[QUEUE] == 2


async def test_bad_weather_can_be_ordered(bus: MemoryBus) -> None:
    """Nothing was taken; or everything, and only the answer is lost."""
    bus.weather.script("send", Fault.TRANSIENT, Fault.LOST_RESPONSE)
    with pytest.raises(QueueUnavailableError):
        await bus.send([message("a", "1", id="1")])
    assert bus.waiting(QUEUE) == []
    with pytest.raises(QueueUnavailableError):
        await bus.send([message("a", "1", id="1")])
    await bus.send([message("a", "1", id="1")])

    assert [m.body for m in bus.waiting(QUEUE)] == [b"1"]
    bus.weather.script("take_dead_letters", Fault.TRANSIENT)
    with pytest.raises(QueueUnavailableError):
        await bus.take_dead_letters(QUEUE, limit=1)


def test_the_manual_clock_never_goes_back() -> None:
    """A jump into the past changes nothing."""
    clock = ManualClock()
    clock.advance(5 * SECOND)

    assert clock.set(START) == clock.now() == START + 5 * SECOND
