"""Where the password of a database comes from. It is asked for at each connection."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from azure.core.exceptions import AzureError, ClientAuthenticationError

from controller.adapters.postgres.addresses import Secret
from controller.core.errors import AccessDeniedError, PermanentError, TransientError
from controller.ports import Secrets

ENTRA_SCOPE: Final = "https://ossrdbms-aad.database.windows.net/.default"

PasswordSource = Callable[[], Awaitable[Secret | None]]  # None: the server asks for none


def constant(password: Secret | None) -> PasswordSource:
    """Return a source of what a connection string held."""

    async def get() -> Secret | None:
        return password

    return get


def from_secrets(secrets: Secrets, name: str) -> PasswordSource:
    """Return a source that asks Key Vault (or what stands for it) for the secret *name*.

    It raises PermanentError where there is none, TransientError where the vault is away.
    """

    async def get() -> Secret | None:
        value = await secrets.get(name)
        if not value:
            raise PermanentError(
                f"There is no secret {name!r}, which holds the database's password.",
                fix="Put it into the Key Vault, or correct its name in apps.yaml.",
            )
        return Secret(value)

    return get


def from_entra(credential: Any, *, scope: str = ENTRA_SCOPE) -> PasswordSource:
    """Return a source of tokens: the database's user is then the managed identity.

    A token is good for about an hour; a connection that was opened with it outlives it.
    """

    async def get() -> Secret | None:
        try:
            token = await credential.get_token(scope)
        except ClientAuthenticationError:
            raise AccessDeniedError(
                "Entra gives Slipway's identity no token for PostgreSQL.",
                fix="Give the Functions app an identity, and make that a user of the database.",
            ) from None
        except AzureError as error:
            raise TransientError(
                f"No token for PostgreSQL could be had now: {type(error).__name__}."
            ) from None
        return Secret(str(token.token))

    return get
