"""Pulls: references, indexes, the cache, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.app_service.images import ImagePullError, Reference, RegistryPuller, parse_reference
from sandbox.tls import create_authority
from tests.sandbox.app_service_kit import PRELOAD, Registry

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(create_authority(tmp_path / "tls"))
    await registry.server.start()
    yield registry
    await registry.server.stop()


def puller(registry: Registry, directory: Path, token: str | None = None) -> RegistryPuller:
    return RegistryPuller(registry.authority, directory=directory, token_for=lambda _host: token)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.io/a/b:1", Reference("r.io", "a/b", "1")),
        ("r.io:5000/a", Reference("r.io:5000", "a", "latest")),
        (f"127.0.0.1:5000/a@{DIGEST}", Reference("127.0.0.1:5000", "a", DIGEST)),
        (f"r.io/a:1@{DIGEST}", Reference("r.io", "a", DIGEST)),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    """A digest wins over a tag."""
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["shop", "r.io/a@sha256:12", "", "r.io/"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImagePullError):
        parse_reference(text)


async def test_an_image_is_unpacked_once(registry: Registry, tmp_path: Path) -> None:
    """The second pull asks for the manifest and the config, and takes the layers from disk."""
    reference = registry.push("v1", environment={"RELEASE": "v1"})
    pull = puller(registry, tmp_path / "images")
    first = await pull.pull(reference)
    assert (first.working_directory / "app.py").is_file()
    assert first.command == ("python", "app.py")  # Entrypoint, then Cmd
    assert first.environment == {**PRELOAD, "RELEASE": "v1"}
    asked = len(registry.requests)

    second = await pull.pull(f"{registry.host}/shop:v1")
    assert second == first
    assert len(registry.requests) - asked == 2


async def test_an_index_leads_to_the_linux_image(registry: Registry, tmp_path: Path) -> None:
    """The image's digest is that of the platform's manifest, not the one that was asked for."""
    reference = registry.push("v1", environment={"RELEASE": "v1"}, index=True)
    image = await puller(registry, tmp_path / "images").pull(reference)
    assert image.environment == {**PRELOAD, "RELEASE": "v1"}
    assert image.digest != reference.partition("@")[2]


async def test_a_private_registry_wants_its_token(registry: Registry, tmp_path: Path) -> None:
    registry.token = "secret"
    reference = registry.push("v1", environment={})
    with pytest.raises(ImagePullError, match="401"):
        await puller(registry, tmp_path / "images").pull(reference)
    image = await puller(registry, tmp_path / "images", token="secret").pull(reference)
    assert image.directory.is_dir()


async def test_other_bytes_than_the_digest_says_are_refused(
    registry: Registry, tmp_path: Path
) -> None:
    reference = registry.push("v1", environment={})
    registry.spoil(reference.partition("@")[2])
    with pytest.raises(ImagePullError, match="sent sha256"):
        await puller(registry, tmp_path / "images").pull(reference)


async def test_a_registry_that_is_gone_is_a_failed_pull(registry: Registry, tmp_path: Path) -> None:
    reference = registry.push("v1", environment={})
    await registry.server.stop()
    with pytest.raises(ImagePullError, match="does not answer"):
        await puller(registry, tmp_path / "images").pull(reference)
