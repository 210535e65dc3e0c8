"""A Functions host on loopback: the real worker library behind hand-written triggers."""

from sandbox.functions_host.launcher import FunctionsHost, HostStartError

__all__ = ["FunctionsHost", "HostStartError"]
