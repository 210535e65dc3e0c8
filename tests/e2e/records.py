"""What was written down, read back past the controller: audit, evidence, and what must not be."""

import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables.aio import TableClient
from azure.storage.blob.aio import BlobServiceClient

from controller.core.audit import first_break
from sandbox.tokens import mint
from sandbox.village import WEBHOOK_SECRET, Village
from tests.e2e.kit import Json

_SOMEBODY = "00000000-0000-0000-0000-00000000beef"
_IDENTITY_HEADER = "loopback-identity-header"
_EVIDENCE = "evidence"


class Somebody(AsyncTokenCredential):
    """An identity with every role."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(*mint(scopes[0].removesuffix("/.default"), _SOMEBODY))

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


async def rows(village: Village) -> list[Json]:
    """Return every row of the controller's table."""
    client = TableClient(
        village.storage.table_url,
        "slipway",
        credential=Somebody(),
        connection_verify=str(village.authority.ca_file),
    )
    async with client:
        return [dict(row) async for row in client.list_entities()]


async def blobs(village: Village) -> dict[str, bytes]:
    """Return every evidence document by its name."""
    found: dict[str, bytes] = {}
    service = BlobServiceClient(
        village.storage.blob_url,
        credential=Somebody(),
        connection_verify=str(village.authority.ca_file),
    )
    async with service:
        container = service.get_container_client(_EVIDENCE)
        if not await container.exists():  # nothing was judged yet
            return found
        async for name in container.list_blob_names():
            found[f"{_EVIDENCE}/{name}"] = await (await container.download_blob(name)).readall()
    return found


def payload(row: Json) -> str:
    """Return the stored text of a row."""
    return "".join(row[name] for name in sorted(row) if name.startswith("payload"))


@asynccontextmanager
async def kept_well(village: Village, *apps: str) -> AsyncGenerator[None]:
    """When the block is over, hold everything that was written down against the claims.

    Each app's audit is an unbroken chain up to its head; each decision's evidence is there and
    hashes to what its row says; no secret is in the log, in a row or in a document.
    """
    try:
        yield
    except BaseException:
        print(village.host.output[-20_000:])  # noqa: T201 - pytest shows it beside the failure
        raise
    table = await rows(village)
    documents = await blobs(village)
    for app in apps:
        _assert_chain([row for row in table if row["PartitionKey"] == app])
    judged = [json.loads(payload(row)) for row in table if str(row["RowKey"]).startswith("event:")]
    for record in judged:
        if record["evidence"] is not None:
            document = documents[record["evidence"]]
            assert hashlib.sha256(document).hexdigest() == record["evidence_hash"]
    _assert_no_secret(village, table, documents)


def _assert_chain(partition: list[Json]) -> None:
    by_key = {str(row["RowKey"]): row for row in partition}
    events = [by_key[key] for key in sorted(by_key) if key.startswith("event:")]
    head = by_key["head"]
    assert [int(row["RowKey"][6:]) for row in events] == list(range(1, head["sequence"] + 1))
    links = [(row["previous_hash"], payload(row), row["hash"]) for row in events]
    assert first_break(links) is None
    assert events[-1]["hash"] == head["audit_hash"]


def _assert_no_secret(village: Village, table: list[Json], documents: dict[str, bytes]) -> None:
    host = village.host
    secrets = {
        "webhook secret": WEBHOOK_SECRET,
        "identity header": _IDENTITY_HEADER,
        "host key": host.host_key,
        "master key": host.master_key,
        "event grid key": host.eventgrid_key,
        "a token": "eyJ",  # how every JWT begins
    }
    texts = {
        "log": host.output,
        "table": "\n".join(str(row) for row in table),
        "evidence": "\n".join(body.decode() for body in documents.values()),
    }
    found = [
        (where, what)
        for where, text in texts.items()
        for what, secret in secrets.items()
        if secret in text
    ]
    assert found == []
