"""What the front doors count, as Azure Monitor's metrics of sites and slots."""

from collections import Counter
from collections.abc import Callable, Iterable

from sandbox.app_service import AppService, Site
from sandbox.monitor.metrics import Counted

_PRODUCTION = "production"


def front_door_counts(service: AppService, sites: Iterable[Site]) -> Callable[[], Counted]:
    """Return what tells the totals so far: of *sites*, by resource id and metric.

    A request that no container answered is one that failed. Response times are not measured.
    """
    ids = {
        site.name: f"/subscriptions/{site.subscription}/resourceGroups/{site.resource_group}"
        f"/providers/Microsoft.Web/sites/{site.name}"
        for site in sites
    }

    def resource(site: str, slot: str) -> str:
        own = ids[site]
        return own if slot.lower() == _PRODUCTION else f"{own}/slots/{slot}"

    def count() -> Counted:
        totals: Counter[tuple[str, str]] = Counter()
        for answer, number in service.traffic.answers.items():
            if answer.site in ids:
                of = resource(answer.site, answer.slot)
                totals[of, "Requests"] += number
                totals[of, f"Http{answer.status_class}"] += number
        for failure, number in service.traffic.failures.items():
            if failure.site in ids:
                of = resource(failure.site, failure.slot)
                totals[of, "Requests"] += number
                totals[of, "Http5xx"] += number
        return totals

    return count
