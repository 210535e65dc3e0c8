"""``python -m sandbox.functions_host --app DIR [--port N]``: run a function app on loopback."""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

from sandbox.functions_host.configuration import HostConfigurationError
from sandbox.functions_host.host import Host
from sandbox.functions_host.keys import Keys
from sandbox.functions_host.worker import IndexingError


def main() -> int:
    """Run one host until it is stopped. Returns the process's exit code."""
    options = _parse()
    if options.die_with_stdin:
        threading.Thread(target=_die_with_stdin, daemon=True).start()
    keys = Keys.take_from(os.environ)
    app_directory = options.app.resolve()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    port = listener.getsockname()[1]
    _become_function_app(app_directory, port)
    _configure_logging()

    def ready(functions: list[str]) -> None:
        if options.ready_fd is None:
            print(f"http://127.0.0.1:{port}  master key {keys.master}  host key {keys.host}")
        else:
            with os.fdopen(options.ready_fd, "w") as pipe:
                json.dump({"port": port, "functions": functions}, pipe)

    try:
        host = Host(app_directory, keys=keys, ca_file=options.ca_file)
        asyncio.run(host.run(listener, ready))
    except (IndexingError, HostConfigurationError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    except Exception:  # noqa: BLE001 - the launcher shows what a child printed
        traceback.print_exc()
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.functions_host", description=__doc__)
    parser.add_argument("--app", type=Path, required=True, help="directory of function_app.py")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--ca-file", type=Path, help="authority that Service Bus servers are under")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--die-with-stdin", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _die_with_stdin() -> None:
    """End the whole process group when the launcher is gone, however it went.

    Only the launcher holds the other end of stdin, so its death is an end of file here. A thread
    of its own sees it even while user code blocks the event loop.
    """
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _become_function_app(app_directory: Path, port: int) -> None:
    """Give the app the surroundings that the platform gives it."""
    os.environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
    os.environ.setdefault("FUNCTIONS_EXTENSION_VERSION", "~4")
    os.environ.setdefault("WEBSITE_HOSTNAME", f"127.0.0.1:{port}")
    os.chdir(app_directory)
    # ``-m`` put our repository first on the path; an app must find only its own modules there.
    repository = Path(__file__).resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != repository]


def _configure_logging() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for chatty in ("azure", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # The client logs each lost connection as an error of its own; the pumps report it once.
    logging.getLogger("azure.servicebus").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
