# ruff: noqa: E501 - a row of a table is one line
"""`slipway migrations push` to a real registry over TLS, as who is logged in or with a login."""

import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.bundles.registry import RegistryBundles
from controller.adapters.registry_calls import AUDIENCE, RegistryCalls
from controller.cli.main import main
from controller.core.model import Image
from controller.migrations.reading import read_bundle
from sandbox import tokens
from sandbox.identity import IdentityEndpoint
from sandbox.registry import ImageSpec, Registry, RegistryClient
from sandbox.tls import Authority, create_authority

Run = Callable[..., tuple[int, str, str]]
InLoop = Callable[[Coroutine[Any, Any, Any]], Any]
SECRET = "Tr0ub4dor-3"
UP = "CREATE TABLE users (id int PRIMARY KEY);\n"
BREAKING = "ALTER TABLE users DROP COLUMN name;\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "tls")


@pytest.fixture
def registry(authority: Authority, background: InLoop) -> Iterator[Registry]:
    server = Registry(authority, anonymous_pull=True)
    background(server.start())
    yield server
    background(server.stop())


@pytest.fixture
def image(registry: Registry, authority: Authority, background: InLoop) -> str:
    async def push() -> str:
        token, _ = tokens.mint(AUDIENCE, "ci")
        async with RegistryClient(registry.host, ca_file=authority.ca_file, token=token) as client:
            return await client.push("shop/web", "v1", ImageSpec(files={}, entrypoint=("x",)))

    return f"{registry.host}/shop/web@{background(push())}"


@pytest.fixture
def push(
    tmp_path: Path,
    authority: Authority,
    background: InLoop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run ``slipway migrations push db`` as a managed identity; returns status, output, messages."""
    identity = IdentityEndpoint("secret")
    background(identity.start())
    monkeypatch.chdir(tmp_path)
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLIPWAY_REGISTRY_LOGIN", raising=False)
    monkeypatch.setenv("SLIPWAY_CA_FILE", str(authority.ca_file))
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "001_users.up.sql").write_text(UP)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["migrations", "push", "db", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    yield run
    background(identity.stop())


def test_what_was_pushed_is_what_a_rollout_finds(
    push: Run, image: str, registry: Registry, authority: Authority, background: InLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SLIPWAY_ACR_HOSTS", registry.host)

    status, out, err = push("--image", image, "--json")

    assert (status, err) == (0, "")
    said = json.loads(out)
    assert (said["migrations"], said["image"]) == (1, image)

    async def found() -> Any:
        bundles = RegistryBundles(RegistryCalls(None, ca_file=authority.ca_file))
        parsed = Image.parse(image)
        assert parsed is not None
        files = await bundles.files(parsed)
        await bundles.close()
        return files

    files = background(found())
    assert sorted(files) == ["001_users.up.sql", "manifest.json"]
    assert read_bundle(files).sha256 == said["bundle"]
    status, out, _ = push("--image", image)
    assert (status, out.splitlines()[0]) == (0, f"Pushed 1 migration for {image}.")


def test_what_the_lint_refuses_is_not_pushed_unless_that_is_wanted(
    push: Run, image: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_ACR_HOSTS", registry.host)
    (tmp_path / "db" / "002_short.up.sql").write_text(BREAKING)
    before = registry.requests.total()

    refused, out, err = push("--image", image, "--after", "001_users")

    assert (refused, registry.requests.total()) == (1, before)
    assert "db/002_short.up.sql:1: error SWM" in out
    assert "Nothing was pushed: the lint found errors." in err
    assert push("--image", image, "--after", "001_users", "--no-lint")[0] == 0


@pytest.mark.parametrize("login", ["", f"ann:{SECRET}"])
def test_a_registry_that_lets_us_not_in_says_what_to_do(
    push: Run, image: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no registry of Azure's that we know, so it never sees our token."""
    monkeypatch.setenv("SLIPWAY_REGISTRY_LOGIN", login)

    status, out, err = push("--image", image)

    assert (status, out) == (4, "")
    assert "set SLIPWAY_REGISTRY_LOGIN to USER:PASSWORD." in err
    assert "Key Vault" not in err
    assert SECRET not in err


# fmt: off
REFUSED = [
    # id            arguments                                                     status  said
    ("no-place",    [],                                                           2, "one of the arguments --image --container is required"),
    ("tag-only",    ["--image", "r.io/shop:v1"],                                  2, "is not registry/repository@sha256:<64 hex digits>"),
    ("no-name",     ["--container", "https://a.blob.core.windows.net/c"],         2, "which needs one of them"),
    ("signature",   ["--container", f"https://a.blob.core.windows.net/c?sig={SECRET}", "--tag", "v1"], 2, "a URL with a key or signature in it is not taken"),
    ("in-the-open", ["--container", "http://a.blob.core.windows.net/c", "--tag", "v1"], 2, "that is not https://"),
    ("away",        ["--image", f"127.0.0.1:1/shop@sha256:{'ab' * 32}"],          5, "Registry 127.0.0.1:1 does not answer"),
    ("no-image",    ["--image", f"HOST/shop/web@sha256:{'ab' * 32}"],             1, "is not in the registry. Push the image first."),
]
# fmt: on


@pytest.mark.parametrize(
    ("arguments", "status", "said"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
def test_what_cannot_be_pushed_is_told_in_a_sentence(
    push: Run, registry: Registry, arguments: list[str], status: int, said: str
) -> None:
    words = [word.replace("HOST", registry.host) for word in arguments]

    got, out, err = push(*words)

    assert (got, out) == (status, "")
    assert said in err
    assert SECRET not in err
    assert "Traceback" not in err


def test_a_login_that_is_none_is_told_and_not_shown(
    push: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_REGISTRY_LOGIN", SECRET)

    status, _, err = push("--image", f"r.io/shop@sha256:{'ab' * 32}")

    assert status == 2
    assert "SLIPWAY_REGISTRY_LOGIN is not of the form USER:PASSWORD." in err
    assert SECRET not in err
