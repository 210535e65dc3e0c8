"""From a registry's notice to `submit` commands on the queue, one per app that wants the image."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from controller.core.plan import AppId, AppSpec, Source
from controller.entry.registries.pushes import Ignored, Notice, Push
from controller.ports import Bus, Configuration, Message
from controller.runtime.messages import (
    MAX_ORDER_ID,
    ImageName,
    SubmitBody,
    short_name,
    to_message,
)

log = logging.getLogger("slipway.intake")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one notice."""

    apps: tuple[AppId, ...] = ()
    reason: str = ""  # why nothing was done, where nothing was


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Matches pushes to apps and puts the commands on the queue, at once."""

    configuration: Configuration
    bus: Bus

    async def take(self, notice: Notice, *, by: str) -> Taken:
        """Enqueue a rollout for every app that wants the push.

        Raises:
            QueueUnavailableError: nothing is lost if the sender tries again.
            ConfigurationError: likewise.
        """
        if isinstance(notice, Ignored):
            return _ignored(notice.reason, notice.event_id)
        wanted, reasons = _match(notice, await self.configuration.apps())
        if not wanted:
            return _ignored("; ".join(reasons), notice.event_id)
        await self.bus.send([_submit(app, spec, notice, by) for app, spec in wanted])
        log.info(
            "push %s:%s %s -> %s",
            notice.repository,
            notice.tag,
            notice.digest,
            ", ".join(app for app, _ in wanted),
        )
        return Taken(apps=tuple(app for app, _ in wanted))


def _ignored(reason: str, event_id: str) -> Taken:
    log.info("push ignored: %s (event %s)", reason, event_id or "without id")
    return Taken(reason=reason)


def _submit(app: AppId, spec: AppSpec, push: Push, by: str) -> Message:
    body = SubmitBody(
        app=app,
        id=short_name(push.event_id or push.digest, MAX_ORDER_ID),
        by=by,
        reason=f"pushed as {push.tag}",
        pushed=True,
        pushed_at=push.pushed_at,
        image=ImageName(
            registry=spec.source.registry,
            repository=push.repository,
            digest=push.digest,
            tag=push.tag,
        ),
    )
    return to_message(body)


def _match(
    push: Push, apps: Mapping[AppId, AppSpec]
) -> tuple[Sequence[tuple[AppId, AppSpec]], Sequence[str]]:
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
    same_registry = push.registry.lower() == source.registry.lower()
    return same_registry and push.repository.lower() == source.repository.lower()


def _unwanted(tag: str, source: Source) -> str | None:
    ignored = next((p for p in source.ignore_tags if fnmatchcase(tag, p)), None)
    if ignored:
        return f"tag {tag!r} is ignored by {ignored!r}"
    if not any(fnmatchcase(tag, pattern) for pattern in source.tags):
        return f"tag {tag!r} matches none of {', '.join(source.tags)}"
    return None
