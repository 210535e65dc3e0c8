"""Each check is shown to fail: one thing is broken in a copy of the templates, and it is told."""

import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.infra_check import code
from tools.infra_check.check import check
from tools.infra_check.policies import check_exceptions, check_policies

INFRA = Path(__file__).resolve().parents[2] / "infra"


class Broken(NamedTuple):
    """What is replaced where, and what is told of it."""

    what: str
    file: str
    old: str
    new: str
    told: str


BROKEN = [
    Broken(**each)
    for each in tomllib.loads(Path(__file__).with_name("sabotage.toml").read_text())["broken"]
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(INFRA, tmp_path / "infra"))


def sabotage(folder: Path, broken: Broken) -> None:
    path = folder / broken.file
    text = path.read_text(encoding="utf-8")
    assert broken.old in text, "the templates have changed: this sabotage breaks nothing any more"
    path.write_text(text.replace(broken.old, broken.new), encoding="utf-8")


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.what)
def test_what_is_broken_is_told(copy: Path, broken: Broken) -> None:
    sabotage(copy, broken)

    found = check(copy)

    assert [each for each in found if broken.told in each.what], [str(each) for each in found]
    assert all(each.line >= 1 and each.path.exists() for each in found)


def test_a_module_that_nobody_calls(copy: Path) -> None:
    (copy / "modules/spare.bicep").write_text("output x string = 'y'\n", encoding="utf-8")

    assert "nothing calls this module" in [each.what for each in check(copy)]


def test_no_templates_and_no_parameters(tmp_path: Path, copy: Path) -> None:
    shutil.rmtree(copy / "parameters")

    assert [each.what for each in check(tmp_path)] == ["there is no such template"]
    assert [each.what for each in check(copy)] == ["there is no file of parameters"]


def test_a_setting_that_the_code_begins_to_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = code.settings_read() | {"SLIPWAY_NEW"}
    monkeypatch.setattr(code, "settings_read", lambda: read)

    assert {each.what for each in check(copy)} == {
        "the code reads setting SLIPWAY_NEW, which is not given"
    }


def test_an_action_that_the_code_begins_to_call(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = code.actions_called() | {"Microsoft.Web/sites/stop/action"}
    monkeypatch.setattr(code, "actions_called", lambda: called)

    assert {each.what for each in check(copy)} == {
        "the code calls Microsoft.Web/sites/stop/action, which is not allowed"
    }


def test_what_checkov_finds_is_told(tmp_path: Path) -> None:
    """One run for both, as it takes seconds: a finding, and a file that it cannot read."""
    text = (INFRA / "modules/app/registry.bicep").read_text(encoding="utf-8")
    assert "adminUserEnabled: false" in text
    worse = text.replace("adminUserEnabled: false", "adminUserEnabled: true")
    (tmp_path / "registry.bicep").write_text(worse, encoding="utf-8")
    (tmp_path / "broken.bicep").write_text("resource x 'a@b' = {\n", encoding="utf-8")

    found = [each.what for each in check_policies(tmp_path)]

    assert any("CKV_AZURE_137" in each for each in found), found
    assert any("cannot read" in each for each in found), found


def test_an_exception_without_a_reason_is_told() -> None:
    reasons = ("", ": fine", ": users are browsers")
    lines = "\n".join(f"// checkov:skip=CKV_AZURE_1{reason}" for reason in reasons)

    found = list(check_exceptions(Path("x.bicep"), lines))

    assert [each.line for each in found] == [1, 2]
