"""What one app's backup sets hold, how long they stay, and what is promised about them."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class PartKind(StrEnum):
    """What a part is. The values are stored."""

    DATABASE = "database"  # a dump by pg_dump, and what it has to equal when it is restored
    APPLICATION = "application"  # which image, where it is, whether it was copied
    CONFIGURATION = "configuration"  # of the site and both its slots
    SECRETS = "secrets"  # Key Vault's own backup blobs
    STATE = "state"  # Slipway's table
    EVIDENCE = "evidence"  # what decisions were made from
    PLATFORM = "platform"  # which backup of its own the database service made beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many sets stay; `controller.recovery.retention` says how they are counted."""

    keep_last: int = 3
    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    yearly: int = 0
    min_verified: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSpec:
    """What is backed up of one app, and what was promised."""

    rpo: timedelta = timedelta(hours=24)  # no more than this of data is lost
    rto: timedelta = timedelta(hours=1)  # after no more than this it is back
    keep: Keep = Keep()
    parts: tuple[PartKind, ...] = tuple(PartKind)  # those that there are
    scratch: str | None = None  # secret with the way to a server for drills; None: the own one
    copy_to: str | None = None  # second registry, with the beginning of the repository
