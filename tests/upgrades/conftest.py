"""One storage account on loopback for all tests of stored forms."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.storage import Storage
from sandbox.tls import create_authority
from tests.upgrades.freezing import Tables


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tables(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tables]:
    authority = create_authority(tmp_path_factory.mktemp("tls"))
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield Tables(storage, authority)
