"""What `make package` packs: all that runs, nothing else, the same bytes each time."""

import importlib.metadata
import importlib.util
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import package

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dist")
    package.build(place)
    return place


@pytest.fixture(scope="module")
def requirements_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file of what requirements.txt names, and of nothing else."""
    place = tmp_path_factory.mktemp("site-packages")
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    locked = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\w", line)]
    assert len(locked) > 40
    for wanted in locked:
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        found = importlib.metadata.distribution(wanted.name)
        assert found.version in wanted.specifier
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                link(Path(str(found.locate_file(file))), place / file)
    return place


def link(file: Path, target: Path) -> None:
    """Link *file*, and what it was compiled to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(file)
    compiled = Path(importlib.util.cache_from_source(str(file))) if file.suffix == ".py" else file
    if compiled != file and compiled.is_file():
        cache = target.parent / "__pycache__"
        cache.mkdir(exist_ok=True)
        (cache / compiled.name).symlink_to(compiled)


def archive_of(dist: Path) -> zipfile.ZipFile:
    (found,) = dist.glob("*.zip")
    return zipfile.ZipFile(found)


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("app")
    with archive_of(dist) as packed:
        packed.extractall(place)
    return place


def load(folder: Path, site: Path) -> list[str]:
    """Load the package with nothing else in reach, and return its functions."""
    before = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(site)!r}]\n"
    python = [sys.executable, "-I", "-S"]
    return sorted(package.loaded(python, folder, before=before)["functions"])


def test_it_loads_and_indexes_all_functions_with_its_requirements_alone(
    unpacked: Path, requirements_alone: Path
) -> None:
    here = package.loaded([sys.executable], ROOT)["functions"]
    assert len(here) > 15
    assert load(unpacked, requirements_alone) == sorted(here)


@pytest.mark.parametrize("missing", ["controller/entry/doors.py", "requirements"])
def test_the_check_fails_where_something_is_missing(
    missing: str, unpacked: Path, requirements_alone: Path, tmp_path: Path
) -> None:
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    if missing == "requirements":
        requirements_alone = tmp_path / "nothing"
    else:
        (tmp_path / missing).unlink()
    with pytest.raises(package.PackageError, match="does not load"):
        load(tmp_path, requirements_alone)


def test_every_module_that_it_may_import_later_is_there(
    unpacked: Path, requirements_alone: Path
) -> None:
    """Doors import their adapters when they are first used: too late to find one missing."""
    files = [path.relative_to(unpacked) for path in (unpacked / "controller").rglob("*.py")]
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    assert len(modules) > 200
    imports = (
        f"import importlib\nfor name in {sorted(modules)!r}:\n    importlib.import_module(name)\n"
    )
    before = f"import sys; sys.path[:0] = [{str(unpacked)!r}, {str(requirements_alone)!r}]\n"
    package.loaded([sys.executable, "-I", "-S"], unpacked, before=before + imports)


def test_nothing_else_is_in_it(dist: Path) -> None:
    with archive_of(dist) as packed:
        names = packed.namelist()
    assert {name.split("/")[0] for name in names} == {
        "controller", "function_app.py", "host.json", "requirements.txt"
    }  # fmt: skip
    assert {Path(name).suffix for name in names} == {".py", ".kql", ".json", ".txt"}
    assert not [
        name for name in names if "__pycache__" in name or name.startswith("controller/cli")
    ]
    folder = {str(p.relative_to(dist / "package")) for p in (dist / "package").rglob("*.*")}
    assert set(names) <= folder


def test_the_same_tree_gives_the_same_bytes_within_the_budget(dist: Path, tmp_path: Path) -> None:
    again = package.build(tmp_path)
    (first,) = dist.glob("*.zip")
    assert again.read_bytes() == first.read_bytes()
    assert first.stat().st_size < package.BUDGET


def test_the_image_holds_the_same_files(dist: Path) -> None:
    """What .dockerignore lets through and the Dockerfile copies is what is packed."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1:] == [
        *("*", "!function_app.py", "!host.json", "!requirements.txt", "!controller"),
        *("controller/cli", "controller/wiring_cli.py", "**/__pycache__"),
    ]
    copied = re.findall(r"^COPY (?!--from)(.+) /home/site/wwwroot\S*$", DOCKERFILE, re.MULTILINE)
    assert copied == ["function_app.py host.json requirements.txt", "controller"]
    left_out = (ROOT / "controller" / "cli", ROOT / "controller" / "wiring_cli.py")
    sent = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "controller").rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not any(path.is_relative_to(each) for each in left_out)
    }
    with archive_of(dist) as packed:
        assert sent | set(copied[0].split()) == set(packed.namelist())
