"""Alerts of Azure Monitor, as an action group posts them.

An action group tries again only after 408, 429, 503 and 504: whatever keeps an alert from the
queue is a 503 here, and nothing that could succeed later is refused for good.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.core.alerts import is_listed, owned
from controller.core.doors import ALERTS, secret_name
from controller.core.errors import CallerRefusedError, SlipwayError
from controller.core.plan import AppId, AppSpec
from controller.entry.alert_payloads import Alert, parse
from controller.entry.http import Request, Response, json_value, problem, refuse
from controller.entry.shared_secret import SECRET_HEADERS, says_it
from controller.ports import Bus, Callers, Configuration, Secrets
from controller.runtime.messages import MAX_ORDER_ID, AlertBody, short_name, to_message

log = logging.getLogger("slipway.alerts")

MAX_ALERT_BYTES: Final = 256 * 1024  # Azure Monitor sends no larger one
SECRET: Final = secret_name(ALERTS)
_TOKEN_DOTS: Final = 2  # header.claims.signature
_MOST_RULE_ONLY: Final = 20  # apps that are told of an alert on a resource of nobody
_TRY_AGAIN: Final = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDoor:
    """What the door needs of the house."""

    configuration: Configuration
    bus: Bus
    secrets: Secrets
    callers: Callers | None  # None: no Entra token is asked for or accepted

    async def take(self, request: Request) -> Response:
        """Answer ``POST /api/alerts`` at once; the work waits on the queue. Never raises."""
        return await answer_to(request, self.secrets, self.callers, self._handle)

    async def _handle(self, alert: Alert) -> Response:
        concerned, reason = _match(alert, await self.configuration.apps())
        if not concerned:
            log.info("alert %r ignored: %s", alert.rule, reason)
            return Response(status=200, body={"accepted": False, "reason": reason})
        await self.bus.send([to_message(_body(app, alert, about)) for app, about in concerned])
        apps = [app for app, _ in concerned]
        log.info("alert %r %s -> %s", alert.rule, alert.condition, ", ".join(apps))
        return Response(status=202, body={"accepted": True, "apps": apps})


async def answer_to(
    request: Request,
    secrets: Secrets,
    callers: Callers | None,
    handle: Callable[[Alert], Awaitable[Response]],
) -> Response:
    """Answer an action group: what *handle* says of its alert. Whatever goes wrong is 503."""
    try:
        if len(request.body) > MAX_ALERT_BYTES:
            size = f"{len(request.body)} bytes, {MAX_ALERT_BYTES} allowed"
            return problem(413, "SW305", f"The body is too large: {size}.", "Send one alert.")
        refusal = await _refusal_of(request, secrets, callers)
        return refusal or await handle(parse(json_value(request.body)))
    except SlipwayError as error:
        log.warning("alert: %s", error)
        answer = refuse(error)
        if answer.status < 500:  # noqa: PLR2004 - the sender's own mistake
            return answer
        return problem(_TRY_AGAIN, error.code, error.what, error.fix)
    except Exception:
        log.exception("alert: the door failed")
        return unforeseen()


async def _refusal_of(
    request: Request, secrets: Secrets, callers: Callers | None
) -> Response | None:
    """Return how a request that no action group of ours sent is refused; None where one did."""
    token = _token(request.headers)
    if token and callers is not None:
        try:
            caller = await callers.check(token)
        except CallerRefusedError as error:
            log.warning("alert: %s", error)
            return problem(401, error.code, error.what, error.fix)
        log.debug("alert: posted by %s", caller)
        return None
    expected = await secrets.get(SECRET)
    if expected:
        return None if says_it(request, expected) else _unknown_caller()
    if callers is not None:
        return _unknown_caller()
    fix = "Put it into Key Vault, or set SLIPWAY_ALERTS_AUDIENCE for a secure webhook."
    return problem(_TRY_AGAIN, "SW306", f"The secret {SECRET!r} is not set.", fix)


def unforeseen() -> Response:
    """Return the answer to what nobody foresaw: come again."""
    return problem(
        _TRY_AGAIN, "SW500", "Slipway failed on this alert.", "See the function's log; try again."
    )


def _unknown_caller() -> Response:
    return problem(
        401,
        "SW307",
        "The shared secret is missing or wrong, and no token of a secure webhook came instead.",
        f"Put it into the action group's address as ?key=..., or send it as {SECRET_HEADERS[0]}.",
    )


def _token(headers: Mapping[str, str]) -> str:
    """Return what looks like an Entra token; a shared secret has no such form."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.count(".") == _TOKEN_DOTS else ""


# --- Whom it concerns -----------------------------------------------------------------------------


def _match(alert: Alert, apps: Mapping[AppId, AppSpec]) -> tuple[Sequence[tuple[AppId, str]], str]:
    """Return the apps that it concerns, with their resource; where there is none, why.

    An alert on nobody's resource whose rule somebody lists is most likely a gap in
    `alerts.resources`: those apps are told, and their records say so.
    """
    about = [(app, owned(spec, alert.resources)) for app, spec in apps.items()]
    mine = [(app, resource) for app, resource in about if resource is not None]
    if mine:
        return mine, ""
    named = alert.resources[0] if alert.resources else ""
    by_rule = [(app, named) for app, spec in apps.items() if is_listed(spec, alert.rule)]
    if by_rule:
        return by_rule[:_MOST_RULE_ONLY], ""
    if alert.is_test:
        return [], "it is a test of the action group; a true alert would have come as far"
    if not named:
        return [], "the alert names no resource, and no app lists its rule"
    return [], f"no app has {named}, and none lists rule {alert.rule!r}"


def _body(app: AppId, alert: Alert, resource: str) -> AlertBody:
    fired = alert.fired_at.isoformat() if alert.fired_at else "unknown"
    return AlertBody(
        app=app,
        id=short_name(f"{alert.condition}/{fired}/{alert.id}", MAX_ORDER_ID),
        condition=alert.condition.value,
        alert=alert.id,
        rule=alert.rule,
        resource=resource,
        fired_at=alert.fired_at,
        detail=alert.detail,
        is_test=alert.is_test,
        is_moment=alert.kind.is_moment,
        harmless=alert.harmless,
    )
