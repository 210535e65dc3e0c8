"""Default host names as Azure makes them."""

from sandbox.app_service.host_names import classic, unique

LONG_APP, LONG_SLOT = "a" * 41, "s" * 20


def test_short_names_are_joined() -> None:
    assert classic("Shop", "production") == "shop.azurewebsites.net"
    assert classic("shop", "blue") == "shop-blue.azurewebsites.net"


def test_long_names_are_cut_and_end_in_four_characters() -> None:
    """The site at 40, the slot at 19, so that two long slots stay two hosts."""
    for app, slot in ((LONG_APP, "blue"), ("shop", LONG_SLOT)):
        label = classic(app, slot).partition(".")[0]
        head, _, end = label.rpartition("-")
        assert head == f"{app[:40]}-{slot[:19]}"
        assert len(end) == 4
    assert classic("shop", LONG_SLOT + "1") != classic("shop", LONG_SLOT + "2")


def test_unique_names_carry_a_hash_and_the_region() -> None:
    host = unique("shop", "blue", region="northeurope")

    assert host.startswith("shop-blue-")
    assert host.endswith(".northeurope-01.azurewebsites.net")
    assert unique("shop", "green", region="northeurope") != host
