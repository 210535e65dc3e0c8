"""The HTTP API for people and pipelines. Reads come from the record; writes become commands."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from controller import __version__
from controller.core.errors import (
    CommandRefusedError,
    MalformedError,
    UnknownAppError,
    UnknownRolloutError,
)
from controller.core.model import Image, Rollout
from controller.core.plan import AppId, AppSpec
from controller.entry.http import MAX_BODY_BYTES, Request, Response, json_object, problem
from controller.ports import BucketStore, Bus, Configuration, History, Registry, StateStore
from controller.runtime.explainer import Explainer
from controller.runtime.messages import (
    ImageName,
    OrderBody,
    RetryBody,
    RollbackBody,
    SubmitBody,
    to_message,
)
from controller.web.views import app_detail, app_view, rollout_detail

log = logging.getLogger("slipway.api")

_LATEST_ROLLOUTS: Final = 20
_LATEST_EVENTS: Final = 500
_LATEST_APP_EVENTS: Final = 50
_ORDERS: Final = ("approve", "reject", "pause", "resume", "abort", "promote")
COMMANDS: Final = ("deploy", "rollback", "retry", *_ORDERS)
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "deploy": frozenset({"image", "tag", "override"}),
    "rollback": frozenset({"to", "rollout"}),
    "retry": frozenset({"digest"}),
    **{order: frozenset({"rollout"}) for order in _ORDERS},
}
_FLAGS: Final = frozenset({"override"})
_COMMON: Final = frozenset({"reason", "by", "id"})
_TURN: Final = re.compile(r"[0-9]{1,9}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # the OCI distribution's grammar


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the API needs of the house."""

    store: StateStore
    history: History
    buckets: BucketStore
    bus: Bus
    registry: Registry
    configuration: Configuration
    explainer: Explainer

    async def health(self, _: Request) -> Response:
        """Answer ``GET /api/health``: the process runs and its configuration is readable."""
        apps = await self.configuration.apps()
        return _ok({"status": "ok", "version": __version__, "apps": len(apps)})

    async def list_apps(self, _: Request) -> Response:
        """Answer ``GET /api/apps``."""
        apps = await self.configuration.apps()
        views = [app_view(spec, (await self.store.load(app)).state) for app, spec in apps.items()]
        return _ok({"apps": views})

    async def get_app(self, request: Request) -> Response:
        """Answer ``GET /api/apps/{app}``."""
        spec = await self._spec(request)
        state = (await self.store.load(spec.id)).state
        latest = await self.history.rollouts(spec.id, limit=_LATEST_ROLLOUTS)
        audit = await self.history.audit(spec.id, rollout=None, limit=_LATEST_APP_EVENTS)
        return _ok(app_detail(spec, state, latest, audit))

    async def get_rollout(self, request: Request) -> Response:
        """Answer ``GET /api/rollouts/{id}``."""
        rollout = await self._rollout(request)
        audit = await self.history.audit(rollout.app, rollout=rollout.id, limit=_LATEST_EVENTS)
        buckets = await self.buckets.buckets(rollout.app, rollout.id)
        judgement = await self.explainer.current(rollout)
        return _ok(rollout_detail(rollout, audit, buckets, judgement))

    async def get_evidence(self, request: Request) -> Response:
        """Answer ``GET /api/rollouts/{id}/evidence/{turn}``: the document as it was kept."""
        rollout = await self._rollout(request)
        turn = request.route.get("turn", "")
        if not _TURN.fullmatch(turn):
            raise MalformedError(
                f"{turn!r} is not a turn.", fix="`evidence` of an event ends in its turn's number."
            )
        return _ok(await self.explainer.kept(rollout, int(turn)))

    async def command(self, request: Request) -> Response:
        """Answer ``POST /api/apps/{app}/{command}``: 202, with where to look."""
        if len(request.body) > MAX_BODY_BYTES:
            return problem(413, "SW305", "The body is too large.", "Send a short JSON object.")
        command = request.route.get("command", "")
        if command not in COMMANDS:
            known = ", ".join(COMMANDS)
            return problem(404, "SW308", f"No command {command!r}.", f"Commands: {known}.")
        spec = await self._spec(request)
        fields = json_object(request.body)
        _check_fields(command, fields)
        body = await self._body(command, spec, fields)
        await self.bus.send([to_message(body)])
        answer = {
            "accepted": True,
            "command": command,
            "app": spec.id,
            "id": body.id,
            "status_url": f"/api/apps/{spec.id}",
        }
        return Response(status=202, body=answer, headers={"Location": f"/api/apps/{spec.id}"})

    async def _body(
        self, command: str, spec: AppSpec, fields: Mapping[str, Any]
    ) -> SubmitBody | RollbackBody | RetryBody | OrderBody:
        common = {"app": spec.id, "by": "api"} | {k: fields[k] for k in _COMMON if k in fields}
        own = {k: fields[k] for k in ("to", "rollout") if k in fields}
        try:
            if command == "deploy":
                image = await self._image(spec, fields)
                override = fields.get("override", False)
                return SubmitBody.model_validate(common | {"image": image, "override": override})
            if command == "rollback":
                return RollbackBody.model_validate(common | own)
            if command == "retry":
                return RetryBody.model_validate(common | {"digest": fields.get("digest", "")})
            return OrderBody.model_validate(common | own | {"command": command})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise MalformedError(
                f"{command} of app {spec.id}: {where}: {first['msg']}.",
                fix="See the API's fields in docs/api.md.",
            ) from error

    async def _image(self, spec: AppSpec, fields: Mapping[str, Any]) -> ImageName:
        source = spec.source
        reference, tag = fields.get("image"), fields.get("tag")
        if (reference is None) == (tag is None):
            raise MalformedError("deploy needs either 'image' or 'tag'.", fix="Give one of them.")
        if reference is not None:
            image = Image.parse(str(reference))
            if image is None:
                raise MalformedError(
                    f"{reference!r} is not registry/repository@sha256:<64 hex digits>.",
                    fix="Deploy by digest, or give a 'tag' of the app's repository.",
                )
            return ImageName(
                registry=image.registry, repository=image.repository, digest=image.digest
            )
        if not _TAG.fullmatch(str(tag)):
            raise MalformedError(
                f"{tag!r} is not a tag.",
                fix="A tag is up to 128 letters, digits, dots, dashes and underscores.",
            )
        digest = await self.registry.digest_of(source.registry, source.repository, str(tag))
        if digest is None:
            raise CommandRefusedError(
                f"{source.registry}/{source.repository} has no tag {tag!r}.",
                fix="Push it first; the push itself starts the rollout.",
            )
        return ImageName(
            registry=source.registry, repository=source.repository, digest=digest, tag=str(tag)
        )

    async def _rollout(self, request: Request) -> Rollout:
        name = request.route.get("id", "")
        rollout = await self.history.rollout(name)
        if rollout is None:
            raise UnknownRolloutError(
                f"There is no rollout {name!r}.", fix="GET /api/apps/{app} lists an app's rollouts."
            )
        return rollout

    async def _spec(self, request: Request) -> AppSpec:
        apps = await self.configuration.apps()
        app = AppId(request.route.get("app", ""))
        if app not in apps:
            known = ", ".join(sorted(apps)) or "none"
            raise UnknownAppError(f"There is no app {app!r}.", fix=f"Configured apps: {known}.")
        return apps[app]


def _check_fields(command: str, fields: Mapping[str, Any]) -> None:
    known = _COMMON | _FIELDS.get(command, frozenset())
    unknown = sorted(set(fields) - known)
    if unknown:
        raise MalformedError(
            f"{command} does not know {', '.join(unknown)}.",
            fix=f"It takes {', '.join(sorted(known))}.",
        )
    wrong = [n for n, value in fields.items() if n not in _FLAGS and not isinstance(value, str)]
    flags = [n for n, value in fields.items() if n in _FLAGS and not isinstance(value, bool)]
    if flags:
        raise MalformedError(
            f"{', '.join(flags)} must be true or false.", fix="Send it as a JSON boolean."
        )
    if wrong:
        raise MalformedError(f"{', '.join(wrong)} must be text.", fix="Send it as a JSON string.")


def _ok(body: Mapping[str, Any]) -> Response:
    return Response(status=200, body=body)
