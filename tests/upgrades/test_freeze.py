"""tools/freeze.py writes what is not out there yet, and nothing else."""

from pathlib import Path

import pytest

from tools import freeze


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased] - 0.2.0\n\n## [0.1.0] - 2026-12-01\n"
    )
    return tmp_path


def frozen(root: Path) -> Path:
    folder = root / "tests" / "upgrades" / "v0.2.0"
    folder.mkdir(parents=True)
    return folder


def test_the_version_that_is_being_made_is_frozen_once(root: Path) -> None:
    target = freeze.checked_target("0.2.0", again=False, root=root)
    assert target == root / "tests" / "upgrades" / "v0.2.0"
    frozen(root)
    with pytest.raises(freeze.FreezeError, match="--again"):
        freeze.checked_target("0.2.0", again=False, root=root)
    assert freeze.checked_target("0.2.0", again=True, root=root) == target


def test_another_version_is_refused(root: Path) -> None:
    """Its code is not here: what would be frozen is not what it stores."""
    with pytest.raises(freeze.FreezeError, match=r"This is Slipway 0\.2\.0, not 0\.1\.0"):
        freeze.checked_target("0.1.0", again=True, root=root)


def test_a_released_version_never_changes(root: Path) -> None:
    frozen(root)
    changelog = root / "CHANGELOG.md"
    changelog.write_text(
        changelog.read_text().replace("[Unreleased] - 0.2.0", "[0.2.0] - 2026-12-24")
    )
    with pytest.raises(freeze.FreezeError, match="is released"):
        freeze.checked_target("0.2.0", again=True, root=root)
