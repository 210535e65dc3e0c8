"""Every trap of the platform is handled, reproduced and pinned, or says why not."""

import pytest

from tools.traps import PARTS, ROOT, Trap, parts, problems

ROWS = [
    pytest.param(row, id=f"{title}-{number}")
    for title, rows in parts()
    for number, row in enumerate(rows, start=1)
]


@pytest.mark.parametrize("row", ROWS)
def test_a_trap_names_what_is_there(row: Trap) -> None:
    """Each file exists, each symbol stands in it, and no field is empty without a reason."""
    assert problems(row) == []


def test_every_part_is_on_the_page() -> None:
    """A file of traps that nobody reads would be wrong quietly."""
    files = {path.stem for path in (ROOT / "docs" / "traps").glob("*.toml")}

    assert files == set(PARTS)


def test_no_trap_is_told_twice() -> None:
    """Two rows of one text would drift apart."""
    told = [row.trap for _, rows in parts() for row in rows]

    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Trap(trap="t", code="", sandbox="always", test="Makefile"), "code is empty"),
        (Trap(trap="t", code="-", sandbox="always", test="Makefile"), "no note says why"),
        (Trap(trap="t", code="nowhere.py", sandbox="always", test="Makefile"), "is not there"),
        (Trap(trap="t", code="Makefile::lost", sandbox="always", test="Makefile"), "is not there"),
        (Trap(trap="t", code="Makefile", sandbox="always: lost.py", test="Makefile"), "lost.py"),
    ],
)
def test_what_is_wrong_is_said(row: Trap, said: str) -> None:
    """The check can fail."""
    assert said in "; ".join(problems(row))
