"""The stored form: all values come back, equal ones give equal text, old forms stay readable."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.adapters import codec
from controller.adapters.codec import SCHEMA_VERSION, NewerFormError, decode, encode
from controller.core.effects import Effect
from controller.core.model import AppState, Record, Rollout
from controller.core.plan import Percent, SlotName
from controller.ports import StoredBucket, WorkspaceWatch
from tests.adapters import memories
from tests.core.build import rollout

SAMPLES = Path(__file__).parent / "stored_forms"
EXAMPLES: dict[type[Any], Any] = {
    AppState: memories.full_state(),
    Rollout: memories.full_rollout(),
    Record: memories.full_record(),
    StoredBucket: memories.stored(),
    WorkspaceWatch: memories.watch(),
}


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_stored_comes_back(kind: type[Any], data: st.DataObject) -> None:
    """Any value of any stored class survives, and its text is ASCII and stays the same."""
    value = data.draw(memories.ANYTHING[kind])
    text = encode(value, kind)

    assert text.isascii()
    assert decode(text, kind) == value
    assert encode(decode(text, kind), kind) == text


@pytest.mark.parametrize("effect", memories.effects(), ids=lambda effect: effect.name)
def test_an_awaited_effect_comes_back_as_itself(effect: Effect) -> None:
    """The effects share most fields; the name tells which it is."""
    back = decode(encode(rollout(awaiting=effect), Rollout), Rollout)

    assert type(back.awaiting) is type(effect)
    assert back.awaiting == effect


def test_equal_values_have_the_same_text() -> None:
    """Neither the order of a mapping nor the zone of a time shows: hashes are stable."""
    record = memories.full_record()
    zone = timezone(timedelta(hours=5, minutes=45))
    same = replace(
        record,
        at=record.at.astimezone(zone),
        numbers=dict(reversed(record.numbers.items())),
    )

    assert same == record
    assert encode(same, Record) == encode(record, Record)
    assert '"at":"2026-01-01T00:00:00Z"' in encode(record, Record)


def test_a_time_without_a_zone_is_refused() -> None:
    """It would mean another moment on another machine."""
    naive = replace(memories.full_record(), at=datetime(2026, 1, 1))  # noqa: DTZ001 - the claim

    with pytest.raises(ValueError, match="no zone"):
        encode(naive, Record)


def test_a_newer_form_is_refused_with_advice() -> None:
    """An older program must not guess: after a roll-back of Slipway itself it says what to do."""
    with pytest.raises(NewerFormError, match="Deploy the newer Slipway"):
        decode(encode(memories.full_state(), AppState), AppState, version=SCHEMA_VERSION + 1)


def test_an_older_form_is_upgraded_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step knows one version only; classes that did not change need none."""
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(codec._UPGRADERS, ("Record", 1), lambda old: {**old, "what": old["did"]})
    monkeypatch.setitem(codec._UPGRADERS, ("Record", 2), lambda old: {**old, "why": "upgraded"})
    old = {"at": "2026-01-01T00:00:00Z", "rollout": None, "kind": "page", "did": "sweep"}

    record = decode(json.dumps(old), Record, version=1)

    assert (record.what, record.why) == ("sweep", "upgraded")
    state = encode(memories.full_state(), AppState)
    assert decode(state, AppState, version=1) == memories.full_state()


def test_a_stored_routing_that_is_impossible_is_refused() -> None:
    """What the types promise is checked when reading, too."""
    text = encode(memories.full_state(), AppState)
    wrong = json.loads(text)
    wrong["routing"]["shares"] = [[SlotName("blue"), Percent(60)], [SlotName("green"), Percent(60)]]

    with pytest.raises(ValueError, match="sum to at most 100"):
        decode(json.dumps(wrong), AppState)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_what_version_1_stored_is_still_read(kind: type[Any]) -> None:
    """The samples were written by version 1 and are never written again."""
    sample = (SAMPLES / f"{kind.__name__}.1.json").read_text(encoding="utf-8")

    assert decode(sample, kind, version=1) == EXAMPLES[kind]


def test_importing_the_codec_costs_no_pydantic() -> None:
    """A cold start pays for it only when something is stored."""
    code = "import sys, controller.adapters.codec; print('pydantic' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"
