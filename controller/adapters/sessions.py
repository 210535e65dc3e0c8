"""HTTP sessions of ours, where no SDK makes them."""

from pathlib import Path

import aiohttp

from controller.adapters.tls import trust


def open_session(ca_file: Path | None, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """Return a session that keeps connections and no cookies, by the environment's proxies.

    Call it inside the event loop. *ca_file* is a PEM file of an authority to trust beside the
    public ones.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=True,
    )
