"""Dockerfiles, compose files and workflows for apps pass their tools, which do find faults."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli.main import build_parser
from tests.packaging import checkers

DELIVERY = checkers.ROOT / "delivery"
KINDS = ("aspnet", "python")
WORKFLOWS = DELIVERY / "github"
DEVELOPMENT = "for-development"


def compose(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DELIVERY / kind / name).read_text())
    return found


# --- Dockerfiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_dockerfile_is_clean_and_runs_without_rights(kind: str) -> None:
    dockerfile = DELIVERY / kind / "Dockerfile"
    text = dockerfile.read_text()

    assert checkers.hadolint(dockerfile) == ""
    assert checkers.loose(dockerfile) == []
    assert checkers.user_of(dockerfile).partition(":")[0] == "1654"
    assert "curl" not in text.partition("HEALTHCHECK")[2]
    assert re.search(r"^FROM \S+ AS test$", text, re.MULTILINE)
    assert "COPY --from=test" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_restored_is_copied_before_the_code(kind: str) -> None:
    """A change of code alone must not restore anything again."""
    text = (DELIVERY / kind / "Dockerfile").read_text()
    restored = text.index("dotnet restore" if kind == "aspnet" else "--require-hashes")

    assert "COPY . ." not in text[:restored]
    assert "--locked-mode" in text or "--require-hashes" in text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("apk add --no-cache", "apk add", "DL3019"),
        ("USER 1654", "USER root", "DL3002"),
        ("WORKDIR /app", "WORKDIR app", "DL3000"),
    ],
)
def test_a_worse_dockerfile_is_noticed(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = (DELIVERY / "aspnet/Dockerfile").read_text()
    assert old in text
    (tmp_path / "Dockerfile").write_text(text.replace(old, new))

    assert told in checkers.hadolint(tmp_path / "Dockerfile")


def test_a_base_without_a_version_is_noticed(tmp_path: Path) -> None:
    text = (DELIVERY / "python/Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(text.replace("python:3.13-slim\n", "python:latest\n"))

    assert checkers.loose(tmp_path / "Dockerfile") == ["python:latest"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_holds_no_secret_and_no_history(kind: str) -> None:
    ignored = (DELIVERY / kind / ".dockerignore").read_text().splitlines()

    assert {".git", "secrets", "**/.env*"} <= set(ignored)


# --- Compose --------------------------------------------------------------------------------------


def test_compose_files_are_of_their_schema(tmp_path: Path) -> None:
    files = [
        DELIVERY / kind / name for kind in KINDS for name in ("compose.yaml", "compose.prod.yaml")
    ]
    assert checkers.schema("compose-spec", *files) == ""

    worse = tmp_path / "compose.yaml"
    worse.write_text(files[0].read_text().replace("healthcheck:", "healthchek:"))
    assert "healthchek" in checkers.schema("compose-spec", worse)


def broken_dependencies(services: dict[str, Any]) -> Iterator[str]:
    """Yield dependencies on what is not there, or on the health of what is never asked for it."""
    for name, service in services.items():
        for other, how in (service.get("depends_on") or {}).items():
            if other not in services:
                yield f"{name} needs {other}, which is not there"
            elif how["condition"] == "service_healthy":
                asked = services[other].get("healthcheck") or other == "app"  # in its Dockerfile
                if not asked:
                    yield f"{name} waits for the health of {other}, which nobody asks"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["compose.yaml", "compose.prod.yaml"])
def test_services_wait_for_what_is_there(kind: str, name: str) -> None:
    assert list(broken_dependencies(compose(kind, name)["services"])) == []


def test_a_dependency_that_cannot_hold_is_noticed() -> None:
    services = compose("python", "compose.yaml")["services"]
    del services["postgres"]["healthcheck"], services["azurite"]

    assert list(broken_dependencies(services)) == [
        "app waits for the health of postgres, which nobody asks",
        "app needs azurite, which is not there",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_development_listens_on_this_machine_alone(kind: str) -> None:
    for service in compose(kind, "compose.yaml")["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert re.search(r":(?!latest)\w", service.get("image", "x:1"))


@pytest.mark.parametrize("kind", KINDS)
def test_production_holds_no_secret_and_runs_without_rights(kind: str) -> None:
    file = compose(kind, "compose.prod.yaml")

    text = (DELIVERY / kind / "compose.prod.yaml").read_text()
    assert DEVELOPMENT not in text
    assert not re.search(r"(?i)(password|accountkey)\s*[=:]", text)
    assert all(set(each) == {"file"} for each in file["secrets"].values())
    assert "?" in file["services"]["app"]["image"]  # refused without one
    assert "ports" not in file["services"]["app"]
    for service in file["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


# --- Workflows ------------------------------------------------------------------------------------

WORSE = {
    "untrusted": (
        "run: az acr login",
        "run: echo ${{ github.event.issue.title }} && az acr login",
        "untrusted",
    ),
    "no_such_input": ("${{ inputs.tag }}", "${{ inputs.tags }}", "tags"),
    "no_such_job": ("needs: image", "needs: images", "images"),
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What actionlint says of each workflow, in a repository of an app, and of worse ones."""
    place = tmp_path_factory.mktemp("app") / ".github/workflows"
    shutil.copytree(WORKFLOWS, place)
    text = (WORKFLOWS / "deliver.yml").read_text()
    for name, (old, new, _) in WORSE.items():
        assert old in text
        (place / f"{name}.yml").write_text(text.replace(old, new, 1))
    return checkers.actionlint(place)


def test_workflows_are_clean(linted: dict[str, str]) -> None:
    assert linted["deliver.yml"] == linted["caller.yml"] == ""
    assert checkers.schema("github-workflows", *WORKFLOWS.glob("*.yml")) == ""
    assert checkers.unpinned(WORKFLOWS) == []


def test_workflows_are_safe() -> None:
    for workflow in WORKFLOWS.glob("*.yml"):
        assert checkers.zizmor(workflow) == ""


@pytest.mark.parametrize("name", WORSE)
def test_a_worse_workflow_is_noticed(linted: dict[str, str], name: str) -> None:
    assert WORSE[name][2] in linted[f"{name}.yml"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("persist-credentials: false", "persist-credentials: true", "artipacked"),
        ("@ed142fd0673e97e23eac54620cfb913e5ce36c25 # v0.36.0", "@v0.36.0", "unpinned-uses"),
        ("ignore[unpinned-images]", "", "unpinned-images"),
    ],
)
def test_an_unsafe_workflow_is_noticed(tmp_path: Path, old: str, new: str, told: str) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    text = (WORKFLOWS / "deliver.yml").read_text()
    assert old in text
    (folder / "deliver.yml").write_text(text.replace(old, new))

    assert told in checkers.zizmor(folder)


def test_no_password_is_stored_and_rights_are_each_jobs_own() -> None:
    workflow = checkers.load(WORKFLOWS / "deliver.yml")

    assert workflow["permissions"] == {}
    assert set(workflow[True]["workflow_call"]["secrets"]) == {"slipway-key"}
    assert [job for job, each in workflow["jobs"].items() if "permissions" not in each] == []


def test_the_tag_comes_last_and_is_that_of_what_was_scanned() -> None:
    """The tag starts a rollout: before it, image, scan, signature and migrations are there."""
    names = [each["name"] for each in checkers.steps(WORKFLOWS / "deliver.yml", "image")]

    order = ["Build, and push by digest", "Scan it", "Sign it", "Attach the migrations"]
    assert [name for name in names if name in order] == order
    assert names[-1] == "Give it its tag, which starts the rollout"
    text = (WORKFLOWS / "deliver.yml").read_text()
    assert "push-by-digest=true" in text
    assert "tags:" not in text.partition("jobs:")[2]


def test_the_commands_of_slipway_in_the_workflow_are_understood() -> None:
    text = (WORKFLOWS / "deliver.yml").read_text()
    digest = "sha256:" + "a" * 64
    values = {"IMAGE": "r.azurecr.io/shop", "DIGEST": digest, "APP": "shop", "MIGRATIONS": "db"}
    commands = re.findall(r'bin/slipway" (.*?)\'?$', text, re.MULTILINE)

    assert [command.split()[0] for command in commands] == ["migrations", "wait"]
    for command in commands:
        filled = re.sub(r"\$(\w+)", lambda name: values[name[1]], command.replace('"', ""))
        assert callable(build_parser().parse_args(filled.split()).run)
