"""One measured piece of work in a process of its own: its time and its peak memory as JSON."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from azure.core.credentials import AccessToken

from bench.memory import peak_mb
from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.clock import SystemClock
from controller.adapters.postgres.dumps import PostgresDumper
from controller.adapters.postgres.servers import PostgresServer
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import PassphraseKey
from controller.core.backup_plan import BackupSpec, PartKind
from controller.core.plan import (
    Analysis,
    AppId,
    AppSpec,
    Source,
    Strategy,
    Target,
)
from controller.ports_data import BackupSubject, DatabaseAddress, DatabaseLogin, PartLabel
from controller.recovery.names import check_set_id, set_id
from controller.runtime.backups import Backups
from controller.runtime.backups_means import DATABASE, BackupMeans, BackupRequest, RestoreRequest

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_APP = AppSpec(
    id=AppId("shop"),
    target=Target(subscription="s", resource_group="rg", site="shop", slots=()),
    source=Source(registry="r.io", repository="shop"),
    strategy=Strategy(steps=(), bake=timedelta()),
    analysis=Analysis(workspace="ws"),
)


@dataclass(slots=True)
class Token:
    """Implements the aio credential with a token that was made elsewhere."""

    token: str

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Subjects:
    """Implements `BackupSubjects`."""

    login: DatabaseLogin

    async def subject(self, app: str) -> BackupSubject:  # noqa: ARG002 - there is one
        spec = BackupSpec(parts=(PartKind.DATABASE,))
        return BackupSubject(app=_APP, backup=spec, database=self.login)


class Worker:
    """Our side of the comparison."""

    def __init__(self, given: dict[str, Any]) -> None:
        address = DatabaseAddress(
            host=given["host"], port=given["port"], database=given["database"],
            user=given["user"], sslmode="disable",
        )  # fmt: skip
        self.login = DatabaseLogin(address=address, password=given["password"])
        self.dumper = PostgresDumper(places=[Path(given["binaries"])])
        self.vault = BlobVault(
            given["blob_url"], Token(given["token"]),
            sealer=StreamSealer(PassphraseKey("correct horse battery staple")),
            options=connection_options(Path(given["ca_file"])),
        )  # fmt: skip
        self.backups = Backups(
            BackupMeans(
                vault=self.vault, subjects=Subjects(self.login), clock=SystemClock(),
                version="bench", dumper=self.dumper, server=PostgresServer(),
            )
        )  # fmt: skip
        self.set_id = given.get("set_id", "")

    async def create(self) -> str:
        """Make a whole set: dump, upload, and what it has to equal."""
        wanted = BackupRequest(app="shop", job="bench", why="bench", by="bench", at=_AT)
        return (await self.backups.create(wanted)).id

    async def dump(self) -> str:
        """Dump and upload alone."""
        stream = self.dumper.dump(self.login.address, self.login.password)
        label = PartLabel(set_id("shop", _AT, "d0d0"), DATABASE)
        await self.vault.put_part(label, stream, kind=PartKind.DATABASE)
        return ""

    async def restore(self) -> str:
        """Restore, compare and exchange."""
        wanted = RestoreRequest(
            set_id=check_set_id(self.set_id), job="bench", by="bench", at=_AT,
            target="restored", confirm="restored",
        )  # fmt: skip
        await self.backups.restore(wanted)
        return ""

    async def load(self) -> str:
        """Download and restore alone, into the database that is given."""
        manifest = await self.vault.manifest(check_set_id(self.set_id))
        stream = self.vault.open_part(manifest, DATABASE)
        await self.dumper.restore(self.login.address, self.login.password, stream)
        return ""


async def work(given: dict[str, Any]) -> None:
    worker = Worker(given)
    jobs: dict[str, Callable[[], Awaitable[str]]] = {
        "create": worker.create, "dump": worker.dump,
        "restore": worker.restore, "load": worker.load,
    }  # fmt: skip
    begin = time.perf_counter()
    said = await jobs[given["what"]]()
    seconds = time.perf_counter() - begin
    peak = peak_mb()
    await worker.vault.close()
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "said": said}))


if __name__ == "__main__":
    asyncio.run(work(json.load(sys.stdin)))
