"""What may go wrong between a request's end and its row in a query result, on demand."""

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class QueryFault:
    """What happens to one query: it waits, then is refused, cut short, or served."""

    status: int = 200
    retry_after_seconds: float | None = None
    partial: bool = False
    delay_seconds: float = 0.0
    hangs: bool = False  # no answer, ever
    body: Mapping[str, object] | None = None  # answered as it is, instead of a result


@dataclass(slots=True)
class MonitorFaults:
    """Set the attributes for lasting conditions; call the methods for the next few queries.

    Attributes:
        ingestion_delay_seconds: a row is visible, and has its `ingestion_time()`, this much later.
        loss_share: share (0..1) of accepted telemetry items that never become rows.
        sampling: k keeps one row in k, whose ItemCount then stands for k.
        copies: each accepted item becomes so many rows, as when its sender repeats it.
        clock_skew_seconds: TimeGenerated is this much ahead of what the sender says.
        metric_errors: metric -> the errorCode it has inside an answer that is good otherwise.
        metrics_delay_seconds: a minute is not known until so long after it began.
        renamed_columns: column of a workspace's tables -> what queries must call it.
    """

    ingestion_delay_seconds: float = 0.0
    loss_share: float = 0.0
    sampling: int = 1
    copies: int = 1
    clock_skew_seconds: float = 0.0
    renamed_columns: dict[str, str] = field(default_factory=dict[str, str])
    ingestion_answers: deque[int] = field(default_factory=deque[int])
    query_answers: deque[QueryFault] = field(default_factory=deque[QueryFault])
    metrics_answers: deque[QueryFault] = field(default_factory=deque[QueryFault])
    metric_errors: dict[str, str] = field(default_factory=dict[str, str])
    metrics_delay_seconds: float = 0.0
    # Seeded: two runs lose the same rows. Not "every k-th", which may be in step with the load.
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def throttle_queries(self, times: int = 1, *, retry_after_seconds: float | None = 1) -> None:
        """Answer the next *times* queries with 429; None: without a word on when to come back."""
        self.query_answers.extend([QueryFault(429, retry_after_seconds)] * times)

    def fail_queries(self, status: int, times: int = 1) -> None:
        """Answer the next *times* queries with an error *status*."""
        self.query_answers.extend([QueryFault(status)] * times)

    def cut_queries(self, times: int = 1) -> None:
        """Answer the next *times* queries with half of the rows and a partial error."""
        self.query_answers.extend([QueryFault(partial=True)] * times)

    def delay_queries(self, seconds: float, times: int = 1) -> None:
        """Let the next *times* queries take this much longer."""
        self.query_answers.extend([QueryFault(delay_seconds=seconds)] * times)

    def hang_queries(self, times: int = 1) -> None:
        """Never answer the next *times* queries."""
        self.query_answers.extend([QueryFault(hangs=True)] * times)

    def answer_queries(self, body: Mapping[str, object], times: int = 1) -> None:
        """Answer the next *times* queries with *body*, whatever they ask."""
        self.query_answers.extend([QueryFault(body=body)] * times)

    def refuse_ingestion(self, status: int, times: int = 1) -> None:
        """Answer the next *times* deliveries of telemetry with an error *status*."""
        self.ingestion_answers.extend([status] * times)

    def clear(self) -> None:
        """Everything works again."""
        self.ingestion_delay_seconds = 0.0
        self.loss_share = 0.0
        self.sampling = 1
        self.copies = 1
        self.clock_skew_seconds = 0.0
        self.renamed_columns.clear()
        self.ingestion_answers.clear()
        self.query_answers.clear()
        self.metrics_answers.clear()
        self.metric_errors.clear()
        self.metrics_delay_seconds = 0.0

    def next_query(self) -> QueryFault:
        """Take what is planned for the query that just came."""
        return self.query_answers.popleft() if self.query_answers else QueryFault()

    def answer_metrics(self, fault: QueryFault, times: int = 1) -> None:
        """Let the next *times* reads of metrics meet *fault*; nothing of them is ever partial."""
        self.metrics_answers.extend([fault] * times)

    def next_metrics(self) -> QueryFault:
        """Take what is planned for the read of metrics that just came."""
        return self.metrics_answers.popleft() if self.metrics_answers else QueryFault()

    def kept_weight(self) -> int:
        """Throw the dice for one telemetry item: 0 loses it, k keeps it for k."""
        if self.loss_share > 0 and self.dice.random() < self.loss_share:
            return 0
        if self.sampling > 1 and self.dice.randrange(self.sampling):
            return 0
        return self.sampling
