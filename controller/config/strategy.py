"""How a new build takes over: steps, bake, approval, hold."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from controller.config.fields import Cron, Duration, TimeZone
from controller.config.section import Section
from controller.core import plan

_HOLD: Final = plan.Hold()
_APPROVAL: Final = plan.Approval()
_DELAY: Final = plan.Delay()
_SHORTEST: Final = timedelta(milliseconds=100)
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
DEFAULT_STEPS: Final = (10, 50, 100)
DEFAULT_STEPS_BEFORE_SWAP: Final = (10, 50)  # the swap itself gives it everybody


class StepSection(Section):
    """One share of the traffic and how long it is looked at."""

    weight: int = Field(
        ge=1, le=100, description="Share of live requests in percent. Rises from step to step."
    )
    min_observation: Duration = Field(
        default=2 * _MINUTE,
        le=_DAY,
        description="The step lasts at least this long, however good the numbers.",
    )
    max_observation: Duration = Field(
        default=30 * _MINUTE,
        ge=_SHORTEST,
        le=timedelta(days=7),
        description="Not enough evidence by then: "
        "`analysis.on_no_evidence.insufficient_data` decides.",
    )

    def to_core(self) -> plan.Step:
        """Return the core's form."""
        return plan.Step(
            weight=plan.Percent(self.weight),
            min_observation=self.min_observation,
            max_observation=self.max_observation,
        )


class ApprovalSection(Section):
    """Whether a named person must agree."""

    point: Annotated[plan.ApprovalPoint, Field(strict=False)] = Field(
        default=_APPROVAL.point,
        description="never; before_canary: before the first user sees it; "
        "before_full: before it takes 100 %.",
    )
    limit: Duration = Field(
        default=_APPROVAL.limit, ge=_SECOND, description="How long an answer is waited for."
    )
    on_expiry: Annotated[plan.ExpiryAction, Field(strict=False)] = Field(
        default=_APPROVAL.on_expiry,
        description="What happens when nobody answers: roll_back, hold (page a human and wait "
        "on), proceed (go on unapproved).",
    )

    def to_core(self) -> plan.Approval:
        """Return the core's form."""
        return plan.Approval(point=self.point, limit=self.limit, on_expiry=self.on_expiry)


class HoldExpiry(StrEnum):
    """What ends a hold. It cannot expire into another hold: a rollout ends."""

    ROLL_BACK = "roll_back"
    PROCEED = "proceed"


class HoldSection(Section):
    """What a rollout does while it waits for a human because evidence is missing."""

    traffic: Annotated[plan.HeldTraffic, Field(strict=False)] = Field(
        default=_HOLD.traffic,
        description="frozen: the split stays as it is; returned: stable takes everything.",
    )
    limit: Duration = Field(
        default=_HOLD.limit, ge=_SECOND, description="How long a human is waited for."
    )
    on_expiry: Annotated[HoldExpiry, Field(strict=False)] = Field(
        default=HoldExpiry.ROLL_BACK, description="What happens when nobody answers."
    )

    def to_core(self) -> plan.Hold:
        """Return the core's form."""
        return plan.Hold(
            traffic=self.traffic,
            limit=self.limit,
            on_expiry=plan.ExpiryAction(self.on_expiry),
        )


class FreezeSection(Section):
    """A time in which no rollout starts; one that runs goes on, and a rollback never waits."""

    cron: Cron = Field(description="When it begins: minute, hour, day, month, weekday.")
    duration: Duration = Field(ge=_MINUTE, description="How long it holds, in real time.")
    timezone: TimeZone = Field(default="UTC", description="Whose clock `cron` goes by.")
    reason: str = Field(
        default="", max_length=200, description="Shown to whoever waits for its end."
    )

    def to_core(self) -> plan.Freeze:
        """Return the core's form."""
        return plan.Freeze(
            cron=self.cron, duration=self.duration, timezone=self.timezone, reason=self.reason
        )


class DelaySection(Section):
    """How long a push waits for a newer one. Orders of people and rollbacks do not wait."""

    quiet: Duration = Field(
        default=_DELAY.quiet,
        le=_DAY,
        description="A push starts when no other has come for so long; a newer one takes its "
        "place. 0s: at once.",
    )
    limit: Duration = Field(
        default=_DELAY.limit,
        le=_DAY,
        description="It starts so long after the first push of the burst at the latest.",
    )

    def to_core(self) -> plan.Delay:
        """Return the core's form."""
        return plan.Delay(quiet=self.quiet, limit=self.limit)


class StrategySection(Section):
    """How a new build takes over."""

    kind: Annotated[plan.StrategyKind, Field(strict=False)] = Field(
        default=plan.StrategyKind.ROUTE,
        description="route: named slots take turns, traffic rules end at 100 %; swap: after the "
        "steps a slot swap moves the build to production.",
    )
    steps: list[StepSection] = Field(
        default=[StepSection(weight=weight) for weight in DEFAULT_STEPS],
        max_length=20,
        description="Canary steps, in order. Where none are given, kind swap takes 10 and 50 "
        "only: the swap gives the build everybody. An empty list swaps without a canary.",
    )
    bake: Duration = Field(
        default=_MINUTE,
        le=timedelta(days=7),
        description="How long the new build is watched at 100 % while the previous one stays "
        "warm. 0s: not at all.",
    )
    approval: ApprovalSection = Field(
        default=ApprovalSection(), description="Whether a named person must agree."
    )
    hold: HoldSection = Field(
        default=HoldSection(), description="What happens where evidence is missing."
    )
    new_push: Annotated[plan.NewPushPolicy, Field(strict=False)] = Field(
        default=plan.NewPushPolicy.SUPERSEDE,
        description="What a push does while a rollout runs: supersede (the running one goes back "
        "first), queue, reject.",
    )
    freezes: list[FreezeSection] = Field(
        default=[], max_length=20, description="Times in which no rollout starts."
    )
    delay: DelaySection = Field(
        default=DelaySection(), description="Whether a burst of pushes becomes one rollout."
    )
    pinned_for: Duration = Field(
        default=timedelta(hours=1),
        le=timedelta(days=1),
        description="How long a slot that users left stays as it is before a new build may be "
        "put there: the platform pins clients by cookie for 1h, also past the rule that sent "
        "them. With three slots a release hardly ever waits. 0s: never wait.",
    )

    def to_core(self) -> plan.Strategy:
        """Return the core's form."""
        return plan.Strategy(
            kind=self.kind,
            steps=tuple(step.to_core() for step in self._steps()),
            bake=self.bake,
            approval=self.approval.to_core(),
            hold=self.hold.to_core(),
            new_push=self.new_push,
            pinned_for=self.pinned_for,
            freezes=tuple(freeze.to_core() for freeze in self.freezes),
            delay=self.delay.to_core(),
        )

    def _steps(self) -> list[StepSection]:
        is_swap = self.kind is plan.StrategyKind.SWAP
        if is_swap and "steps" not in self.model_fields_set:
            return [StepSection(weight=weight) for weight in DEFAULT_STEPS_BEFORE_SWAP]
        return self.steps
