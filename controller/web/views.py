"""What people and programs see of an app and of a rollout: plain JSON values."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controller.core.data import DataStep
from controller.core.model import AppState, Image, Release, Rollout, SwapProgress, Verdict
from controller.core.plan import AppSpec
from controller.ports import AuditRow, StoredBucket
from controller.verdict.buckets import Bucket, total
from controller.verdict.explain import document
from controller.verdict.judge import arm_numbers
from controller.verdict.question import Judgement

Json = dict[str, Any]


def app_view(spec: AppSpec, state: AppState) -> Json:
    """Return one app: what serves, what is under way, and why."""
    active = state.active
    return {
        "app": spec.id,
        "site": spec.target.site,
        "state": active.state if active else "idle",
        "rollout": active.id if active else None,
        "weight": active.weight if active else 0,
        "routing": str(state.routing) if state.routing else "",
        "stable": _release(state.stable) if state.stable else None,
        "verdict": _verdict(active.verdict) if active else None,
        "why": active.why if active else "",
        "frozen_until": _time(active.frozen_until) if active else None,
        "queued": [rollout.id for rollout in state.queued],
        "firing": [
            {
                "rule": alert.rule,
                "resource": alert.resource,
                "since": _time(alert.fired_at),
                "until": _time(alert.until),
                "detail": alert.detail,
            }
            for alert in state.firing
        ],
        "quarantine": [
            {"digest": q.digest, "rollout": q.rollout, "reason": q.reason, "at": _time(q.at)}
            for q in state.quarantine
        ],
    }


def app_detail(
    spec: AppSpec, state: AppState, rollouts: Sequence[Rollout], audit: Sequence[AuditRow]
) -> Json:
    """Return one app with its releases, latest rollouts and latest audit rows."""
    return app_view(spec, state) | {
        "releases": [_release(release) for release in state.releases],
        "rollouts": [rollout_view(rollout) for rollout in rollouts],
        "events": [_event(row) for row in audit],
    }


def rollout_view(r: Rollout) -> Json:
    """Return one rollout without its history."""
    return {
        "id": r.id,
        "app": r.app,
        "kind": r.kind,
        "image": _image(r.image),
        "state": r.state,
        "is_over": r.is_over,
        "strategy": r.spec.strategy.kind,
        "swap": _swap(r.swap) if r.swap else None,
        "data": _data(r.data) if r.data else None,
        "step": r.step,
        "steps": [step.weight for step in r.spec.strategy.steps],
        "weight": r.weight,
        "active": r.active,
        "idle": r.idle,
        "created_at": _time(r.created_at),
        "entered_at": _time(r.entered_at),
        "deadline": _time(r.deadline),
        "frozen_until": _time(r.frozen_until),
        "ended_at": _time(r.ended_at),
        "by": r.by,
        "reason": r.reason,
        "override": r.override,
        "why": r.why,
        "warnings": list(r.warnings),
        "verdict": _verdict(r.verdict),
    }


def rollout_detail(
    r: Rollout,
    audit: Sequence[AuditRow],
    buckets: Sequence[StoredBucket],
    judgement: Judgement | None,
) -> Json:
    """Return one rollout with its history and the figures of both builds in the current state.

    *judgement* is the judge's present word; None where nothing is judged.
    """
    shown = [pair for pair in buckets if r.is_over or pair.start >= r.entered_at]
    stable = [pair.stable for pair in shown if pair.stable is not None]
    return rollout_view(r) | {
        "numbers": {
            "canary": _arm([pair.canary for pair in shown]),
            "stable": _arm(stable) if stable else None,
        },
        "explanation": document(judgement) if judgement else None,
        "events": [_event(row) for row in audit],
    }


def _arm(buckets: Sequence[Bucket]) -> Json:
    return dict(arm_numbers(total(buckets)))


def _event(row: AuditRow) -> Json:
    record = row.record
    return {
        "sequence": row.sequence,
        "at": _time(record.at),
        "rollout": record.rollout,
        "kind": record.kind,
        "what": record.what,
        "why": record.why,
        "by": record.by,
        "order": record.order,
        "from": record.state_from,
        "to": record.state_to,
        "numbers": record.numbers,
        "evidence": record.evidence,
        "hash": row.hash,
    }


def _image(image: Image) -> Json:
    return {
        "reference": image.reference,
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
    }


def _swap(swap: SwapProgress) -> Json:
    return {
        "stage": swap.stage,
        "back": swap.back,
        "tries": swap.tries,
        "sent_at": _time(swap.sent_at),
        "given_up": swap.given_up,
    }


def _data(data: DataStep) -> Json:
    return {
        "pending": list(data.plan.pending),
        "breaking": list(data.plan.breaking),
        "way_back": data.plan.way_back,
        "bundle": data.plan.bundle,
        "head_before": data.plan.head_before,
        "head_after": data.plan.head_after,
        "dry_run": data.plan.dry_run,
        "restore_point": data.restore_point,
        "begun": data.begun,
        "applied": data.applied,
        "reverted": data.reverted,
        "kept_because": data.kept_because,
    }


def _release(release: Release) -> Json:
    return {
        "tag": release.image.tag,
        "digest": release.image.digest,
        "slot": release.slot,
        "rollout": release.rollout,
        "since": _time(release.at),
        "schema_head": release.schema_head,
        "stranded_by": list(release.stranded_by),
    }


def _verdict(verdict: Verdict | None) -> Json | None:
    if verdict is None:
        return None
    return {"label": verdict.label, "reason": verdict.reason, "at": _time(verdict.at)}


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
