"""What customers ordered, as they know it: written down by them, not by the shop's database."""

import itertools
import random
import time
import uuid
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Order:
    """One order. Times are Unix seconds; one that was never acknowledged may be kept or not."""

    customer: int
    cents: int
    token: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent_at: float = field(default_factory=time.time)
    acknowledged_at: float | None = None
    by: str | None = None  # the version that answered

    @property
    def body(self) -> dict[str, str | int]:
        """Return what is sent."""
        return {"token": self.token, "customer": self.customer, "cents": self.cents}

    def acknowledge(self, version: str | None) -> None:
        """Note that the shop said it has the order."""
        self.acknowledged_at, self.by = time.time(), version


class Ledger:
    """Every order that anybody tried to place."""

    def __init__(self, customers: int = 50) -> None:
        self.orders: dict[str, Order] = {}  # by token
        self._customers = itertools.cycle(range(1, customers + 1))
        self._dice = random.Random(1)

    def begin(self) -> Order:
        """Return the next order; it is written down before it is sent."""
        order = Order(customer=next(self._customers), cents=self._dice.randint(100, 20_000))
        self.orders[order.token] = order
        return order
