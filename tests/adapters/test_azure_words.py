"""How Azure spells things, and what we make of it. No I/O."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import pytest
from azure.core.exceptions import HttpResponseError

from controller.adapters.azure.arm_answer import message, retry_after
from controller.adapters.azure.container_image import (
    fx_version,
    image_of,
    registry_of,
    same_image,
    uses_site_containers,
)
from controller.adapters.azure.release_settings import (
    release_of,
    telemetry_release_of,
    with_release,
)


class Response:
    status_code = 409
    reason = "Conflict"

    def __init__(self, text: str = "", headers: dict[str, str] | None = None) -> None:
        self._text = text
        self.headers = headers or {}

    def text(self) -> str:
        return self._text


def error(text: str = "", **headers: str) -> HttpResponseError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponseError("said by the SDK", response=cast("Any", Response(text, named)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"code": "Throttled", "message": "Slow down."}}', "Throttled: Slow down."),
        ('{"Code": "Conflict", "Message": "Busy.", "Details": []}', "Conflict: Busy."),
        ('{"error": {"code": "OnlyCode"}}', "OnlyCode"),
        ("<html><style>a{}</style><p>Bad  Gateway</p></html>", "Bad Gateway"),
        ("<html><head><title>502 &amp; more</title></head><p>x</html>", "502 & more"),
        ("upstream is away", "upstream is away"),
        ("[]", "said by the SDK"),
        ("", "said by the SDK"),
    ],
)
def test_both_dialects_of_errors_are_understood(body: str, said: str) -> None:
    assert message(error(body)) == said


def test_when_to_come_back_is_read_from_seconds_and_dates() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after(error(Retry_After="15")) == timedelta(seconds=15)
    wait = retry_after(error(Retry_After=soon))
    assert wait is not None
    assert timedelta(seconds=60) < wait <= timedelta(seconds=90)
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    assert retry_after(error(Retry_After=past)) == timedelta()
    assert retry_after(error(Retry_After="soon")) is None
    assert retry_after(error()) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("r.test/shop@sha256:0", "R.Test/shop@sha256:0", True),
        ("r.test:5000/shop:1@sha256:0", "r.test:5000/shop@sha256:0", True),
        ("localhost:5000/shop:1", "LOCALHOST:5000/shop:1", True),
        ("nginx", "docker.io/library/nginx", True),
        ("nginx@sha256:0", "registry-1.docker.io/library/nginx@sha256:0", True),
        ("index.docker.io/team/shop:1", "team/shop:1", True),
        ("r.test/shop@sha256:0", "r.test/shop@sha256:1", False),
        ("r.test/shop:1", "r.test/shop:2", False),
        ("r.test/shop:1", "r.test/shop@sha256:0", False),
        ("r.test/Shop:1", "r.test/shop:1", False),
        ("r.test:5000/shop:1", "r.test/shop:1", False),
        (None, "r.test/shop:1", False),
    ],
)
def test_two_spellings_of_one_image_are_known(one: str | None, other: str, *, same: bool) -> None:
    """Hosts have no case, Docker Hub has three names, and a tag says nothing beside a digest."""
    assert same_image(one, other) is same


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx:1", "docker.io"),
        ("team/shop", "docker.io"),
        ("Index.Docker.IO/team/shop", "docker.io"),
        ("contoso.azurecr.io/shop@sha256:0", "contoso.azurecr.io"),
        ("127.0.0.1:5000/shop", "127.0.0.1:5000"),
    ],
)
def test_an_images_registry_is_told(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_the_sidecar_model_is_known_by_its_word_in_any_case() -> None:
    words = ["sitecontainers", "SiteContainers", " SITECONTAINERS ", "DOCKER|sitecontainers", None]
    assert [uses_site_containers(word) for word in words] == [True, True, True, False, False]


def test_the_classic_form_names_an_image_and_nothing_else_does() -> None:
    assert image_of(fx_version("r.io/shop@sha256:0")) == "r.io/shop@sha256:0"
    assert image_of("docker|nginx") == "nginx"
    assert [image_of(version) for version in (None, "", "DOCKER|", "COMPOSE|eA==")] == [None] * 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "service.version=R"),
        ({"OTEL_RESOURCE_ATTRIBUTES": ""}, "service.version=R"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "a=1,service.version=Q,b=%2C"},
            "a=1,b=%2C,service.version=R",
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": " service.version=R , a=1"}, " service.version=R , a=1"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "my.service.version=7"},
            "my.service.version=7,service.version=R",
        ),
    ],
)
def test_the_version_joins_the_attributes_that_are_there(
    before: dict[str, str], after: str
) -> None:
    """Other attributes stay letter by letter; a version that is right is left alone."""
    wanted = with_release(before, image="i", release="R")

    assert wanted == {"SLIPWAY_RELEASE": "R", "OTEL_RESOURCE_ATTRIBUTES": after}
    assert with_release(wanted, image="i", release="R") == wanted
    assert (release_of(wanted), telemetry_release_of(wanted)) == ("R", "R")


def test_the_legacy_mirror_of_the_image_is_kept_true_where_it_exists() -> None:
    """Portal tooling writes the image back from it."""
    assert (
        with_release({"DOCKER_CUSTOM_IMAGE_NAME": "old"}, image="new", release="R")[
            "DOCKER_CUSTOM_IMAGE_NAME"
        ]
        == "new"
    )
    prefixed = {"DOCKER_CUSTOM_IMAGE_NAME": "docker|old"}
    assert with_release(prefixed, image="new", release="R")["DOCKER_CUSTOM_IMAGE_NAME"] == (
        "DOCKER|new"
    )
    assert with_release(prefixed, image=None, release="R")["DOCKER_CUSTOM_IMAGE_NAME"] == (
        "docker|old"
    )
    assert "DOCKER_CUSTOM_IMAGE_NAME" not in with_release({}, image="new", release="R")
