"""By what the builds of an app are told apart in telemetry, and the limits of platform metrics."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class IdentifyBy(StrEnum):
    """The column that tells one build's requests from another's. The values are stored."""

    VERSION = "version"  # AppVersion: the build says which one it is
    ROLE_NAME = "role_name"  # AppRoleName: says the slot at best, whatever runs there
    ROLE_INSTANCE = "role_instance"  # AppRoleInstance: the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a build's rows have in common: *name* in the column of *by*, and perhaps the role."""

    name: str
    by: IdentifyBy = IdentifyBy.VERSION
    role: str | None = None  # only rows of this cloud role: another app may run the same digest

    @property
    def is_weak(self) -> bool:
        """Whether it names a place rather than a build."""
        return self.by is not IdentifyBy.VERSION

    def __str__(self) -> str:
        of_role = f" of role {self.role}" if self.role else ""
        return f"{self.by.replace('_', ' ')} {self.name}{of_role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLimits:
    """What App Service's own metrics of a slot must keep. A limit that is None is not looked at."""

    region: str  # of the site, such as westeurope
    http5xx_rate_max: float | None = None  # Http5xx / Requests, 0..1
    response_time_ms_max: float | None = None  # mean over all requests
    health_check_min: float | None = None  # HealthCheckStatus in percent, 0..100
    min_requests: int = 50  # fewer decide nothing, but for the health check
    settle: timedelta = timedelta(minutes=3)  # newer minutes are incomplete
