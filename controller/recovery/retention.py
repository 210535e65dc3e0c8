"""Which backup sets stay: grandfather, father, son; and never fewer verified ones than agreed.

Sets are counted by the days, weeks, months and years that have one, not back from today: when
backups stop, or a clock jumps, nothing expires. The decision is about the sets that were listed;
doing it twice, or two people doing it at once, removes nothing that either would have kept.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controller.core.errors import ConfigurationError
from controller.recovery.names import SetId
from controller.recovery.sets import Condition, StoredSet

INCOMPLETE_GRACE: Final = timedelta(hours=24)  # an upload may still be under way
CLOCK_SLACK: Final = timedelta(minutes=5)  # clocks of two machines differ that much

_PERIODS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "daily": lambda moment: f"{moment:%Y-%m-%d}",
    "weekly": lambda moment: "{}-W{:02}".format(*moment.isocalendar()[:2]),
    "monthly": lambda moment: f"{moment:%Y-%m}",
    "yearly": lambda moment: f"{moment:%Y}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How many sets stay. Days and weeks are UTC's, weeks begin on Monday (ISO 8601)."""

    keep_last: int = 3
    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    yearly: int = 0
    min_verified: int = 2  # of the newest verified sets, whatever else is said

    def __post_init__(self) -> None:
        """Refuse a policy that could leave nothing."""
        counts = (self.keep_last, self.daily, self.weekly, self.monthly, self.yearly)
        if min(counts) < 0:
            raise ConfigurationError("Retention counts a negative number.", fix="Use 0 or more.")
        if self.min_verified < 1:
            raise ConfigurationError(
                "Retention would let the last verified backup go.",
                fix="Set min_verified to 1 or more.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What stays and why, what goes, and what is not touched though no rule keeps it."""

    keep: Mapping[SetId, tuple[str, ...]]
    remove: tuple[SetId, ...]  # oldest first
    refused: Mapping[SetId, str] = field(default_factory=dict[SetId, str])


def decide(
    sets: Collection[StoredSet],
    now: datetime,
    policy: RetentionPolicy,
    *,
    needed: Mapping[SetId, str] | None = None,
) -> Retention:
    """Return what should be kept of one app's *sets*.

    Args:
        sets: all that exist, each once.
        now: with its zone.
        policy: how many stay.
        needed: sets that something refers to, such as a rollout's restore point, and what.
    """
    ordered = sorted(sets, key=lambda each: each.id, reverse=True)
    reasons: dict[SetId, list[str]] = {}
    for each in ordered:
        if reason := _protection(each, now, needed or {}):
            reasons.setdefault(each.id, []).append(reason)
    good = [each for each in ordered if _is_good(each, now)]
    _keep_by_rule(good, policy, reasons)
    verified = sum(each.is_verified for each in good)
    refused = {
        each.id: why
        for each in ordered
        if each.id not in reasons and (why := _refusal(each, verified, policy, now))
    }
    gone = [each.id for each in ordered if each.id not in reasons and each.id not in refused]
    return Retention(
        keep={name: tuple(why) for name, why in reasons.items()},
        remove=tuple(reversed(gone)),
        refused=refused,
    )


def _is_good(each: StoredSet, now: datetime) -> bool:
    """Only such sets fill the slots of the rules."""
    is_whole = each.condition is Condition.COMPLETE and not each.is_suspect
    return is_whole and not _is_in_future(each, now)


def _is_in_future(each: StoredSet, now: datetime) -> bool:
    return each.begun_at > now + CLOCK_SLACK


def _protection(each: StoredSet, now: datetime, needed: Mapping[SetId, str]) -> str | None:
    if each.id in needed:
        return f"needed: {needed[each.id]}"
    if each.has_legal_hold:
        return "held: a legal hold is on it"
    if each.immutable_until and each.immutable_until > now - CLOCK_SLACK:
        return f"held: immutable until {each.immutable_until:%Y-%m-%d %H:%M} UTC"
    if _is_in_future(each, now):
        return "from the future: the clock here, or where it was made, is wrong"
    return None


def _keep_by_rule(
    good: Sequence[StoredSet], policy: RetentionPolicy, reasons: dict[SetId, list[str]]
) -> None:
    """Add the reasons of the rules; *good* is newest first."""

    def keep(each: StoredSet, why: str) -> None:
        reasons.setdefault(each.id, []).append(why)

    for each in good[:1]:
        keep(each, "newest")
    for number, each in enumerate(good[: policy.keep_last], start=1):
        keep(each, f"last {number} of {policy.keep_last}")
    verified = [each for each in good if each.is_verified]
    for number, each in enumerate(verified[: policy.min_verified], start=1):
        keep(each, f"verified {number} of {policy.min_verified}")
    for name, period_of in _PERIODS.items():
        chosen = _one_for_each(good, period_of)
        for period, each in list(chosen.items())[: getattr(policy, name)]:
            keep(each, f"{name} {period}")


def _one_for_each(
    good: Sequence[StoredSet], period_of: Callable[[datetime], str]
) -> dict[str, StoredSet]:
    """Return the newest verified set of each period, else the newest; newest period first."""
    chosen: dict[str, StoredSet] = {}
    for each in good:
        known = chosen.setdefault(period_of(each.begun_at), each)
        if each.is_verified and not known.is_verified:
            chosen[period_of(each.begun_at)] = each
    return chosen


def _refusal(each: StoredSet, verified: int, policy: RetentionPolicy, now: datetime) -> str | None:
    """Return why a set that no rule keeps is left alone all the same."""
    if each.condition is Condition.UNREADABLE:
        return f"unreadable: {each.problem} Look at it, and remove it by hand."
    if each.condition is Condition.INCOMPLETE:
        last = max(each.begun_at, each.last_written_at or each.begun_at)
        is_young = now - last < INCOMPLETE_GRACE
        return "incomplete, perhaps still under way: it goes after 24 hours" if is_young else None
    if each.is_suspect:
        return "its last verification failed: look at it, and remove it by hand"
    if verified < policy.min_verified:
        return f"only {verified} verified, {policy.min_verified} must stay: verify more sets first"
    return None
