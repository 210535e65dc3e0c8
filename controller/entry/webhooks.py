"""Registry pushes by HTTP webhook and by Event Grid."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.core.doors import secret_name
from controller.core.errors import MalformedError, PermanentError, SlipwayError
from controller.entry.http import MAX_BODY_BYTES, Request, Response, problem, refuse
from controller.entry.intake import Intake, Taken
from controller.entry.registries import acr, dockerhub, ghcr, harbor, oci
from controller.entry.registries.pushes import Handshake, Notice
from controller.entry.shared_secret import (
    ADDRESS_FIELD,
    SECRET_HEADERS,
    says_it,
    signs_with_it,
)
from controller.ports import Secrets

__all__ = ["REGISTRIES", "SECRET_HEADERS", "image_pushed", "registry_webhook"]

log = logging.getLogger("slipway.webhooks")


@dataclass(frozen=True, slots=True)
class Registry:
    """One kind of registry: how its webhooks are read, and how they prove who sends them."""

    parse: Callable[[Mapping[str, str], bytes], Sequence[Notice]]
    proves: Callable[[Request, str], bool]
    how: str  # what to do where the proof is missing


_SAY: Final = (
    f"Send it in the header Authorization or {SECRET_HEADERS[0]}, or in the address as "
    f"?{ADDRESS_FIELD}=..."
)
_SIGN: Final = "Set it as the webhook's secret on GitHub, which then signs (X-Hub-Signature-256)."

REGISTRIES: Final[Mapping[str, Registry]] = {
    "acr": Registry(acr.parse, says_it, _SAY),
    "dockerhub": Registry(dockerhub.parse, says_it, _SAY),
    "ghcr": Registry(ghcr.parse, signs_with_it, _SIGN),
    "harbor": Registry(harbor.parse, says_it, _SAY),
    "oci": Registry(oci.parse, says_it, _SAY),
}
_ALSO: Final = {"docker-hub": "dockerhub", "github": "ghcr"}

_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:*_-]{1,255}")
_RATE: Final = re.compile(r"[1-9][0-9]{0,6}")
_USUAL_RATE: Final = "120"  # requests per minute, as Event Grid asks for


async def registry_webhook(request: Request, intake: Intake, secrets: Secrets) -> Response:
    """Answer ``POST /api/webhooks/{registry}`` at once; the work waits on the queue.

    ``OPTIONS`` is the handshake by which CloudEvents asks for permission.
    """
    asked = request.route.get("registry", "").lower()
    name = _ALSO.get(asked, asked)
    registry = REGISTRIES.get(name)
    if registry is None:
        known = ", ".join(sorted(REGISTRIES))
        return problem(404, "SW304", f"No registry {asked!r}.", f"Registries: {known}.")
    if len(request.body) > MAX_BODY_BYTES:
        size = f"{len(request.body)} bytes, {MAX_BODY_BYTES} allowed"
        return problem(413, "SW305", f"The body is too large: {size}.", "Send one event at a time.")
    try:
        refusal = await _check_secret(request, name, registry, secrets)
        if refusal:
            return refusal
        if request.method == "OPTIONS":
            return _permission(request)
        return await _take(registry.parse(request.headers, request.body), name, intake)
    except SlipwayError as error:
        log.warning("webhook %s: %s", name, error)
        return _refuse(error)


async def _take(notices: Sequence[Notice], name: str, intake: Intake) -> Response:
    handshake = next((notice for notice in notices if isinstance(notice, Handshake)), None)
    if handshake:
        log.info("webhook %s: Event Grid subscribes", name)
        return Response(status=200, body={"validationResponse": handshake.code})
    return _answer(await intake.take(notices, by=f"webhook {name}"))


def _answer(taken: Taken) -> Response:
    if not taken.orders:
        body = {"accepted": False, "reason": taken.reason, "ignored": list(taken.ignored)}
        return Response(status=200, body=body)
    images = [
        {"image": order.image, "digest": order.digest, "apps": list(order.apps)}
        for order in taken.orders
    ]
    body = {
        "accepted": True,
        "apps": list(taken.apps),
        "images": images,
        "ignored": list(taken.ignored),
    }
    return Response(status=202, body=body)


def _permission(request: Request) -> Response:
    """Source: CloudEvents 1.0, "HTTP 1.1 Web Hooks for Event Delivery", section 4."""
    origin = request.headers.get("webhook-request-origin", "")
    rate = request.headers.get("webhook-request-rate", "")
    headers = {"Allow": "OPTIONS, POST"}
    if _ORIGIN.fullmatch(origin):
        headers["WebHook-Allowed-Origin"] = origin
        headers["WebHook-Allowed-Rate"] = rate if _RATE.fullmatch(rate) else _USUAL_RATE
    return Response(status=200, body={}, headers=headers)


async def _check_secret(
    request: Request, name: str, registry: Registry, secrets: Secrets
) -> Response | None:
    secret = secret_name(name)
    expected = (await secrets.get(secret) or "").strip()  # files end in a line break
    if not expected:
        fix = f"Put it into Key Vault; see docs/registries/{name}.md."
        return problem(503, "SW306", f"The secret {secret!r} is not set.", fix)
    if registry.proves(request, expected):
        return None
    log.warning("webhook %s: the shared secret is missing or wrong", name)
    return problem(401, "SW307", "The shared secret is missing or wrong.", registry.how)


def _refuse(error: SlipwayError) -> Response:
    """A registry that turns us away may be set right: the push must not be lost meanwhile."""
    if isinstance(error, PermanentError):
        return problem(503, error.code, error.what, error.fix)
    return refuse(error)


async def image_pushed(
    *, event_type: str, data: object, event_id: str, source: str, intake: Intake
) -> None:
    """Take one Event Grid event. What is not understood is logged and done with.

    Raises:
        TransientError, ConfigurationError: Event Grid delivers again.
    """
    try:
        notice = acr.parse_event(event_type, data, event_id=event_id, source=source)
    except MalformedError as error:
        log.error("Event Grid event %s was dropped: %s", event_id, error)  # noqa: TRY400 - no trace needed
        return
    await intake.take([notice], by="event grid")
