"""The published JSON Schema, asked by a validator that is not ours, and the documented example."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from controller.config.load import load_text
from controller.config.schema import json_schema
from controller.config.sections import AppSection

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_example_is_right_by_both(example: str, validator: Draft202012Validator) -> None:
    assert list(load_text(example, name="apps.example.yaml")) == ["shop", "blog"]
    assert list(validator.iter_errors(yaml.safe_load(example))) == []


def test_the_minimal_file_is_right_without_defaults(
    minimal: str, validator: Draft202012Validator
) -> None:
    assert list(validator.iter_errors(yaml.safe_load(minimal))) == []


BAD: list[tuple[str, dict[str, Any]]] = [
    ("unknown-section", {"helth": {}}),
    ("unknown-key", {"health": {"readines_path": "/"}}),
    ("duration", {"strategy": {"bake": "5 minutes"}}),
    ("duration-huge", {"strategy": {"bake": 1e12}}),
    ("weight", {"strategy": {"steps": [{"weight": 101}]}}),
    ("weight-missing", {"strategy": {"steps": [{}]}}),
    ("enum", {"strategy": {"new_push": "wait"}}),
    ("hold", {"strategy": {"hold": {"on_expiry": "hold"}}}),
    ("percentile", {"analysis": {"limits": {"latency_percentile": 94}}}),
    ("rate", {"analysis": {"limits": {"error_rate_max": 5}}}),
    ("guid", {"analysis": {"workspace": "mine"}}),
    ("path", {"health": {"readiness_path": "health"}}),
    ("smoke-path", {"health": {"smoke_tests": [{"method": "GET"}]}}),
    ("header", {"health": {"smoke_tests": [{"path": "/", "headers": {"a": 1}}]}}),
    ("slots", {"target": {"slots": []}}),
    ("production", {"target": {"slots": ["production"]}}),
    ("registry", {"source": {"registry": "https://contoso.azurecr.io"}}),
    ("type", {"health": {"consecutive": "3"}}),
]


@pytest.mark.parametrize("with_defaults", [False, True], ids=["alone", "with-defaults"])
@pytest.mark.parametrize("change", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_each_bad_sample_is_refused(
    minimal: str, validator: Draft202012Validator, change: dict[str, Any], *, with_defaults: bool
) -> None:
    document = yaml.safe_load(minimal)
    _change(document["apps"]["shop"], change)
    if with_defaults:
        document["defaults"] = {}

    assert list(validator.iter_errors(document)) != []


@pytest.mark.parametrize(
    "document",
    [{}, [], {"apps": {}}, {"apps": {"shop": {}}}, {"apps": {"Shop": {}}, "defaults": {}},
     {"apps": {"a": {}}, "defaults": {"bake": 1}}, {"apps": {"a": {}}, "defaults": {}, "x": 1}],
)  # fmt: skip
def test_each_bad_document_is_refused(document: object, validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(document)) != []


def test_every_field_has_a_description_and_no_iso_duration() -> None:
    for name, section in json_schema()["$defs"].items():
        for key, value in section.get("properties", {}).items():
            assert value.get("description") or "$ref" in value, f"{name}.{key}"
            assert not str(value.get("default", "")).startswith("PT")


def test_every_field_of_the_models_occurs_in_the_example(example: str) -> None:
    document = yaml.safe_load(example)
    parts = (document["defaults"], *document["apps"].values())
    shown = {key for part in parts for key in _keys_in(part)}

    instead = {"analysis.judge.metrics.file"}  # of `query`
    assert set(_fields_of(AppSection)) - shown == instead


def test_the_pages_are_what_the_code_says(tmp_path: Path) -> None:
    """The pages are generated; whoever changes the code without them sees it here."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import generate_docs  # noqa: PLC0415 - a script, not a package
    finally:
        sys.path.pop(0)

    assert generate_docs.outdated() == []
    generate_docs.write(tmp_path)
    assert generate_docs.outdated(tmp_path) == []
    (tmp_path / "docs/cli.md").write_text("old")
    assert generate_docs.outdated(tmp_path) == ["docs/cli.md"]


def _change(section: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(section.get(key), dict):
            _change(section[key], value)
        else:
            section[key] = value


def _keys_in(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}{key}"
            yield from _keys_in(item, f"{path}{key}.")
    if isinstance(value, list):
        for item in value:
            yield from _keys_in(item, path)


def _fields_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield f"{path}{name}"
        inner = _model_in(info.annotation)
        if inner:
            yield from _fields_of(inner, f"{path}{name}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := _model_in(part))), None)
