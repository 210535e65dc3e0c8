"""The real registry of CNCF Distribution, run from a binary that is on the machine.

Debian and Ubuntu package it as ``docker-registry``. It keeps nothing beyond its own directory.
"""

import asyncio
import contextlib
import socket
from pathlib import Path

import aiohttp

from sandbox.tls import Authority

_TRIES = 100
_PAUSE_SECONDS = 0.1
_GOODBYE_SECONDS = 3  # it does not end while a notification is still to be delivered

_CONFIGURATION = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {certificate}, key: {key}}}}}
notifications:
  endpoints:
    - name: slipway
      url: {url}
      headers: {{Authorization: ["{secret}"]}}
      timeout: 5s
      threshold: 3
      backoff: 500ms
"""


class Distribution:
    """The program behind https on loopback; it notifies *url* with *secret*. No login is needed.

    Its notifications name the host ``127.0.0.1:port``, so an app's ``source.registry`` is `host`.

    Args:
        binary: path of ``docker-registry`` (or ``registry``).
        directory: where its storage, configuration and log go.
        authority: whose certificate it shows.
        url: the endpoint, such as ``http://127.0.0.1:7071/api/webhooks/oci``.
        secret: sent as ``Authorization``.
        port: where it listens; 0 for a free one.
    """

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *,
        authority: Authority,
        url: str,
        secret: str,
        port: int = 0,
    ) -> None:
        self.log_file = directory / "registry.log"
        self._binary = binary
        self._directory = directory
        self._authority = authority
        self._url = url
        self._secret = secret
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def host(self) -> str:
        """What stands before the first slash of an image reference. Meaningful after `start`."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; return when it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_port()
        configuration = self._directory / "config.yml"
        configuration.write_text(
            _CONFIGURATION.format(
                root=self._directory / "data",
                port=self._port,
                certificate=self._authority.cert_file,
                key=self._authority.key_file,
                url=self._url,
                secret=self._secret,
            )
        )
        with self.log_file.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._binary), "serve", str(configuration), stdout=log, stderr=log
            )
        try:
            await self._until_it_answers(self._process)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it, with force if it does not go by itself. Safe twice."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _GOODBYE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        connector = aiohttp.TCPConnector(ssl=self._authority.client_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(_TRIES):
                if process.returncode is not None:
                    break
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"https://{self.host}/v2/") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(_PAUSE_SECONDS)
        raise RuntimeError(f"{self._binary} does not serve: {self.log_file.read_text()[-2000:]}")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
