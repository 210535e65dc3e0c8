"""The exit statuses, once for the program, its help and its documentation."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What a caller can tell from the status alone."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.OK: "done; with --watch or --wait: the rollout or job reached its goal",
    Exit.FAILED: "it ended otherwise or nothing came of it in time; the lint found errors",
    Exit.USAGE: "the command line or a setting is wrong",
    Exit.CONFIGURATION: "the configuration file, or a folder of migrations, is wrong",
    Exit.REFUSED: "refused: key, unknown app, wrong moment; or it has to be confirmed first",
    Exit.UNREACHABLE: "controller or database cannot be reached, or is broken (HTTP 5xx)",
    Exit.INTERRUPTED: "interrupted; what was accepted goes on",
}


class CommandError(Exception):
    """Ends the command: what happened, what to do next, and the status that says so."""

    def __init__(self, what: str, fix: str, exit_status: Exit) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.exit_status = exit_status
