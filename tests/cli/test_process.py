"""The command as a process, and what it does without a controller."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.cli.main import main

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]


def test_validate_accepts_the_example(slipway: Run) -> None:
    status, out, _ = slipway("validate", str(ROOT / "apps.example.yaml"))

    assert status == 0
    assert "is right: 2 apps." in out


def test_validate_tells_every_problem(slipway: Run, tmp_path: Path) -> None:
    path = tmp_path / "apps.yaml"
    path.write_text("aps: {}\n")

    status, out, err = slipway("validate", str(path))

    assert (status, out) == (3, "")
    assert f"{path}:1:1: aps: is an unknown key. Did you mean 'apps'?" in err
    problems = json.loads(slipway("validate", str(path), "--json")[1])["problems"]
    assert problems[1] == {
        "line": 1,
        "column": 1,
        "key": "aps",
        "message": "is an unknown key",
        "suggestion": "Did you mean 'apps'?",
    }


def test_validate_of_no_file_is_a_configuration_error(slipway: Run) -> None:
    assert slipway("validate", "/nowhere/apps.yaml")[0] == 3


def test_schema_prints_the_schema(slipway: Run) -> None:
    status, out, _ = slipway("schema")

    assert status == 0
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_process_reads_standard_input_and_returns_the_status(process: Any) -> None:
    with process("validate", "-") as running:
        _, err = running.communicate("apps: 5\n", timeout=30)

    assert running.returncode == 3
    assert "standard input:1:1: apps: is not a mapping" in err


def test_interrupting_the_process_ends_it_quietly(
    controller: Any, process: Any, rollout: Make
) -> None:
    controller.says("GET /api/rollouts/r1", (200, rollout()))
    with process("status", "r1", "--watch", SLIPWAY_URL=controller.url) as running:
        assert running.stdout.readline().startswith("03:05:06 observing")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)

    assert running.returncode == 130
    assert err == "slipway: interrupted; what was accepted goes on.\n"


def test_a_closed_pipe_is_no_error(process: Any) -> None:
    with process("schema") as running:
        running.stdout.close()
        err = running.stderr.read()

    assert (running.returncode, err) == (0, "")


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_lines_and_colours_unless_it_wants_none(
    controller: Any, app: dict[str, Any], *, no_color: bool
) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app | {"state": "held"}]}))
    environment = os.environ | {"SLIPWAY_URL": controller.url, "TERM": "xterm", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    if no_color:
        environment["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "apps"], cwd=ROOT, env=environment, stdout=theirs
    ) as running:
        os.close(theirs)
        shown = _read_all(ours)

    assert running.returncode == 0
    assert "┃" in shown
    assert ("\x1b[33m" in shown) is not no_color


def test_a_terminal_without_rich_gets_a_plain_table_and_advice(
    controller: Any, app: dict[str, Any], tmp_path: Path
) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app]}))
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("raise ImportError('not installed')")
    environment = os.environ | {"SLIPWAY_URL": controller.url, "PYTHONPATH": str(tmp_path)}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "apps"],
        cwd=ROOT,
        env=environment,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        os.close(theirs)
        shown = _read_all(ours)
        advice = running.stderr.read() if running.stderr else ""

    assert "APP   SITE" in shown
    assert "pip install 'slipway[cli]'" in advice


def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[-7:]] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "130",
    ]


def _read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    return shown.decode()
