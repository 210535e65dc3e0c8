"""Whether a rollout can start, and between which slots."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.effects import Preflight
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.events import Failed, NotYet, PreflightFailed, PreflightPassed
from controller.core.plan import Analysis, Identity, IdentityKind, Percent, Routing, SlotName
from controller.core.telemetry import IdentifyBy, Mark
from tests.activities.kit import (
    BLUE,
    GREEN,
    NEW,
    NEW_DIGEST,
    NOW,
    OLD,
    OLD_DIGEST,
    PRODUCTION,
    TARGET,
    Bench,
    checking,
)


async def passed(bench: Bench) -> PreflightPassed:
    reply = await bench.preflight(checking())
    assert isinstance(reply, PreflightPassed), reply
    return reply


async def reasons(bench: Bench) -> tuple[str, ...]:
    reply = await bench.preflight(checking())
    assert isinstance(reply, PreflightFailed), reply
    return reply.reasons


async def test_a_sound_world_names_both_slots_and_touches_nothing() -> None:
    bench = Bench()

    assert replace(await passed(bench), learned=None) == PreflightPassed(
        at=NOW,
        key=checking().key,
        active=PRODUCTION,
        idle=BLUE,
        stable_image=OLD,
        stable_release=OLD_DIGEST,
    )
    assert bench.world.writes == []


@pytest.mark.parametrize(
    ("rules", "active", "idle"),
    [
        ((), PRODUCTION, BLUE),
        (((BLUE, 100),), BLUE, GREEN),
        (((GREEN, 100),), GREEN, BLUE),
        (((GREEN, 60), (BLUE, 40)), GREEN, BLUE),
        (((BLUE, 40),), PRODUCTION, BLUE),
    ],
)
async def test_active_is_who_serves_most_and_idle_the_first_other(
    rules: tuple[tuple[SlotName, int], ...], active: SlotName, idle: SlotName
) -> None:
    bench = Bench()
    bench.site.rules = Routing(tuple((slot, Percent(share)) for slot, share in rules))

    reply = await passed(bench)

    assert (reply.active, reply.idle) == (active, idle)


@pytest.mark.parametrize("slot", [GREEN, PRODUCTION])
async def test_a_slot_that_holds_the_image_is_taken_first(slot: SlotName) -> None:
    """Going back to an earlier release is then a matter of routing, production included."""
    bench = Bench()
    bench.site.rules = Routing(((BLUE, Percent(100)),))
    bench.site.slots[slot].image = NEW

    assert (await passed(bench)).idle == slot


async def test_production_takes_turns_with_a_single_slot() -> None:
    bench = Bench()
    bench.site.rules = Routing(((BLUE, Percent(100)),))
    effect = replace(checking(), target=replace(TARGET, slots=(BLUE,)))

    reply = await bench.preflight(effect)

    assert isinstance(reply, PreflightPassed)
    assert (reply.active, reply.idle) == (BLUE, PRODUCTION)


async def test_all_reasons_come_at_once() -> None:
    """People fix everything in one go, so the examination never stops at the first."""
    bench = Bench()
    bench.site.problems = ("Slot green runs Windows.",)
    bench.site.slots[BLUE].running = False
    bench.registry = type(bench.registry)()
    bench.telemetry.error = QueryInvalidError("No such table.", fix="Fix it.")

    found = await reasons(bench)

    assert len(found) == 4
    for said in ("Windows", "blue is stopped", "does not hold shop@", "No such table"):
        assert any(said in reason for reason in found)


async def test_a_build_that_serves_already_has_nothing_to_roll_out() -> None:
    bench = Bench()
    effect = replace(checking(), image=OLD, release=OLD_DIGEST)

    reply = await bench.preflight(effect)

    assert isinstance(reply, PreflightFailed)
    assert "already serves" in reply.reasons[0]


async def test_the_same_image_without_our_identity_may_be_rolled_out() -> None:
    """Somebody else deployed it: the rollout gives it the identity."""
    bench = Bench(release=None, telemetry="1.0")
    effect = replace(checking(), image=OLD, release=OLD_DIGEST)

    assert isinstance(await bench.preflight(effect), PreflightPassed)


async def test_what_weakens_the_rollout_is_warned_of() -> None:
    bench = Bench(release=None)
    bench.site.warnings = ("sticky",)
    bench.site.slots[PRODUCTION].settings["SECRET_NAME"] = "its value"
    effect = replace(checking(), recorded_active=GREEN, identity=Identity(kind=IdentityKind.NONE))

    reply = await bench.preflight(effect)

    assert isinstance(reply, PreflightPassed)
    said = " | ".join(reply.warnings)
    for words in (
        "sticky",
        "by our record green serves, in the world it is production",
        "no concurrent comparison",
        "weaker proof",
        "blue lacks settings that production has: SECRET_NAME",
    ):
        assert words in said
    assert "its value" not in said


async def test_a_stable_tag_is_pinned_to_what_it_names_now() -> None:
    """Otherwise going back could mean other bytes than the ones that served."""
    bench = Bench()
    bench.site.slots[PRODUCTION].image = "registry.test/shop:old"

    reply = await passed(bench)

    assert reply.stable_image == OLD
    assert "by tag" in reply.warnings[0]


@pytest.mark.parametrize("image", ["registry.test/shop:gone", "nginx"])
async def test_a_stable_tag_that_cannot_be_resolved_stays_with_a_warning(image: str) -> None:
    bench = Bench()
    bench.site.slots[PRODUCTION].image = image

    reply = await passed(bench)

    assert reply.stable_image == image
    assert "does not hold" in reply.warnings[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [(None, "no longer holds registry.test/shop@sha256:"), (Fault.TRANSIENT, "is unknown")],
)
async def test_a_stable_build_that_nobody_can_pull_any_more_is_warned_of(
    fault: Fault | None, said: str
) -> None:
    """It serves on until its slot starts again; a new release may go on."""
    bench = Bench()
    gone = OLD.replace(OLD_DIGEST, "sha256:" + "9" * 64)
    bench.site.slots[PRODUCTION].image = gone
    if fault is not None:
        bench.world.weather.script("digest_of", None, fault)

    reply = await passed(bench)

    assert reply.stable_image == gone
    assert said in reply.warnings[0]


async def test_the_query_is_tried_on_the_stable_release() -> None:
    bench = Bench()
    await passed(bench)
    analysis = checking().analysis

    workspace, releases, since, until = bench.telemetry.asked[0]

    assert (workspace, list(releases)) == ("w", [OLD_DIGEST])
    assert until == NOW - analysis.settle
    assert until - since == timedelta(minutes=5)


async def test_a_provider_that_is_down_is_waited_for() -> None:
    """The deadline of PREFLIGHT ends the wait."""
    bench = Bench()
    bench.telemetry.error = ProviderError("No answer.", retry_after=timedelta(seconds=9))

    reply = await bench.preflight(checking())

    assert isinstance(reply, NotYet)
    assert reply.retry_after == timedelta(seconds=9)


async def test_a_reason_counts_more_than_an_outage() -> None:
    bench = Bench()
    bench.world.weather.script("digest_of", Fault.TRANSIENT)
    bench.telemetry.error = AccessDeniedError("No.", fix="Give Log Analytics Reader.")

    assert await reasons(bench) == ("SW205: No. Give Log Analytics Reader.",)


async def test_an_unreadable_registry_is_a_reason_for_the_image_only() -> None:
    bench = Bench()
    bench.world.weather.script("digest_of", Fault.PERMANENT)
    assert len(await reasons(bench)) == 1

    bench.site.slots[PRODUCTION].image = "registry.test/shop:old"
    bench.world.weather.script("digest_of", None, Fault.PERMANENT)
    assert "cannot be resolved" in (await passed(bench)).warnings[0]

    bench.world.weather.script("digest_of", None, Fault.TRANSIENT)
    assert isinstance(await bench.preflight(checking()), NotYet)


async def test_a_missing_site_or_slot_fails() -> None:
    bench = Bench()
    effect = replace(checking(), target=replace(TARGET, site="another"))

    reply = await bench.preflight(effect)

    assert isinstance(reply, Failed)
    assert "another" in reply.reason
    assert NEW_DIGEST not in reply.reason


# --- Alerts ---------------------------------------------------------------------------------------

ALERT = "alert 'shop-5xx' on sites/shop since 2026-01-01T11:59:00Z: Sev1"


async def test_no_release_starts_while_an_alert_fires() -> None:
    reply = await Bench().preflight(replace(checking(), firing=(ALERT, "alert 'b' on x")))

    assert isinstance(reply, PreflightFailed)
    assert reply.reasons == (
        f"A{ALERT[1:]} fires. Wait until it is resolved, then retry.",
        "Alert 'b' on x fires. Wait until it is resolved, then retry.",
    )


@pytest.mark.parametrize("changes", [{"is_way_back": True}, {"override": "it is the fix"}])
async def test_a_way_back_or_a_persons_will_starts_all_the_same_with_a_warning(
    changes: dict[str, Any],
) -> None:
    reply = await Bench().preflight(replace(checking(), firing=(ALERT,), **changes))

    assert isinstance(reply, PreflightPassed)
    assert f"{ALERT} fires" in reply.warnings


# --- Can telemetry tell the builds apart? ---------------------------------------------------------

WEAK = Analysis(workspace="w", identify_by=IdentifyBy.ROLE_NAME)


def examined(**analysis: Any) -> Preflight:
    return replace(checking(), analysis=replace(checking().analysis, **analysis))


@pytest.mark.parametrize("role", ["shop", "SHOP"])
async def test_a_stable_slot_that_reports_no_version_is_warned_of(role: str) -> None:
    """Its rows tell nothing of any build; the fallback is named."""
    bench = Bench()
    bench.telemetry.unversioned = {role: 40, "till": 9}

    reply = await bench.preflight(examined())

    assert isinstance(reply, PreflightPassed)
    (said,) = reply.warnings
    assert "slot production seems to report without service.version (40 rows" in said
    assert "analysis.identify_by: role_name" in said


async def test_others_that_report_no_version_are_their_own_affair() -> None:
    """Where the app names its role, that is the one that counts."""
    bench = Bench()
    bench.telemetry.unversioned = {"till": 9}
    assert (await passed(bench)).warnings == ()

    bench.telemetry.unversioned = {"shop": 9, "own": 3}
    reply = await bench.preflight(examined(role_name="own"))

    assert isinstance(reply, PreflightPassed)
    assert "(3 rows" in reply.warnings[0]


@pytest.mark.parametrize("rows", [0, 5])
async def test_builds_that_are_told_apart_by_place_are_warned_of_as_weaker(rows: int) -> None:
    """Also that the stable slot is not seen under the name that it should have."""
    bench = Bench(release=None)
    bench.telemetry.rows = {Mark(name="shop", by=IdentifyBy.ROLE_NAME): rows}

    reply = await bench.preflight(replace(checking(), analysis=WEAK))

    assert isinstance(reply, PreflightPassed)
    said = " | ".join(reply.warnings)
    assert "told apart by role name only" in said
    assert ("reported nothing as role name shop" in said) == (rows == 0)
    assert "no concurrent comparison" not in said


async def test_every_source_is_tried() -> None:
    """One that cannot answer would be found out mid-way."""
    bench = Bench()

    await bench.preflight(examined(additional_workspaces=("second",)))

    assert [source for source, *_ in bench.telemetry.asked] == ["w", "second"]
