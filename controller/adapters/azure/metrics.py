"""Azure Monitor Metrics: App Service's own count of what a slot answered."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn

from azure.core.exceptions import AzureError, HttpResponseError
from azure.monitor.querymetrics import MetricsQueryResult, MetricValue
from azure.monitor.querymetrics.aio import MetricsClient

from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.plan import PRODUCTION, SlotName, Target
from controller.verdict.platform import Minute

_TOTAL: Final = timedelta(seconds=20)
_MINUTE: Final = timedelta(minutes=1)
_HEALTH_GRAIN: Final = timedelta(minutes=5)  # HealthCheckStatus has no finer one
_REQUESTS: Final = "Requests"
_HTTP5XX: Final = "Http5xx"
_RESPONSE: Final = "HttpResponseTime"
_HEALTH: Final = "HealthCheckStatus"
_GRANTED: Final = "Success"
_DENIED: Final = frozenset({401, 403})
_INVALID: Final = frozenset({400, 404})
Points = Mapping[str, Mapping[datetime, MetricValue]]


class AzurePlatformMetrics:
    """Implements `PlatformMetrics` on the metrics data plane.

    Args:
        credential: aio token credential with the role Monitoring Reader on the subscription.
        endpoint: the API; ``{region}`` in it becomes the site's.
        audience: whom tokens are for.
        total: how long one read may take altogether.
        options: makes the keywords for a client, such as a transport: there is one per region.
    """

    def __init__(
        self,
        credential: Any,
        *,
        endpoint: str = "https://{region}.metrics.monitor.azure.com",
        audience: str = "https://metrics.monitor.azure.com",
        total: timedelta = _TOTAL,
        options: Any = dict,
    ) -> None:
        self._credential = credential
        self._endpoint = endpoint
        self._audience = audience
        self._total = total.total_seconds()
        self._options = options
        self._clients: dict[str, MetricsClient] = {}

    async def close(self) -> None:
        """Close what is open."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def read(
        self,
        target: Target,
        slot: SlotName,
        *,
        region: str,
        since: datetime,
        until: datetime,
        with_health: bool,
    ) -> Sequence[Minute]:
        """See `PlatformMetrics.read`."""
        try:
            async with asyncio.timeout(self._total):
                counts = await self._query(
                    target, slot, region, (since, until), _MINUTE, (_REQUESTS, _HTTP5XX, _RESPONSE)
                )
                health: Points = {_HEALTH: {}}
                if with_health:
                    health = await self._query(
                        target, slot, region, (since, until), _HEALTH_GRAIN, (_HEALTH,)
                    )
        except TimeoutError as error:
            raise ProviderError("Azure Monitor Metrics does not answer in time.") from error
        return [m for m in _minutes(counts, health, until) if since <= m.start < until]

    async def _query(
        self,
        target: Target,
        slot: SlotName,
        region: str,
        span: tuple[datetime, datetime],
        grain: timedelta,
        names: Sequence[str],
    ) -> Points:
        """Ask for one resource: the SDK's answer does not say which of several is whose."""
        resource, namespace = _resource(target, slot)
        refused: list[str] = []
        try:
            found = await self._client(region).query_resources(
                resource_ids=[resource],
                metric_namespace=namespace,
                metric_names=list(names),
                timespan=span,
                granularity=grain,
                aggregations=["Total", "Average"],
                cls=partial(_noting_refusals, refused),
            )
            points = _points(found)
        except HttpResponseError as error:
            _refuse(resource, region, error)
        except (AzureError, OSError) as error:
            raise ProviderError(
                f"Azure Monitor Metrics does not answer: {type(error).__name__}."
            ) from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:  # from the SDK
            raise ProviderError(
                f"Azure Monitor Metrics gave an answer that cannot be read: {error!r}."
            ) from error
        missing = [name for name in names if name not in points]
        if refused or missing:
            told = ", ".join(refused) or f"no {', '.join(missing)}"
            raise ProviderError(f"Azure Monitor Metrics answered in part only: {told}.")
        return points

    def _client(self, region: str) -> MetricsClient:
        if region not in self._clients:
            self._clients[region] = MetricsClient(
                self._endpoint.replace("{region}", region),
                self._credential,
                audience=self._audience,
                retry_total=0,
                **self._options(),
            )
        return self._clients[region]


def _resource(target: Target, slot: SlotName) -> tuple[str, str]:
    """Return id and namespace; the site's own metrics are those of production alone."""
    if slot.lower() == PRODUCTION:
        return target.resource_id, "Microsoft.Web/sites"
    return f"{target.resource_id}/slots/{slot}", "Microsoft.Web/sites/slots"


def _noting_refusals(refused: list[str], _response: object, body: Any, _headers: object) -> Any:
    """Note what the SDK's models leave out: a metric of its own may fail in a good answer."""
    for value in body["values"]:
        for metric in value.get("value", []):
            code = metric.get("errorCode") or _GRANTED
            if code != _GRANTED:
                refused.append(f"{metric['name']['value']}: {code}")
    return body


def _points(found: Iterable[MetricsQueryResult]) -> Points:
    points: dict[str, dict[datetime, MetricValue]] = {}
    for result in found:
        for metric in result.metrics:
            of_metric = points.setdefault(metric.name, {})
            for series in metric.timeseries:
                of_metric.update({p.timestamp.astimezone(UTC): p for p in series.data})
    return points


def _minutes(counts: Points, health: Points, until: datetime) -> Iterable[Minute]:
    complete = {at: p for at, p in health[_HEALTH].items() if at + _HEALTH_GRAIN <= until}
    starts = {at for points in counts.values() for at in points} | complete.keys()
    for start in sorted(starts):
        yield Minute(
            start=start,
            requests=_number(counts[_REQUESTS].get(start), "total"),
            http5xx=_number(counts[_HTTP5XX].get(start), "total"),
            response_seconds=_number(counts[_RESPONSE].get(start), "average"),
            health_percent=_number(complete.get(start), "average"),
        )


def _number(point: MetricValue | None, aggregation: str) -> float | None:
    """Return the number; a minute of which nothing is known has none, which is not zero."""
    value = getattr(point, aggregation, None)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ProviderError(f"Azure Monitor Metrics gave {value!r} for a number.") from error
    return number if math.isfinite(number) and number >= 0 else None


def _refuse(resource: str, region: str, error: HttpResponseError) -> NoReturn:
    status = error.status_code or 0
    told = " ".join((error.message or str(error)).split())[:300]
    if status in _DENIED:
        raise AccessDeniedError(
            f"Azure Monitor Metrics refuses us {resource}: {status}.",
            fix="Give Slipway's identity the role Monitoring Reader on the subscription.",
        ) from error
    if status in _INVALID:
        raise QueryInvalidError(
            f"Azure Monitor Metrics cannot read {resource} in {region}: {told}",
            fix="See that analysis.platform_metrics.region is the site's.",
        ) from error
    raise ProviderError(
        f"Azure Monitor Metrics answered {status}.", retry_after=_retry_after(error)
    ) from error


def _retry_after(error: HttpResponseError) -> timedelta | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return timedelta(seconds=seconds) if math.isfinite(seconds) and seconds >= 0 else None
