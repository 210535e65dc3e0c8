"""Reads kept evidence again, so that any decision can be computed once more and compared.

Questions are read strictly: a field that is odd or unknown is an error, never a default, as another
question than the one that was kept would get another answer. A field that is missing was added
after the document was kept: its default has to mean what was true before. What is only *shown* may
come from a newer Slipway and hold more than this one knows.
"""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from controller.core.errors import MalformedError
from controller.verdict.judge import JUDGE, judge
from controller.verdict.question import Judgement, Question

T = TypeVar("T")

# By the name and version that a judgement carries. A judge that is changed gets a new name here,
# and the old one stays for as long as its evidence is worth computing again.
_JUDGES: Final[Mapping[str, Callable[[Question], Judgement]]] = {
    JUDGE: lambda question: judge(question, with_course=True)
}
_TURN: Final = re.compile(r"/(\d+)(?:-[0-9a-f]{12})?\.json$")  # ROLLOUT/TURN, or a second one
_ITS_DOCUMENT: Final = "Give the evidence of a decision as Slipway keeps it."


def question_from(document: object) -> Question:
    """Return the question in a kept evidence document.

    Raises:
        MalformedError: it is no evidence document, or not of this form; which field is named.
    """
    return _read(Question, _field(document, "question"), "question", is_strict=True)


def judgement_from(document: object) -> Judgement:
    """Return the judgement in a kept evidence document, or in what `explain.document` made.

    Raises:
        MalformedError: there is none, or not of this form; which field is named.
    """
    value = document
    if isinstance(document, Mapping) and "judgement" in document:
        value = cast("Mapping[str, object]", document)["judgement"]
    return _read(Judgement, value, "judgement", is_strict=False)


def judge_again(document: object) -> Judgement:
    """Return what the judge that decided says of the kept question today, with its whole course.

    Raises:
        MalformedError: not a whole evidence document, or its judge is not among ours.
    """
    name = _field(_field(document, "judgement"), "judge")
    again = _JUDGES.get(name) if isinstance(name, str) else None
    if again is None:
        raise MalformedError(
            f"The judge of this evidence was {name!r}; this Slipway has {', '.join(_JUDGES)}.",
            fix="Use the version of Slipway that decided; what it said then is in the document.",
        )
    return again(question_from(document))


def turn_of(place: str) -> int | None:
    """Return the turn whose evidence is kept at *place*; None where it is no such place."""
    found = _TURN.search(place)
    return int(found[1]) if found else None


def _field(document: object, name: str) -> object:
    if not isinstance(document, Mapping) or name not in document:
        raise MalformedError(f"This is no evidence: it has no {name!r}.", fix=_ITS_DOCUMENT)
    return cast("Mapping[str, object]", document)[name]


@lru_cache(maxsize=32)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: type[T], value: object, where: str, *, is_strict: bool) -> T:
    """Return *value* as the data class *kind*, its fields by their annotations."""
    if not isinstance(value, Mapping):
        raise _odd(where, "an object", value)
    found = cast("Mapping[str, object]", value)
    names = {field.name: field for field in dataclasses.fields(cast("Any", kind))}
    if unknown := sorted(set(found) - set(names)):
        if is_strict:
            raise MalformedError(f"{where} has an unknown field {unknown[0]!r}.", fix=_ITS_DOCUMENT)
        found = {name: each for name, each in found.items() if name in names}
    for name, field in names.items():
        is_new = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if name not in found and not is_new:
            raise MalformedError(f"{where} lacks {name!r}.", fix=_ITS_DOCUMENT)
    reader = _Reader(is_strict=is_strict)
    hints = _hints(cast("Any", kind))
    return kind(
        **{name: reader.read(hints[name], each, f"{where}.{name}") for name, each in found.items()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    """Reads JSON values by type annotations, as strictly as it is told."""

    is_strict: bool

    def read(self, kind: Any, value: object, where: str) -> Any:
        """Return *value* as *kind*."""
        if get_origin(kind) in {Union, types.UnionType}:
            return self._one_of(get_args(kind), value, where)
        if get_origin(kind) is not None:
            return self._several(kind, value, where)
        if dataclasses.is_dataclass(kind):
            return _read(cast("type[Any]", kind), value, where, is_strict=self.is_strict)
        return _scalar(kind, value, where)

    def _one_of(self, kinds: Sequence[Any], value: object, where: str) -> Any:
        if value is None:
            if type(None) not in kinds:
                raise _odd(where, "a value", value)
            return None
        if type(value) in kinds:  # a whole number stays one
            return self.read(type(value), value, where)
        problems: list[MalformedError] = []
        for kind in kinds:
            if kind is type(None):
                continue
            try:
                return self.read(kind, value, where)
            except MalformedError as problem:
                problems.append(problem)
        raise problems[0]

    def _several(self, kind: Any, value: object, where: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if issubclass(origin, Mapping):
            return self._mapping(arguments, value, where)
        if not isinstance(value, list):
            raise _odd(where, "a list", value)
        items = cast("list[object]", value)
        kinds = arguments
        if origin is not tuple or arguments[-1] is Ellipsis:
            kinds = (arguments[0],) * len(items)
        if len(kinds) != len(items):
            raise _odd(where, f"a list of {len(kinds)}", items)
        read = [
            self.read(kind, each, f"{where}[{index}]")
            for index, (kind, each) in enumerate(zip(kinds, items, strict=True))
        ]
        return tuple(read) if origin is tuple else read

    def _mapping(self, arguments: Sequence[Any], value: object, where: str) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _odd(where, "an object", value)
        key_kind, value_kind = arguments
        return {
            _key(key_kind, key, where): self.read(value_kind, each, f"{where}.{key}")
            for key, each in cast("Mapping[str, object]", value).items()
        }


def _key(kind: Any, key: str, where: str) -> str | int:
    """JSON's keys are texts; a histogram's are bins."""
    if kind is not int:
        return key
    try:
        return int(key)
    except ValueError as error:
        raise _odd(where, "whole numbers as keys", key) from error


def _scalar(kind: Any, value: object, where: str) -> Any:
    if kind is timedelta:
        return timedelta(seconds=_number(value, where))
    if kind is datetime:
        return _moment(value, where)
    if kind is float:
        return _number(value, where)
    if issubclass(kind, Enum):
        if isinstance(value, str) and value in {each.value for each in kind}:
            return kind(value)
        raise _odd(where, f"one of {', '.join(str(each.value) for each in kind)}", value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise _odd(where, {str: "a text", int: "a whole number"}.get(kind, kind.__name__), value)


def _number(value: object, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _odd(where, "a number", value)


def _moment(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _odd(where, "a time with its zone", value)
    return moment


def _odd(where: str, wanted: str, value: object) -> MalformedError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."  # noqa: PLR2004 - enough to find it
    return MalformedError(f"{where} must be {wanted}, not {shown}.", fix=_ITS_DOCUMENT)
