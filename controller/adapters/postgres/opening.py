"""From the name of a secret to a database: connection string, password or token, limits."""

from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.postgres.addresses import Secret, parse
from controller.adapters.postgres.database import PostgresDatabase
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.passwords import PasswordSource, constant, from_entra
from controller.core.data import DatabaseSpec
from controller.core.errors import ConfigurationError, PermanentError
from controller.ports import Secrets
from controller.ports_data import DatabaseAddress, DatabaseLogin

# Users wait for what a dry run has locked: it is worth no more of their time than this.
_DRY_RUN_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Looks connection strings up, each time: a secret may get a new version.

    Args:
        secrets: where they are.
        credential: for the Entra token of a database whose string holds no password.
    """

    secrets: Secrets
    credential: Any

    async def find(self, name: str) -> tuple[DatabaseAddress, PasswordSource]:
        """Return where the connection string called *name* leads, and the way in.

        Raises:
            PermanentError: there is none, or it cannot be understood.
            TransientError: the vault is away.
        """
        text = await self.secrets.get(name)
        if not text:
            raise PermanentError(
                f"There is no secret {name!r}, which holds the database's connection string.",
                fix="Put it into the Key Vault, or correct its name in apps.yaml.",
            )
        try:
            address, password = parse(text)
        except ConfigurationError as error:
            raise PermanentError(f"Secret {name!r}: {error.what}", fix=error.fix) from error
        return address, constant(password) if password else from_entra(self.credential)

    async def login(self, name: str) -> DatabaseLogin:
        """Return the login that the connection string called *name* is.

        Raises:
            AccessDeniedError: no token can be had; else as `find`.
        """
        address, source = await self.find(name)
        password: Secret | None = await source()
        return DatabaseLogin(address=address, password=password.reveal() if password else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabases:
    """Implements `Databases`."""

    connections: Connections

    async def open(self, database: DatabaseSpec) -> PostgresDatabase:
        """See `Databases.open`."""
        address, password = await self.connections.find(database.connection)
        return PostgresDatabase(address, password, _limits(database))


def copied(login: DatabaseLogin, database: DatabaseSpec) -> PostgresDatabase:
    """Return the copy of *database* that *login* leads to: what it may take is the same."""
    password = Secret(login.password) if login.password else None
    return PostgresDatabase(login.address, constant(password), _limits(database))


def _limits(database: DatabaseSpec) -> Limits:
    return Limits(
        lock=database.lock_timeout.total_seconds(),
        statement=database.statement_timeout.total_seconds(),
        rehearsal=_DRY_RUN_SECONDS,
    )
