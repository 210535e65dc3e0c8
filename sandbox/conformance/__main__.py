"""Run Microsoft's tests: `python -m sandbox.conformance [-k EXPRESSION]`."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.conformance.report import report_on
from sandbox.conformance.source import SourceMissingError, fetch, unpack

_ROOT = Path(__file__).resolve().parents[2]
_TEST_SECONDS = 400  # the longest test waits 5 minutes for nothing to happen
_RUN_SECONDS = 1800


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.conformance", description=__doc__)
    parser.add_argument("-k", dest="expression", help="only the tests that match (as in pytest)")
    parser.add_argument("--workers", type=int, default=8, help="tests at a time: most just wait")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        suite, junit = Path(name) / "suite", Path(name) / "report.xml"
        try:
            unpack(fetch(Path(name)), suite)
            run_suite(suite, junit, asked.workers, asked.expression)
        except (SourceMissingError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            return 2
        if not junit.exists():
            print("The tests did not run to their end.", file=sys.stderr)
            return 2
        return conclude(junit, whole=asked.expression is None)


def run_suite(suite: Path, junit: Path, workers: int, expression: str | None) -> None:
    """Run the suite in a child process, which prints its progress and writes *junit*."""
    (suite / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
        encoding="utf-8",
    )
    options = [
        *("-p", "sandbox.conformance.plugin"),
        *("--quiet", "--tb=short", "--show-capture=no", f"--junitxml={junit}"),
        *(f"--numprocesses={workers}", "--maxschedchunk=1", f"--timeout={_TEST_SECONDS}"),
        *(("-k", expression) if expression else ()),
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "async_tests"],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), str(suite)])},
        start_new_session=True,  # it has workers of its own
    )
    try:
        child.wait(_RUN_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):  # as it should be
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def conclude(junit: Path, *, whole: bool) -> int:
    """Print the table and what is wrong; return the exit status."""
    report = report_on(junit)
    print(f"\n{report.table()}")
    problems = report.problems(whole=whole)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
