"""Azure Service Bus on loopback: queues with sessions, and topics, for the real client."""

from sandbox.servicebus.broker import Broker
from sandbox.servicebus.entity import Counters, QueueSpec
from sandbox.servicebus.faults import Faults, LostReply, Refusal
from sandbox.servicebus.shared_access import Right, SharedAccessRule
from sandbox.servicebus.view import MessageView, QueueView

__all__ = [
    "Broker",
    "Counters",
    "Faults",
    "LostReply",
    "MessageView",
    "QueueSpec",
    "QueueView",
    "Refusal",
    "Right",
    "SharedAccessRule",
]
