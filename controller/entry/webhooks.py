"""Registry pushes by HTTP webhook and by Event Grid."""

import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Final

from controller.core.errors import MalformedError, SlipwayError
from controller.entry.http import (
    MAX_BODY_BYTES,
    Request,
    Response,
    json_value,
    problem,
    refuse,
)
from controller.entry.intake import Intake
from controller.entry.registries import acr
from controller.entry.registries.pushes import Notice
from controller.ports import Secrets

log = logging.getLogger("slipway.webhooks")

SECRET_HEADERS: Final = ("x-slipway-secret", "authorization")

REGISTRIES: Final[Mapping[str, Callable[[object], Notice]]] = {"acr": acr.parse_webhook}


def secret_name(registry: str) -> str:
    """Return the Key Vault name of a registry's shared secret."""
    return f"webhook-{registry}"


async def registry_webhook(request: Request, intake: Intake, secrets: Secrets) -> Response:
    """Answer ``POST /api/webhooks/{registry}`` at once; the work waits on the queue."""
    registry = request.route.get("registry", "").lower()
    parse = REGISTRIES.get(registry)
    if parse is None:
        known = ", ".join(sorted(REGISTRIES))
        return problem(404, "SW304", f"No registry {registry!r}.", f"Registries: {known}.")
    if len(request.body) > MAX_BODY_BYTES:
        size = f"{len(request.body)} bytes, {MAX_BODY_BYTES} allowed"
        return problem(413, "SW305", f"The body is too large: {size}.", "Send one event at a time.")
    try:
        refusal = await _check_secret(request, registry, secrets)
        if refusal:
            return refusal
        taken = await intake.take(parse(json_value(request.body)), by=f"webhook {registry}")
    except SlipwayError as error:
        log.warning("webhook %s: %s", registry, error)
        return refuse(error)
    if taken.apps:
        return Response(status=202, body={"accepted": True, "apps": list(taken.apps)})
    return Response(status=200, body={"accepted": False, "reason": taken.reason})


async def _check_secret(request: Request, registry: str, secrets: Secrets) -> Response | None:
    expected = await secrets.get(secret_name(registry))
    if not expected:
        name = secret_name(registry)
        return problem(503, "SW306", f"The secret {name!r} is not set.", "Put it into Key Vault.")
    given = next((request.headers[h] for h in SECRET_HEADERS if h in request.headers), "")
    given = given.removeprefix("Bearer ").strip()
    if hmac.compare_digest(given.encode(errors="replace"), expected.encode()):
        return None
    return problem(
        401,
        "SW307",
        "The shared secret is missing or wrong.",
        f"Send it in the header {SECRET_HEADERS[0]} or Authorization.",
    )


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
    await intake.take(notice, by="event grid")
