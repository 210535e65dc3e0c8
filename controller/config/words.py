"""The nearest right word, and where a misplaced one belongs."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from controller.config.sections import AppSection


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return which of *known* was probably meant by *word*."""
    by_form = {_form(k): k for k in known}
    close = get_close_matches(_form(word), by_form, n=1, cutoff=0.6)
    return by_form[close[0]] if close else None


def _form(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def known_keys(path: Sequence[str | int]) -> list[str]:
    """Return the keys that the section at *path* within an app may have."""
    model = _model_at(path)
    return list(model.model_fields) if model else []


def belongs_under(key: str) -> str | None:
    """Return the section of an app that knows *key*, where exactly one does."""
    homes = [".".join(path) for path, name in _all_keys(AppSection, ()) if name == key]
    return homes[0] if len(homes) == 1 else None


def _model_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = AppSection
    for step in path:
        if model is None:
            return None
        if isinstance(step, str):
            info = model.model_fields.get(step)
            model = _model_in(info.annotation) if info else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model), None)


def _all_keys(
    model: type[BaseModel], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, info in model.model_fields.items():
        yield path, name
        below = _model_in(info.annotation)
        if below:
            yield from _all_keys(below, (*path, name))
