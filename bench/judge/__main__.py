"""Simulates every cell, asks every rule, writes the results, the table and the charts.

With ``--cells`` it only prints.
"""

import argparse
import sys
import time

from bench.judge import charts, checks, results, table
from bench.judge.cells import Row, run
from bench.judge.scenarios import chosen_cells


def main() -> int:
    """Run; 1 with ``--check`` where a target is missed."""
    options = _options()
    rows = results.read() if options.from_results else _simulate(options)
    if options.cells == "*":
        results.write(rows)
        table.write(rows)
        charts.write(rows)
    print(table.summary(rows))
    verdicts = checks.check(rows)
    print(checks.shown(verdicts))
    missed = any(v.met is False for v in verdicts)
    return 1 if options.check and missed else 0


def _simulate(options: argparse.Namespace) -> list[Row]:
    cells = chosen_cells(options.cells)
    begun, rows = time.monotonic(), list[Row]()
    found = run(
        cells,
        bad=options.replications,
        healthy=options.healthy_replications,
        jobs=options.jobs,
    )
    for number, (cell, some) in enumerate(zip(cells, found, strict=True), 1):
        rows += some
        ours = some[0]
        told = f"{ours.detected:8.2%} taken back, median {ours.median:.0f} s"
        print(f"[{number:3}/{len(cells)}] {cell.name:52} {told}", flush=True)
    print(f"{len(cells)} cells in {time.monotonic() - begun:.0f} s")
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.add_argument("--replications", type=int, default=2000, help="rollouts per bad cell")
    parser.add_argument(
        "--healthy-replications", type=int, default=2000, help="per healthy and boundary cell"
    )
    parser.add_argument("--cells", default="*", help="glob on a cell's name or kind")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--check", action="store_true", help="end with 1 if a target is missed")
    parser.add_argument(
        "--from-results", action="store_true", help="no run: from the last whole run's results"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
