"""What the command line reaches by itself, without a controller: databases and registries.

Beside `controller.wiring`, the only importer of adapters. Imports stand inside functions, so that
``slipway --help`` does not wait for drivers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from controller.ports_data import Database, DatabaseAddress

T = TypeVar("T")

_AZURE_POSTGRES: Final = ".postgres.database.azure.com"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end, in a loop that the PostgreSQL driver can use."""
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


@asynccontextmanager
async def opened_database(
    connection_string: str, *, ca_file: Path | None
) -> AsyncGenerator[tuple[DatabaseAddress, Database]]:
    """Return the database that a connection string leads to, and its address for people.

    Without a password in it, whoever is logged in at Azure is the user of a server there.
    Nothing is connected before the database is asked something.

    Raises:
        ConfigurationError: it is no connection string. The message quotes nothing of it.
    """
    from controller.adapters.postgres.addresses import parse
    from controller.adapters.postgres.database import PostgresDatabase
    from controller.adapters.postgres.passwords import constant, from_entra

    address, password = parse(connection_string)
    if password is not None or not address.host.endswith(_AZURE_POSTGRES):
        yield address, PostgresDatabase(address, constant(password))
        return
    from controller.adapters.azure.credentials import default_credential

    credential = default_credential(ca_file)
    try:
        yield address, PostgresDatabase(address, from_entra(credential))
    finally:
        await credential.close()
