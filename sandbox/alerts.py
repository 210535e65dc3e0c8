"""An action group: posts alerts in the common schema, and again where Azure Monitor would.

It retries after 408, 429, 503, 504 and where nobody answers, five times at most; any other answer
ends the delivery. The delays are Azure's, shortened.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from sandbox.tokens import Issuer

Json = dict[str, Any]

APPLICATION = "461e8683-5575-4561-ac7f-899cc907d62a"  # AzNS AAD Webhook
ROLE = "ActionGroupsSecureWebhook"
DELAYS = (5.0, 20.0, 5.0, 40.0, 5.0)  # seconds before each further try
RETRIED = frozenset({408, 429, 503, 504})
_SHORTENED = 0.02
_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of one notice: the status of each try (None: no answer), and the last answer."""

    statuses: tuple[int | None, ...]
    answer: Json

    @property
    def arrived(self) -> bool:
        """Whether the endpoint took it."""
        return self.statuses[-1] in range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One firing alert; `ActionGroup.resolve` wants it back."""

    body: Json
    delivery: Delivery


@dataclass(slots=True)
class ActionGroup:
    """One webhook of an action group.

    Args:
        url: where to post.
        key: shared secret, sent as ``?key=``.
        issuer: for a secure webhook: who signs the token.
        audience: for a secure webhook: whom the token is for.
        scale: factor of the delays.
    """

    url: str
    key: str | None = None
    issuer: Issuer | None = None
    audience: str = ""
    scale: float = _SHORTENED
    deliveries: list[Delivery] = field(default_factory=list[Delivery])

    async def fire(
        self,
        rule: str,
        target_id: str,
        *,
        fired_at: datetime | None = None,
        metric: str = "Http5xx",
        threshold: float = 10,
        value: float = 42,
        severity: str = "Sev1",
        **essentials: Any,
    ) -> Fired:
        """Let *rule*, a metric alert with a static threshold, fire on a resource."""
        body = metric_alert(
            rule,
            target_id,
            fired_at=fired_at or datetime.now(UTC),
            metric=metric,
            threshold=threshold,
            value=value,
            severity=severity,
        )
        body["data"]["essentials"] |= essentials
        return Fired(body=body, delivery=await self.post(body))

    async def resolve(self, fired: Fired, *, value: float = 0) -> Delivery:
        """Say that the condition of *fired* holds no more."""
        return await self.post(resolved(fired.body, value=value))

    async def post(self, body: Any) -> Delivery:
        """Deliver *body* (JSON, or bytes as they are) and keep what became of it."""
        statuses: list[int | None] = []
        answer: Json = {}
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            for delay in (0.0, *DELAYS):
                await asyncio.sleep(delay * self.scale)
                status, answer = await self._try(session, body)
                statuses.append(status)
                if status is not None and status not in RETRIED:
                    break
        delivery = Delivery(statuses=tuple(statuses), answer=answer)
        self.deliveries.append(delivery)
        return delivery

    async def _try(self, session: aiohttp.ClientSession, body: Any) -> tuple[int | None, Json]:
        content: bytes = body if isinstance(body, bytes) else json.dumps(body).encode()
        query = {"key": self.key} if self.key else None
        try:
            async with session.post(
                self.url, params=query, headers=self._headers(), data=content
            ) as answer:
                return answer.status, await _json(answer)
        except (aiohttp.ClientError, TimeoutError):
            return None, {}

    def _headers(self) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if self.issuer is not None:
            token = self.issuer.mint(self.audience, APPLICATION, roles=[ROLE])
            headers["Authorization"] = f"Bearer {token}"
        return headers


async def _json(answer: aiohttp.ClientResponse) -> Json:
    if answer.content_type != "application/json":
        return {}
    found: Json = await answer.json()
    return found


# --- Payloads -------------------------------------------------------------------------------------


def metric_alert(
    rule: str,
    target_id: str,
    *,
    fired_at: datetime,
    metric: str = "Http5xx",
    threshold: float = 10,
    value: float = 42,
    severity: str = "Sev1",
) -> Json:
    """Return what Azure Monitor posts when a metric crosses a static threshold."""
    _, _, group = target_id.partition("/resourceGroups/")
    origin = f"{uuid.uuid4()}_{group.partition('/')[0]}_microsoft.insights_metricAlerts_{rule}_-1"
    return {
        "schemaId": "azureMonitorCommonAlertSchema",
        "data": {
            "essentials": _essentials(rule, target_id, origin, severity, fired_at),
            "alertContext": _metric_context(metric, threshold, value, fired_at),
            "customProperties": None,
        },
    }


def resolved(body: Mapping[str, Any], *, value: float = 0) -> Json:
    """Return the notice that ends the alert of *body*."""
    data = body["data"]
    context = dict(data["alertContext"])
    criteria = [dict(each) for each in context["condition"]["allOf"]]
    criteria[0]["metricValue"] = value
    context["condition"] = {"windowSize": "PT5M", "allOf": criteria}  # without the window's times
    essentials = {
        **data["essentials"],
        "monitorCondition": "Resolved",
        "resolvedDateTime": _stamp(datetime.now(UTC)),
    }
    return {**body, "data": {**data, "essentials": essentials, "alertContext": context}}


def _essentials(rule: str, target_id: str, origin: str, severity: str, fired_at: datetime) -> Json:
    subscription = "/".join(target_id.split("/")[:3])
    return {
        "alertId": f"{subscription}/providers/Microsoft.AlertsManagement/alerts/{uuid.uuid4()}",
        "alertRule": rule,
        "severity": severity,
        "signalType": "Metric",
        "monitorCondition": "Fired",
        "monitoringService": "Platform",
        "alertTargetIDs": [target_id.lower()],  # as Azure Monitor writes them
        "configurationItems": [target_id.rpartition("/")[2].lower()],
        "originAlertId": origin,
        "firedDateTime": _stamp(fired_at),
        "description": "",
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
    }


def _metric_context(metric: str, threshold: float, value: float, fired_at: datetime) -> Json:
    criterion: Json = {
        "metricName": metric,
        "metricNamespace": "Microsoft.Web/sites",
        "operator": "GreaterThan",
        "threshold": f"{threshold:g}",  # a text, beside a number
        "timeAggregation": "Total",
        "dimensions": [],
        "metricValue": value,
        "webTestName": None,
    }
    return {
        "properties": None,
        "conditionType": "SingleResourceMultipleMetricCriteria",
        "condition": {
            "windowSize": "PT5M",
            "allOf": [criterion],
            "windowStartTime": _stamp(fired_at - timedelta(minutes=7)),  # telemetry comes late
            "windowEndTime": _stamp(fired_at - timedelta(minutes=2)),
        },
    }


def _stamp(at: datetime) -> str:
    """Seven digits of a second, as .NET writes them."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
