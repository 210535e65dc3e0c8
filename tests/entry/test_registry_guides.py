"""The guides say what the doors do: each request in them is understood."""

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from controller.config.fields import RegistryHost, Repository
from controller.core.doors import REGISTRY_DOORS, secret_name
from controller.entry.registries.pushes import Notice
from controller.entry.webhooks import REGISTRIES

GUIDES = Path(__file__).parents[2] / "docs" / "registries"
POSTED = re.compile(r"api/webhooks/(\w+)[^`]*?-d '([^']+)'")


def notices(registry: str, body: str) -> list[Notice]:
    headers = {"x-github-event": "ping"} if registry == "ghcr" else {}
    return list(REGISTRIES[registry].parse(headers, body.encode()))


@pytest.mark.parametrize("registry", sorted(REGISTRIES))
def test_each_registry_has_a_guide_with_its_path_secret_and_a_request(registry: str) -> None:
    text = (GUIDES / f"{registry}.md").read_text(encoding="utf-8")

    assert f"/api/webhooks/{registry}" in text
    assert f"`{secret_name(registry)}`" in text
    assert "## Try it" in text
    assert "curl -i " in text


@pytest.mark.parametrize("page", ["README.md", *(f"{name}.md" for name in sorted(REGISTRIES))])
def test_the_requests_in_a_guide_are_understood(page: str) -> None:
    text = (GUIDES / page).read_text(encoding="utf-8")
    found = [(r, b) for r, b in POSTED.findall(text) if "targets" not in b]

    for registry, body in found:
        json.loads(body)
        notices(registry, body)
    assert found or page in {"README.md", "ghcr.md"}


def test_every_host_and_repository_in_the_guides_may_stand_in_apps_yaml() -> None:
    hosts, repositories = TypeAdapter(RegistryHost), TypeAdapter(Repository)
    every = "".join(path.read_text(encoding="utf-8") for path in GUIDES.glob("*.md"))
    named = re.findall(r"`registry: ([^`]+)`", every)

    assert len(named) >= 4
    for host in named:
        assert hosts.validate_python(host) == host
    assert repositories.validate_python("library/nginx")


def test_each_door_of_a_registry_has_its_secret_backed_up() -> None:
    assert set(REGISTRY_DOORS) == set(REGISTRIES)
