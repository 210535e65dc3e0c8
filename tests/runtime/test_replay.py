"""Ten thousand notices of a few pushes: each push is one rollout at most, and the newest serves."""

from tests.runtime.kit import digest
from tests.runtime.replay import APPS, NEWEST, replay


async def test_ten_thousand_shuffled_repeated_events_make_no_second_rollout() -> None:
    """Through intake, queue and engine, while rollouts run; the platform hardly notices.

    A rollout asks as much of Resource Manager as among a hundred events, and no more in all than
    the pushes explain.
    """
    few, many = await replay(100), await replay(10_000)

    for result in (few, many):
        assert result.duplicates == 0
        assert result.serving == {app: digest(NEWEST) for app in APPS}
        assert len(APPS) <= result.rollouts.total() <= len(APPS) * (NEWEST - 1)
    assert many.calls_per_rollout <= few.calls_per_rollout * 1.5
    assert many.writes <= 6 * many.rollouts.total()
