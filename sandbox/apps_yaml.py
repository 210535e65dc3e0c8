"""The configuration of the village's apps: a real one, with its times compressed."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

Json = dict[str, Any]


def app_configuration(
    *,
    site: Mapping[str, str],
    slots: Sequence[str],
    registry: str,
    repository: str,
    workspace: str,
    poll_seconds: float,
    cookie_seconds: float,
) -> Json:
    """Return what ``apps.yaml`` says of one app. *site*: subscription, resource_group, site."""
    poll = f"{poll_seconds:g}s"
    return {
        "target": {**site, "slots": list(slots)},
        "source": {"registry": registry, "repository": repository, "tags": ["v*"]},
        "strategy": {
            "steps": [
                {"weight": 10, "min_observation": "3s", "max_observation": "40s"},
                {"weight": 50, "min_observation": "3s", "max_observation": "40s"},
                {"weight": 100, "min_observation": "2s", "max_observation": "40s"},
            ],
            "bake": "4s",
            "pinned_for": f"{cookie_seconds:g}s",
            "hold": {"limit": "30s"},
        },
        "health": {
            "consecutive": 2,
            "interval": "500ms",
            "smoke_tests": [{"method": "GET", "path": "/", "expect_status": 200}],
        },
        "analysis": {
            "workspace": workspace,
            "poll": poll,
            "bucket": poll,
            "settle": "1s",
            "provider_grace": "15s",
            "limits": {
                "error_rate_max": 0.05,
                "latency_percentile": 95,
                "latency_ms_max": 110,
                "min_requests": 25,
            },
            # So short a time proves no more of a build than this. All of it, p99 too, may speak
            # against one all the same.
            "judge": {
                "warm_up": "2s",
                "acceptance": {"error_ratio": 2.0, "error_absolute": 0.01},
                "quantiles": [50, 90],
            },
        },
        "deadlines": {
            "staging": "30s",
            "warming": "12s",
            "shifting": "20s",
            "promoting": "20s",
            "rolling_back": "60s",
        },
    }


def changed(configuration: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """Return *configuration* under *changes*: mappings merge, everything else is replaced."""
    result = dict(configuration)
    for name, value in changes.items():
        inner = result.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            one = cast("Mapping[str, Any]", inner)
            result[name] = changed(one, cast("Mapping[str, Any]", value))
        else:
            result[name] = value
    return result


def render(apps: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of ``apps.yaml``."""
    return yaml.safe_dump({"apps": dict(apps)}, sort_keys=False)
