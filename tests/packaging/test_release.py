"""tools/release.py: what must not be released is not, and the notes say how to check what is."""

import hashlib
import re
from pathlib import Path

import pytest

from tools import release

IMAGE = "ghcr.io/contoso/slipway@sha256:" + "ab" * 32
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Something that is not out yet.

## [1.2.3] - 2026-12-24

### Added

- Snow.

## [1.2.2] - 2026-12-01

- Rain.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "tests" / "upgrades" / "v1.2.3").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "slipway-1.2.3.zip").write_bytes(b"zip")
    (folder / "slipway-1.2.3.spdx.json").write_bytes(b"{}")
    return folder


def test_a_tag_that_agrees_with_everything_is_its_version(root: Path) -> None:
    assert release.checked_version("v1.2.3", root) == "1.2.3"


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


REFUSED = [
    ("other version", "v1.2.3", "pyproject.toml", "1.2.3", "1.2.4", "pyproject.toml says 1.2.4"),
    ("no section", "v1.2.3", "CHANGELOG.md", "## [1.2.3] - 2026-12-24", "## Snow", "no section"),
    ("no date", "v1.2.3", "CHANGELOG.md", "[1.2.3] - 2026-12-24", "[1.2.3]", "no date"),
    ("nothing in it", "v1.2.3", "CHANGELOG.md", "### Added\n\n- Snow.", "", "nothing in it"),
    ("candidate", "v1.2.3rc1", "pyproject.toml", "1.2.3", "1.2.3rc1", "no tag of a release"),
    (
        "it says another",
        "v1.2.3",
        "controller/__init__.py",
        "1.2.3",
        "1.2.2",
        "another __version__",
    ),
    ("no v", "1.2.3", "pyproject.toml", "1.2.3", "1.2.3", "no tag of a release"),
]


@pytest.mark.parametrize(
    ("tag", "name", "old", "new", "says"),
    [pytest.param(*case, id=case_id) for case_id, *case in REFUSED],
)
def test_what_does_not_agree_is_refused(
    root: Path, tag: str, name: str, old: str, new: str, says: str
) -> None:
    edit(root, name, old, new)
    with pytest.raises(release.ReleaseError, match=says):
        release.checked_version(tag, root)


def test_this_checkout_lacks_nothing_but_the_date(tmp_path: Path) -> None:
    """Version, program and frozen forms agree; the changelog gets its date last."""
    found = re.search(r'version = "([\d.]+)"', (release.ROOT / "pyproject.toml").read_text())
    assert found is not None
    for name in ("pyproject.toml", "controller", "tests"):
        (tmp_path / name).symlink_to(release.ROOT / name)
    dated = CHANGELOG.replace("1.2.3", found[1])
    (tmp_path / "CHANGELOG.md").write_text(dated)

    assert release.checked_version(f"v{found[1]}", tmp_path) == found[1]


def test_a_release_whose_stored_forms_are_not_frozen_is_refused(root: Path) -> None:
    """Later versions could not be tested against it."""
    (root / "tests" / "upgrades" / "v1.2.3").rmdir()
    with pytest.raises(release.ReleaseError, match=r"tools/freeze\.py"):
        release.checked_version("v1.2.3", root)


def test_notes_hold_this_versions_changes_alone_and_how_to_check_it(
    root: Path, assets: Path
) -> None:
    release.write_checksums(assets)
    notes = release.notes("v1.2.3", IMAGE, assets, root)

    assert notes.startswith("### Added\n\n- Snow.\n")
    assert "Rain" not in notes
    assert "not out yet" not in notes
    assert f"cosign verify {IMAGE}" in notes
    assert "--repo contoso/slipway" in notes
    assert f"{hashlib.sha256(b'zip').hexdigest()}  slipway-1.2.3.zip\n" in notes


@pytest.mark.parametrize("image", ["ghcr.io/contoso/slipway:1.2.3", "ghcr.io/c/s@sha256:ab", ""])
def test_an_image_that_is_not_named_by_digest_is_refused(
    root: Path, assets: Path, image: str
) -> None:
    release.write_checksums(assets)
    with pytest.raises(release.ReleaseError, match="by digest"):
        release.notes("v1.2.3", image, assets, root)


def test_notes_without_checksums_and_checksums_of_nothing_are_refused(
    root: Path, assets: Path, tmp_path: Path
) -> None:
    with pytest.raises(release.ReleaseError, match="checksums"):
        release.notes("v1.2.3", IMAGE, assets, root)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(release.ReleaseError, match="no files"):
        release.write_checksums(empty)


def test_checksums_are_of_all_files_but_themselves(assets: Path) -> None:
    release.write_checksums(assets)
    sums = release.write_checksums(assets).read_text().splitlines()
    assert [line.split("  ")[1] for line in sums] == [
        "slipway-1.2.3.spdx.json",
        "slipway-1.2.3.zip",
    ]


def test_the_workflow_gets_names_that_registries_take(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "checked_version", lambda tag: tag[1:])
    release.main(["check", "v1.2.3", "--repository", "Contoso/Slipway"])
    assert capsys.readouterr().out == "version=1.2.3\nimage=ghcr.io/contoso/slipway\n"
