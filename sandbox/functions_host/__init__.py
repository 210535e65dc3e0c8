"""A Functions host on loopback: Microsoft's own worker library behind hand-written triggers.

As the real host: indexing and its failures; HTTP routes, keys, bodies and status codes; timers;
Service Bus queues with and without sessions, their settlement, lock renewal and binding data; the
Event Grid extension's webhook; ``host.json``, binding expressions, connections by identity.

Not as the real host: the app shares the host's process and event loop, so a timeout cancels a call
where the real host restarts the worker; no scaling, no retry policies, no output bindings other
than HTTP's, no topics, no batches, no streams; a timer keeps its schedule in memory only.
"""

from sandbox.functions_host.launcher import FunctionsHost, HostStartError

__all__ = ["FunctionsHost", "HostStartError"]
