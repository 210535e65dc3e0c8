"""The JSON Schema of apps.yaml, for editors and other people's pipelines.

It says everything that concerns one value. What concerns several (rising weights, one app per
site, ...) only `load_text` says.
"""

from datetime import timedelta
from typing import Any, Final, TypeGuard

from pydantic import BaseModel, Field
from pydantic.json_schema import GenerateJsonSchema

from controller.config.durations import format_duration
from controller.config.fields import AppKey
from controller.config.section import Section
from controller.config.sections import AppSection

Json = dict[str, Any]

_ID: Final = "urn:slipway:apps.yaml"
_LISTED: Final = frozenset(
    {"StepSection", "SmokeTestSection", "MetricSection"}
)  # never merged, always whole


class AppsFile(Section):
    """The file apps.yaml, after `defaults` has been merged into each app."""

    apps: dict[AppKey, AppSection] = Field(
        min_length=1, max_length=5000, description="The apps, by id: 1 to 40 of a-z, 0-9 and '-'."
    )


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether *value* is a list (of anything)."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeGuard[Json]:
    """Whether *value* is a JSON object."""
    return isinstance(value, dict)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with durations the way they are written in the file."""

    def encode_default(self, dft: Any) -> Any:
        """Return a default as it would be written."""
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if is_list(dft):
            return [self.encode_default(item) for item in dft]
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json")
        return super().encode_default(dft)


def json_schema() -> Json:
    """Return the schema (2020-12) of apps.yaml as it is written.

    With ``defaults`` an app may leave out what they give; a schema cannot add the two, so it then
    asks of each only that what is there is right.
    """
    full: Json = _tidy(AppsFile.model_json_schema(schema_generator=_Generator))
    sections: Json = full["$defs"]
    parts = {
        _part(name): _relaxed(section) for name, section in sections.items() if name not in _LISTED
    }
    apps: Json = full["properties"]["apps"] | {"additionalProperties": False}
    some_apps = _renamed(apps)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _ID,
        "title": "Slipway's apps.yaml",
        "description": "The apps that Slipway looks after.",
        "type": "object",
        "required": ["apps"],
        "additionalProperties": False,
        "properties": {
            "apps": {"description": apps["description"]},
            "defaults": {
                "description": "What the apps have in common: merged under each, key by key.",
                "$ref": f"#/$defs/{_part('AppSection')}",
            },
        },
        "if": {"required": ["defaults"]},
        "then": {"properties": {"apps": some_apps}},
        "else": {"properties": {"apps": apps}},
        "$defs": sections | parts,
    }


def _tidy(schema: Any) -> Any:
    """Drop what tells nothing: titles made of names, and defaults of whole sections."""
    if is_mapping(schema):
        useless = {"default"} if "$ref" in schema else set[str]()
        return {
            key: _tidy(value)
            for key, value in schema.items()
            if key not in useless and not (key == "title" and isinstance(value, str))
        }
    if is_list(schema):
        return [_tidy(item) for item in schema]
    return schema


def _part(name: str) -> str:
    return name if name in _LISTED else name.replace("Section", "Part")


def _relaxed(section: Json) -> Json:
    return {key: _renamed(value) for key, value in section.items() if key != "required"}


def _renamed(schema: Any) -> Any:
    """Return *schema* with references that lead to the relaxed sections."""
    if is_mapping(schema):
        return {key: _renamed(value) for key, value in schema.items()} | _reference(schema)
    if is_list(schema):
        return [_renamed(item) for item in schema]
    return schema


def _reference(schema: Json) -> Json:
    prefix, _, name = str(schema.get("$ref", "")).rpartition("/")
    return {"$ref": f"{prefix}/{_part(name)}"} if name else {}
