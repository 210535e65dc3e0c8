"""Tells people what the judge thinks, now and at each decision that is over."""

import json
import logging
from dataclasses import dataclass
from typing import Any, Final, cast

from controller.core.errors import UnknownRolloutError
from controller.core.model import WATCHED, Rollout
from controller.ports import BucketStore, Clock, EvidenceStore, History
from controller.runtime.witness import ask
from controller.verdict.judge import judge
from controller.verdict.question import Judgement
from controller.verdict.records import turn_of

log = logging.getLogger("slipway.explainer")

_EVENTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Asks the judge without deciding anything, and finds what was kept of decisions."""

    buckets: BucketStore
    evidence: EvidenceStore
    history: History
    clock: Clock

    async def current(self, rollout: Rollout) -> Judgement | None:
        """Return what the judge says at this moment; None while nothing is judged.

        A judge that fails hides no rollout from who has to look at it.
        """
        if rollout.state not in WATCHED:
            return None
        try:
            stored = await self.buckets.buckets(rollout.app, rollout.id)
            watch = await self.buckets.load_watch(rollout.spec.analysis.observation)
            return judge(ask(rollout, self.clock.now(), stored, watch), with_course=True)
        except Exception:
            log.warning("rollout %s: it cannot be explained", rollout.id, exc_info=True)
            return None

    async def kept(self, rollout: Rollout, turn: int) -> dict[str, Any]:
        """Return the evidence document of the decision that ended *turn*.

        Raises:
            UnknownRolloutError: there is none; which turns have one is told.
        """
        places = await self._places(rollout)
        document = await self.evidence.read(places[turn]) if turn in places else None
        if document is None:
            turns = ", ".join(str(each) for each in sorted(places)) or "none"
            raise UnknownRolloutError(
                f"No evidence is kept of turn {turn} of rollout {rollout.id}.",
                fix=f"Turns with evidence: {turns}.",
            )
        return cast("dict[str, Any]", json.loads(document))

    async def _places(self, rollout: Rollout) -> dict[int, str]:
        """Return where the evidence of each turn is, by what the audit says."""
        rows = await self.history.audit(rollout.app, rollout=rollout.id, limit=_EVENTS)
        places = [row.record.evidence for row in rows if row.record.evidence]
        return {turn: place for place in places if (turn := turn_of(place)) is not None}
