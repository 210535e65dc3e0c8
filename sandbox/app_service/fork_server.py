"""``python -I fork_server.py MODULE...``: imports the modules once, then forks for each request.

A program that needs a second of imports starts in 10 ms as a fork of a process that has them. The
fork is a process of its own in every other way: session, environment, directory, output, end.

Requests come over stdin, a socket: JSON, with the descriptors for the output and for the status.
To the status, a socket too, goes the process id, and the exit code in the end; whoever hangs up
there ends the child. Who hangs up on the requests ends this process, and all its children. Nothing
of ours is imported here.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
_LONGEST_REQUEST = 1 << 18
_FIRST_UNUSED = 3  # after stdin, stdout and stderr
_MOST_DESCRIPTORS = 1 << 20


def main() -> None:
    """Serve; in a child, be the program."""
    requests = socket.socket(fileno=os.dup(0))
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no collection of a child's touches, and so copies, what all share
    request, output = _serve(requests)
    _become(request, output)
    runpy.run_path(request["script"], run_name="__main__")


def _serve(requests: socket.socket) -> tuple[dict[str, Any], int]:
    """Fork for each request. Returns in the children only."""
    statuses: dict[int, int] = {}  # status -> process id
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _wake_up)
    given_up: set[int] = set()
    while True:
        ready, _, _ = select.select([requests.fileno(), ended, *statuses.keys() - given_up], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _report_ended(statuses, given_up)
        for status in statuses.keys() & ready:
            given_up.add(status)
            os.kill(statuses[status], signal.SIGKILL)
        if requests.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 2)
            if not message:
                os._exit(0)
            output, status = descriptors
            server = os.getpid()
            child = os.fork()
            if child == 0:
                _die_with(server)
                return json.loads(message), output
            os.close(output)
            statuses[status] = child
            _say(status, child)


def _wake_up(*_: object) -> None:
    """The number of the signal goes to the pipe; without a handler no signal does."""


def _report_ended(statuses: dict[int, int], given_up: set[int]) -> None:
    while statuses:
        child, code = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        status = next(status for status, known in statuses.items() if known == child)
        _say(status, os.waitstatus_to_exitcode(code))
        os.close(status)
        del statuses[status]
        given_up.discard(status)


def _say(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(status, f"{number}\n".encode())


def _die_with(server: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _become(request: dict[str, Any], output: int) -> None:
    """Leave nothing of the server to the program but what is imported."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.closerange(_FIRST_UNUSED, _MOST_DESCRIPTORS)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.path.insert(0, request["directory"])
    sys.argv[:] = [request["script"]]


if __name__ == "__main__":
    main()
