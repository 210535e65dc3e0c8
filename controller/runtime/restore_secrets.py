"""Brings secrets back that are gone from their Key Vault. What is there is left as it is."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import (
    AccessDeniedError,
    BackupDamagedError,
    RestoreFailedError,
)
from controller.ports_data import SecretState, SecretVault
from controller.recovery.reading import parsed, read
from controller.runtime.backups_parts import PartPlan, PartWanted
from controller.runtime.backups_tell import Tell
from controller.runtime.restore_reading import lines

_LONGEST: Final = 4 << 20  # of a line; Key Vault's blobs have tens of kilobytes
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds: a recovered secret is there after a while

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of the part."""

    name: str
    blob: str = ""
    missing_because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Its first line."""

    vault: str


@dataclass(frozen=True, slots=True)
class _Held:
    """One secret of the set, and whether its vault has it."""

    name: str
    blob: bytes
    state: SecretState


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsRestorer:
    """Implements `PartRestorer`.

    Args:
        vault: takes them.
        url: of that vault; one that is not the set's own is noted.
        sleep: between looks at what was written.
    """

    vault: SecretVault
    url: str
    sleep: Sleep = asyncio.sleep
    kind: PartKind = PartKind.SECRETS

    async def plan(self, wanted: PartWanted) -> PartPlan:
        """See `PartRestorer.plan`. Names are shown, and nothing else is known of them."""
        origin, rows = await self._rows(wanted)
        summary = f"Secrets of Key Vault {origin.vault}."
        try:
            held = [await self._held(row) for row in rows if row.blob]
        except AccessDeniedError as error:
            return PartPlan(kind=self.kind, summary=summary, refusal=f"{error.what} {error.fix}")
        return PartPlan(
            kind=self.kind,
            summary=summary,
            changes=tuple(_change(each) for each in held if each.state is not SecretState.THERE),
            notes=self._notes(origin, rows, held),
        )

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        """See `PartRestorer.restore`."""
        _, rows = await self._rows(wanted)
        done: list[str] = []
        for row in rows:
            if not row.blob:
                continue
            held = await self._held(row)
            if held.state is SecretState.THERE:
                continue
            if held.state is SecretState.DELETED:
                await self.vault.recover(held.name)
            else:
                await self.vault.restore(held.name, held.blob)
            await self._look(held.name)
            done.append(_done(held))
            await tell(done[-1])
        return tuple(done)

    async def _look(self, name: str) -> None:
        for pause in (*_PAUSES, None):
            if await self.vault.state(name) is SecretState.THERE:
                return
            if pause is not None:
                await self.sleep(pause)
        raise RestoreFailedError(
            f"Secret {name} was brought back and is not there.",
            fix="Ask again in a few minutes; look at the vault's deleted secrets.",
        )

    async def _held(self, row: _Row) -> _Held:
        try:
            blob = base64.b64decode(row.blob, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _odd(f"the blob of {row.name!r}") from error
        return _Held(row.name, blob, await self.vault.state(row.name))

    async def _rows(self, wanted: PartWanted) -> tuple[_Origin, Sequence[_Row]]:
        origin: _Origin | None = None
        rows: list[_Row] = []
        async with aclosing(lines(wanted, longest=_LONGEST)) as found:
            async for line in found:
                document = parsed(line, "A line of the secrets part")
                if origin is None:
                    origin = read(_Origin, document, "secrets")
                else:
                    rows.append(read(_Row, document, "secret"))
        if origin is None:
            raise _odd("an empty part")
        if odd := [row.name for row in rows if bool(row.blob) == bool(row.missing_because)]:
            raise _odd(f"the line of {odd[0]!r}")
        return origin, rows

    def _notes(
        self, origin: _Origin, rows: Sequence[_Row], held: Sequence[_Held]
    ) -> tuple[str, ...]:
        notes: list[str] = []
        if there := [each.name for each in held if each.state is SecretState.THERE]:
            notes.append(f"Left as they are: {', '.join(there)}.")
        if origin.vault.rstrip("/").lower() != self.url.rstrip("/").lower():
            notes.append(
                f"They come from {origin.vault} and go to {self.url}, which takes them only if it"
                " is of the same subscription and geography."
            )
        notes += [
            f"{row.name} is not in the set: {row.missing_because}."
            for row in rows
            if row.missing_because
        ]
        return tuple(notes)


def _change(held: _Held) -> str:
    if held.state is SecretState.DELETED:
        return f"recover secret {held.name}, which was deleted softly: as it was, not as in the set"
    return f"restore secret {held.name} with all its versions"


def _done(held: _Held) -> str:
    how = "recovered" if held.state is SecretState.DELETED else "restored"
    return f"secret {held.name} is {how}"


def _odd(what: str) -> BackupDamagedError:
    return BackupDamagedError(
        f"The secrets part cannot be understood: {what}.",
        fix="Take another set: `slipway backup list`.",
    )
