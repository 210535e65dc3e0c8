"""What was weighed at the last poll need not be weighed again at this one.

A judgement depends on its question alone, and can always be made from nothing. But a rollout is
judged every few seconds, and all of its pairs but the last were there before: whoever asks about
one rollout again and again may keep a `Memory` of it, and each answer costs the new pairs only.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controller.verdict.arms import A_MOMENT, Seen, warm_since
from controller.verdict.evidence import Evidence, Scales
from controller.verdict.health import Checkup, Health, is_compared
from controller.verdict.question import Pair, Question


class Memory:
    """How far the pairs of one rollout have been weighed. It never changes an answer."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._pairs: Sequence[Pair] = ()
        self._scales: Scales | None = None
        self._checkup: Checkup | None = None

    def __len__(self) -> int:
        """Return how many pairs were weighed."""
        return len(self._pairs)

    def look(self, question: Question) -> tuple[Evidence, Health]:
        """Return the evidence against the build and for it, by the question's pairs."""
        key = (
            question.gate,
            question.limits,
            question.learned,
            question.step_since,
            is_compared(question),
        )
        since = warm_since(question)
        scales, checkup = self._scales, self._checkup
        if (
            scales is None
            or checkup is None
            or key != self._key
            or not self._goes_on(question, since)
        ):
            scales, checkup = Scales(question), Checkup(question)
            self._pairs = ()
        for index in range(len(self._pairs), len(question.pairs)):
            pair, *before = reversed(question.pairs[max(index - A_MOMENT, 0) : index + 1])
            is_warm = since is not None and pair.start >= since
            seen = Seen(pair, is_warm=is_warm, was_probed=any(p.probes for p in before))
            scales.take(seen)
            checkup.take(seen)
        self._key, self._pairs = key, list(question.pairs)
        self._scales, self._checkup = scales, checkup
        return scales.read(question.pairs), checkup.read()

    def _goes_on(self, question: Question, since: datetime | None) -> bool:
        """Whether the question's pairs begin with those that were weighed.

        During the warm-up everything is weighed anew: what counts as slow may still be learned.
        """
        known = len(self._pairs)
        if not known or known > len(question.pairs):
            return False
        if since is None or self._pairs[-1].start < since:
            return False
        return list(question.pairs[:known]) == self._pairs
