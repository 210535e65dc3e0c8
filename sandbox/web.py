"""One aiohttp application on a free loopback port."""

import ssl

from aiohttp import web


class WebServer:
    """Serves *app* on 127.0.0.1, on a free port unless one is given.

    Use: ``await server.start()``, then ``server.url``; ``await server.stop()`` is safe twice.
    """

    def __init__(self, app: web.Application, *, tls: ssl.SSLContext | None = None) -> None:
        self._app = app
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Base address without a trailing slash. Meaningful after `start`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen. The port is known when this returns."""
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
