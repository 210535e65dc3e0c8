"""The judge's simulation: scenarios are what they say, the twin computes what the judge does."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.judge import checks, literature, peers, results, slipway, table
from bench.judge.cells import RULES, run_cell
from bench.judge.evariable import DECAY, WORSE_SHARES, Rate, Reserve, log_e, worse_rates
from bench.judge.history import Learned, dispersion_of_failures, wander_of_slow
from bench.judge.numbers import Array, log_gamma
from bench.judge.scenarios import Cell, all_cells, chosen_cells
from bench.judge.traffic import Probes, Rollouts, Side, simulate
from controller.verdict import evariable


def _cell(name: str) -> Cell:
    (cell,) = chosen_cells(name)
    return cell


def _simulated(name: str, replications: int = 40) -> Rollouts:
    return simulate(_cell(name), replications, np.random.default_rng(5))


def test_there_are_exactly_a_hundred_bad_cells_and_every_name_is_one_cell() -> None:
    cells = all_cells()
    assert Counter(cell.kind for cell in cells)["bad"] == 100
    assert len({cell.name for cell in cells}) == len(cells)
    healthy = [cell for cell in cells if cell.kind == "healthy"]
    assert {(cell.rate, cell.split) for cell in healthy} >= {(1, 10), (1000, 100), (10, 50)}


@pytest.mark.parametrize(
    ("name", "canary", "stable"),
    [
        ("x5 at 1 % | 100/s | 10 %", 0.05, 0.01),
        ("50 % failing | 10/s | 10 %", 0.5, 0.001),
        ("clumped errors, x5 at 1 % | 1000/s | 10 %", 0.05, 0.01),
        ("shared bursts | 1000/s | 50 %", 0.01, 0.01),
    ],
)
def test_builds_fail_as_often_as_the_scenario_says(name: str, canary: float, stable: float) -> None:
    seen = _simulated(name)
    for side, rate in ((seen.canary, canary), (seen.stable, stable)):
        assert side.failed.sum() / side.rows.sum() == pytest.approx(rate, rel=0.12)


def test_traffic_is_split_as_the_cell_says() -> None:
    seen = _simulated("null 0.1 % | 100/s | 10 %")
    assert seen.canary.rows.mean() == pytest.approx(150, rel=0.01)
    assert seen.stable.rows.mean() == pytest.approx(1350, rel=0.01)
    assert _simulated("null 0.1 % | 10/s | 100 %").stable.rows.sum() == 0


def test_latency_exactly_at_a_margin_is_as_often_slow_as_stable() -> None:
    for kind, field in (("tolerance", "slow"), ("acceptance", "near")):
        seen = _simulated(f"latency exactly at {kind} | 1000/s | 10 %", 20)
        for index in range(3):
            canary = getattr(seen.canary, field)[index].sum() / seen.canary.rows.sum()
            stable = getattr(seen.stable, field)[index].sum() / seen.stable.rows.sum()
            assert canary == pytest.approx(stable, rel=0.06)


def test_a_doubled_p99_leaves_the_rest_within_tolerance() -> None:
    seen = _simulated("p99 x2, the rest as before | 1000/s | 10 %", 20)
    shares = seen.canary.slow.sum((1, 2)) / seen.canary.rows.sum()
    usual = seen.stable.slow.sum((1, 2)) / seen.stable.rows.sum()
    assert shares[0] < usual[0]
    assert shares[1] < usual[1] * 1.03
    assert shares[2] > 2 * usual[2]


def test_what_is_late_shows_eight_buckets_later_and_hurts_at_once() -> None:
    seen = _simulated("50 % failing, 120 s late | 10/s | 10 %")
    assert seen.canary.rows[:8].sum() == 0
    assert seen.canary.rows[8].sum() > 0
    assert seen.served[0].sum() > 0


def test_a_clump_is_one_session() -> None:
    seen = _simulated("clumped errors, x5 at 1 % | 1000/s | 10 %").canary
    assert seen.failed.sum() / seen.failing.sum() == pytest.approx(8, rel=0.05)


def test_dispersion_is_the_size_biased_mean_of_clumps_and_one_without() -> None:
    rng = np.random.default_rng(3)
    single = rng.poisson(3.0, (240, 10, 50))
    assert dispersion_of_failures(single.astype(float)).mean() == pytest.approx(1.0, abs=0.05)
    assert dispersion_of_failures(5.0 * single).mean() == pytest.approx(5.0, rel=0.05)


def test_wander_is_the_variance_of_the_share_beyond_chance() -> None:
    rng = np.random.default_rng(3)
    rows = np.full((60, 200), 6000.0)
    steady = rng.binomial(6000, 0.5, (60, 200))
    assert wander_of_slow(steady, rows).mean() < 3e-5
    share = np.clip(0.5 + rng.normal(0, 0.02, (60, 200)), 0, 1)
    found = wander_of_slow(rng.binomial(6000, share), rows).mean()
    assert found == pytest.approx(0.02**2 / 0.25, rel=0.15)


def test_the_twin_weighs_a_bucket_as_the_judge_does() -> None:
    rng = np.random.default_rng(11)
    nc, nb = rng.integers(1, 400, 60), rng.integers(1, 4000, 60)
    xc, xb = rng.binomial(nc, 0.05), rng.binomial(nb, 0.01)
    b = rng.uniform(0.0005, 0.05, 60)
    counts = tuple(each.astype(float) for each in (nc, xc, nb, xb))
    for ratio, absolute in ((1.2, 0.0005), (1.0, 0.0), (3.0, 0.02), (1.5, 0.003)):
        bets = worse_rates(absolute + ratio * b)
        ours = log_e(counts, bets, b, ratio, absolute)
        for which, block in enumerate(zip(*counts, strict=True)):
            for bet in range(len(bets)):
                theirs = evariable.log_e(
                    evariable.Block(*block), bets[bet, which], b[which], ratio, absolute
                )
                assert ours[bet, which] == pytest.approx(theirs, rel=1e-6, abs=1e-6)


def test_without_a_control_there_is_no_evidence() -> None:
    nothing, some = np.zeros(1), np.full(1, 100.0)
    logs = log_e((some, some, nothing, nothing), np.full((1, 1), 0.9), np.full(1, 0.01), 1.2, 0.0)
    assert logs.tolist() == [[0.0]]


def test_wealth_is_what_a_scalar_computation_by_hand_gives() -> None:
    logs = [[0.3, -0.2], [1.1, 0.4], [-0.5, 2.0]]
    wealth = Reserve(1, (0.6, 0.4))
    cash, bets, stake = 1.0, [0.0, 0.0], 0.75
    for row in logs:
        wealth.bet(np.array(row)[:, None], 2.0)
        for bet, (log, share) in enumerate(zip(row, (0.6, 0.4), strict=True)):
            bets[bet] = (bets[bet] + stake * cash * share) * math.exp(log / 2)
        cash *= 1 - stake
        stake = 1 - 2 ** (-1 / 40)
        assert wealth.wealth[0] == pytest.approx(cash + sum(bets), rel=1e-12)


def _side(rows: list[float], failed: list[float]) -> Side:
    column = np.array(rows, dtype=float)[:, None]
    bad = np.array(failed, dtype=float)[:, None]
    slow = np.zeros((3, *column.shape))
    nothing = np.zeros_like(column)
    return Side(column, bad, column, bad, slow, slow, slow, nothing, nothing, 100 * column)


def _learned() -> Learned:
    one = np.ones(1)
    return Learned(
        rows=36_000 * one,
        failed=36 * one,
        sessions=36_000 * one,
        failing=36 * one,
        edges=np.zeros((3, 1)),
        by_session=False,
        dispersion_errors=1.5 * one,
        dispersion_sessions=one,
        dispersion_latency=np.ones((3, 1)),
        wander=np.zeros((3, 1)),
        dispersion_traffic=one,
    )


def _probes(buckets: int) -> tuple[Probes, Probes]:
    one, slow = np.ones((buckets, 1)), np.zeros((3, buckets, 1))
    return tuple(Probes(one, 0 * one, slow, slow, slow) for _ in range(2))  # type: ignore[return-value]


def test_evidence_of_errors_over_a_few_buckets_is_what_a_scalar_computation_gives() -> None:
    canary, stable = (
        _side([15, 14, 16, 15], [1, 2, 0, 3]),
        _side([135, 130, 140, 133], [0, 1, 0, 0]),
    )
    seen = slipway.View(canary, stable, _probes(4), _learned(), 0.1)
    found = slipway.evidence(seen)["errors"][:, 0]

    base, shown, weight = (36 + 0.5) / (36_000 + 50), 0.0, 0.0
    cash, bets, stake = 1.0, [0.0] * 9, 0.75
    expected = []
    for t in range(4):
        b = (base * 2000 + shown) / (2000 + weight)
        rates = worse_rates(np.array([0.0005 + 1.2 * b]))[:, 0]
        block = evariable.Block(
            canary.rows[t, 0], canary.failed[t, 0], stable.rows[t, 0], stable.failed[t, 0]
        )
        for bet, rate in enumerate(rates):
            log = evariable.log_e(block, float(rate), b, 1.2, 0.0005)
            bets[bet] = (bets[bet] + stake * cash * WORSE_SHARES[bet]) * math.exp(log / 1.5)
        cash, stake = cash * (1 - stake), 1 - DECAY
        shown, weight = DECAY * shown + block.xb, DECAY * weight + block.nb
        often = canary.failed[: t + 1].sum() >= 3  # and in two buckets
        expected.append(cash + sum(bets) if often else min(cash + sum(bets), 1.0))
    assert found == pytest.approx(expected, rel=1e-6)


def test_one_bucket_of_nothing_but_failures_is_enough_on_a_busy_app() -> None:
    seen = slipway.View(_side([150], [150]), _side([1350], [1]), _probes(1), _learned(), 0.1)
    assert slipway.evidence(seen)["joint"][0, 0] > 50
    quiet = slipway.View(_side([15], [15]), _side([135], [0]), _probes(1), _learned(), 0.1)
    assert slipway.evidence(quiet)["joint"][0, 0] < 50


def test_a_rate_learns_and_forgets() -> None:
    rate = Rate(np.array([10.0]), np.array([950.0]))
    assert rate.value[0] == pytest.approx(10.5 / 1000)
    rate.take(np.array([100.0]), np.array([1000.0]))
    assert rate.value[0] == pytest.approx((10.5 + 100) / 2000)


def _minutes(rows: list[float], failed: list[float], slow: list[float]) -> peers.Minutes:
    columns: list[Array] = [np.array(each, dtype=float)[:, None] for each in (rows, failed, slow)]
    return peers.Minutes(*columns, time=100 * columns[0])


def test_flagger_rolls_back_one_tick_after_its_fifth_failed_check() -> None:
    seen = _minutes([100] * 8, [2, 0, 2, 2, 0, 2, 2, 0], [0] * 8)
    assert peers.flagger(seen)[0] == 8 * 60
    slow = _minutes([100] * 6, [0] * 6, [2] * 6)
    assert peers.flagger(slow)[0] == 6 * 60
    assert peers.flagger(_minutes([0] * 6, [0] * 6, [0] * 6))[0] == 6 * 60


def test_argo_aborts_at_its_fourth_failure_or_fifth_silence() -> None:
    assert peers.argo(_minutes([100] * 6, [6, 6, 0, 6, 6, 6], [0] * 6))[0] == 5 * 60
    assert peers.argo(_minutes([0] * 6, [0] * 6, [0] * 6))[0] == 5 * 60
    assert math.isinf(peers.argo(_minutes([100] * 6, [5] * 6, [0] * 6))[0])


def test_the_alarm_wants_two_of_three_minutes() -> None:
    assert peers.alarm(_minutes([100] * 5, [6, 0, 0, 6, 6], [0] * 5))[0] == 5 * 60
    assert peers.alarm(_minutes([100] * 5, [6, 0, 6, 0, 0], [0] * 5))[0] == 3 * 60


def test_kayenta_finds_a_shift_and_not_its_absence() -> None:
    rng = np.random.default_rng(1)
    control = rng.normal(10, 1, (10, 400))
    equal, higher = rng.normal(10, 1, (10, 400)), rng.normal(15, 1, (10, 400))
    assert peers._is_high(higher, control).mean() > 0.95
    assert peers._is_high(equal, control).mean() < 0.02


def test_lindon_and_malek_is_what_netflix_published() -> None:
    xc, xb = np.array([[201.0]]), np.array([[100.0]])
    assert bool(literature._lindon_malek(xc, xb, 0.5)[0, 0])  # p = 5.06e-06
    assert not bool(literature._lindon_malek(np.array([[101.0]]), xb, 0.5)[0, 0])
    numbers = np.array([0.3, 1.0, 4.5, 250.0])
    assert log_gamma(numbers) == pytest.approx([math.lgamma(n) for n in numbers], abs=1e-8)


def test_a_cell_gives_every_rule_a_row_again_and_again_the_same(
    tmp_path: Path,
) -> None:
    cell = _cell("50 % failing | 10/s | 10 %")
    rows = run_cell(cell, 20)
    assert [row.rule for row in rows] == list(RULES)
    assert rows == run_cell(cell, 20)
    assert rows[0].detected == 1.0
    assert rows[0].median <= 30
    results.write(rows, tmp_path / "judge.json")
    again = results.read(tmp_path / "judge.json")
    assert again[0].median == rows[0].median
    assert checks.shown(checks.check(again))
    assert "50 % failing" in table.page(again)
