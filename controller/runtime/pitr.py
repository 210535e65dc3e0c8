"""Restores a database server to a point in time: a new server, looked into, and steps for people.

Each call takes seconds, but for the look into the database. The name of the new server is the
goal: whoever asks again for the same moment and name goes on with the same server.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from controller.core.errors import (
    AccessDeniedError,
    CommandRefusedError,
    PermanentError,
    TransientError,
)
from controller.ports_data import (
    BackupSubject,
    DatabaseFacts,
    DatabaseLogin,
    DatabaseServer,
    PlatformServer,
    ServerRestore,
)
from controller.runtime.backups_tell import Tell, tell_nobody
from controller.runtime.pitr_means import (
    Looked,
    PitrMeans,
    PitrNotYet,
    PitrPlan,
    PitrReport,
    PitrRequest,
)
from controller.runtime.pitr_words import carried_over, cut_over, left_behind
from controller.runtime.platform_backups import server_of

_SOON: Final = timedelta(minutes=1)  # it takes minutes to hours
_GIVE_UP: Final = timedelta(hours=24)
_ARCHIVED: Final = timedelta(minutes=5)  # until what was written can be restored
_LONGEST: Final = 63
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_TIME: Final = "%Y%m%d%H%M"
_MOST_DIFFERENCES: Final = 200


class PointInTime:
    """Restores servers. Everything may be asked for twice."""

    def __init__(self, means: PitrMeans) -> None:
        self._means = means

    async def plan(self, request: PitrRequest) -> PitrPlan:
        """Return what `go_on` would do. Changes nothing.

        Raises:
            UnknownAppError, ConfigurationError: it cannot be said.
            TransientError, PermanentError: the platform does not tell.
        """
        return await self._planned(await self._means.subjects.subject(request.app), request)

    async def go_on(
        self, request: PitrRequest, tell: Tell = tell_nobody
    ) -> PitrReport | PitrNotYet:
        """Go on towards the new server, and once it is there look into it.

        Raises:
            CommandRefusedError: not confirmed, or something speaks against it.
            TransientError: something does not answer now; ask again.
            PermanentError: the platform refuses, or does not come to an end with it.
        """
        subject = await self._means.subjects.subject(request.app)
        order = _order(subject, request)
        if request.confirm != order.new:
            raise CommandRefusedError(
                f"The restore makes server {order.new}, and that was not confirmed.",
                fix=f"Look at the plan, then say --confirm {order.new}.",
            )
        _refuse(order, [*_against_name(order)])
        if await self._means.platform.server(order.new_name) is None:
            _refuse(order, (await self._planned(subject, request)).objections)
            if not request.is_again:
                await tell(f"asking for server {order.new}: {order.source.name} as of {order.at}")
        made = await self._means.platform.restore(order)
        if made is None:
            return self._not_yet(request, order)
        await tell(f"server {order.new} is ready: {made.host}")
        return await self._report(subject, order, made, tell)

    def _not_yet(self, request: PitrRequest, order: ServerRestore) -> PitrNotYet:
        if self._means.clock.now() - request.asked_at > _GIVE_UP:
            raise PermanentError(
                f"Server {order.new} was not ready within a day.",
                fix="Its resource group's activity log in the portal says why.",
            )
        return PitrNotYet(detail=f"the platform makes server {order.new}", retry_after=_SOON)

    async def _planned(self, subject: BackupSubject, request: PitrRequest) -> PitrPlan:
        order, platform, now = _order(subject, request), self._means.platform, self._now()
        source = await platform.server(order.source)
        if source is None:
            raise PermanentError(
                f"There is no server {order.source.name!r} in resource group "
                f"{order.source.resource_group!r}, or Slipway may not see it.",
                fix="Correct database.server. One that was deleted can be revived for some days: "
                "ask Azure's documents for a dropped flexible server.",
            )
        objections = [*_against_moment(source, order.at, now), *_against_name(order)]
        if not objections and not request.is_again:
            objections += await self._against_place(order)
        return PitrPlan(
            app=request.app,
            source=order.source.name,
            new_server=order.new,
            at=order.at,
            earliest=source.earliest_restore,
            carried_over=carried_over(source),
            left_behind=left_behind(source, await platform.surroundings(order.source)),
            objections=tuple(objections),
            notes=tuple(_notes(source, order.at, now)),
        )

    async def _against_place(self, order: ServerRestore) -> list[str]:
        found = await self._means.platform.server(order.new_name)
        if found is not None:
            is_ours = found.made_for == order.mark
            return [] if is_ours else [f"server {order.new} is there already, for something else"]
        try:
            objection = await self._means.platform.objection_to(order.new_name)
        except AccessDeniedError:  # a right on the subscription; the restore itself tells, too
            return []
        return [f"the name {order.new}: {objection}"] if objection else []

    async def _report(
        self, subject: BackupSubject, order: ServerRestore, made: PlatformServer, tell: Tell
    ) -> PitrReport:
        platform = self._means.platform
        source = await platform.server(order.source) or made
        there = await platform.surroundings(order.source) if source is not made else None
        here = await platform.surroundings(order.new_name)
        left = left_behind(source, there or here, new=made, here=here)
        looked, because = await self._looked(subject, made, tell)
        database = subject.app.database
        secret = database.connection if database else ""
        return PitrReport(
            source=order.source.name,
            new_server=order.new,
            host=made.host,
            at=order.at,
            looked=looked,
            not_looked_because=because,
            left_behind=left,
            cut_over=cut_over(subject.app.id, secret, order, made.host, left),
        )

    async def _looked(
        self, subject: BackupSubject, made: PlatformServer, tell: Tell
    ) -> tuple[Looked | None, str]:
        """Look into the new server's database. That it cannot be reached is no failure.

        The firewall rules by which Slipway is let in may be among what was left behind.
        """
        server, login = self._means.server, subject.database
        if server is None or login is None:
            return None, "this Slipway cannot reach databases"
        await tell(f"reading {login.address.database} on {made.host}")
        try:
            then = await _facts(server, _at_host(login, made.host))
        except (TransientError, PermanentError) as error:
            await tell(f"not looked into: {error.what}")
            return None, error.what
        try:
            now = await _facts(server, login)
        except (TransientError, PermanentError) as error:
            return _compared(then, None, f"The old server's cannot be read: {error.what}"), ""
        return _compared(then, now), ""

    def _now(self) -> datetime:
        return self._means.clock.now()


def _order(subject: BackupSubject, request: PitrRequest) -> ServerRestore:
    source = server_of(subject.app.database)
    at = request.at.astimezone(UTC)
    stamp = at.strftime(_TIME)
    usual = f"{source.name[: _LONGEST - len(stamp) - 1]}-{stamp}"
    return ServerRestore(source=source, new=request.new_server or usual, at=at)


def _refuse(order: ServerRestore, objections: Sequence[str]) -> None:
    if objections:
        raise CommandRefusedError(
            f"{order.source.name} cannot be restored so: {'; '.join(objections)}.",
            fix="Choose another moment or another name; the plan shows what is possible.",
        )


def _against_moment(source: PlatformServer, at: datetime, now: datetime) -> Iterator[str]:
    if at > now:
        yield f"{at.isoformat()} has not come yet"
    if source.earliest_restore is None:
        yield "the platform has no backup of it yet"
    elif at < source.earliest_restore:
        yield (
            f"its backups reach back to {source.earliest_restore.isoformat()}, not to "
            f"{at.isoformat()}"
        )


def _against_name(order: ServerRestore) -> Iterator[str]:
    if not _NAME.fullmatch(order.new):
        yield f"{order.new!r} is no server's name: 3 to 63 of a-z, 0-9 and '-'"
    elif order.new == order.source.name:
        yield "a restore never overwrites: the new server needs a name of its own"


def _notes(source: PlatformServer, at: datetime, now: datetime) -> Iterator[str]:
    if now - at < _ARCHIVED:
        yield "what was written within the last five minutes may not be restorable yet"
    if not source.is_ready:
        yield f"the server is {source.state} now"
    if source.role.lower() not in {"primary", "none"}:
        yield f"the server is {source.role}: restore its primary, if it is there"
    if source.is_private:
        yield "it stays in its virtual network: nobody reaches it from outside, Slipway neither"
    else:
        yield "it stays with public access: a restore cannot move it into a virtual network"


def _at_host(login: DatabaseLogin, host: str) -> DatabaseLogin:
    return replace(login, address=replace(login.address, host=host))


async def _facts(server: DatabaseServer, login: DatabaseLogin) -> DatabaseFacts:
    async with server.snapshot(login) as snapshot:
        return await snapshot.facts()


def _compared(then: DatabaseFacts, now: DatabaseFacts | None, *more: str) -> Looked:
    differences = [*more, *(_differences(then, now) if now else ())]
    left_out = len(differences) - _MOST_DIFFERENCES
    if left_out > 0:
        differences = [*differences[:_MOST_DIFFERENCES], f"and {left_out} more"]
    return Looked(
        tables=len(then.tables),
        rows=sum(each.rows for each in then.tables),
        head_then=then.migration_head,
        head_now=now.migration_head if now else None,
        differences=tuple(differences),
    )


def _differences(then: DatabaseFacts, now: DatabaseFacts) -> Iterator[str]:
    if then.migration_head != now.migration_head:
        yield (
            f"migration head: {then.migration_head or 'none'} then, "
            f"{now.migration_head or 'none'} now; the build that serves must be able to live with "
            "the first"
        )
    before = {each.name: each for each in then.tables}
    after = {each.name: each for each in now.tables}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"table {name}: {before[name].rows} rows then, gone now"
        elif name not in before:
            yield f"table {name}: not there then, {after[name].rows} rows now"
        elif before[name].rows != after[name].rows:
            yield f"table {name}: {before[name].rows} rows then, {after[name].rows} now"
        elif before[name].checksum != after[name].checksum:
            yield f"table {name}: other contents in its {before[name].rows} rows"
