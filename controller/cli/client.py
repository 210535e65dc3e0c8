"""The HTTP API from a terminal: standard library only, so that the command starts quickly."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote, urlencode, urlsplit

from controller.cli.exits import CommandError, Exit
from controller.cli.values import Json, is_object, part

_MOST_BYTES: Final = 32 << 20
_LOOK: Final = "slipway status, slipway backup jobs"
_ADVICE: Final = {
    401: "Set SLIPWAY_KEY to a key of the function app.",
    403: "The key is of another function app, or the network is not allowed: check both.",
    404: "Check the name, and that SLIPWAY_URL is a Slipway controller.",
    409: "See what it is doing: slipway status APP",
    413: "Shorten the reason.",
}


class ApiError(CommandError):
    """The controller answered, but not with what was asked for. ``body`` is its JSON, if any."""

    def __init__(self, what: str, fix: str, status: int, body: Json | None) -> None:
        refused = 400 <= status < 500  # noqa: PLR2004 - HTTP's own numbers
        super().__init__(what, fix, Exit.REFUSED if refused else Exit.UNREACHABLE)
        self.status = status
        self.body = body


@dataclass(frozen=True, kw_only=True)
class Client:
    """One controller, its key and how long to wait for an answer."""

    url: str
    key: str | None = field(repr=False)
    ca_file: Path | None
    timeout: float  # seconds

    # Each raises CommandError: refused, unreachable, or not an answer.

    def apps(self) -> Json:
        """Return the answer that lists all apps under ``apps``."""
        return self._send("GET", ("api", "apps"), None, must_have="apps")

    def app(self, name: str) -> Json:
        """Return one app with its releases and latest rollouts."""
        return self._send("GET", ("api", "apps", name), None, must_have="app")

    def rollout(self, name: str) -> Json:
        """Return one rollout with its history."""
        return self._send("GET", ("api", "rollouts", name), None, must_have="state")

    def evidence(self, rollout: str, turn: int) -> Json:
        """Return what one decision of a rollout was made from, as it was kept."""
        path = ("api", "rollouts", rollout, "evidence", str(turn))
        return self._send("GET", path, None, must_have="judgement")

    def order(self, app: str, command: str, body: Mapping[str, str | bool]) -> Json:
        """Give an order to *app* and return the answer. Never sent twice."""
        content = json.dumps(body).encode()
        return self._send("POST", ("api", "apps", app, command), content, must_have="accepted")

    def backups(self, app: str) -> Json:
        """Return the backup sets of *app* under ``backups``, newest first."""
        return self._send("GET", ("api", "apps", app, "backups"), None, must_have="backups")

    def restore_plan(self, app: str, set_id: str, query: Mapping[str, str]) -> Json:
        """Return what restoring a set would do. Changes nothing."""
        path = ("api", "apps", app, "backups", set_id, "plan")
        return self._send("GET", path, None, must_have="target", query=query)

    def pitr_plan(self, app: str, query: Mapping[str, str]) -> Json:
        """Return what a restore of the server of *app* would do. Changes nothing."""
        path = ("api", "apps", app, "backups", "pitr", "plan")
        return self._send("GET", path, None, must_have="new_server", query=query)

    def backup_order(self, app: str, command: str, body: Mapping[str, str | bool]) -> Json:
        """Ask for a job of maintenance and return the answer. Never sent twice."""
        content = json.dumps(body).encode()
        path = ("api", "apps", app, "backups", command)
        return self._send("POST", path, content, must_have="job")

    def jobs(self, app: str) -> Json:
        """Return the latest jobs of *app* under ``jobs``, newest first."""
        return self._send("GET", ("api", "apps", app, "jobs"), None, must_have="jobs")

    def job(self, name: str) -> Json:
        """Return one job with its steps."""
        return self._send("GET", ("api", "jobs", name), None, must_have="state")

    def _send(
        self,
        method: str,
        segments: tuple[str, ...],
        body: bytes | None,
        *,
        must_have: str,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        path = "/".join(quote(segment, safe="") for segment in segments)
        path += f"?{urlencode(query)}" if query else ""
        request = urllib.request.Request(  # noqa: S310 - `checked_url` admits http and https only
            f"{self.url}/{path}", data=body, method=method, headers=self._headers(body)
        )
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return _json_object(answer, self.url, must_have)
        except urllib.error.HTTPError as error:
            raise _refusal(error, f"{method} /{path}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, method) from error

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"accept": "application/json", "user-agent": "slipway-cli"}
        if self.key:
            headers["x-functions-key"] = self.key
        if body is not None:
            headers["content-type"] = "application/json"
        return headers

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self.url.startswith("https:"):  # reading all authorities takes a while
            handlers.append(urllib.request.HTTPSHandler(context=self._trust()))
        return urllib.request.build_opener(*handlers)

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(
                f"The certificates in {self.ca_file} cannot be read: {error}.",
                "Set SLIPWAY_CA_FILE to a PEM file, or unset it.",
                Exit.USAGE,
            ) from error

    def _unreachable(self, error: Exception, method: str) -> CommandError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            fix = "Set SLIPWAY_CA_FILE to the authority that signed its certificate."
            why = f"its certificate is not trusted ({reason.verify_message})"
        elif isinstance(reason, TimeoutError):
            why = f"no answer within {self.timeout:g} s"
            fix = "Try again, or give it longer with --timeout."
        else:
            why = str(reason) or type(reason).__name__
            fix = "Check --url or SLIPWAY_URL, and that the controller runs."
        if method == "POST":
            fix = f"The order may have arrived: look before repeating it ({_LOOK}). {fix}"
        return CommandError(f"{self.url} cannot be reached: {why}.", fix, Exit.UNREACHABLE)


def checked_url(url: str, *, has_key: bool) -> str:
    """Return *url* as the base of requests.

    Raises:
        CommandError: not an http(s) URL, or one that would show the key to the network.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.username:
        raise CommandError(
            f"{url!r} is not the URL of a controller.",
            "It looks like https://NAME.azurewebsites.net.",
            Exit.USAGE,
        )
    if parts.scheme == "http" and has_key and not _is_loopback(host):
        raise CommandError(
            f"{url} is not encrypted; the key would travel in the open.",
            "Use https, or unset SLIPWAY_KEY.",
            Exit.USAGE,
        )
    return url.rstrip("/").removesuffix("/api")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none."""


def _json_object(answer: IO[bytes], url: str, must_have: str) -> Json:
    text = answer.read(_MOST_BYTES)
    try:
        value: object = json.loads(text)
    except ValueError:
        value = None
    if not is_object(value) or must_have not in value:
        raise CommandError(
            f"{url} answered something that is not Slipway's JSON.",
            "Check --url or SLIPWAY_URL: is it the controller?",
            Exit.UNREACHABLE,
        )
    return value


def _refusal(error: urllib.error.HTTPError, what: str) -> ApiError:
    body: Json | None
    try:
        body = _json_object(error, "", "error")
    except (CommandError, OSError, http.client.HTTPException):
        body = None
    told = part(body or {}, "error")
    if isinstance(told.get("message"), str):
        code, message, fix = (str(told.get(key) or "") for key in ("code", "message", "fix"))
        return ApiError(f"{code}: {message}" if code else message, fix, error.code, body)
    said = "redirects elsewhere" if 300 <= error.code < 400 else "gave no reason"  # noqa: PLR2004
    advice = _ADVICE.get(error.code, "Try again later; look at the controller's log if it stays.")
    return ApiError(f"{what} answered {error.code} and {said}.", advice, error.code, body)
