"""Tells people in Slack, by an incoming webhook."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from controller.adapters.sessions import open_session
from controller.core.doors import channel_secret
from controller.core.errors import BusyError, PermanentError, TransientError
from controller.ports import Notice, Secrets

_SECRET: Final = channel_secret("slack")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=6)  # an action group waits for ten seconds
_MOST_TITLE: Final = 150  # what a header of Slack's takes
_MOST_TEXT: Final = 2900  # what a section takes, and a little less
_RED: Final = "#b3261e"
_GREEN: Final = "#2e7d32"
_OK: Final = 200
_LATER: Final = frozenset({408, 425, 429})
_EXCERPT: Final = 80  # characters


class SlackNotifier:
    """Implements `Notifier`. The address is read anew each time: it can be changed in the vault.

    Args:
        secrets: knows the webhook's address by the name ``notify-slack``.
        ca_file: PEM file of a certificate authority to trust beside the public ones.
    """

    def __init__(self, secrets: Secrets, *, ca_file: Path | None = None) -> None:
        self._secrets = secrets
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def tell(self, notice: Notice) -> None:
        """See `Notifier`. No error holds the address."""
        url = await self._address()
        try:
            async with self._open().post(
                url, json=message(notice), allow_redirects=False
            ) as answer:
                status, wait = answer.status, answer.headers.get("Retry-After", "")
                said = (await answer.content.read(_EXCERPT)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Not chained: some of them repeat the address.
            raise BusyError(f"Slack did not answer: {type(error).__name__}.") from None
        if status == _OK:
            return
        if status in _LATER or status >= 500:  # noqa: PLR2004 - classes of answers
            seconds = timedelta(seconds=int(wait)) if wait.isdecimal() else None
            raise BusyError(f"Slack answered {status}: {said}", retry_after=seconds)
        raise PermanentError(
            f"Slack answered {status}: {said}",
            fix=f"Make a new incoming webhook, and write its address into secret {_SECRET!r}.",
        )

    async def _address(self) -> str:
        found = (await self._secrets.get(_SECRET) or "").strip()
        if not found:
            raise TransientError(
                f"The secret {_SECRET!r} is not set.",
                fix="Put the address of Slack's incoming webhook into Key Vault under that name.",
            )
        try:
            is_address = urlsplit(found).scheme == "https" and bool(urlsplit(found).hostname)
        except ValueError:
            is_address = False
        if not is_address:
            raise PermanentError(
                f"The secret {_SECRET!r} holds no https address.",
                fix="Write the address of Slack's incoming webhook into it.",
            )
        return found

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._ca_file, _TIMEOUT)
        return self._session


def message(notice: Notice) -> dict[str, Any]:
    """Return what Slack takes. All texts are plain: a rule's name mentions nobody."""
    title = notice.title[:_MOST_TITLE]
    blocks: list[dict[str, Any]] = [_block("header", title)]
    text = "\n".join(notice.lines)[:_MOST_TEXT]
    if text:
        blocks.append(_block("section", text))
    return {
        "text": title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        "attachments": [{"color": _GREEN if notice.is_over else _RED, "blocks": blocks}],
    }


def _block(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "text": {"type": "plain_text", "text": text, "emoji": False}}
