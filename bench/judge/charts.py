"""Charts of the results for the docs."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.judge import slipway
from bench.judge.cells import LOADED, OURS, PEERS, STRICT, Row
from bench.judge.checks import Results
from bench.judge.scenarios import BUCKETS, SECONDS, chosen_cells
from bench.judge.traffic import simulate

FOLDER = Path("docs/judge")
_RULES = (OURS, LOADED, STRICT, *PEERS)
_OURS = {OURS: "#0b6e4f", LOADED: "#3aa17e", STRICT: "#9bd1bd"}
_THEIRS = dict(zip(PEERS, ("#7a7a7a", "#d1495b", "#c2549d", "#e6a700", "#2c7fb8"), strict=True))
_COLOURS = _OURS | _THEIRS
_GREY = "#9a9a9a"
_RUNS = (
    ("null 1 % | 100/s | 10 %", "healthy", "#3aa17e"),
    ("shared outage | 100/s | 10 %", "shared outage, minutes 10 to 13", "#2c7fb8"),
    ("x2 at 1 % | 100/s | 10 %", "fails 2 % where stable fails 1 %", "#e6a700"),
    ("p99 x2, the rest as before | 100/s | 10 %", "p99 doubled", "#c2549d"),
    ("leak from minute 10 | 100/s | 10 %", "leak from minute 10", "#d1495b"),
)


def write(rows: list[Row], folder: Path = FOLDER) -> None:
    """Write all charts."""
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(rows)
    _draw(folder / "false-rollbacks.png", (9, 4.2), lambda axes: _false(axes, results))
    _draw(folder / "seconds.png", (9, 4.2), lambda axes: _speed(axes, results))
    _draw(folder / "evidence.png", (9, 4.6), _courses)


def _draw(file: Path, size: tuple[float, float], fill: Callable[[Axes], None]) -> None:
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    fill(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _false(axes: Axes, results: Results) -> None:
    """One dot per healthy cell, the mean as a bar across."""
    least = 1e-4
    for place, rule in enumerate(_RULES):
        shares = [row.detected for row in results.of(rule, "healthy")]
        shift = np.linspace(-0.28, 0.28, len(shares))
        colour = _COLOURS[rule]
        axes.scatter(place + shift, np.maximum(shares, least) * 100, s=10, color=colour, alpha=0.7)
        mean = max(float(np.mean(shares)), least) * 100
        axes.hlines(mean, place - 0.36, place + 0.36, color="black", linewidth=2)
    axes.axhline(2, color="#d1495b", linestyle="--", linewidth=1)
    axes.text(-0.6, 2.25, "alpha 2 %", color="#d1495b", fontsize=8)
    axes.set_yscale("log")
    axes.set_yticks([0.01, 0.1, 1, 10, 100], ["none", "0.1", "1", "10", "100"])
    axes.set_ylabel("healthy releases taken back, %")
    axes.set_title("False rollbacks: a dot per scenario, traffic and split; the line is the mean")
    axes.set_xticks(range(len(_RULES)), _labels())


def _labels() -> list[str]:
    return [rule.replace(" + ", "\n+ ").replace(" 2 of 3", "\n2 of 3") for rule in _RULES]


def _speed(axes: Axes, results: Results) -> None:
    """How many of the bad cells are found (in the median rollout) by what time."""
    times = np.arange(15, BUCKETS * SECONDS + 1, 15)
    for rule in _RULES:
        medians = np.array([row.median for row in results.of(rule, "bad")])
        share = [(medians <= time).mean() * 100 for time in times]
        is_ours = rule in _OURS
        axes.step(
            times,
            share,
            where="post",
            color=_COLOURS[rule],
            linestyle="-" if is_ours else "--",
            linewidth=2.4 if is_ours else 1.5,
            label=f"{rule} (takes back up to {results.worst_false(rule):.2%} of healthy ones)",
        )
    axes.set_xscale("log")
    ticks = [15, 30, 60, 120, 300, 600, 1800]
    axes.set_xticks(ticks, ["15 s", "30 s", "1 min", "2 min", "5 min", "10 min", "30 min"])
    axes.minorticks_off()
    axes.set_ylabel("bad cells whose median is earlier, %")
    axes.set_title("How soon bad releases are taken back: 100 scenarios, traffics and splits")
    axes.set_ylim(0, 125)
    axes.set_yticks([0, 20, 40, 60, 80, 100])
    axes.legend(fontsize=7.5, loc="upper left", frameon=False)


def _courses(axes: Axes) -> None:
    """Evidence over time of single rollouts."""
    minutes = (np.arange(BUCKETS) + 1) * SECONDS / 60
    for name, words, colour in _RUNS:
        (cell,) = chosen_cells(name)
        seen = slipway.view(simulate(cell, 20, np.random.default_rng(7)))
        course = slipway.evidence(seen)["joint"][:, 3]
        end = int(np.argmax(course >= 50)) + 1 if (course >= 50).any() else BUCKETS
        axes.plot(minutes[:end], np.minimum(course[:end], 5e3), color=colour, label=words)
        if end < BUCKETS:
            axes.plot(minutes[end - 1], min(course[end - 1], 5e3), "o", color=colour)
    axes.axhline(50, color="black", linestyle="--", linewidth=1)
    axes.text(29.8, 57, "taken back at 50 : 1", ha="right", fontsize=9)
    axes.axhline(5, color=_GREY, linestyle=":", linewidth=1)
    axes.text(29.8, 5.6, "suspicious at 5 : 1: no step is passed", ha="right", fontsize=9)
    axes.set_yscale("log")
    axes.set_xlim(0, 30)
    axes.set_xlabel("minutes")
    axes.set_ylabel("evidence against the release, : 1")
    axes.set_title("Single rollouts at 100 requests/s, 10 % of the users on the new build")
    axes.legend(fontsize=8, loc="upper right", frameon=False)
