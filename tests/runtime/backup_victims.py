"""Backs up, or restores, and is killed on the way. Run as a program.

Arguments: URL of the blob service, CA file, port and name of the database, then the word `create`
and the numbers of the requests at which a child is killed, or the word `restore` and a set's id.
The password comes by stdin. A child is a fork, so that Python and the SDKs are loaded once.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.tls import trust
from controller.ports_data import DatabaseAddress, DatabaseLogin
from controller.recovery.names import check_set_id
from controller.runtime.backups import Backups
from controller.runtime.backups_means import RestoreRequest
from tests.adapters.stands import Credential
from tests.adapters.vault_victims import SEALER, Killer
from tests.runtime.backups_kit import AT, Subjects, means, request

BLOCK = 1 << 13


def vault_at(url: str, ca_file: Path, killer: Killer | None = None) -> BlobVault:
    extra = {"_additional_pipeline_policies": [killer]} if killer else {}
    return BlobVault(
        url,
        Credential("https://storage.azure.com"),
        container="victims",
        sealer=SEALER,
        block_bytes=BLOCK,
        options={**extra, **connection_options(ca_file)},
    )


async def back_up(url: str, ca_file: Path, login: DatabaseLogin, at: int) -> None:
    vault = vault_at(url, ca_file, Killer(at, answered=True))
    await Backups(means(vault, Subjects(login))).create(request(f"job-{at}"))
    await vault.close()


async def restore(url: str, ca_file: Path, login: DatabaseLogin, set_id: str) -> None:
    """Die as soon as something is in the new database."""
    wanted = RestoreRequest(
        set_id=check_set_id(set_id), job="killed", by="jo", at=AT, confirm=login.address.database
    )

    async def tell(sentence: str) -> None:
        if "restoring into" in sentence:
            asyncio.get_running_loop().call_later(0.15, os.kill, os.getpid(), signal.SIGKILL)

    await Backups(means(vault_at(url, ca_file), Subjects(login))).restore(wanted, tell)


def main(url: str, ca_file: str, port: str, name: str, what: str, *words: str) -> None:
    address = DatabaseAddress(
        host="127.0.0.1", port=int(port), database=name, user="postgres", sslmode="disable"
    )
    login = DatabaseLogin(address=address, password=sys.stdin.readline().strip())
    if what == "restore":
        asyncio.run(restore(url, Path(ca_file), login, words[0]))
        return
    trust(Path(ca_file))  # read once, not in each child
    for at in words:
        child = os.fork()
        if child == 0:
            asyncio.run(back_up(url, Path(ca_file), login, int(at)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(at, "killed" if killed else f"ended {status}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
