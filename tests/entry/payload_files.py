"""The recorded and varied deliveries of all registries, as they come over the wire.

``payloads/registries/REGISTRY/NAME.json`` is a delivery as its source prints it, with what is
expected of it. ``variants.json`` beside it lists deliveries that differ from one of those.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from controller.core.errors import MalformedError
from controller.entry.registries.pushes import Handshake, Notice, Push
from controller.entry.webhooks import REGISTRIES

PLACE = Path(__file__).parent / "payloads" / "registries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One delivery and what is expected of it."""

    registry: str
    name: str
    what: str
    source: str
    body: bytes
    expect: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def id(self) -> str:
        return f"{self.registry}/{self.name}"

    def notices(self) -> Sequence[Notice]:
        """Return what the parser says of it. Raises MalformedError."""
        return REGISTRIES[self.registry].parse(self.headers, self.body)


def payloads() -> list[Payload]:
    """Return all, by registry; the recorded ones first."""
    return [payload for name in REGISTRIES for payload in _of(name)]


def result(payload: Payload) -> str:
    """Return what becomes of it where an app takes every tag of the repository."""
    try:
        notices = payload.notices()
    except MalformedError as error:
        what = "The body is not JSON." if "not JSON" in error.what else error.what
        return f"400 {error.code}: {what}"
    return "; ".join(dict.fromkeys(_in_words(notice) for notice in notices)) or "200: no event"


def _in_words(notice: Notice) -> str:
    if isinstance(notice, Push):
        digest = notice.digest[7:19] if notice.digest else "what the registry says"
        return f"**rolled out**: `{notice.name}` as {digest}"
    if isinstance(notice, Handshake):
        return "200: the code is given back"
    return f"{'warned: ' if notice.is_odd else ''}{notice.reason}"


def _of(registry: str) -> Iterator[Payload]:
    recorded: dict[str, dict[str, Any]] = {}
    for path in sorted((PLACE / registry).glob("*.json")):
        if path.name != "variants.json":
            recorded[path.stem] = json.loads(path.read_text(encoding="utf-8"))
            yield _payload(registry, path.stem, recorded[path.stem])
    for variant in json.loads((PLACE / registry / "variants.json").read_text(encoding="utf-8")):
        yield _payload(registry, variant["name"], _varied(recorded[variant["like"]], variant))


def _payload(registry: str, name: str, said: Mapping[str, Any]) -> Payload:
    body = said["raw"].encode("utf-8") if "raw" in said else json.dumps(said["body"]).encode()
    if said.get("form"):
        body = urlencode({"payload": json.dumps(said["body"])}).encode()
    return Payload(
        registry=registry,
        name=name,
        what=said["what"],
        source=said["source"],
        headers=said.get("headers", {}),
        body=body,
        expect=said["expect"],
    )


def _varied(base: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    headers = {**base.get("headers", {}), **variant.get("headers", {})}
    said = {
        **copy.deepcopy(dict(base)),
        **{key: variant[key] for key in ("what", "expect", "raw", "form") if key in variant},
        "headers": {name: value for name, value in headers.items() if value is not None},
        "source": f"`{variant['like']}`, changed",
    }
    for path, value in variant.get("set", {}).items():
        where, key = _place(said, path)
        where[key] = value
    for path in variant.get("drop", ()):
        where, key = _place(said, path)
        del where[key]
    return said


def _place(said: Any, path: str) -> tuple[Any, Any]:
    *way, last = [int(part) if part.isdecimal() else part for part in f"body.{path}".split(".")]
    for part in way:
        said = said[part]
    return said, last


def expected_apps(payload: Payload) -> list[tuple[str, str]]:
    """Return host and repository of each image that it should roll out."""
    images = [text.partition("@")[0] for text in payload.expect.get("pushes", ())]
    return [
        (host, rest.rpartition(":")[0])
        for host, _, rest in (image.partition("/") for image in images)
    ]
