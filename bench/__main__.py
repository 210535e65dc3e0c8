"""Measures, prints the table, writes bench-report.json. Ends 0 unless something broke."""

import asyncio
import json
from pathlib import Path

from bench import process, replay, village
from bench.report import show


def main() -> None:
    """Measure everything in one run."""
    print("Measuring processes, then six rollouts on the sandbox: about three minutes ...")
    figures = [*process.imports(), *process.judging(), *replay.replaying()]
    figures += asyncio.run(village.measure())
    show(figures)
    report = Path("bench-report.json")
    report.write_text(json.dumps([figure.plain() for figure in figures], indent=2) + "\n")
    print(f"Details: {report}. A goal is missed easily while the machine does other things.")


if __name__ == "__main__":
    main()
