"""Load, decide, save, then ask: the loop that moves one app's rollout forward.

State is saved before anything is asked of the world. A crash anywhere leaves a state that names
the effect it awaits; the next delivery of any message asks again, and effects are goals.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.alerts import AlertOrder, Condition
from controller.core.effects import BeginSwap, Effect
from controller.core.errors import (
    ConfigurationError,
    ConflictError,
    TransientError,
    UnknownAppError,
)
from controller.core.events import (
    Abort,
    Approve,
    Event,
    Judged,
    NotYet,
    Pause,
    Promote,
    Reject,
    Resume,
    Tick,
)
from controller.core.line import advance
from controller.core.machine import decide
from controller.core.model import WATCHED, AppState, Image, Record, Rollout, State
from controller.core.orders import Retry, RollBack, Submit
from controller.core.plan import AppId, AppSpec
from controller.core.policy import Order, apply
from controller.core.turns import Change
from controller.ports import Bus, Clock, Configuration, Loaded, StateStore
from controller.runtime.log_context import follow
from controller.runtime.messages import (
    AlertBody,
    Command,
    ObservedBody,
    OrderBody,
    RetryBody,
    RollbackBody,
    SubmitBody,
    TickBody,
    to_message,
)
from controller.runtime.once import Once
from controller.runtime.performer import Performer
from controller.runtime.witness import Witness

log = logging.getLogger("slipway.engine")

_MAX_CONFLICTS: Final = 5
_MAX_MOVES: Final = 30  # decisions in one invocation; a rollout needs about a dozen at once
_UNFORESEEN_RETRY: Final = timedelta(seconds=10)

Body = Command
_MEANT_FOR_IT: Final = (RollbackBody, AlertBody)  # they mean the running rollout, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Handles one message of one app at a time; the queue's session sees to that."""

    store: StateStore
    bus: Bus
    configuration: Configuration
    performer: Performer
    witness: Witness
    clock: Clock
    troubles: Once = field(default_factory=lambda: Once(log))

    async def handle(self, body: Body, *, redelivered: bool = False) -> AppState:
        """Do what the message asks and drive the app's rollout as far as it goes now.

        Raises:
            UnknownAppError: the configuration has no such app.
            TransientError: a store or the queue cannot be used now; deliver again.
        """
        for _ in range(_MAX_CONFLICTS):
            try:
                return await self._handle(body, redelivered=redelivered)
            except ConflictError:
                log.info("app %s: somebody saved first, deciding again", body.app)
        raise TransientError(f"App {body.app}: saving met a conflict {_MAX_CONFLICTS} times.")

    async def _handle(self, body: Body, *, redelivered: bool) -> AppState:
        app = AppId(body.app)
        loaded = await self.store.load(app)
        before = loaded.state.active
        follow(before.id if before else "")
        loaded = await self._take_order(loaded, body)
        loaded = await self._drive(loaded)
        after = loaded.state.active
        if isinstance(body, ObservedBody) and _needs_no_more(after, body.rollout):
            await self.performer.observer.release(body.workspace, body.rollout)
        moved = (
            before is None or after is None or (before.id, before.turn) != (after.id, after.turn)
        )
        if after is not None and (moved or redelivered or _is_due_tick(body, after)):
            await self._owe_wake_up(after, repeated=not moved)
        return loaded.state

    # --- Orders -----------------------------------------------------------------------------------

    async def _take_order(self, loaded: Loaded, body: Body) -> Loaded:
        if isinstance(body, TickBody | ObservedBody):
            return loaded
        app = AppId(body.app)
        key = f"{body.command}/{body.id}"
        if await self.store.was_seen(app, key):
            log.info("app %s: %s %s was handled before", app, body.command, body.id)
            return loaded
        spec = await self._spec(app, loaded.state.active, body)
        meant = body.rollout if isinstance(body, OrderBody | RollbackBody) else None
        order = _order(body, self.clock.now())
        change = apply(loaded.state, spec, order, rollout=meant)
        named = tuple(replace(record, order=body.id) for record in change.records)
        return await self._save(loaded, replace(change, records=named), seen=key)

    async def _spec(self, app: AppId, active: Rollout | None, body: Body) -> AppSpec:
        """Return the app as configured.

        A rollout under way carries its own copy: people reach it also where the text is broken,
        or the app is gone from it.
        """
        if active is not None and isinstance(body, OrderBody):
            return active.spec
        own = active.spec if active is not None and isinstance(body, _MEANT_FOR_IT) else None
        try:
            apps = await self.configuration.apps()
        except ConfigurationError:
            if own is None:
                raise
            return own
        spec = apps.get(app, own)
        if spec is None:
            known = ", ".join(sorted(apps)) or "none"
            raise UnknownAppError(
                f"There is no app {app!r} in the configuration.", fix=f"Apps: {known}."
            )
        return spec

    # --- The loop ---------------------------------------------------------------------------------

    async def _drive(self, loaded: Loaded) -> Loaded:
        judged_turn = -1
        for _ in range(_MAX_MOVES):
            rollout = loaded.state.active
            if rollout is None:
                return loaded
            follow(rollout.id)
            now = self.clock.now()
            event: Event | None = None
            if rollout.state in WATCHED and judged_turn != rollout.turn:
                judged_turn = rollout.turn
                event = await self._judge(rollout, now)
            event = event or self._time_is_up(rollout, now)
            if event is None:
                loaded, event = await self._ask(loaded, rollout, now)
            if event is None:
                return loaded
            loaded = await self._save(loaded, advance(loaded.state, event))
        log.warning("app %s: still moving after %s moves", loaded.state.app, _MAX_MOVES)
        return loaded

    async def _judge(self, rollout: Rollout, now: datetime) -> Event | None:
        """Return the judgement if it decides anything, with its evidence kept.

        Where the evidence cannot be read there is none: the state's deadline bounds that. Where it
        cannot be kept a rollout does not go on, but goes back all the same.
        """
        try:
            findings = await self.witness.testify(rollout, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no evidence
            said = f"rollout {rollout.id}: its evidence cannot be read"
            self.troubles.warn(f"{rollout.id}/{rollout.state}/read", said, error)
            return None
        event = Judged(
            at=now,
            label=findings.judgement.label,
            reason=findings.judgement.reason,
            judge=findings.judgement.judge,
            numbers=findings.judgement.numbers,
        )
        decision = decide(rollout, event)
        if not decision.changed:
            return None
        try:
            place, digest = await self.witness.keep(rollout, findings)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not kept
            said = f"rollout {rollout.id}: the evidence of {event.label} cannot be kept"
            self.troubles.warn(f"{rollout.id}/{rollout.state}/keep", said, error)
            return event if decision.rollout.state is State.ROLLING_BACK else None
        return replace(event, evidence=place, evidence_hash=digest)

    def _time_is_up(self, rollout: Rollout, now: datetime) -> Event | None:
        tick = Tick(at=now)
        return tick if decide(rollout, tick).changed else None

    async def _ask(
        self, loaded: Loaded, rollout: Rollout, now: datetime
    ) -> tuple[Loaded, Event | None]:
        """Perform the awaited effect if its time has come and return what it answers.

        An effect that may be performed only once is written down as begun before it is: whoever
        finds it begun already is told so.
        """
        effect = rollout.awaiting
        if effect is None or (rollout.ask_at is not None and rollout.ask_at > now):
            return loaded, None
        if isinstance(effect, BeginSwap):
            if rollout.asked:
                effect = replace(effect, again=True)
            else:
                state = replace(loaded.state, active=replace(rollout, asked=True))
                loaded = await self.store.save(loaded, state, [])
        return loaded, await self._reply(rollout, effect)

    async def _reply(self, rollout: Rollout, effect: Effect) -> Event:
        try:
            return await self.performer.perform(effect)
        except ConflictError:
            raise
        except Exception as error:
            # Unforeseen: counts as transient; the state's deadline bounds it.
            log.exception("rollout %s: %s raised", rollout.id, effect.key)
            return NotYet(
                at=self.clock.now(),
                key=effect.key,
                detail=f"{effect.name} met {type(error).__name__}; trying again",
                retry_after=_UNFORESEEN_RETRY,
            )

    async def _save(self, loaded: Loaded, change: Change, *, seen: str | None = None) -> Loaded:
        state = replace(change.state, sequence=loaded.state.sequence + len(change.records))
        saved = await self.store.save(loaded, state, change.records, ended=change.ended, seen=seen)
        _tell(state.app, change.records)
        return saved

    async def _owe_wake_up(self, rollout: Rollout, *, repeated: bool) -> None:
        if rollout.wake_at is None:
            return
        tick = TickBody(app=rollout.app, rollout=rollout.id, turn=rollout.turn)
        name = f"{rollout.id}/{rollout.turn}"
        if repeated:  # the first wake-up of this turn was used up; do not look like its duplicate
            name += f"/{int(self.clock.now().timestamp() * 1000)}"
        await self.bus.send([to_message(tick, at=rollout.wake_at, message_id=name)])


def _is_due_tick(body: Body, active: Rollout) -> bool:
    """Whether *body* is the wake-up that *active* waited for, or one for whatever runs."""
    if not isinstance(body, TickBody):
        return False
    return body.rollout is None or (body.rollout, body.turn) == (active.id, active.turn)


def _needs_no_more(active: Rollout | None, rollout: str) -> bool:
    return active is None or active.id != rollout or active.state is State.ROLLING_BACK


def _order(body: Body, now: datetime) -> Order:
    by = getattr(body, "by", "")
    reason = getattr(body, "reason", "")
    match body:
        case SubmitBody():
            return Submit(
                at=now,
                image=Image(**body.image.model_dump()),
                by=by,
                reason=reason,
                override=body.override,
                pushed=body.pushed,
                pushed_at=body.pushed_at,
            )
        case RollbackBody():
            return RollBack(at=now, by=by, reason=reason, to=body.to)
        case RetryBody():
            return Retry(at=now, digest=body.digest, by=by, reason=reason)
        case AlertBody():
            return _alert(body, now)
        case OrderBody():
            return _COMMANDS[body.command](at=now, by=by, reason=reason)
        case _:
            raise AssertionError(f"{body.command} is no order")


def _alert(body: AlertBody, now: datetime) -> AlertOrder:
    return AlertOrder(
        at=now,
        by=body.by,
        condition=Condition(body.condition),
        id=body.alert,
        rule=body.rule,
        resource=body.resource,
        fired_at=body.fired_at,
        detail=body.detail,
        is_test=body.is_test,
        is_moment=body.is_moment,
        harmless=body.harmless,
    )


_COMMANDS: Final[dict[str, type[Approve | Reject | Pause | Resume | Abort | Promote]]] = {
    "approve": Approve,
    "reject": Reject,
    "pause": Pause,
    "resume": Resume,
    "abort": Abort,
    "promote": Promote,
}


def _tell(app: AppId, records: Sequence[Record]) -> None:
    """Log every record once it is saved; a page is critical, so that an alert can stand on it."""
    for record in records:
        level = logging.CRITICAL if record.kind == "page" else logging.INFO
        moved = f"{record.state_from} -> {record.state_to}" if record.state_to else record.kind
        log.log(
            level,
            "app %s rollout %s: %s %s: %s",
            app,
            record.rollout or "-",
            record.what,
            moved,
            record.why,
            extra={"app_id": app},
        )
