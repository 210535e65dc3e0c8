"""One request to Resource Manager and its reply, as the operations see them."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.app_service import errors
from sandbox.app_service.errors import Json
from sandbox.app_service.faults import ArmFaults
from sandbox.app_service.platform import Site, Slot
from sandbox.app_service.swap import Operation
from sandbox.app_service.swap_weather import FINE, SwapWeather


@dataclass(slots=True)
class Provider:
    """What operations share beyond one site."""

    faults: ArmFaults
    page_size: int = 100  # of the slot list
    retry_after_seconds: int | None = 1  # between polls of a swap; Azure says 15; None: unsaid
    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    def reserve(self, site: Site) -> Operation:
        """Return a long-running operation that can be polled but has not begun."""
        operation = Operation(id=str(uuid.uuid4()), site=site)
        self.operations[operation.id] = operation
        return operation

    def operation_on(self, slot: Slot) -> str | None:
        """Return the id of the operation that the slot shows, whoever began it."""
        running = slot.site.operation
        if running is not None:
            return running.id if slot.name in running.slots else None
        return self.faults.busy_with(slot.site.name)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run *work* beside the requests; `stop` of the server ends it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that named an existing site and slot."""

    provider: Provider
    site: Site
    slot: Slot
    arguments: Mapping[str, str]  # named parts of the path below the slot
    query: Mapping[str, str]
    body: Json
    base_url: str
    weather: SwapWeather = FINE  # what a swap that is begun now will meet

    @property
    def site_id(self) -> str:
        """The resource id of the site."""
        site = self.site
        return (
            f"/subscriptions/{site.subscription}/resourceGroups/{site.resource_group}"
            f"/providers/Microsoft.Web/sites/{site.name}"
        )

    @property
    def slot_id(self) -> str:
        """The resource id of the slot; the site's for production."""
        return self.site_id if self.slot.is_production else f"{self.site_id}/slots/{self.slot.name}"

    @property
    def properties(self) -> Json:
        """The body's properties. A body without any says nothing."""
        properties: Json = self.body.get("properties") or {}
        return properties

    def require_idle(self) -> None:
        """Refuse what cannot be while an operation holds any slot of the site."""
        running, site = self.site.operation, self.site.name
        holder = self.provider.faults.busy_with(site) if running is None else running.id
        if holder is not None:
            raise errors.operation_in_progress(site, self.slot.name, holder)

    def require_changeable(self) -> None:
        """Refuse what would change a slot that an operation or a prepared swap holds."""
        faults, site, slot = self.provider.faults, self.site, self.slot
        self.require_idle()
        if slot.prepared is not None or faults.is_prepared(site.name, slot.name):
            raise errors.prepared_for_swap()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an operation answers, and what it does to the world.

    The two are apart so that a fault can answer without doing, or do without answering.
    """

    body: Json | str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    effect: Callable[[], None] | None = None
