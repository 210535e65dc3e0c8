"""A topic: what is sent to it goes on to its subscriptions, each of which is a queue.

Rules are not reproduced: every subscription has the rule it is born with, "everything".
"""

from sandbox.servicebus.entity import Queue, QueueSpec
from sandbox.servicebus.faults import QueueFaults
from sandbox.servicebus.message import StoredMessage, dead_lettered
from sandbox.servicebus.sessions import SessionQueue
from sandbox.servicebus.timers import Timers


class Topic(Queue):
    """Takes messages as a queue does, keeps the scheduled ones until they are due."""

    def __init__(self, spec: QueueSpec, timers: Timers, faults: QueueFaults) -> None:
        super().__init__(spec, timers, faults)
        self.subscriptions: list[Queue] = []

    def _activate(self, message: StoredMessage) -> None:
        self._drop(message)
        for subscription in self.subscriptions:
            _pass_on(message.copy(), subscription)


def _pass_on(message: StoredMessage, subscription: Queue) -> None:
    """Hand over a copy; its sender is gone, so what cannot be taken becomes a dead letter."""
    dead_letter = subscription.dead_letter
    if isinstance(subscription, SessionQueue) and message.session_id is None and dead_letter:
        letter = dead_lettered(
            message,
            source=subscription.spec.name,
            reason="Session ID is null.",
            description="Session enabled entity doesn't allow a message whose session "
            "identifier is null.",
        )
        dead_letter.put(letter)
    else:
        subscription.put(message)
