"""The whole controller over memory twins: one process, a clock that jumps, users that ask."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import Any

from controller.adapters.codec import encode
from controller.adapters.memory.bus import Delivery, MemoryBus
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.database import (
    MemoryDatabase,
    MemoryMigrations,
    MemoryRestorePoints,
)
from controller.adapters.memory.evidence import MemoryEvidence
from controller.adapters.memory.metrics import MemoryPlatformMetrics
from controller.adapters.memory.platform import MemoryPlatform
from controller.adapters.memory.prober import MemoryProber
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.swapper import MemorySwapper
from controller.adapters.memory.telemetry import MemoryTelemetry, ReportedRequest
from controller.adapters.memory.world import Weather, World
from controller.core.audit import GENESIS, first_break
from controller.core.errors import ConfigurationError
from controller.core.gate import Gate, Margin, Synthetic
from controller.core.model import AppState, Image, Record, Rollout, State
from controller.core.plan import (
    Analysis,
    AppId,
    AppSpec,
    Health,
    Limits,
    Percent,
    SlotName,
    Source,
    Step,
    Strategy,
    Target,
)
from controller.entry.queue import on_command, on_observe
from controller.ports import Message
from controller.runtime.engine import Body, Engine
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    OBSERVATIONS_QUEUE,
    ImageName,
    SubmitBody,
    TickBody,
    to_message,
)
from controller.runtime.metrics_reader import MetricsReader
from controller.runtime.observer import Observer
from controller.runtime.performer import Performer
from controller.runtime.probing import Probing
from controller.runtime.sweeper import Sweeper
from controller.runtime.witness import Witness

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BLUE, GREEN, PRODUCTION = SlotName("blue"), SlotName("green"), SlotName("production")
SHOP = AppId("shop")
# A judge that a few dozen requests convince: these tests are about what follows of its word.
EASY = Gate(
    beta=0.2,
    acceptance=Margin(error_ratio=1.5, error_absolute=0.3, latency_ratio=2.0),
    quantiles=(50,),
    synthetic=Synthetic(per_poll=0),
)
WORKSPACE = "workspace"
REGISTRY = "registry.test"
_PATIENCE = timedelta(days=3)  # no scenario lasts longer


def digest(number: int) -> str:
    return "sha256:" + f"{number:08x}" * 8


def image(number: int, app: str = SHOP) -> Image:
    return Image(registry=REGISTRY, repository=app, digest=digest(number), tag=f"v{number}")


def steps(*weights: int) -> tuple[Step, ...]:
    return tuple(
        Step(weight=Percent(w), min_observation=30 * SECOND, max_observation=3 * MINUTE)
        for w in weights
    )


def spec(app: str = SHOP, *weights: int, **changes: Any) -> AppSpec:
    """Return an app that rolls out over *weights* (50 % where none is given), quickly."""
    base = AppSpec(
        id=AppId(app),
        target=Target(subscription="s", resource_group="g", site=app, slots=(BLUE, GREEN)),
        source=Source(registry=REGISTRY, repository=app),
        strategy=Strategy(steps=steps(*(weights or (50,))), bake=30 * SECOND),
        analysis=Analysis(workspace=WORKSPACE, limits=Limits(min_requests=10), gate=EASY),
        health=Health(consecutive=2),
    )
    return replace(base, **changes)


def submit(number: int, app: str = SHOP, **changes: Any) -> SubmitBody:
    """Return the push of image *number*; its id is its own."""
    name = ImageName(registry=REGISTRY, repository=app, digest=digest(number), tag=f"v{number}")
    body = SubmitBody(app=app, id=f"push-{number}", by="registry", image=name)
    return body.model_copy(update=changes)


@dataclass
class FixedConfiguration:
    """The apps in a dict; *broken* stands for a text that cannot be read."""

    specs: dict[AppId, AppSpec]
    broken: bool = False

    async def apps(self) -> Mapping[AppId, AppSpec]:
        if self.broken:
            raise ConfigurationError("apps.yaml line 3: what is this?", fix="Mend it.")
        return self.specs


@dataclass
class Habit:
    """What users see of a build."""

    failing: float = 0.0  # share of its requests
    milliseconds: float = 20.0
    silent: bool = False  # nobody asks, or nothing is reported


@dataclass
class Ports:
    """What the controller is given; a test may put something between."""

    store: Any
    bus: Any
    platform: Any
    swapper: Any
    prober: Any
    registry: Any
    telemetry: Any
    evidence: Any
    migrations: Any
    restore_points: Any


class Killed(CancelledError):  # noqa: N818 - it is no error of ours
    """The process ended here, or the host cancelled. Nothing in the controller may catch it."""


@dataclass
class Striker:
    """Counts the calls of all ports and lets one of them end badly.

    Args:
        at: which call, from 0; None counts only.
        after: whether the call had its effect.
        error: what it raises.
    """

    at: int | None = None
    after: bool = False
    error: type[BaseException] = Killed
    calls: list[str] = field(default_factory=list[str])

    def between(self, ports: Ports) -> Ports:
        """Stand between the controller and each of its ports."""
        return Ports(
            **{f.name: _Struck(self, f.name, getattr(ports, f.name)) for f in fields(ports)}
        )

    async def strike(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls.append(name)
        is_it = len(self.calls) - 1 == self.at
        if is_it and not self.after:
            raise self.error(f"before {name}")
        answer = await call()
        if is_it:
            raise self.error(f"after {name}")
        return answer


@dataclass
class _Struck:
    striker: Striker
    name: str
    port: Any

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self.port, operation)
        if not iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.striker.strike(
                f"{self.name}.{operation}", lambda: found(*args, **kwargs)
            )

        return call


@dataclass
class House:
    """The controller, its world and its users, with apps that all serve image 1 at first."""

    specs: Iterable[AppSpec] = (spec(),)
    grace: timedelta = MINUTE
    clock: ManualClock = field(default_factory=ManualClock)
    weather: Weather = field(default_factory=Weather)
    habits: dict[str, Habit] = field(default_factory=dict[str, Habit])  # by release
    wrap: Any = None  # Ports -> Ports
    breath: timedelta = timedelta(seconds=5)  # users report this often
    rows: int = 6  # requests that each serving build gets in a breath
    first: Callable[[str], int] = lambda _: 1  # image that each app serves at first

    def __post_init__(self) -> None:
        self.configuration = FixedConfiguration({s.id: s for s in self.specs})
        self.world = World()
        self.world.weather = self.weather
        self.store = MemoryStore(weather=self.weather, clock=self.clock)
        self.bus = MemoryBus(self.clock, weather=self.weather)
        self.registry = MemoryRegistry(self.weather)
        self.telemetry = MemoryTelemetry(weather=self.weather)
        self.evidence = MemoryEvidence(weather=self.weather)
        self.metrics = MemoryPlatformMetrics(weather=self.weather)
        self.database = MemoryDatabase(weather=self.weather)
        self.killed = 0
        self.handled = 0
        for each in self.configuration.specs.values():
            first = image(self.first(each.id), each.id)
            self.world.create_site(each.target, image=first.reference, release=first.digest)
            for number in range(1, 10):
                self.registry.push(REGISTRY, each.id, digest(number), f"v{number}")
        ports = Ports(
            store=self.store,
            bus=self.bus,
            platform=MemoryPlatform(self.world),
            swapper=MemorySwapper(self.world),
            prober=MemoryProber(self.world),
            registry=self.registry,
            telemetry=self.telemetry,
            evidence=self.evidence,
            migrations=MemoryMigrations(self.database),
            restore_points=MemoryRestorePoints(self.database),
        )
        self._build(self.wrap(ports) if self.wrap else ports)

    def _build(self, ports: Ports) -> None:
        self.ports = ports
        self.observer = Observer(
            buckets=ports.store,
            telemetry=ports.telemetry,
            bus=ports.bus,
            clock=self.clock,
            platform=MetricsReader(metrics=self.metrics),
            probing=Probing(addresses=ports.platform, prober=ports.prober),
        )
        self.engine = Engine(
            store=ports.store,
            bus=ports.bus,
            configuration=self.configuration,
            performer=Performer(
                platform=ports.platform,
                swapper=ports.swapper,
                prober=ports.prober,
                registry=ports.registry,
                telemetry=ports.telemetry,
                observer=self.observer,
                clock=self.clock,
                migrations=ports.migrations,
                restore_points=ports.restore_points,
            ),
            witness=Witness(buckets=ports.store, evidence=ports.evidence),
            clock=self.clock,
        )
        self.sweeper = Sweeper(
            store=ports.store,
            history=ports.store,
            buckets=ports.store,
            housekeeping=ports.store,
            bus=ports.bus,
            platform=ports.platform,
            configuration=self.configuration,
            clock=self.clock,
            grace=self.grace,
        )

    # --- What people do ---------------------------------------------------------------------------

    async def send(self, *bodies: Any, prefix: str = "test") -> None:
        """Put orders on the queue, past whatever stands between the controller and its bus."""
        await self.bus.send([_message(body, prefix) for body in bodies])

    # --- What the host does -----------------------------------------------------------------------

    async def deliver_one(self) -> bool:
        """Hand one message that is due to its door; tell whether there was one."""
        for queue in (COMMANDS_QUEUE, OBSERVATIONS_QUEUE):
            delivery = self.bus.receive(queue)
            if delivery is not None:
                await self._hand_over(delivery)
                return True
        return False

    async def _hand_over(self, delivery: Delivery) -> None:
        message = delivery.message
        self.handled += 1
        try:
            if message.queue == COMMANDS_QUEUE:
                await on_command(
                    message.body,
                    session=message.session,
                    deliveries=delivery.deliveries,
                    message_id=message.id or "",
                    engine=self.engine,
                    bus=self.ports.bus,
                )
            else:
                await on_observe(
                    message.body,
                    session=message.session,
                    message_id=message.id or "",
                    observer=self.observer,
                    bus=self.ports.bus,
                )
        except (Exception, Killed) as error:  # noqa: BLE001 - as the host does
            self.killed += isinstance(error, Killed)
            self.bus.abandon(delivery, description=str(error))
        else:
            self.bus.complete(delivery)

    async def settle(self) -> None:
        """Deliver what is due now, and what that brings about at once."""
        for _ in range(100_000):
            if not await self.deliver_one():
                return
        raise AssertionError("the queues never come to rest")

    async def run(self, until: datetime | None = None) -> None:
        """Deliver everything, jumping from one due time to the next.

        Ends when nothing is left or the next message is later than *until*.
        """
        end = until or self.clock.now() + _PATIENCE
        while True:
            await self.settle()
            due = self.bus.next_due()
            if due is None or due > end:
                break
            self.let_users_ask_until(due)
        if until is not None:
            self.let_users_ask_until(until)

    async def run_for(self, time: timedelta) -> None:
        await self.run(self.clock.now() + time)

    async def run_to(self, *states: State, app: AppId = SHOP) -> Rollout:
        """Run until the app's rollout is in one of *states* and nothing is due now."""
        for _ in range(5_000):
            await self.settle()
            active = await self.active(app)
            if active is not None and active.state in states:
                return active
            due = self.bus.next_due()
            assert due is not None, f"nothing will ever happen; it is {active and active.state}"
            self.let_users_ask_until(due)
        raise AssertionError(f"never reached {states}")

    def let_users_ask_until(self, at: datetime) -> None:
        """Let time pass; whoever serves users reports what it answered."""
        while self.clock.now() < at:
            now = self.clock.advance(min(self.breath, at - self.clock.now()))
            for each in self.configuration.specs.values():
                self._report(each, now)

    def _report(self, each: AppSpec, now: datetime) -> None:
        for _, build in self.world.serving(each.target).values():
            if build is None or build.release is None:
                continue
            habit = self.habits.get(build.release, _FINE)
            if habit.silent:
                continue
            failing = round(habit.failing * self.rows)
            rows = [
                ReportedRequest(
                    release=build.release,
                    ingested=now,
                    code="500" if place < failing else "200",
                    milliseconds=habit.milliseconds,
                )
                for place in range(self.rows)
            ]
            self.telemetry.report(each.analysis.workspace, *rows)

    # --- What can be seen -------------------------------------------------------------------------

    async def state(self, app: AppId = SHOP) -> AppState:
        """Return what is stored, past the weather."""
        return (await self._quietly(app)).state

    async def _quietly(self, app: AppId) -> Any:
        weather, self.store.weather = self.store.weather, Weather()
        try:
            return await self.store.load(app)
        finally:
            self.store.weather = weather

    async def active(self, app: AppId = SHOP) -> Rollout | None:
        return (await self.state(app)).active

    async def rollouts(self, app: AppId = SHOP) -> list[Rollout]:
        """Return every rollout of the app, oldest first."""
        return list(reversed(await self.store.rollouts(app, limit=1000)))

    async def ends(self, app: AppId = SHOP) -> list[tuple[str, State]]:
        return [(r.image.tag or "", r.state) for r in await self.rollouts(app)]

    async def records(self, app: AppId = SHOP) -> list[Record]:
        return [row.record for row in await self.store.audit(app, rollout=None, limit=10_000)]

    async def way(self, app: AppId = SHOP) -> list[State]:
        """Return the states in the order in which they were entered."""
        records = await self.records(app)
        return [r.state_to for r in records if r.state_to and r.state_to != r.state_from]

    def users_get(self, app: AppId = SHOP) -> dict[str, tuple[int, str]]:
        """Return share and release of each slot with users."""
        serving = self.world.serving(self.configuration.specs[app].target)
        return {slot: (share, b.release or "") for slot, (share, b) in serving.items() if b}

    def wake_ups(self, app: AppId = SHOP) -> list[TickBody]:
        """Return the ticks that wait for the app."""
        return [
            TickBody.model_validate_json(m.body)
            for m in self.bus.waiting(COMMANDS_QUEUE)
            if m.session == app and m.subject == "tick"
        ]

    def polls(self) -> list[Message]:
        return list(self.bus.waiting(OBSERVATIONS_QUEUE))

    async def assert_awake(self, app: AppId = SHOP) -> None:
        """A rollout that is not over has a wake-up of its own turn, due when it should be."""
        active = await self.active(app)
        if active is None:
            return
        assert active.wake_at is not None
        own = [
            m
            for m in self.bus.waiting(COMMANDS_QUEUE)
            if m.session == app
            and m.subject == "tick"
            and TickBody.model_validate_json(m.body).turn == active.turn
        ]
        assert own, f"{active.state} has no wake-up"
        assert min(m.at or self.clock.now() for m in own) <= max(active.wake_at, self.clock.now())

    async def assert_chained(self, app: AppId = SHOP) -> None:
        """The audit has no hole and no break."""
        rows = await self.store.audit(app, rollout=None, limit=10_000)
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        links = [(row.previous_hash, encode(row.record, Record), row.hash) for row in rows]
        assert first_break(links, after=GENESIS) is None


_FINE = Habit()


def _message(body: Any, prefix: str) -> Message:
    if isinstance(body, Message):
        return body
    name = getattr(body, "id", None)
    return to_message(body, message_id=f"{prefix}/{body.app}/{name}" if name else None)


__all__ = [n for n in dir() if not n.startswith("_")]
_ = Body
