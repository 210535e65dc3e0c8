"""PREFLIGHT's look at telemetry: does the query run, and can it tell the builds apart?"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from controller.core.effects import Preflight
from controller.core.plan import PRODUCTION, SlotName
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import Observation, Telemetry

T = TypeVar("T")
Ask = Callable[[Awaitable[Observation]], Awaitable[Observation | None]]

_LOOKED_BACK: Final = timedelta(minutes=5)


async def warnings(
    effect: Preflight,
    telemetry: Telemetry,
    ask: Ask,
    *,
    stable: SlotName,
    stable_release: str | None,
    now: datetime,
) -> Sequence[str]:
    """Run the observation once per source and return what weakens it.

    A query that cannot work must not be found out mid-way: *ask* takes down why it cannot.
    """
    analysis = effect.analysis
    until = now - analysis.settle
    mark = analysis.mark(stable_release, effect.target.site, stable)
    unversioned: dict[str, int] = {}
    seen = 0
    for source in analysis.sources:
        observed = await ask(
            telemetry.observe(
                source,
                builds=[mark or Mark(name=effect.release, role=analysis.role_name)],
                probe_operations=(),
                since=until - _window(analysis.poll, analysis.bucket),
                until=until,
                bucket=analysis.bucket,
            )
        )
        if observed is not None:
            seen += sum(bucket.rows for each in observed.buckets.values() for bucket in each)
            for role, rows in observed.unversioned.items():
                unversioned[role] = unversioned.get(role, 0) + rows
    return tuple(_weaknesses(effect, stable, mark, seen, unversioned))


def _window(poll: timedelta, bucket: timedelta) -> timedelta:
    """Return a whole number of buckets, long enough to see what the stable build reports."""
    return -(-max(poll, _LOOKED_BACK) // bucket) * bucket


def _weaknesses(
    effect: Preflight,
    stable: SlotName,
    mark: Mark | None,
    seen: int,
    unversioned: Mapping[str, int],
) -> Iterator[str]:
    analysis = effect.analysis
    minutes = _LOOKED_BACK // timedelta(minutes=1)
    if analysis.identify_by is not IdentifyBy.VERSION:
        yield (
            f"builds are told apart by {analysis.identify_by.replace('_', ' ')} only, which names "
            "a slot whatever runs there: weaker evidence than service.version"
        )
        if not seen:
            yield f"slot {stable} reported nothing as {mark} in the last {minutes} min"
        return
    own = {name.lower() for name in _usual_roles(effect, stable)}
    rows = sum(count for role, count in unversioned.items() if role.lower() in own)
    if rows:
        yield (
            f"slot {stable} seems to report without service.version ({rows} rows in the last "
            f"{minutes} min): these tell nothing of any build. Let the app read "
            "OTEL_RESOURCE_ATTRIBUTES, or fall back to analysis.identify_by: role_name"
        )


def _usual_roles(effect: Preflight, stable: SlotName) -> Iterator[str]:
    """Return the roles under which rows may be the stable slot's."""
    site = effect.target.site
    if effect.analysis.role_name:
        yield effect.analysis.role_name
        return
    yield site  # what most SDKs say in every slot
    yield f"{site}-{stable}" if stable.lower() != PRODUCTION else site
