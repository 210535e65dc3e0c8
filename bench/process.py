"""Figures of one process: imports, memory, the judge, the stored form."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import Figure, spread
from controller.core.gate import Learned
from controller.core.plan import Limits
from controller.verdict.buckets import Bucket, Counts
from controller.verdict.judge import judge
from controller.verdict.memory import Memory
from controller.verdict.question import Pair, Question

ROOT = Path(__file__).resolve().parents[1]
_RUNS = 7
_MEASURE = """
import json, time
started = time.perf_counter()
{statement}
took = time.perf_counter() - started
from bench.memory import peak_mb
print(json.dumps([took, peak_mb()]))
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
            measured=f"{spread(everything)}, {all_memory:.0f} MB",
        ),
    ]


def judging() -> list[Figure]:
    """Measure one judgement over 120 buckets of both builds: all of them, and the newest alone."""
    question = _half_an_hour()
    whole, newest = list[float](), list[float]()
    for _ in range(20):
        whole.append(_milliseconds(lambda: judge(question)))
        memory = Memory()
        judge(replace(question, pairs=question.pairs[:-1]), memory=memory)
        newest.append(_milliseconds(lambda known=memory: judge(question, memory=known)))
    middle = statistics.median(whole)
    return [
        Figure(
            name="one judgement, 120 buckets x 2 builds, CPU",
            measured=spread(whole, "ms"),
            goal="< 50 ms",
            met=middle < 50,
        ),
        Figure(
            name="the same where 119 were weighed before",
            measured=f"{spread(newest, 'ms')}, {statistics.median(newest) / middle:.2f} of it",
        ),
    ]


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1000


def _half_an_hour() -> Question:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    slow = dict.fromkeys(range(20, 120), 15)
    own = Counts(total=2, histogram={60: 2})
    buckets = [
        Bucket(
            start=start + timedelta(seconds=15 * n),
            rows=1500,
            requests=1500,
            failed_rows=3,
            failed=3,
            failures={"500": 3},
            latency=slow,
        )
        for n in range(120)
    ]
    return Question(
        limits=Limits(),
        learned=Learned(
            since=start - timedelta(hours=1),
            until=start,
            rows=360_000,
            failed_rows=720,
            edges=(70, 110, 118),
        ),
        pairs=[
            Pair(start=b.start, canary=b, stable=b, share=0.5, probes=(own, own)) for b in buckets
        ],
        elapsed=timedelta(minutes=30),
        min_observation=timedelta(minutes=1),
        max_observation=timedelta(minutes=30),
        provider_silence=timedelta(0),
        provider_grace=timedelta(minutes=2),
    )
