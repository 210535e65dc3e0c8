"""What is seen of a slot before anything is put into it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.activities import preflight
from controller.activities.fitness import health_check_warning, of_slot_to_fill
from controller.adapters.memory.swapper import MemorySwapper
from controller.core.events import PreflightFailed, PreflightPassed
from controller.core.plan import SlotName
from controller.ports import PullAccess, PullMeans, SlotView
from tests.activities.kit import Bench, checking

ACR = "contoso.azurecr.io"
SLOT = SlotView(
    name=SlotName("blue"),
    host="shop-blue.test",
    image=None,
    release=None,
    telemetry_release=None,
    running=True,
    setting_names=frozenset(),
)
EFFECT = replace(checking(), warming=timedelta(minutes=10))
M = PullMeans


@pytest.mark.parametrize(
    ("access", "registry", "objections", "warning"),
    [
        (None, ACR, 0, ""),
        (PullAccess(M.IDENTITY), ACR, 0, ""),
        (PullAccess(M.PASSWORD, ACR), ACR, 0, "by a password"),
        (PullAccess(M.PASSWORD), ACR, 0, "by a password"),
        (PullAccess(M.PASSWORD, "ghcr.io"), ACR, 0, "the image is in contoso"),
        (PullAccess(M.ANONYMOUS, ACR), ACR, 0, "only while"),
        (PullAccess(M.NOTHING), ACR, 1, ""),
        (PullAccess(M.NOTHING), "contoso.azurecr.cn", 1, ""),
        (PullAccess(M.NOTHING), "docker.io", 0, ""),
        (PullAccess(M.ANONYMOUS, "ghcr.io"), "ghcr.io", 0, ""),
        (PullAccess(M.PASSWORD, "ghcr.io"), "ghcr.io", 0, ""),
    ],
)
def test_the_right_to_pull_is_held_against_where_the_image_is(
    access: PullAccess | None, registry: str, objections: int, warning: str
) -> None:
    """A registry that is closed by nature needs one; of an open one nothing can be said."""
    found = of_slot_to_fill(replace(SLOT, pull=access), registry, EFFECT)

    assert (found.reasons, len(found.objections)) == ([], objections)
    assert len(found.warnings) == (1 if warning else 0)
    assert warning in "".join(found.warnings)


def test_the_advice_for_a_slot_that_does_not_run_fits_its_cause() -> None:
    stopped = of_slot_to_fill(replace(SLOT, running=False), ACR, EFFECT)
    limited = replace(SLOT, running=False, trouble="has used up its plan's quota. Scale it up.")

    assert stopped.reasons == ["Slot blue is stopped. Start it, then retry."]
    assert "quota" in of_slot_to_fill(limited, ACR, EFFECT).reasons[0]


@pytest.mark.parametrize(("minutes", "warned"), [(30, True), (10, False), (4, False)])
def test_a_start_that_may_outlast_the_deadline_is_warned_of(minutes: int, *, warned: bool) -> None:
    slot = replace(SLOT, start_limit=timedelta(minutes=minutes))

    warnings = of_slot_to_fill(slot, ACR, EFFECT).warnings

    assert bool(warnings) is warned
    assert not warned or "deadlines.warming gives up after 600 s" in warnings[0]


@pytest.mark.parametrize(
    ("path", "readiness", "warned"),
    [
        (None, "/health/ready", False),
        ("/health/ready", "/health/ready", False),
        ("health/ready/", "/health/ready", False),
        ("/", "/health/ready", True),
        ("/login", "/health/ready", True),
        ("/login", None, False),
    ],
)
def test_a_health_check_of_its_own_is_warned_of(
    path: str | None, readiness: str | None, *, warned: bool
) -> None:
    """A redirect there takes healthy instances out of service."""
    warning = health_check_warning(replace(SLOT, health_check_path=path), readiness)

    assert (warning is not None) is warned


@pytest.mark.parametrize(
    ("is_way_back", "is_swap", "reasons"),
    [(False, False, ["no right"]), (True, False, []), (False, True, ["no right", "mixed"])],
)
async def test_what_speaks_against_a_new_build_keeps_nobody_from_going_back(
    *, is_way_back: bool, is_swap: bool, reasons: list[str]
) -> None:
    """An objection is a reason for one and a warning for the other; of swaps it is for swaps."""
    bench = Bench()
    bench.site.objections, bench.site.swap_problems = ("no right",), ("mixed",)

    reply = await preflight.perform(
        replace(checking(), is_way_back=is_way_back, is_swap=is_swap),
        bench.platform,
        MemorySwapper(bench.world),
        bench.registry,
        bench.telemetry,
        bench.clock,
    )

    if reasons:
        assert isinstance(reply, PreflightFailed)
        assert list(reply.reasons) == reasons
    else:
        assert isinstance(reply, PreflightPassed)
        assert "no right" in reply.warnings
