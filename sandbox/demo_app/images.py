"""Packs the demo app into images of any version and any behaviour."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

_APP = Path(__file__).with_name("app.py")
# What takes a second to import: the sandbox does it once for all containers.
IMPORTS = "aiohttp.web azure.monitor.opentelemetry opentelemetry.sdk.trace"
_MIGRATIONS = Path(__file__).with_name("migrations")


class DemoBehaviour(TypedDict, total=False):
    """What a build does wrong; without any of these it is healthy and fast. See `app.py`."""

    error_rate: float
    breaks_where: str  # the errors come only where the app setting DEMO_PLACE says so
    latency_ms: float
    latency_sigma: float
    tail: tuple[float, float]  # share of the work, and how many times as long it takes
    leak: tuple[float, float, float]  # error share in the end, seconds before it begins, to rise
    ready_after_seconds: float
    crash_after_seconds: float
    never_ready: bool
    crash_on_start: bool
    hide_identity: bool
    needs: str  # columns of `orders`, with commas
    seed: int


class DemoImage(NamedTuple):
    """What `push_image` needs: ``push_image(..., **demo_image("1")._asdict())``."""

    files: Mapping[str, bytes]
    entrypoint: tuple[str, ...]
    env: Mapping[str, str]


def demo_image(version: str, **behaviour: Unpack[DemoBehaviour]) -> DemoImage:
    """Return the image of one build. Equal arguments give equal digests.

    Raises:
        TypeError: a behaviour the app does not know.
    """
    if unknown := behaviour.keys() - DemoBehaviour.__annotations__.keys():
        raise TypeError(f"The demo app does not know {', '.join(sorted(unknown))}.")
    env = {f"DEMO_{name.upper()}": _render(value) for name, value in behaviour.items()}
    return DemoImage(
        files={"app.py": _APP.read_bytes()},
        entrypoint=("python", "app.py"),
        env={"DEMO_VERSION": version, **env, "SANDBOX_PRELOAD": IMPORTS},
    )


def demo_migrations(*ids: str) -> dict[str, bytes]:
    """Return the files of migrations of the app's database: ``demo_migrations("001_orders")``."""
    files = [_MIGRATIONS / f"{name}.{way}.sql" for name in ids for way in ("up", "down")]
    return {file.name: file.read_bytes() for file in files}


def bundle(migrations: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a bundle: those of *migrations*, and the manifest of them."""
    rows: list[dict[str, str]] = []
    for up in sorted(name for name in migrations if name.endswith(".up.sql")):
        down = up.replace(".up.sql", ".down.sql")
        ways = {"up": up, "down": down} if down in migrations else {"up": up}
        row = {"id": up.removesuffix(".up.sql")}
        for way, name in ways.items():
            row |= {way: name, f"{way}_sha256": hashlib.sha256(migrations[name]).hexdigest()}
        rows.append(row)
    manifest = {"format": "sql", "engine": "postgresql", "migrations": rows}
    return {**migrations, "manifest.json": json.dumps(manifest, indent=2).encode()}


def _render(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # numbers
    return str(value)
