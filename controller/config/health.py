"""What a build must answer before it may take traffic."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from controller.config.fields import Duration, HeaderValue, JsonField, PublicHeader, UrlPath
from controller.config.section import Section
from controller.core import plan

_HEALTH: Final = plan.Health()
_SHORTEST: Final = timedelta(milliseconds=100)
_MINUTE: Final = timedelta(minutes=1)


class IdentitySection(Section):
    """How an answer proves which build gave it."""

    kind: Annotated[plan.IdentityKind, Field(strict=False)] = Field(
        default=_HEALTH.identity.kind,
        description="header: a response header; json: a field of the answer's JSON; none: weaker "
        "proof (the platform's word and the container's start).",
    )
    name: JsonField | None = Field(
        default=None,
        description="Name of the header, or dotted path of the JSON field. It must hold the value "
        f"of the app setting SLIPWAY_RELEASE. Default for header: {_HEALTH.identity.name}.",
    )

    def to_core(self) -> plan.Identity:
        """Return the core's form."""
        usual = _HEALTH.identity.name if self.kind is plan.IdentityKind.HEADER else ""
        return plan.Identity(kind=self.kind, name=self.name or usual)


class Method(StrEnum):
    """HTTP methods of smoke tests."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"


class SmokeTestSection(Section):
    """One request against the new build before any user sees it."""

    method: Annotated[Method, Field(strict=False)] = Field(
        default=Method.GET, description="HTTP method."
    )
    path: UrlPath = Field(description="Path, with a query where it needs one.")
    headers: dict[PublicHeader, HeaderValue] = Field(
        default={}, max_length=20, description="Headers to send. No secrets."
    )
    expect_status: int = Field(
        default=200, ge=100, le=599, description="Status that the answer must have."
    )
    expect_body: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Text that must occur in the answer's body."
    )

    def to_core(self) -> plan.SmokeTest:
        """Return the core's form."""
        return plan.SmokeTest(
            method=str(self.method),
            path=self.path,
            headers=tuple(self.headers.items()),
            expect_status=self.expect_status,
            expect_body=self.expect_body,
        )


class HealthSection(Section):
    """What a build must answer before it may take traffic. Time limit: `deadlines.warming`."""

    readiness_path: UrlPath = Field(
        default=_HEALTH.readiness_path, description="Path that answers 200 when ready."
    )
    identity: IdentitySection = Field(
        default=IdentitySection(), description="How an answer proves which build gave it."
    )
    consecutive: int = Field(
        default=_HEALTH.consecutive, ge=1, le=100, description="Ready answers in a row."
    )
    interval: Duration = Field(
        default=_HEALTH.interval,
        ge=_SHORTEST,
        le=10 * _MINUTE,
        description="Time between two asks.",
    )
    request_timeout: Duration = Field(
        default=_HEALTH.request_timeout,
        ge=_SHORTEST,
        le=2 * _MINUTE,
        description="Time limit of one request, smoke tests included.",
    )
    smoke_tests: list[SmokeTestSection] = Field(
        default=[], max_length=20, description="Requests that must succeed, in order."
    )

    def to_core(self) -> plan.Health:
        """Return the core's form."""
        return plan.Health(
            readiness_path=self.readiness_path,
            identity=self.identity.to_core(),
            consecutive=self.consecutive,
            interval=self.interval,
            request_timeout=self.request_timeout,
            smoke_tests=tuple(test.to_core() for test in self.smoke_tests),
        )
