"""What the worker finds when it indexes function_app.py: these doors, and no others."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import function_app

ROOT = Path(__file__).parents[2]

QUEUE = {"type": "serviceBusTrigger", "connection": "ServiceBus", "isSessionsEnabled": True}
EXPECTED: dict[str, dict[str, Any]] = {
    "on_image_pushed": {"type": "eventGridTrigger"},
    "registry_webhook": {
        "type": "httpTrigger",
        "methods": ["POST", "OPTIONS"],
        "authLevel": "anonymous",  # it has a shared secret of its own
        "route": "webhooks/{registry}",
    },
    "alert": {
        "type": "httpTrigger",
        "methods": ["POST"],
        "authLevel": "anonymous",  # likewise, or an Entra token
        "route": "alerts",
    },
    "notify": {
        "type": "httpTrigger",
        "methods": ["POST"],
        "authLevel": "anonymous",  # as an alert
        "route": "notifications/{channel}",
    },
    "on_command": QUEUE | {"queueName": "rollouts"},
    "on_observe": QUEUE | {"queueName": "observations"},
    "on_maintenance": QUEUE | {"queueName": "maintenance"},
    "dr_backup": {
        "type": "timerTrigger",
        "schedule": "%SLIPWAY_BACKUP_SCHEDULE%",
        "runOnStartup": False,
    },
    "dr_drill": {
        "type": "timerTrigger",
        "schedule": "%SLIPWAY_DRILL_SCHEDULE%",
        "runOnStartup": False,
    },
    "sweep": {
        "type": "timerTrigger",
        "schedule": "%SLIPWAY_SWEEP_SCHEDULE%",
        "runOnStartup": False,
    },
    "health": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "health",
    },
    "list_apps": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "apps",
    },
    "get_app": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "apps/{app}",
    },
    "get_rollout": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "rollouts/{id}",
    },
    "get_evidence": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "rollouts/{id}/evidence/{turn}",
    },
    "command": {
        "type": "httpTrigger",
        "methods": ["POST"],
        "authLevel": "function",
        "route": "apps/{app}/{command}",
    },
    "list_backups": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "apps/{app}/backups",
    },
    "order_backup": {
        "type": "httpTrigger",
        "methods": ["POST"],
        "authLevel": "function",
        "route": "apps/{app}/backups/{verb}",
    },
    "plan_restore": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "apps/{app}/backups/{set}/plan",
    },
    "list_jobs": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "apps/{app}/jobs",
    },
    "get_job": {
        "type": "httpTrigger",
        "methods": ["GET"],
        "authLevel": "function",
        "route": "jobs/{id}",
    },
}


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(each) for each in value]
    return getattr(value, "value", value)


def indexed() -> dict[str, list[dict[str, Any]]]:
    """Return the bindings of each function as the worker would send them to the host."""
    found: dict[str, list[dict[str, Any]]] = {}
    for function in function_app.app.get_functions():
        bindings = [
            {name: plain(value) for name, value in binding.get_dict_repr().items()}
            for binding in function.get_bindings()
        ]
        found[function.get_function_name()] = bindings
    return found


INDEXED = indexed()


def test_there_are_exactly_these_functions() -> None:
    assert INDEXED.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_each_has_its_trigger_and_no_binding_beside(name: str) -> None:
    trigger, *others = INDEXED[name]

    assert EXPECTED[name].items() <= trigger.items()
    assert set(trigger) - set(EXPECTED[name]) == {"direction", "name"}
    is_http = trigger["type"] == "httpTrigger"
    assert [b["type"] for b in others] == (["http"] if is_http else [])


def test_indexing_loads_no_adapter() -> None:
    """A cold start pays for the doors alone; what stands behind comes with the first request."""
    code = (
        "import sys, function_app; "
        "loaded = [m for m in sys.modules if m.startswith('controller.adapters')"
        " or m in ('azure.core', 'azure.servicebus', 'azure.data.tables', 'pydantic', 'aiohttp')]; "
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )

    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
