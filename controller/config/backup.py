"""What is backed up of an app, how long it stays, and what was promised about it."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from controller.config.database import SecretName
from controller.config.fields import Duration, Shape
from controller.config.section import Section
from controller.core import backup_plan

_KEEP: Final = backup_plan.Keep()
_SPEC: Final = backup_plan.BackupSpec()
_MOST: Final = 1000
_COUNT: Final = Field(ge=0, le=_MOST)

CopyTo = Annotated[
    str,
    Shape(
        r"^[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._/-]+)?$",
        "a registry, with the beginning of the repository where it has one: dr.azurecr.io/copies",
        255,
    ),
]


class KeepSection(Section):
    """How many sets stay. Days and weeks are UTC's; a set that any rule keeps stays."""

    keep_last: Annotated[int, _COUNT] = Field(
        default=_KEEP.keep_last, description="The newest so many."
    )
    daily: Annotated[int, _COUNT] = Field(
        default=_KEEP.daily, description="The newest of each of so many days that have one."
    )
    weekly: Annotated[int, _COUNT] = Field(
        default=_KEEP.weekly, description="The same of weeks, which begin on Monday."
    )
    monthly: Annotated[int, _COUNT] = Field(
        default=_KEEP.monthly, description="The same of months."
    )
    yearly: Annotated[int, _COUNT] = Field(default=_KEEP.yearly, description="The same of years.")
    min_verified: int = Field(
        default=_KEEP.min_verified,
        ge=1,
        le=_MOST,
        description="So many of the newest verified sets stay, whatever else is said.",
    )

    def to_core(self) -> backup_plan.Keep:
        """Return the core's form."""
        return backup_plan.Keep(
            keep_last=self.keep_last,
            daily=self.daily,
            weekly=self.weekly,
            monthly=self.monthly,
            yearly=self.yearly,
            min_verified=self.min_verified,
        )


class BackupSection(Section):
    """What is backed up of the app. Without it nothing is, but before migrations."""

    rpo: Duration = Field(
        default=_SPEC.rpo,
        ge=timedelta(minutes=1),
        le=timedelta(days=90),
        description="No more than this of data is lost (recovery point objective). A human is "
        "paged when no verified set is younger.",
    )
    rto: Duration = Field(
        default=_SPEC.rto,
        ge=timedelta(seconds=1),
        le=timedelta(days=7),
        description="After no more than this it is back (recovery time objective). Drills measure "
        "it.",
    )
    keep: KeepSection = Field(default=KeepSection(), description="How many sets stay.")
    parts: list[Annotated[backup_plan.PartKind, Field(strict=False)]] = Field(
        default=list(_SPEC.parts),
        min_length=1,
        description="What goes into a set; what the app does not have is left out.",
    )
    scratch: SecretName | None = Field(
        default=_SPEC.scratch,
        description="Name of the secret with the connection string of a server where drills "
        "restore. Default: the database's own server.",
    )
    copy_to: CopyTo | None = Field(
        default=_SPEC.copy_to,
        description="A second registry that the image of the release is copied to.",
    )

    def to_core(self) -> backup_plan.BackupSpec:
        """Return the core's form."""
        return backup_plan.BackupSpec(
            rpo=self.rpo,
            rto=self.rto,
            keep=self.keep.to_core(),
            parts=tuple(self.parts),
            scratch=self.scratch,
            copy_to=self.copy_to,
        )
