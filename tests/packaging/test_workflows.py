"""Workflows and Dockerfile pass the programs that look for mistakes, and these do find them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging import checkers
from tests.packaging.checkers import ROOT, WORKFLOWS, load, steps

CI, RELEASE = WORKFLOWS / "ci.yml", WORKFLOWS / "release.yml"
DEPENDABOT = ROOT / ".github" / "dependabot.yml"
DOCKERFILE = ROOT / "Dockerfile"
PINNED = "actions/checkout@9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0 # v7.0.0"


LINTED = {
    "injected": (
        "run: make check",
        "run: echo ${{ github.event.pull_request.title }}",
        "untrusted",
    ),
    "syntax": ("runs-on: ubuntu-24.04", "run-on: ubuntu-24.04", "runs-on"),
    "no_such_context": ("${{ matrix.python }}", "${{ matrix.pyton }}", "pyton"),
    "no_such_right": ("permissions: {}", "permissions: {contants: read}", "contants"),
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What actionlint says of each workflow, and of copies with a mistake."""
    place = tmp_path_factory.mktemp("workflows")
    shutil.copytree(WORKFLOWS, place, dirs_exist_ok=True)
    for name, (old, new, _) in LINTED.items():
        text = CI.read_text()
        assert old in text
        (place / f"{name}.yml").write_text(text.replace(old, new, 1))
    return checkers.actionlint(place)


# --- Clean ----------------------------------------------------------------------------------------


def test_workflows_are_clean(linted: dict[str, str]) -> None:
    assert linted["ci.yml"] == linted["release.yml"] == ""
    assert checkers.zizmor(ROOT / ".github") == ""
    assert checkers.unpinned(WORKFLOWS) == []


def test_workflows_and_dependabot_are_of_their_schemas() -> None:
    assert checkers.schema("github-workflows", CI, RELEASE) == ""
    assert checkers.schema("dependabot", DEPENDABOT) == ""


def test_the_dockerfile_is_clean() -> None:
    assert checkers.hadolint(DOCKERFILE) == ""
    assert checkers.loose(DOCKERFILE) == []
    assert set(checkers.bases(DOCKERFILE)) == {
        "mcr.microsoft.com/azure-functions/python:4-python3.12"
    }
    assert checkers.user_of(DOCKERFILE) == "1654:1654"


# --- Shown to fail --------------------------------------------------------------------------------


def sabotaged(place: Path, old: str, new: str) -> Path:
    """Return a copy of .github with one mistake in it."""
    shutil.copytree(ROOT / ".github", place / ".github")
    workflow = place / ".github" / "workflows" / "ci.yml"
    text = workflow.read_text()
    assert old in text
    workflow.write_text(text.replace(old, new, 1))
    return place / ".github"


def zizmor(github: Path) -> str:
    return checkers.zizmor(github)


def schema(github: Path) -> str:
    return checkers.schema("github-workflows", github / "workflows" / "ci.yml")


def unpinned(github: Path) -> str:
    return "\n".join(checkers.unpinned(github / "workflows"))


MISTAKES = [
    ("unpinned action", zizmor, PINNED, "actions/checkout@v7", "unpinned-uses"),
    ("pinned, unnamed", unpinned, PINNED, PINNED.partition(" ")[0], "actions/checkout"),
    (
        "script injection",
        zizmor,
        "run: make check",
        'run: make "${{ github.head_ref }}"',
        "template-injection",
    ),
    ("may write all", zizmor, "permissions: {}", "permissions: write-all", "excessive-permissions"),
    ("runs a stranger's", zizmor, "pull_request:", "pull_request_target:", "dangerous-triggers"),
    (
        "keeps the token",
        zizmor,
        "persist-credentials: false",
        "persist-credentials: true",
        "artipacked",
    ),
    ("no such key", schema, "timeout-minutes: 60", "timeout: 60", "timeout"),
]


@pytest.mark.parametrize(
    ("finder", "old", "new", "says"),
    [pytest.param(*mistake, id=name) for name, *mistake in MISTAKES],
)
def test_a_mistake_in_a_workflow_is_found(
    finder: Callable[[Path], str], old: str, new: str, says: str, tmp_path: Path
) -> None:
    assert says in finder(sabotaged(tmp_path, old, new))


@pytest.mark.parametrize("name", LINTED)
def test_a_mistake_that_actionlint_knows_is_found(name: str, linted: dict[str, str]) -> None:
    assert LINTED[name][2] in linted[f"{name}.yml"]


IMAGE_MISTAKES = [
    ("latest base", "python:4-python3.12", "python:latest", "latest"),
    (
        "base untagged",
        "ARG BASE=mcr.microsoft.com/azure-functions/python:4-python3.12",
        "ARG BASE=debian",
        "debian",
    ),
    ("runs as root", "USER 1654:1654", "USER root", "root"),
    (
        "old package",
        'postgresql-client-${POSTGRESQL}"',
        'postgresql-client-${POSTGRESQL}" sudo && sudo true',
        "DL3004",
    ),
    ("syntax", "EXPOSE 8080", "EXPOS 8080", "unexpected"),
]


@pytest.mark.parametrize(
    ("old", "new", "says"), [pytest.param(*mistake, id=name) for name, *mistake in IMAGE_MISTAKES]
)
def test_a_mistake_in_the_dockerfile_is_found(
    old: str, new: str, says: str, tmp_path: Path
) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    copy = tmp_path / "Dockerfile"
    copy.write_text(text.replace(old, new, 1))

    found = [checkers.hadolint(copy), *checkers.loose(copy)]
    assert says in "\n".join([*found, checkers.user_of(copy)])


def test_packages_lie_where_the_worker_looks_for_them() -> None:
    """On App Service it sets PYTHONPATH to this folder and nothing else."""
    where = "/home/site/wwwroot/.python_packages/lib/site-packages"
    text = DOCKERFILE.read_text()
    assert f"COPY --from=packages /packages {where}\n" in text
    assert f"PYTHONPATH={where}\n" in text


# --- What they do ---------------------------------------------------------------------------------


def test_ci_runs_what_people_run_on_every_python_of_ours() -> None:
    """`make check` on 3.11 to 3.13, on pushes and pull requests, and `make package`."""
    workflow = load(CI)
    assert set(workflow[True]) == {"push", "pull_request"}
    runs = {job: [s["run"] for s in steps(CI, job) if "run" in s] for job in workflow["jobs"]}
    assert runs == {"check": ["make check"], "package": ["make package"]}
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    pythons = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons == [lowest[1], "3.12", "3.13"]


def test_a_failed_check_leaves_its_reports_and_every_zip_is_kept() -> None:
    kept = {
        s["with"]["name"]: s for s in steps(CI) if s.get("uses", "").startswith("actions/upload")
    }
    assert kept["reports-${{ matrix.python }}"]["if"] == "failure()"
    assert kept["package"]["with"]["path"] == "dist/*.zip"


@pytest.mark.parametrize("workflow", [CI, RELEASE], ids=lambda path: path.name)
def test_rights_are_given_job_by_job_and_every_job_ends(workflow: Path) -> None:
    found = load(workflow)
    assert found["permissions"] == {}
    assert "concurrency" in found
    for job in found["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        assert job["permissions"]["contents"] == (
            "write" if job.get("name") == "Release" else "read"
        )


def test_no_secret_is_used_but_the_token_of_the_run() -> None:
    for path in (CI, RELEASE):
        assert "secrets." not in path.read_text()


def test_a_release_is_checked_first_and_published_last() -> None:
    """Nothing is pushed before the check; what is published was listed, attested and signed."""
    jobs = load(RELEASE)["jobs"]
    assert jobs["package"]["needs"] == jobs["image"]["needs"] == "check"
    assert jobs["publish"]["needs"] == ["check", "package", "image"]
    checks = [s["run"] for s in steps(RELEASE, "check") if "run" in s]
    assert checks[0].startswith("python tools/release.py check")
    assert checks[1:] == ["make check"]
    names = [s["name"] for s in steps(RELEASE, "image")]
    order = ["Build, and push by digest", "State where it was built", "Sign it"]
    order += ["Look whether the signature holds", "Name it, now that it is signed"]
    assert [name for name in names if name in order] == order


def test_dependabot_watches_every_kind_of_lock() -> None:
    """Each directory has what its ecosystem needs to find."""
    found = {u["package-ecosystem"]: u["directory"] for u in load(DEPENDABOT)["updates"]}
    assert found == {"pip": "/requirements", "npm": "/", "github-actions": "/", "docker": "/"}
    assert list((ROOT / "requirements").glob("*.in"))
    assert (ROOT / "package-lock.json").is_file()
