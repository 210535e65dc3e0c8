"""Several sources of telemetry as one: what is added, and what is kept apart."""

from datetime import UTC, datetime, timedelta

from controller.core.telemetry import Mark
from controller.ports import Observation
from controller.runtime.merging import merged
from controller.verdict.buckets import Bucket

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE = Mark(name="blue")


def seen(**counts: object) -> Observation:
    bucket = Bucket(start=T0, **counts)  # type: ignore[arg-type]  # each test gives what it says
    return Observation(
        since=T0,
        until=T0 + timedelta(seconds=15),
        buckets={BLUE: [bucket]},
        query="q",
        newest=None,
    )


def test_rows_by_latency_are_added_as_rows() -> None:
    """A source that samples does not make the other's rows more than they are."""
    whole = merged(
        [
            seen(rows=3, requests=3, latency={40: 2, 41: 1}),
            seen(rows=2, requests=20, latency={40: 10, 50: 10}, latency_rows={40: 1, 50: 1}),
        ]
    )
    (bucket,) = whole.buckets[BLUE]

    assert bucket.latency == {40: 12, 41: 1, 50: 10}
    assert bucket.latency_rows == {40: 3, 41: 1, 50: 1}
    assert bucket.rows == sum(bucket.slow_rows.values())


def test_nothing_is_kept_twice_where_no_source_samples() -> None:
    whole = merged([seen(rows=1, requests=1, latency={40: 1})] * 2)
    (bucket,) = whole.buckets[BLUE]

    assert (bucket.latency, bucket.latency_rows) == ({40: 2}, None)
    assert bucket.slow_rows == {40: 2}
