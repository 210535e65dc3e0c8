"""From a registry's notices to `submit` commands on the queue, one per app that wants the image."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from controller.core.errors import BusyError
from controller.core.plan import AppId, AppSpec, Source
from controller.entry.registries.pushes import (
    Ignored,
    Notice,
    Push,
    canonical_host,
    canonical_repository,
)
from controller.ports import Bus, Configuration, Message, Registry
from controller.runtime.messages import (
    MAX_ORDER_ID,
    ImageName,
    SubmitBody,
    short_name,
    to_message,
)

log = logging.getLogger("slipway.intake")

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ASK_SECONDS: Final = 8  # senders wait ten
_MOST_REASONS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image that was ordered, and for whom."""

    image: str
    digest: str
    apps: tuple[AppId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a delivery."""

    orders: tuple[Order, ...] = ()
    ignored: tuple[str, ...] = ()  # why the rest is none; each reason once

    @property
    def apps(self) -> tuple[AppId, ...]:
        """Every app that gets something."""
        return tuple(dict.fromkeys(app for order in self.orders for app in order.apps))

    @property
    def reason(self) -> str:
        """Why nothing was done, where nothing was."""
        return "; ".join(self.ignored) or "the delivery holds no event"


@dataclass(slots=True)
class _Gathered:
    orders: list[Order] = field(default_factory=list[Order])
    messages: list[Message] = field(default_factory=list[Message])
    ignored: dict[str, None] = field(default_factory=dict[str, None])

    def ignore(self, reason: str, event_id: str, *, is_odd: bool = False) -> None:
        level = logging.WARNING if is_odd else logging.INFO
        log.log(level, "push ignored: %s (event %s)", reason, event_id or "without id")
        if len(self.ignored) < _MOST_REASONS:
            self.ignored[reason] = None
        else:
            self.ignored["and more"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Matches pushes to apps and puts the commands on the queue, at once."""

    configuration: Configuration
    bus: Bus
    registry: Registry

    async def take(self, notices: Sequence[Notice], *, by: str) -> Taken:
        """Enqueue a rollout of every push for every app that wants it.

        Raises:
            QueueUnavailableError: nothing is lost if the sender tries again.
            ConfigurationError: likewise.
            BusyError, AccessDeniedError: the registry does not say which digest was pushed.
        """
        gathered = _Gathered()
        for notice in notices:
            if isinstance(notice, Ignored):
                gathered.ignore(notice.reason, notice.event_id, is_odd=notice.is_odd)
            elif isinstance(notice, Push):
                await self._order(notice, by, gathered)
        if gathered.messages:
            await self.bus.send(gathered.messages)
        for order in gathered.orders:
            log.info("push %s@%s -> %s", order.image, order.digest, ", ".join(order.apps))
        return Taken(orders=tuple(gathered.orders), ignored=tuple(gathered.ignored))

    async def _order(self, push: Push, by: str, gathered: _Gathered) -> None:
        wanted, reasons = _match(push, await self.configuration.apps())
        for reason in reasons:
            gathered.ignore(reason, push.event_id)
        if not wanted:
            return
        digest = push.digest or await self._digest_of(push, wanted[0][1].source)
        if digest is None or not _DIGEST.fullmatch(digest):
            known = f"is {digest}, not a sha256 digest" if digest else "is gone again"
            gathered.ignore(f"{push.name} {known}", push.event_id, is_odd=True)
            return
        gathered.messages += [_submit(app, spec, push, digest, by) for app, spec in wanted]
        apps = tuple(app for app, _ in wanted)
        gathered.orders.append(Order(image=push.name, digest=digest, apps=apps))

    async def _digest_of(self, push: Push, source: Source) -> str | None:
        """Ask the registry what the tag names by now; PREFLIGHT asks once more."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                return await self.registry.digest_of(source.registry, source.repository, push.tag)
        except TimeoutError as error:
            raise BusyError(
                f"Registry {source.registry} did not say in {_ASK_SECONDS} s what {push.name} is."
            ) from error


def _submit(app: AppId, spec: AppSpec, push: Push, digest: str, by: str) -> Message:
    body = SubmitBody(
        app=app,
        id=short_name(push.event_id or digest, MAX_ORDER_ID),
        by=by,
        reason=f"pushed as {push.tag}",
        pushed=True,
        pushed_at=push.pushed_at,
        image=ImageName(
            registry=spec.source.registry,
            repository=spec.source.repository,
            digest=digest,
            tag=push.tag,
        ),
    )
    return to_message(body)


def _match(
    push: Push, apps: Mapping[AppId, AppSpec]
) -> tuple[Sequence[tuple[AppId, AppSpec]], Sequence[str]]:
    """Return the apps that want it, and why others from the same repository do not."""
    wanted: list[tuple[AppId, AppSpec]] = []
    reasons: list[str] = []
    for app, spec in apps.items():
        if not _same_repository(push, spec.source):
            continue
        reason = _unwanted(push.tag, spec.source)
        if reason:
            reasons.append(f"app {app}: {reason}")
        else:
            wanted.append((app, spec))
    if not wanted and not reasons:
        reasons.append(f"no app takes images from {push.registry}/{push.repository}")
    return wanted, reasons


def _same_repository(push: Push, source: Source) -> bool:
    host = canonical_host(source.registry)
    if canonical_host(push.registry) != host:
        return False
    return canonical_repository(host, push.repository) == canonical_repository(
        host, source.repository
    )


def _unwanted(tag: str, source: Source) -> str | None:
    ignored = next((p for p in source.ignore_tags if fnmatchcase(tag, p)), None)
    if ignored:
        return f"tag {tag!r} is ignored by {ignored!r}"
    if not any(fnmatchcase(tag, pattern) for pattern in source.tags):
        return f"tag {tag!r} matches none of {', '.join(source.tags)}"
    return None
