"""Requests of our own to both builds of each rollout under watch: evidence where users are few."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from controller.activities.proof import own_cookie, own_url
from controller.core.effects import Watch
from controller.core.errors import PermanentError, TransientError
from controller.core.plan import SlotName
from controller.ports import Addresses, Answer, Hosts, Prober, ProbeWatch, Watching
from controller.verdict.buckets import Counts, latency_bin

log = logging.getLogger("slipway.probing")

Probes = tuple[Counts, Counts]  # (new build, stable build)

_AT_ONCE: Final = 5  # to one build: one that hangs takes nothing from the other
_ALL_AT_ONCE: Final = 50  # of one round, whoever they are for
_LONGEST_ROUND: Final = timedelta(seconds=20)
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """Sends a round of requests at each poll. Without ports it sends none."""

    addresses: Addresses | None = None
    prober: Prober | None = None

    async def send(self, watching: Sequence[Watching]) -> Mapping[str, Probes]:
        """Return by rollout what the builds answered, within the time of one poll.

        What is still open when that is over is left: nobody knows how it would have ended. Each
        request has a shorter time of its own, so that a build that hangs is told from that.
        """
        rounds = [_Round(w.rollout, w.probing) for w in watching if w.probing is not None]
        if not rounds or self.addresses is None or self.prober is None:
            return {}
        gate = asyncio.Semaphore(_ALL_AT_ONCE)
        limit = min(_LONGEST_ROUND, *(w.poll for w in watching))
        asks = [asyncio.create_task(each.run(self.addresses, self.prober, gate)) for each in rounds]
        try:
            done, _ = await asyncio.wait(asks, timeout=limit.total_seconds())
            for ask in done:
                ask.result()
        finally:
            await _ended(asks)
        return {each.rollout: each.counts for each in rounds if each.has_answers}


@dataclass(slots=True)
class _Tally:
    """What one build answered so far."""

    total: int = 0
    bad: int = 0
    bins: Counter[int] = field(default_factory=Counter[int])

    def note(self, answer: Answer) -> None:
        self.total += 1
        self.bad += answer.status is None or answer.status >= _SERVER_ERROR
        if answer.status is not None:
            self.bins[latency_bin(answer.elapsed_ms)] += 1

    @property
    def counts(self) -> Counts:
        return Counts(total=self.total, bad=self.bad, histogram=dict(self.bins))


@dataclass(slots=True)
class _Round:
    """The requests to both builds of one rollout."""

    rollout: str
    watch: ProbeWatch
    canary: _Tally = field(default_factory=_Tally)
    stable: _Tally = field(default_factory=_Tally)

    @property
    def has_answers(self) -> bool:
        return self.canary.total + self.stable.total > 0

    @property
    def counts(self) -> Probes:
        return self.canary.counts, self.stable.counts

    async def run(self, addresses: Addresses, prober: Prober, gate: asyncio.Semaphore) -> None:
        try:
            hosts = await addresses.hosts(self.watch.target)
        except (TransientError, PermanentError) as error:
            log.warning("rollout %s: its slots cannot be asked: %s", self.rollout, error)
            return
        arms = ((self.watch.slot, self.canary), (self.watch.stable_slot, self.stable))
        workers = [
            asyncio.create_task(self._ask(prober, hosts, slot, tally, left, gate))
            for slot, tally in arms
            for left in [iter(range(self.watch.per_poll))]
            for _ in range(min(_AT_ONCE, self.watch.per_poll))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            await _ended(workers)

    async def _ask(
        self,
        prober: Prober,
        hosts: Hosts,
        slot: SlotName,
        tally: _Tally,
        left: Iterator[int],
        gate: asyncio.Semaphore,
    ) -> None:
        """Ask *slot* by its own host for as long as something is *left* to ask."""
        url = f"{own_url(hosts, slot)}{self.watch.path}"
        for _ in left:
            async with gate:
                answer = await prober.get(url, timeout=self.watch.timeout, cookie=own_cookie(slot))
            tally.note(answer)


def probe_watch(effect: Watch) -> ProbeWatch | None:
    """Return what *effect* wants asked at each poll; None: nothing."""
    synthetic = effect.analysis.gate.synthetic
    if effect.target is None or effect.slot is None or effect.stable_slot is None:
        return None
    count = synthetic.per_poll if effect.probe_count is None else effect.probe_count
    if count <= 0 or effect.probe_path is None:
        return None
    return ProbeWatch(
        target=effect.target,
        slot=effect.slot,
        stable_slot=effect.stable_slot,
        path=effect.probe_path,
        per_poll=count,
        timeout=synthetic.timeout,
    )


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Leave nothing behind: who is still at it stops now."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
