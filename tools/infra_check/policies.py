"""checkov over the templates: no finding, nothing unread, each exception with its reason."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tools.infra_check.deployment import Finding

CHECKOV: Final = Path(__file__).resolve().parents[2] / ".venv/checkov/bin/checkov"
_SKIP: Final = re.compile(r"checkov:skip=(\w+)(?::\s*(.*))?")
_SHORTEST: Final = 8  # letters of a reason


def check_policies(folder: Path) -> Iterator[Finding]:
    """Yield what checkov finds in the templates below *folder*."""
    printed = subprocess.run(
        [CHECKOV, "--directory", folder, "--framework", "bicep", "--output", "json",
         "--skip-download", "--compact", "--quiet"],
        check=False,  # 1 tells of findings
        capture_output=True,
        text=True,
        env=os.environ | {"LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"},
    )  # fmt: skip
    try:
        told: Any = json.loads(printed.stdout)
    except json.JSONDecodeError:
        yield Finding(
            folder, 1, f"checkov ended with {printed.returncode}: {printed.stderr[-400:]}"
        )
        return
    summary = told.get("summary", told) if isinstance(told, dict) else {}
    if summary.get("parsing_errors"):
        for path in told.get("results", {}).get("parsing_errors", []):
            yield Finding(Path(path), 1, "checkov cannot read this file")
        yield Finding(folder, 1, f"checkov cannot read {summary['parsing_errors']} file(s)")
    for failed in told.get("results", {}).get("failed_checks", []):
        path = folder / str(failed["file_path"]).lstrip("/")
        what = f"{failed['check_id']}: {failed['check_name']} ({failed['resource']})"
        yield Finding(path, int(failed["file_line_range"][0]), what)


def check_exceptions(path: Path, text: str) -> Iterator[Finding]:
    """Yield exceptions from policies that give no reason."""
    for at, line in enumerate(text.splitlines(), 1):
        for found in _SKIP.finditer(line):
            if len((found[2] or "").strip()) < _SHORTEST:
                yield Finding(path, at, f"{found[1]} is skipped without a reason")
