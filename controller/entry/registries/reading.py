"""What the parsers of all registries share: lenient models, and words for what is malformed."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from controller.core.errors import MalformedError
from controller.entry.registries.pushes import Ignored, Notice

M = TypeVar("M", bound=BaseModel)

MOST_EVENTS: Final = 1000  # in one delivery
_ADVICE: Final = "Send the event as the registry wrote it."
_FIRST_YEAR: Final = 2013  # no registry is older; GitHub writes year 1 for "not known"
_TIME: Final[TypeAdapter[datetime]] = TypeAdapter(datetime)


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


# No control characters: what is read here is shown in logs and answers.
Text = Annotated[
    str, BeforeValidator(_none_as_empty), Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Repository = Annotated[str, Field(pattern=r"^\S{1,255}$")]
Tag = Annotated[str, BeforeValidator(_none_as_empty), Field(pattern=r"^\S{0,128}$")]
Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]


class Loose(BaseModel):
    """A part of a registry's event; registries add fields freely."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def validated(model: type[M], data: object) -> M:
    """Return *data* as *model*.

    Raises:
        MalformedError: it is not of that form.
    """
    if not isinstance(data, Mapping):
        raise MalformedError(
            f"Expected a JSON object, got {type(data).__name__}.",
            fix=_ADVICE,
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part)[:40] for part in e['loc'])}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:5]
        )
        raise MalformedError(
            f"The registry event is not understood: {problems}.", fix=_ADVICE
        ) from error


def incomplete(what: str) -> MalformedError:
    """Return the error that says what a push lacks."""
    return MalformedError(f"The push {what}.", fix=_ADVICE)


def of_each(
    items: Iterable[Any], parse: Callable[[Any], Notice], *, may_all_be_odd: bool = False
) -> tuple[Notice, ...]:
    """Return what each of *items* says. One that is odd does not keep the others out.

    Raises:
        MalformedError: they are too many, or, unless they *may_all_be_odd*, none is understood.
    """
    notices: list[Notice] = []
    errors: list[MalformedError] = []
    for number, item in enumerate(items):
        if number == MOST_EVENTS:
            raise MalformedError(
                f"The delivery holds more than {MOST_EVENTS} events.", fix="Send fewer at a time."
            )
        try:
            notices.append(parse(item))
        except MalformedError as error:
            errors.append(error)
            notices.append(Ignored(reason=error.what, is_odd=True))
    if errors and len(errors) == len(notices) and not may_all_be_odd:
        raise errors[0]
    return tuple(notices)


def moment(*values: object) -> datetime | None:
    """Return the first of *values* that is a time, as text or in seconds; None without one."""
    for value in values:
        at = _moment(value)
        if at is not None:
            return at
    return None


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool):
        return None
    try:
        at = _TIME.validate_python(value)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValidationError, OverflowError):
        return None
    return at if at.year >= _FIRST_YEAR else None
