"""What the machine says: reasons, advice, audit records."""

from controller.core.events import (
    Alerted,
    Done,
    Event,
    Failed,
    Judged,
    NotYet,
    Number,
    PreflightFailed,
    PreflightPassed,
    ReadyChecked,
    SwapBegun,
    SwapChecked,
    SwapUndone,
    Tick,
)
from controller.core.migrating import aftermath
from controller.core.model import Record, Rollout, State, Verdict


def explain(event: Event) -> str:  # noqa: PLR0911 - one sentence per kind of event
    """Return in one sentence why *event* moves a rollout."""
    match event:
        case Judged():
            return f"{event.label}: {event.reason}"
        case PreflightFailed():
            return "preflight: " + "; ".join(event.reasons)
        case Failed():
            return f"failed: {event.reason}"
        case NotYet() | Done() | ReadyChecked() | SwapChecked() | SwapBegun() | SwapUndone():
            return event.detail
        case Alerted():
            return f"alert {event.rule!r} fired: {event.detail}"
        case PreflightPassed():
            warned = f" ({len(event.warnings)} warnings)" if event.warnings else ""
            pending = event.data.pending if event.data else ()
            to_run = f"; to migrate: {', '.join(pending)}" if pending else ""
            tried = f"; {event.data.dry_run}" if event.data and event.data.dry_run else ""
            slots = f"{event.active} serves, {event.idle} is idle"
            return f"preflight passed: {slots}{warned}{to_run}{tried}"
        case Tick():
            return "its time has come"
        case _:
            said = f": {event.reason}" if event.reason else ""
            return f"{verb(event)} by {event.by}{said}"


def verb(event: object) -> str:
    """Return the word for a command or fact, in lower case."""
    return type(event).__name__.lower()


def verdict(r: Rollout, event: Event) -> Verdict | None:
    """Return the judge's last word after *event*."""
    if isinstance(event, Judged):
        return Verdict(label=event.label, reason=event.reason, at=event.at)
    return r.verdict


def with_aftermath(r: Rollout, why: str) -> str:
    """Return why *r* ended on a way back, and what became of its database."""
    return "; ".join(each for each in (why, aftermath(r)) if each)


def record(
    r: Rollout, event: Event, kind: str, why: str, *, came_from: State | None = None
) -> Record:
    """Return the audit line of *event*."""
    return Record(
        at=event.at,
        rollout=r.id,
        kind=kind,
        what=type(event).__name__,
        why=why,
        by=getattr(event, "by", ""),
        state_from=came_from,
        state_to=r.state if came_from else None,
        numbers=_numbers(event),
        evidence=event.evidence if isinstance(event, Judged) else None,
        evidence_hash=event.evidence_hash if isinstance(event, Judged) else None,
    )


def _numbers(event: Event) -> dict[str, Number]:
    """Return the figures that *event* goes by."""
    if isinstance(event, Judged):
        return dict(event.numbers)
    if isinstance(event, PreflightPassed) and event.learned is not None:
        learned = event.learned
        return {
            "learned_since": learned.since.isoformat(),
            "learned_until": learned.until.isoformat(),
            "learned_rows": learned.rows,
            "learned_failed_rows": learned.failed_rows,
            "learned_dispersion_errors": round(learned.dispersion_errors, 3),
            "learned_dispersion_traffic": round(learned.dispersion_traffic, 3),
            "learned_by_session": int(learned.by_session),
            **{f"learned_{metric.name}_total": metric.total for metric in learned.metrics},
            **{f"learned_{metric.name}_bad": metric.bad for metric in learned.metrics},
        }
    return {}
