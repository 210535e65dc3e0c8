"""Figures of one process: imports, memory, the judge, the stored form."""

import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import Figure, spread
from controller.core.plan import Limits
from controller.verdict.buckets import Bucket
from controller.verdict.judge import Question, judge

ROOT = Path(__file__).resolve().parents[1]
_RUNS = 7
_MEASURE = """
import json, resource, time
started = time.perf_counter()
{statement}
print(json.dumps([time.perf_counter() - started,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def _fresh(statement: str) -> tuple[list[float], float]:
    """Return the seconds of *_RUNS* fresh processes and their largest memory (MB)."""
    seconds, memory = [], 0.0
    for _ in range(_RUNS):
        done = subprocess.run(  # noqa: S603 - our own statements
            [sys.executable, "-c", _MEASURE.format(statement=statement)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        took, peak = json.loads(done.stdout)
        seconds.append(took)
        memory = max(memory, peak)
    return seconds, memory


def imports() -> list[Figure]:
    """Measure what a cold start costs."""
    bare, _ = _fresh("pass")
    library, _ = _fresh("import azure.functions")
    ours, memory = _fresh("import function_app")
    everything, all_memory = _fresh(
        "import function_app, controller.entry.api, controller.entry.queue,"
        " controller.entry.webhooks, controller.adapters.azure.tables,"
        " controller.adapters.azure.service_bus, controller.adapters.azure.app_service,"
        " controller.adapters.azure.monitor, controller.adapters.azure.blobs,"
        " controller.adapters.azure.key_vault"
    )
    middle = statistics.median(ours)
    ratio = middle / statistics.median(library)
    return [
        Figure(
            name="import of function_app, fresh process",
            measured=f"{spread(ours)}; {ratio:.1f} x azure.functions alone",
            goal="< 0.6 s",
            met=middle < 0.6,
        ),
        Figure(
            name="its peak memory",
            measured=f"{memory:.0f} MB",
            goal="< 90 MB",
            met=memory < 90,
        ),
        Figure(
            name="with every door's parts and adapters",
            measured=f"{spread(everything)}, {all_memory:.0f} MB; interpreter {min(bare):.3f} s",
        ),
    ]


def judging() -> Figure:
    """Measure one judgement over 120 buckets of both builds."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    buckets = [
        Bucket(
            start=start + timedelta(seconds=15 * n),
            rows=1500,
            requests=1500,
            failed_rows=3,
            failed=3,
            failures={"500": 3},
            latency=dict.fromkeys(range(20, 120), 15),
        )
        for n in range(120)
    ]
    question = Question(
        limits=Limits(),
        canary=buckets,
        stable=buckets,
        elapsed=timedelta(minutes=30),
        min_observation=timedelta(minutes=1),
        max_observation=timedelta(minutes=30),
        provider_silence=timedelta(0),
        provider_grace=timedelta(minutes=2),
    )
    took = []
    for _ in range(20):
        begin = time.process_time()
        judge(question)
        took.append((time.process_time() - begin) * 1000)
    middle = statistics.median(took)
    return Figure(
        name="one judgement, 120 buckets x 2 builds, CPU",
        measured=spread(took, "ms"),
        goal="< 50 ms",
        met=middle < 50,
    )
