"""What counts as lately: an incident that is over does not hold a build up for ever."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.core.plan import Limits
from controller.verdict.buckets import Bucket
from controller.verdict.question import Pair, Question
from controller.verdict.surroundings import suffering

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def question(*, bucket: timedelta, good_since: int) -> Question:
    """Return one in which stable failed in all buckets but the last *good_since*."""

    def arm(index: int, failed: int) -> Bucket:
        return Bucket(
            start=T0 + index * bucket, rows=50, requests=50, failed_rows=failed, failed=failed
        )

    failed = [50] * 10 + [0] * good_since
    return Question(
        limits=Limits(error_rate_max=0.04, min_requests=20),
        bucket=bucket,
        pairs=[
            Pair(start=T0 + i * bucket, canary=arm(i, 0), stable=arm(i, bad), share=0.5)
            for i, bad in enumerate(failed)
        ],
        elapsed=timedelta(),
        min_observation=timedelta(),
        max_observation=None,
        provider_silence=timedelta(),
        provider_grace=timedelta(seconds=1),
    )


@pytest.mark.parametrize(
    ("seconds", "buckets"),
    [
        pytest.param(15, 20, id="five-minutes"),
        pytest.param(60, 5, id="five-minutes-of-long-buckets"),
        pytest.param(1, 20, id="twenty-short-buckets"),
    ],
)
def test_an_incident_of_stable_counts_until_it_is_five_minutes_or_twenty_buckets_old(
    seconds: int, buckets: int
) -> None:
    bucket = timedelta(seconds=seconds)

    assert suffering(question(bucket=bucket, good_since=buckets - 1)) is not None
    assert suffering(question(bucket=bucket, good_since=buckets)) is None
