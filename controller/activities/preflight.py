"""PREFLIGHT: can this rollout start, and between which slots? Nothing is touched here."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from controller.activities import data_plan, fitness, learning, references, telemetry_check
from controller.activities.proof import short
from controller.activities.replies import answering
from controller.core.data import DataPlan
from controller.core.effects import Preflight
from controller.core.errors import (
    BusyError,
    ImageMissingError,
    PermanentError,
    SlipwayError,
    TransientError,
)
from controller.core.events import PreflightFailed, PreflightPassed, Reply
from controller.core.gate import Learned
from controller.core.plan import PRODUCTION, IdentityKind, SlotName
from controller.core.telemetry import IdentifyBy
from controller.ports import (
    Clock,
    Registry,
    SiteView,
    SlotSwapper,
    SlotView,
    TargetPlatform,
    Telemetry,
)
from controller.ports_data import Migrations

T = TypeVar("T")

_WRITTEN_BY_STAGE: Final = frozenset({"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES"})


@dataclass(slots=True)
class _Findings:
    """What speaks against the rollout, gathered to the end: people fix all of it at once."""

    reasons: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    postponed: TransientError | None = None  # counts only where no reason stands already

    async def ask(self, question: Awaitable[T]) -> T | None:
        """Return the answer; None where there is none, and the findings say why."""
        try:
            return await question
        except PermanentError as error:
            self.reasons.append(str(error))
        except TransientError as error:
            self.postponed = self.postponed or error
        return None


async def perform(
    effect: Preflight,
    platform: TargetPlatform,
    swapper: SlotSwapper,
    registry: Registry,
    telemetry: Telemetry,
    clock: Clock,
    *,
    migrations: Migrations | None = None,
) -> Reply:
    """Look at everything the rollout will depend on and name the slots."""
    work = _Examination(effect, platform, swapper, registry, telemetry, clock, migrations)
    return await answering(effect, clock, work.run())


@dataclass(frozen=True, slots=True)
class _Examination:
    effect: Preflight
    platform: TargetPlatform
    swapper: SlotSwapper
    registry: Registry
    telemetry: Telemetry
    clock: Clock
    migrations: Migrations | None = None
    found: _Findings = field(default_factory=_Findings)

    async def run(self) -> Reply:
        view = await self.platform.read(self.effect.target)
        self.found.reasons.extend(view.problems)
        self.found.warnings.extend(view.warnings)
        self._object(view.objections)
        if self.effect.is_swap:
            self._object(view.swap_problems)
        self._heed_alerts()
        active = PRODUCTION if self.effect.is_swap else view.routing.leader
        stable = view.slots[active]
        idle = _idle_slot(self.effect, view, active)
        self._compare(view, stable, idle)
        if idle is not None:
            await self.found.ask(self._nothing_in_progress(idle))
        if idle is not None and self.effect.is_swap:
            await self.found.ask(self._fit_for_swap(view, idle))
        if not self.effect.is_way_back:
            await self.found.ask(self._find_image())
        data = await self._examine_data()
        stable_image = await self._pinned(stable)
        learned = None
        if not self.effect.is_way_back:
            await self._query_works(stable)
            learned = await self._learn(stable)
        data = await self._rehearse(data)
        if idle is None or self.found.reasons:
            return self._failed()
        if self.found.postponed:
            raise self.found.postponed
        return PreflightPassed(
            at=self.clock.now(),
            key=self.effect.key,
            active=active,
            idle=idle,
            stable_image=stable_image,
            stable_release=stable.telemetry_release,
            warnings=tuple(self.found.warnings),
            learned=learned,
            data=data,
        )

    def _heed_alerts(self) -> None:
        """No release starts under a firing alert, unless a person wants it; a way back may."""
        if self.effect.is_way_back or self.effect.override:
            self.found.warnings.extend(f"{alert} fires" for alert in self.effect.firing)
            return
        self.found.reasons.extend(
            f"{alert[:1].upper()}{alert[1:]} fires. Wait until it is resolved, then retry."
            for alert in self.effect.firing
        )

    async def _examine_data(self) -> DataPlan | None:
        """Look what the release's migrations would do. A way back carries none."""
        findings = await self.found.ask(data_plan.examine(self.effect, self.migrations))
        if findings is None:
            return None
        self.found.reasons.extend(findings.reasons)
        self.found.warnings.extend(findings.warnings)
        return findings.plan

    async def _rehearse(self, plan: DataPlan | None) -> DataPlan | None:
        """Try the migrations. It holds users up: so only where nothing else is left to find out."""
        if plan is None or self.found.reasons or self.found.postponed:
            return plan
        findings = await self.found.ask(data_plan.rehearse(self.effect, plan, self.migrations))
        if findings is None:
            return plan
        self.found.reasons.extend(findings.reasons)
        self.found.warnings.extend(findings.warnings)
        return findings.plan

    def _object(self, objections: Sequence[str]) -> None:
        """Hold against a new build what must not keep anybody from going back."""
        found = self.found
        (found.warnings if self.effect.is_way_back else found.reasons).extend(objections)

    def _failed(self) -> Reply:
        reasons = tuple(dict.fromkeys(self.found.reasons))
        return PreflightFailed(at=self.clock.now(), key=self.effect.key, reasons=reasons)

    def _compare(self, view: SiteView, stable: SlotView, idle: SlotName | None) -> None:
        """Hold the world against the record and the slots against each other."""
        effect, warn = self.effect, self.found.warnings.append
        recorded = effect.recorded_active
        if recorded is not None and recorded.lower() != stable.name.lower():
            warn(f"by our record {recorded} serves, in the world it is {stable.name}")
        if references.is_same(stable.image, effect.image) and stable.release == effect.release:
            self.found.reasons.append(
                f"Slot {stable.name} already serves {short(effect.release)} ({view.routing}); "
                "there is nothing to roll out."
            )
        by_version = effect.analysis.identify_by is IdentifyBy.VERSION
        if stable.telemetry_release is None and by_version:
            warn(
                f"slot {stable.name} reports no service.version: no concurrent comparison, "
                "only the absolute limits judge this rollout"
            )
        if effect.identity.kind is IdentityKind.NONE:
            warn("the app exposes no identity: weaker proof (instance states) of what answers")
        if idle is None:
            self.found.reasons.append(
                f"Site {effect.target.site} has no idle slot beside {stable.name}. "
                "Name one in the app's slots."
            )
        else:
            self._compare_slots(stable, view.slots[idle])

    def _compare_slots(self, stable: SlotView, idle: SlotView) -> None:
        effect = self.effect
        fit = fitness.of_slot_to_fill(idle, references.parse(effect.image).registry, effect)
        self.found.reasons.extend(fit.reasons)
        self._object(fit.objections)
        self.found.warnings.extend(fit.warnings)
        checks = (fitness.health_check_warning(s, effect.readiness_path) for s in (stable, idle))
        self.found.warnings.extend(each for each in checks if each)
        missing = sorted(stable.setting_names - idle.setting_names - _WRITTEN_BY_STAGE)
        if missing:
            self.found.warnings.append(
                f"slot {idle.name} lacks settings that {stable.name} has: {', '.join(missing)}"
            )

    async def _find_image(self) -> None:
        image = references.parse(self.effect.image)
        digest = await self.registry.digest_of(
            image.registry, image.repository, self.effect.release
        )
        if digest is None:
            raise ImageMissingError(
                f"Registry {image.registry} does not hold {image.repository}@"
                f"{self.effect.release}.",
                fix="Push it again, or look at the registry's retention rules.",
            )
        await self._tag_still_names_it(image)

    async def _tag_still_names_it(self, image: references.Reference) -> None:
        """The digest is rolled out whatever its tag says by now; people are told."""
        tag = self.effect.tag
        if tag is None:
            return
        names = await self.registry.digest_of(image.registry, image.repository, tag)
        if names != self.effect.release:
            now = f"names {short(names)} by now" if names else "is gone"
            self.found.warnings.append(
                f"tag {tag} {now}; this rollout is of {short(self.effect.release)}"
            )

    async def _nothing_in_progress(self, idle: SlotName) -> None:
        running = (await self.swapper.look(self.effect.target, idle)).operation
        if running is not None:
            raise BusyError(f"Operation {running} is in progress on site or slot {idle}.")

    async def _fit_for_swap(self, view: SiteView, idle: SlotName) -> None:
        """Say what a swap will do to the build that nobody sees before it happens."""
        if view.routing.leader.lower() != PRODUCTION:
            traffic = (
                f"Traffic is {view.routing}, but under strategy swap production serves. "
                "Clear the traffic rules (az webapp traffic-routing clear), then retry."
            )
            self._object([traffic])
        if idle.lower() == PRODUCTION:
            self.found.reasons.append(
                f"Site {self.effect.target.site} has no slot to swap with. Name one in its slots."
            )
            return
        differences = await self.swapper.differences(self.effect.target, idle)
        self.found.warnings.extend(f"{each.name}: {each.explanation}" for each in differences)

    async def _pinned(self, stable: SlotView) -> str | None:
        """Return the stable image by digest, so that going back means the very same bytes."""
        warn = self.found.warnings.append
        if stable.image is None:
            warn(f"slot {stable.name} names no image: after a rollback it cannot be put elsewhere")
            return None
        reference = references.parse(stable.image)
        if reference.digest:
            await self._warn_if_gone(stable.name, reference, reference.digest)
            return str(reference)
        try:
            digest = await self.registry.digest_of(
                reference.registry, reference.repository, reference.tag or ""
            )
        except PermanentError as error:
            warn(f"slot {stable.name} runs {reference} by tag, which cannot be resolved: {error}")
            return stable.image
        except TransientError as error:
            if self.effect.is_way_back:
                warn(f"slot {stable.name} runs {reference} by tag; its registry is away: {error}")
            else:
                self.found.postponed = self.found.postponed or error
            return stable.image
        if digest is None:
            warn(f"slot {stable.name} runs {reference}, a tag that its registry does not hold")
            return stable.image
        warn(
            f"slot {stable.name} runs {reference} by tag: a rollback pins what the tag names now, "
            f"{short(digest)}"
        )
        return str(reference.pinned(digest))

    async def _warn_if_gone(self, slot: SlotName, image: references.Reference, digest: str) -> None:
        """A build that nobody can pull any more serves on until its slot's next start."""
        warn = self.found.warnings.append
        try:
            there = await self.registry.digest_of(image.registry, image.repository, digest)
        except SlipwayError as error:
            warn(f"slot {slot} runs {image}; whether it can still be pulled is unknown: {error}")
            return
        if there is None:
            warn(
                f"registry {image.registry} no longer holds {image}, which slot {slot} runs: it "
                "serves on until its next start, and going back to it needs a slot that still runs "
                "it; push it again and look at the retention rules"
            )

    async def _query_works(self, stable: SlotView) -> None:
        warnings = await telemetry_check.warnings(
            self.effect,
            self.telemetry,
            self.found.ask,
            stable=stable.name,
            stable_release=stable.telemetry_release,
            now=self.clock.now(),
        )
        self.found.warnings.extend(warnings)

    async def _learn(self, stable: SlotView) -> Learned | None:
        if self.found.reasons or self.found.postponed:
            return None  # telemetry may be away; and nothing that is learned now will be used
        lesson = await learning.study(
            self.effect,
            self.telemetry,
            self.found.ask,
            stable=stable.name,
            stable_release=stable.telemetry_release,
            now=self.clock.now(),
        )
        self.found.reasons.extend(lesson.reasons)
        self.found.warnings.extend(lesson.warnings)
        return lesson.learned


def _idle_slot(effect: Preflight, view: SiteView, active: SlotName) -> SlotName | None:
    """Return the slot to fill: one that holds the image already, else the first that is free.

    Production comes last: it is idle only where a named slot serves, and then it is as good.
    """
    known = {name.lower(): name for name in view.slots}
    wanted = (*effect.preferred, *effect.target.slots, PRODUCTION)
    names = dict.fromkeys(known[name.lower()] for name in wanted if name.lower() in known)
    free = [name for name in names if name.lower() != active.lower()]
    holding = (n for n in free if references.is_same(view.slots[n].image, effect.image))
    return next(holding, free[0] if free else None)
