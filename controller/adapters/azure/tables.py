"""State, audit and evidence in one Azure table. Partition = app, so that one transaction moves all.

Rows of an app's partition: ``head`` (its state, the version that guards everything),
``rollout:<id>``, ``event:<sequence>`` (audit), ``seen:<hash of key>``,
``bucket:<rollout>:<milliseconds>``, ``job:<id>``. Partition ``watch:<workspace>`` holds one row
``watch``, partition ``apps:`` a row per app that was ever saved.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from controller.adapters.audit_chain import checked_chain
from controller.adapters.azure.table_rows import (
    TRANSACTION,
    Entity,
    audit_rows,
    bucket_key,
    etag_of,
    event_key,
    guarded,
    make_row,
    payload_text,
    read_payload,
    rollout_row,
    seen_key,
    sequence_of,
    stored_audit,
    transactions,
    upsert,
)
from controller.core.audit import GENESIS, first_break
from controller.core.errors import AccessDeniedError, ConflictError, TransientError
from controller.core.jobs import Job, app_of
from controller.core.model import AppState, Record, Rollout, RolloutId
from controller.core.plan import AppId
from controller.ports import AppMemory, AuditRow, Loaded, StoredBucket, WorkspaceWatch

_PATIENCE: Final[Mapping[str, Any]] = {
    "retry_total": 3,  # of what is left over the queue takes care
    "retry_backoff_factor": 0.2,
    "connection_timeout": 5,
    "read_timeout": 20,
}
_GONE: Final = 404
_CONFLICTS: Final = frozenset({409, 412})
_DENIED: Final = frozenset({401, 403})
_CLIENT_ERRORS: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})
_HEAD: Final = "head"
_WATCH: Final = "watch"
_JOB: Final = "job:"
_APPS: Final = "apps:"  # a partition; no app's id has a colon
_END_OF_PREFIX: Final = "~"  # sorts behind every character that our row keys have
_ROLLOUT_ID: Final = re.compile(r"\d{8}T\d{9}-(?P<app>[a-z0-9-]+)-[0-9a-f]{8}-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadedHead(Loaded):
    audit_hash: str = GENESIS  # of the newest audit row


class TablesStore:
    """Implements `StateStore`, `History`, `BucketStore`, `Housekeeping`, `JobStore` and more.

    Args:
        endpoint: table service URL of the storage account.
        credential: aio token credential with the role Storage Table Data Contributor.
        table: name of the table; created when it is first used.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        endpoint: str,
        credential: Any,
        *,
        table: str = "slipway",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = TableClient(
            endpoint, table, credential=credential, **{**_PATIENCE, **(options or {})}
        )
        self._ready = False
        self._creating = asyncio.Lock()

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    # --- StateStore -------------------------------------------------------------------------------

    async def load(self, app: AppId) -> Loaded:
        """See `StateStore.load`."""
        head = await self._get(app, _HEAD)
        if head is None:
            return _LoadedHead(state=AppState(app=app), etag=None)
        return _LoadedHead(
            state=read_payload(head, AppState), etag=etag_of(head), audit_hash=head["audit_hash"]
        )

    async def save(
        self,
        loaded: Loaded,
        state: AppState,
        records: Sequence[Record],
        *,
        ended: Sequence[Rollout] = (),
        seen: str | None = None,
    ) -> Loaded:
        """See `StateStore.save`."""
        if not isinstance(loaded, _LoadedHead):
            raise TypeError("save on what load or save of the same store returned")
        rows, audit_hash = audit_rows(state, records, loaded.audit_hash)
        known = (state.active, *state.queued, *ended)
        rows += [rollout_row(r) for r in known if r is not None]
        if seen is not None:
            rows.append({"PartitionKey": state.app, "RowKey": seen_key(seen)})
        head = make_row(state.app, _HEAD, state, AppState) | {
            "audit_hash": audit_hash,
            "sequence": state.sequence,
            "under_way": state.active is not None,
        }
        operations = [guarded(head, loaded.etag), *(upsert(row) for row in rows)]
        if len(operations) > TRANSACTION:
            raise AssertionError(f"{len(operations)} rows in one transaction of app {state.app}")
        async with self._translated(f"app {state.app}"):
            if loaded.etag is None:  # before its head: an index row alone does no harm
                await self._client.upsert_entity({"PartitionKey": _APPS, "RowKey": state.app})
            answers = await self._client.submit_transaction(operations)
        return _LoadedHead(state=state, etag=answers[0]["etag"], audit_hash=audit_hash)

    async def was_seen(self, app: AppId, key: str) -> bool:
        """See `StateStore.was_seen`."""
        return await self._get(app, seen_key(key)) is not None

    # --- History ----------------------------------------------------------------------------------

    async def rollout(self, rollout: str) -> Rollout | None:
        """See `History.rollout`."""
        found = _ROLLOUT_ID.fullmatch(rollout)
        if not found:
            return None
        row = await self._get(found["app"], f"rollout:{rollout}")
        return read_payload(row, Rollout) if row else None

    async def rollouts(self, app: AppId, *, limit: int) -> Sequence[Rollout]:
        """See `History.rollouts`."""
        keys = [row["RowKey"] async for row in self._rows(app, "rollout:", select=["RowKey"])]
        if not keys or limit <= 0:
            return []
        rows = [row async for row in self._rows(app, "rollout:", first=keys[-limit:][0])]
        return [read_payload(row, Rollout) for row in reversed(rows[-limit:])]

    async def under_way(self) -> Sequence[AppId]:
        """See `History.under_way`."""
        # Not a filter over all heads: without a partition that reads the whole table.
        apps = [AppId(row["RowKey"]) async for row in self._rows(_APPS, "")]
        heads = [(app, await self._get(app, _HEAD, select=["under_way"])) for app in apps]
        return [app for app, head in heads if head is not None and head["under_way"]]

    async def audit(self, app: AppId, *, rollout: str | None, limit: int) -> Sequence[AuditRow]:
        """See `History.audit`."""
        head = await self._get(app, _HEAD)
        if head is None or limit <= 0:
            return []
        if rollout is None:
            first = event_key(max(head["sequence"] - limit + 1, 1))
            found = self._rows(app, "event:", first=first)
        else:
            found = self._rows(app, "event:", where={"rollout": rollout})
        rows = [row async for row in found]
        return [
            AuditRow(
                sequence=sequence_of(row),
                record=read_payload(row, Record),
                previous_hash=row["previous_hash"],
                hash=row["hash"],
            )
            for row in rows[-limit:]
        ]

    async def first_audit_break(self, app: AppId) -> int | None:
        """Return the sequence of the first audit row that was changed, moved or lost; else None.

        The stored text is checked, not what this version would write today.
        """
        head = await self._get(app, _HEAD)
        last, expected = GENESIS, 1
        async for row in self._rows(app, "event:"):
            link = (row["previous_hash"], payload_text(row), row["hash"])
            if sequence_of(row) != expected or first_break([link], after=last) is not None:
                return expected
            last, expected = row["hash"], expected + 1
        is_complete = head is None or head["audit_hash"] == last
        return None if is_complete else expected

    # --- AppMemoryKeeper -----------------------------------------------------------------------

    async def adopt(self, memory: AppMemory, record: Record) -> None:
        """See `AppMemoryKeeper.adopt`. The head comes last: until then nobody sees the rest."""
        loaded = await self.load(memory.state.app)
        if loaded.etag is not None:
            raise ConflictError(
                f"Something is stored of app {memory.state.app} already.",
                fix="Nothing is written over it. Restore into an empty table.",
            )
        last = checked_chain(memory.audit)
        rows = [
            *(rollout_row(r) for r in memory.rollouts),
            *(stored_audit(memory.state.app, r) for r in memory.audit),
        ]
        for some in transactions(rows):
            async with self._translated(f"the history of app {memory.state.app}"):
                await self._client.submit_transaction([upsert(row) for row in some])
        state = replace(memory.state, sequence=len(memory.audit) + 1)
        await self.save(_LoadedHead(state=state, etag=None, audit_hash=last), state, [record])

    # --- BucketStore ------------------------------------------------------------------------------

    async def put(self, app: AppId, rollout: str, buckets: Sequence[StoredBucket]) -> None:
        """See `BucketStore.put`."""
        rows = [make_row(app, bucket_key(rollout, b), b, StoredBucket) for b in buckets]
        for some in transactions(rows):
            batch = [upsert(row) for row in some]
            async with self._translated(f"buckets of rollout {rollout}"):
                await self._client.submit_transaction(batch)

    async def buckets(self, app: AppId, rollout: str) -> Sequence[StoredBucket]:
        """See `BucketStore.buckets`."""
        prefix = f"bucket:{rollout}:"
        return [read_payload(row, StoredBucket) async for row in self._rows(app, prefix)]

    async def load_watch(self, workspace: str) -> WorkspaceWatch:
        """See `BucketStore.load_watch`."""
        row = await self._get(f"watch:{workspace}", _WATCH)
        if row is None:
            return WorkspaceWatch(workspace=workspace)
        return replace(read_payload(row, WorkspaceWatch), etag=etag_of(row))

    async def save_watch(self, watch: WorkspaceWatch) -> WorkspaceWatch:
        """See `BucketStore.save_watch`."""
        plain = replace(watch, etag=None)
        row = make_row(f"watch:{watch.workspace}", _WATCH, plain, WorkspaceWatch)
        async with self._translated(f"the watch of workspace {watch.workspace}"):
            answers = await self._client.submit_transaction([guarded(row, watch.etag)])
        return replace(watch, etag=answers[0]["etag"])

    # --- JobStore ---------------------------------------------------------------------------------

    async def keep_job(self, job: Job) -> None:
        """See `JobStore.keep_job`."""
        row = make_row(job.app, f"{_JOB}{job.id}", job, Job) | {
            "asked": job.asked_at,
            "ended": job.state.is_end,
        }
        async with self._translated(f"job {job.id}"):
            await self._client.upsert_entity(row, mode=UpdateMode.REPLACE)

    async def job(self, job_id: str) -> Job | None:
        """See `JobStore.job`."""
        app = app_of(job_id)
        row = await self._get(app, f"{_JOB}{job_id}") if app is not None else None
        return read_payload(row, Job) if row is not None else None

    async def jobs(self, app: str, *, limit: int) -> Sequence[Job]:
        """See `JobStore.jobs`."""
        # Keys are in no order of time: the times of all are read first, which are few and small.
        times = [(row["asked"], row["RowKey"]) async for row in self._job_times(app)]
        newest = sorted(times, reverse=True)[:limit]
        rows = await asyncio.gather(*(self._get(app, key) for _, key in newest))
        return [read_payload(row, Job) for row in rows if row is not None]

    async def forget_jobs(self, app: str, *, before: datetime) -> int:
        """See `JobStore.forget_jobs`."""
        old = [
            row["RowKey"]
            async for row in self._job_times(app)
            if row["ended"] and row["asked"] < before
        ]
        for key in old:
            async with self._translated(f"row {key} of {app}"):
                await self._client.delete_entity(app, key)
        return len(old)

    def _job_times(self, app: str) -> AsyncGenerator[Entity]:
        return self._rows(app, _JOB, select=("RowKey", "asked", "ended"))

    # --- Housekeeping -----------------------------------------------------------------------------

    async def prune(
        self, app: AppId, *, before: datetime, keep: Sequence[RolloutId], limit: int
    ) -> int:
        """See `Housekeeping.prune`."""
        marks = self._keys(app, "seen:", written_before=before)
        # A rollout's id begins with the time at which it began, and so do its buckets' keys.
        buckets = self._keys(app, "bucket:", last=f"bucket:{before:%Y%m%dT%H%M%S}")
        kept = tuple(f"bucket:{rollout}:" for rollout in keep)
        return await self._remove(app, marks, (), limit) + await self._remove(
            app, buckets, kept, limit
        )

    async def _keys(
        self,
        partition: str,
        prefix: str,
        *,
        last: str | None = None,
        written_before: datetime | None = None,
    ) -> AsyncGenerator[str]:
        query = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        values: dict[str, Any] = {"partition": partition, "first": prefix}
        values["last"] = last or prefix + _END_OF_PREFIX
        if written_before is not None:
            query += " and Timestamp lt @before"
            values["before"] = written_before
        async with self._translated(f"old rows {prefix} of {partition}"):
            async for row in self._client.query_entities(
                query, parameters=values, select=["PartitionKey", "RowKey"]
            ):
                yield row["RowKey"]

    async def _remove(
        self, app: AppId, keys: AsyncGenerator[str], kept: tuple[str, ...], limit: int
    ) -> int:
        chosen: list[str] = []
        async with aclosing(keys):
            async for key in keys:
                if len(chosen) >= limit:
                    break
                if not key.startswith(kept):
                    chosen.append(key)
        for start in range(0, len(chosen), TRANSACTION):
            batch = chosen[start : start + TRANSACTION]
            operations = [("delete", {"PartitionKey": app, "RowKey": key}) for key in batch]
            try:
                async with self._translated(f"old rows of app {app}"):
                    await self._client.submit_transaction(operations)
            except HttpResponseError as error:
                if error.status_code != _GONE:
                    raise
                return start  # another sweep is at it
        return len(chosen)

    # --- The client -------------------------------------------------------------------------------

    async def _get(
        self, partition: str, row: str, *, select: Sequence[str] | None = None
    ) -> Entity | None:
        async with self._translated(f"row {row} of {partition}"):
            try:
                return await self._client.get_entity(
                    partition, row, select=list(select) if select else None
                )
            except ResourceNotFoundError:
                return None

    async def _rows(
        self,
        partition: str,
        prefix: str,
        *,
        first: str | None = None,
        where: Mapping[str, str] | None = None,
        select: Sequence[str] | None = None,
    ) -> AsyncGenerator[Entity]:
        """Yield the rows whose key begins with *prefix*, in key order, from *first* on."""
        query = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        end = prefix + _END_OF_PREFIX
        values = {"partition": partition, "first": first or prefix, "last": end}
        for name, value in (where or {}).items():
            query += f" and {name} eq @{name}"
            values[name] = value
        async with self._translated(f"rows {prefix} of {partition}"):
            async for row in self._client.query_entities(
                query, parameters=values, select=list(select) if select else None
            ):
                yield row

    @asynccontextmanager
    async def _translated(self, what: str) -> AsyncGenerator[None]:
        """Make sure that the table is there; turn the SDK's errors into ours."""
        try:
            await self._ensure_table()
            yield
        except TableTransactionError as error:
            raise _error(what, error) from error
        except HttpResponseError as error:
            raise _error(what, error) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise TransientError(f"The state table does not answer ({what}): {error}.") from error

    async def _ensure_table(self) -> None:
        if self._ready:
            return
        async with self._creating:
            if not self._ready:
                try:
                    await self._client.create_table()
                except HttpResponseError as error:
                    if error.status_code not in _CONFLICTS:  # it is there already
                        raise
                self._ready = True


def _error(what: str, error: HttpResponseError) -> Exception:
    status = error.status_code or 0
    if status in _CONFLICTS:
        return ConflictError(f"Somebody else saved {what} first.", fix="Load it and decide again.")
    if status in _DENIED:
        return AccessDeniedError(
            f"The state table refuses us ({what}): {status}.",
            fix="Give Slipway's identity the role Storage Table Data Contributor.",
        )
    if status in _CLIENT_ERRORS and status not in _BUSY:
        raise error
    return TransientError(f"The state table answered {status} ({what}).")
