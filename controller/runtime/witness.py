"""Brings the stored evidence before the judge, and keeps what a decision was made from."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.asks import marks
from controller.core.gate import Exposure
from controller.core.model import Rollout, State
from controller.core.swapping import is_swap
from controller.core.telemetry import IdentifyBy
from controller.ports import BucketStore, EvidenceStore, StoredBucket, Watching, WorkspaceWatch
from controller.verdict.buckets import Bucket
from controller.verdict.judge import judge
from controller.verdict.memory import Memory
from controller.verdict.platform import PlatformEvidence
from controller.verdict.question import Judgement, Pair, Phase, Question

_REMEMBERED: Final = 10_000  # pairs, of rollouts that this process judged lately
_MOST_PAIRS: Final = (
    720  # three hours of them: a build that is held for long costs no more and more
)
_AT_A_TIME: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One judgement with everything that it was made from."""

    question: Question
    judgement: Judgement
    query: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Reads buckets, asks the judge, keeps the evidence."""

    buckets: BucketStore
    evidence: EvidenceStore
    memories: OrderedDict[str, Memory] = field(default_factory=OrderedDict[str, Memory])

    async def testify(self, rollout: Rollout, now: datetime) -> Findings:
        """Return what the judge says of the rollout's current state at *now*."""
        stored = await self.buckets.buckets(rollout.app, rollout.id)
        watch = await self.buckets.load_watch(rollout.spec.analysis.observation)
        question = ask(rollout, now, stored, watch)
        memory = self._memory_of(rollout)
        judgement = judge(question, memory=memory)
        return Findings(question=question, judgement=judgement, query=watch.query)

    def _memory_of(self, rollout: Rollout) -> Memory:
        memory = self.memories.pop(rollout.id, None)
        if memory is None:
            memory = Memory()
        self.memories[rollout.id] = memory
        while len(self.memories) > 1 and sum(map(len, self.memories.values())) > _REMEMBERED:
            self.memories.popitem(last=False)
        return memory

    async def keep(self, rollout: Rollout, findings: Findings) -> tuple[str, str]:
        """Store the evidence of a decision; return where it is and its SHA-256."""
        document = {
            "rollout": rollout.id,
            "turn": rollout.turn,
            "state": rollout.state,
            "step": rollout.step,
            "judgement": judge(findings.question, with_course=True),
            "question": findings.question,
            "query": findings.query,
        }
        body = json.dumps(document, sort_keys=True, default=_plain).encode()
        place = await self.evidence.keep(f"{rollout.app}/{rollout.id}/{rollout.turn}.json", body)
        return place, hashlib.sha256(body).hexdigest()


def ask(
    rollout: Rollout,
    now: datetime,
    stored: Sequence[StoredBucket],
    watch: WorkspaceWatch,
) -> Question:
    """Return the question about the rollout's current state, from its own buckets alone.

    Evidence against the build carries over from step to step; that it is healthy, each shows anew.
    """
    since = rollout.entered_at
    exposures = rollout.exposures or (Exposure(since=since, share=rollout.weight / 100),)
    shown = _newest([pair for pair in stored if pair.start >= exposures[0].since])
    mark, stable_mark = marks(rollout)
    has_stable = stable_mark is not None
    least, most = _observation(rollout)
    analysis = rollout.spec.analysis
    own = _own(rollout, watch)
    answered = max(watch.last_success, since) if watch.last_success else since
    return Question(
        limits=analysis.limits,
        gate=analysis.gate,
        learned=rollout.learned,
        pairs=[
            _pair(_heeded(rollout, p, share), share, has_stable=has_stable)
            for p in shown
            for share in [_share(exposures, p.start)]
        ],
        bucket=analysis.bucket,
        step_since=since,
        phase=Phase.BAKE if State.BAKING in {rollout.state, rollout.held_from} else Phase.CANARY,
        elapsed=now - since,
        min_observation=least,
        max_observation=most,
        provider_silence=max(now - answered, timedelta(0)),
        provider_grace=analysis.provider_grace,
        provider_error=watch.last_error,
        newest_age=max(now - watch.newest, timedelta(0)) if watch.newest else None,
        stale_after=analysis.lag + analysis.provider_grace,
        identified_by=str(mark.by.value) if mark else IdentifyBy.VERSION.value,
        platform=_platform(rollout, watch, now),
        metric_errors=dict(own.metric_errors) if own else {},
    )


def _newest(stored: Sequence[StoredBucket]) -> Sequence[StoredBucket]:
    """Leave out the oldest, many at a time, so that the first that counts seldom changes."""
    over = max(len(stored) - _MOST_PAIRS, 0)
    return stored[-(-over // _AT_A_TIME) * _AT_A_TIME :]


def _share(exposures: Sequence[Exposure], at: datetime) -> float:
    return next(each.share for each in reversed(exposures) if each.since <= at)


def _heeded(rollout: Rollout, stored: StoredBucket, share: float) -> StoredBucket:
    """Leave out our own requests while builds are exchanged: which build answers where is open.

    The platform also restarts the build that is to move; that is no fault of it.
    """
    return replace(stored, probes=None) if is_swap(rollout) and share == 0 else stored


def _pair(stored: StoredBucket, share: float, *, has_stable: bool) -> Pair:
    """A stable build that reported nothing in a bucket is not the same as none."""
    nothing = Bucket(start=stored.start) if has_stable else None
    return Pair(
        start=stored.start,
        canary=stored.canary,
        stable=stored.stable or nothing,
        share=share,
        lag=stored.lag,
        probes=stored.probes,
        metrics=stored.metrics,
    )


def _own(rollout: Rollout, watch: WorkspaceWatch) -> Watching | None:
    return next((w for w in watch.watching if w.rollout == rollout.id), None)


def _platform(rollout: Rollout, watch: WorkspaceWatch, now: datetime) -> PlatformEvidence | None:
    """Return what the platform's metrics said; that nothing is known is said, too."""
    limits = rollout.spec.analysis.platform_metrics
    if limits is None:
        return None
    mine = _own(rollout, watch)
    own = mine.platform if mine else None
    if own is None:
        slot, stable_slot = str(rollout.idle), str(rollout.active)
        return PlatformEvidence(
            limits=limits, slot=slot, stable_slot=stable_slot, error="not looked at yet"
        )
    return PlatformEvidence(
        limits=own.limits,
        slot=own.slot,
        stable_slot=own.stable_slot,
        canary=own.canary,
        stable=own.stable,
        age=max(now - own.read_at, timedelta(0)) if own.read_at else None,
        error=own.error,
    )


def _observation(rollout: Rollout) -> tuple[timedelta, timedelta | None]:
    """Return the least and the most time that the current state is looked at.

    The most is over only when what happened until then can have been seen.
    """
    strategy, lag = rollout.spec.strategy, rollout.spec.analysis.lag
    if rollout.state is State.BAKING:
        return strategy.bake, strategy.bake + lag
    if rollout.state is State.OBSERVING:
        step = rollout.current_step
        return step.min_observation, step.max_observation + lag
    if rollout.held_from is State.BAKING:
        return strategy.bake, None
    steps = strategy.steps
    if not steps:
        return timedelta(), None
    return steps[min(rollout.step, len(steps) - 1)].min_observation, None


def _plain(value: object) -> object:
    if is_dataclass(value):  # `asdict` would copy all that is in it, buckets by the hundred
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is not evidence")
