from sandbox.postgres.binaries import PostgresMissingError, find_binaries
from sandbox.postgres.server import PostgresServer, PostgresServerError

__all__ = ["PostgresMissingError", "PostgresServer", "PostgresServerError", "find_binaries"]
