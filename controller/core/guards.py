"""Guards of the table, named as sentences (the picture draws them), and what a row remembers."""

from dataclasses import replace
from datetime import timedelta

from controller.core.asks import answers_needed
from controller.core.data import DataStep
from controller.core.events import Judged, Label, PreflightPassed, ReadyChecked, Smoke, Tick
from controller.core.model import Kind, Rollout, State
from controller.core.plan import (
    ALL,
    ApprovalPoint,
    ExpiryAction,
    HeldTraffic,
    NoEvidenceAction,
)


def its_turn_has_come(r: Rollout, event: Tick) -> bool:
    """Whether: its turn has come."""
    return r.wake_at is None or event.at >= r.wake_at


def past_deadline(r: Rollout, event: Tick) -> bool:
    """Whether: past deadline."""
    return r.deadline is not None and event.at >= r.deadline


def watch_is_due(r: Rollout, event: Tick) -> bool:
    """Whether: watch is due."""
    return r.awaiting is None and r.wake_at is not None and event.at >= r.wake_at


def proved(r: Rollout, event: ReadyChecked) -> bool:
    """Whether: proved."""
    return event.ready and event.smoke is Smoke.PASSED and r.streak + 1 >= answers_needed(r)


def proved_and_approval_first(r: Rollout, event: ReadyChecked) -> bool:
    """Whether: proved and approval first."""
    return proved(r, event) and approval_before(r, 0)


def proved_and_no_canary(r: Rollout, event: ReadyChecked) -> bool:
    """Whether: proved and no canary."""
    return proved(r, event) and (r.kind is Kind.ROLLBACK or not r.spec.strategy.steps)


def smoke_failed(_: Rollout, event: ReadyChecked) -> bool:
    """Whether: smoke failed."""
    return event.smoke is Smoke.FAILED


def approval_before(r: Rollout, step: int) -> bool:
    """Whether: approval before."""
    point = r.spec.strategy.approval.point
    if r.kind is Kind.ROLLBACK or point is ApprovalPoint.NEVER:
        return False
    if point is ApprovalPoint.BEFORE_CANARY:
        return step == 0
    steps = r.spec.strategy.steps
    full = next((i for i, s in enumerate(steps) if s.weight == ALL), len(steps))
    return step == full


def _action(r: Rollout, label: Label) -> NoEvidenceAction | None:
    actions = r.spec.analysis.on_no_evidence
    return {
        Label.INSUFFICIENT_DATA: actions.insufficient_data,
        Label.PROVIDER_UNAVAILABLE: actions.provider_unavailable,
        Label.AMBIENT_INCIDENT: actions.ambient_incident,
    }.get(label)


def regressed(r: Rollout, event: Judged) -> bool:
    """Whether: regressed."""
    is_bad = event.label is Label.REGRESSED
    return is_bad or _action(r, event.label) is NoEvidenceAction.ROLL_BACK


def known_regressed(_: Rollout, event: Judged) -> bool:
    """Whether: known regressed."""
    return event.label is Label.REGRESSED


def passed(r: Rollout, event: Judged) -> bool:
    """Whether: passed."""
    is_good = event.label is Label.HEALTHY
    return is_good or _action(r, event.label) is NoEvidenceAction.PROCEED


def passed_last_step(r: Rollout, event: Judged) -> bool:
    """Whether: passed last step."""
    return passed(r, event) and is_last(r) and not approval_before(r, r.step + 1)


def passed_and_approval_next(r: Rollout, event: Judged) -> bool:
    """Whether: passed and approval next."""
    return passed(r, event) and approval_before(r, r.step + 1)


def no_evidence(r: Rollout, event: Judged) -> bool:
    """Whether: no evidence."""
    return _action(r, event.label) is NoEvidenceAction.HOLD


def evidence_came_back(r: Rollout, event: Judged) -> bool:
    """Whether: evidence came back.

    What was seen while held then counts as the step's own: looking again from nothing could end
    in the same hold for ever. It says nothing where users were sent back meanwhile.
    """
    waits_for_person = r.paused or r.held_from is State.APPROVAL
    returned = r.spec.strategy.hold.traffic is HeldTraffic.RETURNED
    users_stayed = not returned or r.held_from is State.BAKING
    return event.label is Label.HEALTHY and not waits_for_person and users_stayed


def evidence_came_back_while_baking(r: Rollout, event: Judged) -> bool:
    """Whether: evidence came back while baking."""
    return evidence_came_back(r, event) and held_while_baking(r, event)


def evidence_came_back_and_approval_next(r: Rollout, event: Judged) -> bool:
    """Whether: evidence came back and approval next."""
    return evidence_came_back(r, event) and approval_before(r, r.step + 1)


def evidence_came_back_at_last_step(r: Rollout, event: Judged) -> bool:
    """Whether: evidence came back at last step."""
    return evidence_came_back(r, event) and is_last(r)


def is_last(r: Rollout) -> bool:
    """Whether: is last."""
    return r.step + 1 >= len(r.spec.strategy.steps)


def at_last_step(r: Rollout, _: object) -> bool:
    """Whether: at last step."""
    return is_last(r)


def approved_after_last_step(r: Rollout, _: object) -> bool:
    """Whether: approved after last step."""
    return r.step >= len(r.spec.strategy.steps)


def held_while_baking(r: Rollout, _: object) -> bool:
    """Whether: held while baking."""
    return r.held_from is State.BAKING


def held_while_approving(r: Rollout, _: object) -> bool:
    """Whether: held while approving."""
    return r.held_from is State.APPROVAL


def held_while_approving_the_end(r: Rollout, event: object) -> bool:
    """Whether: held while approving the end."""
    return held_while_approving(r, event) and approved_after_last_step(r, event)


def hold_expires_to_go_on(r: Rollout, event: Tick) -> bool:
    """Whether: hold expires to go on."""
    proceed = r.spec.strategy.hold.on_expiry is ExpiryAction.PROCEED
    return past_deadline(r, event) and proceed


def hold_expires_while_baking(r: Rollout, event: Tick) -> bool:
    """Whether: hold expires while baking."""
    return hold_expires_to_go_on(r, event) and held_while_baking(r, event)


def hold_expires_while_approving(r: Rollout, event: Tick) -> bool:
    """Whether: hold expires while approving. Silence is never an approval."""
    return past_deadline(r, event) and held_while_approving(r, event)


def hold_expires_and_approval_next(r: Rollout, event: Tick) -> bool:
    """Whether: hold expires and approval next."""
    return hold_expires_to_go_on(r, event) and approval_before(r, r.step + 1)


def hold_expires_at_last_step(r: Rollout, event: Tick) -> bool:
    """Whether: hold expires at last step."""
    return hold_expires_to_go_on(r, event) and is_last(r)


def approval_expires_to_hold(r: Rollout, event: Tick) -> bool:
    """Whether: approval expires to hold."""
    hold = r.spec.strategy.approval.on_expiry is ExpiryAction.HOLD
    return past_deadline(r, event) and hold


def approval_expires_to_go_on(r: Rollout, event: Tick) -> bool:
    """Whether: approval expires to go on."""
    proceed = r.spec.strategy.approval.on_expiry is ExpiryAction.PROCEED
    return past_deadline(r, event) and proceed


def approval_expires_to_go_on_after_last_step(r: Rollout, event: Tick) -> bool:
    """Whether: approval expires to go on after last step."""
    return approval_expires_to_go_on(r, event) and approved_after_last_step(r, event)


def needs_no_bake(r: Rollout, _: object) -> bool:
    """Whether: needs no bake."""
    return r.kind is Kind.ROLLBACK or r.spec.strategy.bake <= timedelta()


def puts_something_new_there(r: Rollout, _: object) -> bool:
    """Whether: puts something new there. A way back is no cause of an alert: it is the cure."""
    return r.kind is Kind.RELEASE


def makes_room(r: Rollout, _: object) -> bool:
    """Whether: makes room."""
    return r.superseded


def learn(r: Rollout, event: PreflightPassed) -> Rollout:
    """Remember what PREFLIGHT found."""
    return replace(
        r,
        active=event.active,
        idle=event.idle,
        stable_image=event.stable_image,
        stable_release=event.stable_release,
        warnings=event.warnings,
        learned=event.learned,
        data=DataStep(plan=event.data) if event.data else None,
    )


def count_streak(r: Rollout, event: ReadyChecked) -> Rollout:
    """Count ready answers in a row."""
    return replace(r, streak=r.streak + 1 if event.ready else 0)


def next_step(r: Rollout, _: object) -> Rollout:
    """Go to the next step."""
    return replace(r, step=r.step + 1)


def hold(r: Rollout, _: object) -> Rollout:
    """Remember where it was held."""
    return replace(r, held_from=r.state, paused=False)


def pause(r: Rollout, _: object) -> Rollout:
    """Remember that a person holds it."""
    return replace(r, held_from=r.state, paused=True)


def supersede(r: Rollout, _: object) -> Rollout:
    """Remember that it makes room for a newer push."""
    return replace(r, superseded=True)
