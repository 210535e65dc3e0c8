"""What a drill says: what came back against what was recorded, and how old and how long."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.recovery.facts import DatabaseFacts, TableFacts
from controller.recovery.names import SetId
from controller.recovery.reading import parsed, plain, read

# --- What came back -------------------------------------------------------------------------------


def differences(recorded: DatabaseFacts, restored: DatabaseFacts) -> tuple[str, ...]:
    """Return a sentence for each thing that is not as it was; none means that all came back."""
    return (
        *_heads(recorded.migration_head, restored.migration_head),
        *_tables(recorded.tables, restored.tables),
        *_sequences(recorded.sequences, restored.sequences),
        *_listed("Constraint", recorded.constraints, restored.constraints),
        *_listed("Index", recorded.indexes, restored.indexes),
        *_named("Extension", recorded.extensions, restored.extensions, "has version"),
    )


def notes(recorded: DatabaseFacts, restored: DatabaseFacts) -> tuple[str, ...]:
    """Return what differs and is no fault of the backup."""
    then, now = recorded.server_version, restored.server_version
    ahead = [
        f"{name} by {restored.sequences[name] - value}"
        for name, value in sorted(recorded.sequences.items())
        if restored.sequences.get(name, value) > value
    ]
    moved = f"Sequences moved on while the dump was made: {', '.join(ahead)}." if ahead else ""
    version = f"The server's version was {then}; it was restored to {now}." if then != now else ""
    return tuple(filter(None, (version, moved)))


def _heads(recorded: str | None, restored: str | None) -> Iterable[str]:
    if recorded != restored:
        yield f"The migration head was {recorded or 'none'}; it is {restored or 'none'}."


def _tables(recorded: Sequence[TableFacts], restored: Sequence[TableFacts]) -> Iterable[str]:
    then = {each.name: each for each in recorded}
    now = {each.name: each for each in restored}
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield f"Table {name} is missing; it had {then[name].rows} rows."
        elif name not in then:
            yield f"Table {name} is extra; it was not in the backup."
        elif then[name].rows != now[name].rows:
            yield f"Table {name} had {then[name].rows} rows; it has {now[name].rows}."
        elif then[name].checksum != now[name].checksum:
            yield f"Table {name} has its {now[name].rows} rows, but not what was in them."


def _sequences(recorded: Mapping[str, int], restored: Mapping[str, int]) -> Iterable[str]:
    """One that is ahead is no fault: sequences are of no snapshot, and never give a value twice.

    What is recorded was read before the dump, so a dump can only be ahead of it.
    """
    not_ahead = {name: min(value, recorded.get(name, value)) for name, value in restored.items()}
    return _named("Sequence", recorded, not_ahead, "stands at")


def _named(
    what: str, recorded: Mapping[str, object], restored: Mapping[str, object], verb: str
) -> Iterable[str]:
    for name in sorted(recorded.keys() | restored.keys()):
        if name not in restored:
            yield f"{what} {name} is missing."
        elif name not in recorded:
            yield f"{what} {name} is extra; it was not in the backup."
        elif recorded[name] != restored[name]:
            yield f"{what} {name} {verb} {restored[name]}; in the backup it was {recorded[name]}."


def _listed(what: str, recorded: Iterable[str], restored: Iterable[str]) -> Iterable[str]:
    then, now = set(recorded), set(restored)
    for each in sorted(then - now):
        yield f"{what} is missing: {each}."
    for each in sorted(now - then):
        yield f"{what} is extra: {each}."


# --- How old, and how long ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What was promised."""

    rpo: timedelta  # no more than this of data is lost
    rto: timedelta  # after no more than this it is back


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """What a drill did and found. Durations are seconds."""

    app: str
    set_id: SetId | None  # None: there was none to restore
    drilled_at: datetime
    is_restored: bool  # the restore came to its end
    rpo_seconds: float | None  # age of the newest verified data when the drill began
    rpo_objective_seconds: float
    rto_seconds: float | None  # from the start of the restore until it was verified
    rto_objective_seconds: float
    differences: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # what went wrong on the way
    notes: tuple[str, ...] = ()
    tables: int = 0
    rows: int = 0

    @property
    def is_whole(self) -> bool:
        """Tell whether everything came back."""
        return self.is_restored and not self.differences and not self.problems

    @property
    def misses(self) -> tuple[str, ...]:
        """Which objectives were not met, in sentences."""
        return tuple(filter(None, (_missed_rpo(self), _missed_rto(self))))

    @property
    def is_good(self) -> bool:
        """Tell whether nobody has to be called."""
        return self.is_whole and not self.misses


def report(
    *,
    app: str,
    set_id: SetId | None,
    drilled_at: datetime,
    newest_data_at: datetime | None,
    restore_started_at: datetime | None,
    verified_at: datetime | None,
    objectives: Objectives,
    recorded: DatabaseFacts | None = None,
    restored: DatabaseFacts | None = None,
    problems: Sequence[str] = (),
) -> DrillReport:
    """Return what a drill has to say.

    Args:
        app: whose backups.
        set_id: the set that was restored; None where there was none.
        drilled_at: when the drill began.
        newest_data_at: the moment whose data the newest *verified* set brings back (a set that
            this very drill verified counts); None where no set is verified.
        restore_started_at: when the restore began.
        verified_at: when it was seen to be whole, or seen not to be.
        objectives: what was promised.
        recorded: facts at backup time; None where the set has no database.
        restored: facts after the restore.
        problems: what went wrong on the way, in sentences.
    """
    wrong = [*problems]
    if recorded is not None and restored is None:
        wrong.append("The database was not restored.")
    both = (recorded, restored) if recorded and restored else None
    return DrillReport(
        app=app,
        set_id=set_id,
        drilled_at=drilled_at,
        is_restored=set_id is not None and verified_at is not None,
        rpo_seconds=_seconds(newest_data_at, drilled_at),
        rpo_objective_seconds=objectives.rpo.total_seconds(),
        rto_seconds=_seconds(restore_started_at, verified_at),
        rto_objective_seconds=objectives.rto.total_seconds(),
        differences=differences(*both) if both else (),
        problems=tuple(wrong),
        notes=notes(*both) if both else (),
        tables=len(restored.tables) if restored else 0,
        rows=sum(each.rows for each in restored.tables) if restored else 0,
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Clocks of two machines may differ a little: no duration is less than nothing."""
    return max(0.0, (end - start).total_seconds()) if start and end else None


def _missed_rpo(drill: DrillReport) -> str | None:
    limit = drill.rpo_objective_seconds
    if drill.rpo_seconds is None:
        return f"No set is verified: the recovery point objective of {_said(limit)} is not met."
    if drill.rpo_seconds > limit:
        age = _said(drill.rpo_seconds)
        return f"The newest verified data is {age} old; the objective (RPO) is {_said(limit)}."
    return None


def _missed_rto(drill: DrillReport) -> str | None:
    limit = drill.rto_objective_seconds
    if drill.rto_seconds is None:
        return f"Nothing was restored: the recovery time objective of {_said(limit)} is not met."
    if drill.rto_seconds > limit:
        took = _said(drill.rto_seconds)
        return f"Restore and check took {took}; the objective (RTO) is {_said(limit)}."
    return None


# --- Told to people and programs ------------------------------------------------------------------


def text(drill: DrillReport) -> str:
    """Return the report for people, with a last line break."""
    verdict = "passed" if drill.is_good else "FAILED"
    lines = [
        f"Drill of {drill.app} {verdict}: {drill.set_id or 'no set to restore'}",
        f"  data lost at most (RPO): {_against(drill.rpo_seconds, drill.rpo_objective_seconds)}",
        f"  time to be back (RTO):   {_against(drill.rto_seconds, drill.rto_objective_seconds)}",
        f"  compared: {drill.tables} tables, {drill.rows} rows",
    ]
    sections = (
        ("went wrong", drill.problems),
        ("different", drill.differences),
        ("objectives missed", drill.misses),
        ("good to know", drill.notes),
    )
    for head, sentences in sections:
        if sentences:
            lines += [f"  {head}:", *(f"    - {each}" for each in sentences)]
    return "\n".join(lines) + "\n"


def to_json(drill: DrillReport) -> str:
    """Return the report for programs, with its verdict."""
    document = {
        "report": plain(drill),
        "is_whole": drill.is_whole,
        "is_good": drill.is_good,
        "misses": list(drill.misses),
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False)


def from_json(document: str) -> DrillReport:
    """Return the report in what `to_json` made.

    Raises:
        MalformedError: it is none.
    """
    found = parsed(document.encode(), "The drill's report")
    return read(DrillReport, found.get("report"), "report")


def _against(seconds: float | None, objective: float) -> str:
    measured = "not measured" if seconds is None else _said(seconds)
    return f"{measured} (objective {_said(objective)})"


def _said(seconds: float) -> str:
    """Return a duration as people say it: 1 d 2 h, 3 min 4 s, 0.8 s."""
    if seconds < 10:  # noqa: PLR2004 - below that, tenths matter
        return f"{seconds:.1f} s"
    left = round(seconds)
    words: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])
