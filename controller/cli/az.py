"""The Azure CLI as a process: argument lists only, secrets on standard input only."""

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controller.cli.exits import CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.values import Json, is_array, is_object
from controller.config.durations import format_duration

_TRIES: Final = 5
_LONGEST_LINE: Final = 600

# What az says on standard error, in the order of what is looked for first.
_LOGIN: Final = re.compile(r"az login|AADSTS\d+|refresh token|interaction_required", re.IGNORECASE)
_THROTTLED: Final = re.compile(
    r"TooManyRequests|throttl|\(429\)|\b429\b|SubscriptionRequests", re.IGNORECASE
)
_BUSY: Final = re.compile(
    r"AnotherOperationInProgress|DeploymentActive|OperationInProgress|ServerIsBusy", re.IGNORECASE
)
_MISSING: Final = re.compile(r"\b(Resource|ResourceGroup|Deployment|Blob)NotFound\b", re.IGNORECASE)
_NOTHING_THERE: Final = 3  # the exit status of `az ... show` of what is not there
_NOT_YET_ALLOWED: Final = re.compile(
    r"AuthorizationFailed|Forbidden|AuthorizationPermissionMismatch|AuthorizationFailure"
    r"|PrincipalNotFound|required permissions|does not have authorization",
    re.IGNORECASE,
)


class AzError(CommandError):
    """az ended with an error: its own words, and what to do next."""

    status = 1  # of the process

    def __init__(self, what: str, fix: str, exit_status: Exit, said: str) -> None:
        super().__init__(what, fix, exit_status)
        self.said = said

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == _NOTHING_THERE or bool(_MISSING.search(self.said))

    @property
    def is_not_allowed_yet(self) -> bool:
        """Whether a role is missing, or does not hold yet."""
        return bool(_NOT_YET_ALLOWED.search(self.said))


@dataclass(frozen=True, kw_only=True)
class Az:
    """Runs az, or in a dry run prints what it would run."""

    printer: Printer
    subscription: str = ""
    dry: bool = False
    interval: timedelta = timedelta(seconds=15)  # between two tries

    def look(self, *arguments: str) -> object:
        """Return what az answers to a question, None where the thing is missing.

        A dry run asks nothing: everything is missing.
        """
        if self.dry:
            return None
        try:
            return self._run((*arguments, "--output", "json"))
        except AzError as error:
            if error.is_missing:
                return None
            raise

    def read(self, *arguments: str) -> object:
        """Return what az answers; that the thing is missing is an error. Nothing in a dry run."""
        return None if self.dry else self._run((*arguments, "--output", "json"))

    def change(self, *arguments: str, secret: str | None = None, shown: str = "") -> object:
        """Change something. *secret* goes to standard input; *shown* tells what in a dry run."""
        if self.dry:
            from_input = f"{shown} | " if shown else ""
            self.printer.line(from_input + shlex.join(self._command(arguments)))
            return None
        return self._run(arguments, secret)

    def change_when_allowed(
        self, limit: timedelta, *arguments: str, secret: str | None = None, shown: str = ""
    ) -> None:
        """Change something as soon as the role for it holds, at most after *limit*."""
        end = time.monotonic() + limit.total_seconds()
        while True:
            try:
                self.change(*arguments, secret=secret, shown=shown)
            except AzError as error:
                if not error.is_not_allowed_yet:
                    raise
                if time.monotonic() + self.interval.total_seconds() > end:
                    fix = (
                        f"The role did not hold within {format_duration(limit)}. Run the command "
                        "again: it goes on where it stopped. A network rule can refuse the same way"
                    )
                    raise AzError(error.what, f"{fix}.", Exit.FAILED, error.said) from error
                self.printer.remark(f"Not allowed yet: {' '.join(arguments[:3])}. Waiting.")
                time.sleep(self.interval.total_seconds())
            else:
                return

    def _command(self, arguments: Sequence[str]) -> list[str]:
        # `az account` and `az ad` are not about one subscription.
        pinned = self.subscription and arguments[0] not in {"account", "ad"}
        chosen = ["--subscription", self.subscription] if pinned else []
        return ["az", *arguments, *chosen]

    def _run(self, arguments: Sequence[str], secret: str | None = None) -> object:
        for attempt in range(1, _TRIES + 1):
            ended = self._once(arguments, secret)
            if ended.returncode == 0:
                return _parsed(ended.stdout)
            error = _error(arguments, ended.stderr)
            error.status = ended.returncode
            passes = _THROTTLED.search(error.said) or _BUSY.search(error.said)
            if not passes or attempt == _TRIES:
                raise error
            self.printer.remark(f"Azure is busy: {error.what} Trying again.")
            time.sleep(self.interval.total_seconds())
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _once(
        self, arguments: Sequence[str], secret: str | None
    ) -> subprocess.CompletedProcess[str]:
        program = shutil.which("az")
        if program is None:
            raise CommandError(
                "The Azure CLI (az) is not installed, or not on PATH.",
                "Install it (https://aka.ms/azure-cli), then: az login",
                Exit.USAGE,
            )
        return subprocess.run(  # noqa: S603 - an argument list, without a shell
            [program, *self._command(arguments)[1:]],
            input=secret or "",
            capture_output=True,
            text=True,
            check=False,
        )


def _parsed(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text.strip()


def _error(arguments: Sequence[str], said: str) -> AzError:
    words = " ".join(line for line in said.strip().splitlines() if line.strip())
    short = words[:_LONGEST_LINE] + ("..." if len(words) > _LONGEST_LINE else "")
    verb = " ".join(word for word in arguments[:4] if not word.startswith("-"))
    what = f"az {verb} failed: {short or 'it gave no reason'}"
    if _LOGIN.search(said):
        fix = "Log in: az login (in a pipeline: az login --service-principal or --identity)."
        return AzError(f"{what}", fix, Exit.REFUSED, said)
    if _NOT_YET_ALLOWED.search(said):
        fix = "Whoever deploys needs the roles in docs/azure.md; a new one takes up to 10 minutes."
        return AzError(what, fix, Exit.REFUSED, said)
    fix = "Put right what it says and run the command again: it goes on where it stopped."
    return AzError(what, fix, Exit.FAILED, said)


def as_object(value: object) -> Json:
    """Return az's answer as an object; an empty one where it is none."""
    return value if is_object(value) else {}


def as_texts(value: object) -> list[str]:
    """Return az's answer as a list of texts; an empty one where it is none."""
    return [str(item) for item in value] if is_array(value) else []


def as_objects(value: object) -> list[Json]:
    """Return az's answer as a list of objects; an empty one where it is none."""
    return [item for item in value if is_object(item)] if is_array(value) else []
