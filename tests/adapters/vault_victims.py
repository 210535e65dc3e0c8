"""Makes the same backup again and again, and is killed at every request, before and after it.

Run as a program: URL of the blob service, CA file, container. One line for each child: the set's
id and how it ended. A child is a fork, so that Python and the SDK are loaded once.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import PassphraseKey, ScryptCost
from controller.adapters.tls import trust
from controller.recovery.names import set_id
from tests.adapters.stands import Credential
from tests.recovery.kit import BEGUN, a_set

BLOCK = 1 << 12
DUMP = bytes(range(256)) * 55  # four blocks: one waits for the others
SEALER = StreamSealer(PassphraseKey("correct horse battery staple", ScryptCost(2, 1, 1)))
_MOST = 40  # requests of one backup, by far


class Killer(SansIOHTTPPolicy[Any, Any]):
    """Kills its own process at the *at*-th request: as it is sent, or when it was answered."""

    def __init__(self, at: int, *, answered: bool) -> None:
        self._left = at
        self._answered = answered

    def on_request(self, request: PipelineRequest[Any]) -> None:
        if not self._answered:
            self._count()

    def on_response(
        self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]
    ) -> None:
        if self._answered:
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def back_up(url: str, ca_file: str, container: str, tail: str, killer: Killer) -> None:
    vault = BlobVault(
        url,
        Credential("https://storage.azure.com"),
        container=container,
        sealer=SEALER,
        block_bytes=BLOCK,
        options={
            "_additional_pipeline_policies": [killer],
            **connection_options(Path(ca_file)),
        },
    )
    await a_set(vault, set_id("shop", BEGUN, tail), database=DUMP, configuration=b"{}")
    await vault.close()


def main(url: str, ca_file: str, container: str) -> None:
    trust(Path(ca_file))  # read once, not in each child
    for answered in (False, True):
        for at in range(1, _MOST):
            tail = f"{answered:d}{at:03x}"
            child = os.fork()
            if child == 0:
                killer = Killer(at, answered=answered)
                asyncio.run(back_up(url, ca_file, container, tail, killer))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            print(tail, "killed" if killed else f"ended {status}", flush=True)  # noqa: T201
            if not killed:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
