"""The doors of Slipway on Azure Functions: a list; what happens stands behind them."""

import os

import azure.functions as func

from controller.entry import doors

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
doors.open_telemetry(os.environ)


@app.function_name("on_image_pushed")
@app.event_grid_trigger(arg_name="event")
async def on_image_pushed(event: func.EventGridEvent) -> None:
    """Azure Container Registry, through Event Grid (either schema)."""
    await doors.image_pushed(event)


@app.function_name("registry_webhook")
@app.route("webhooks/{registry}", methods=["POST", "OPTIONS"], auth_level=func.AuthLevel.ANONYMOUS)
async def registry_webhook(req: func.HttpRequest) -> func.HttpResponse:
    """A registry's own webhook; authenticated by its shared secret."""
    return await doors.registry_webhook(req)


@app.function_name("alert")
@app.route("alerts", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def alert(req: func.HttpRequest) -> func.HttpResponse:
    """An action group of Azure Monitor; authenticated by its Entra token or a shared secret."""
    return await doors.alert(req)


@app.function_name("notify")
@app.route("notifications/{channel}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def notify(req: func.HttpRequest) -> func.HttpResponse:
    """Tell people of an alert, where they talk; authenticated as alerts are."""
    return await doors.notify(req)


@app.function_name("on_command")
@app.service_bus_queue_trigger(
    arg_name="message",
    queue_name="rollouts",
    connection="ServiceBus",
    is_sessions_enabled=True,
)
async def on_command(message: func.ServiceBusMessage) -> None:
    """Commands and wake-ups, one app at a time."""
    await doors.command_message(message)


@app.function_name("on_observe")
@app.service_bus_queue_trigger(
    arg_name="message",
    queue_name="observations",
    connection="ServiceBus",
    is_sessions_enabled=True,
)
async def on_observe(message: func.ServiceBusMessage) -> None:
    """Polls of telemetry, one workspace at a time."""
    await doors.observe_message(message)


@app.function_name("on_maintenance")
@app.service_bus_queue_trigger(
    arg_name="message",
    queue_name="maintenance",
    connection="ServiceBus",
    is_sessions_enabled=True,
)
async def on_maintenance(message: func.ServiceBusMessage) -> None:
    """Backups, restores and drills, one job of an app at a time."""
    await doors.maintenance_message(message)


@app.function_name("dr_backup")
@app.timer_trigger(arg_name="timer", schedule="%SLIPWAY_BACKUP_SCHEDULE%", run_on_startup=False)
async def dr_backup(timer: func.TimerRequest) -> None:
    """Back every app up that says so, and clear out what its rules no longer keep."""
    await doors.back_up(timer)


@app.function_name("dr_drill")
@app.timer_trigger(arg_name="timer", schedule="%SLIPWAY_DRILL_SCHEDULE%", run_on_startup=False)
async def dr_drill(timer: func.TimerRequest) -> None:
    """Prove that what was backed up comes back."""
    await doors.drill(timer)


@app.function_name("sweep")
@app.timer_trigger(arg_name="timer", schedule="%SLIPWAY_SWEEP_SCHEDULE%", run_on_startup=False)
async def sweep(timer: func.TimerRequest) -> None:
    """Find what should have happened and did not."""
    await doors.sweep(timer)


@app.function_name("health")
@app.route("health", methods=["GET"])
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the controller runs."""
    return await doors.api(req, "health")


@app.function_name("list_apps")
@app.route("apps", methods=["GET"])
async def list_apps(req: func.HttpRequest) -> func.HttpResponse:
    """All apps."""
    return await doors.api(req, "list_apps")


@app.function_name("get_app")
@app.route("apps/{app}", methods=["GET"])
async def get_app(req: func.HttpRequest) -> func.HttpResponse:
    """One app with its releases and latest rollouts."""
    return await doors.api(req, "get_app")


@app.function_name("get_rollout")
@app.route("rollouts/{id}", methods=["GET"])
async def get_rollout(req: func.HttpRequest) -> func.HttpResponse:
    """One rollout with its history and numbers."""
    return await doors.api(req, "get_rollout")


@app.function_name("get_evidence")
@app.route("rollouts/{id}/evidence/{turn}", methods=["GET"])
async def get_evidence(req: func.HttpRequest) -> func.HttpResponse:
    """What one decision was made from, as it was kept."""
    return await doors.api(req, "get_evidence")


@app.function_name("command")
@app.route("apps/{app}/{command}", methods=["POST"])
async def command(req: func.HttpRequest) -> func.HttpResponse:
    """Deploy, rollback, abort, approve and the others."""
    return await doors.api(req, "command")


@app.function_name("list_backups")
@app.route("apps/{app}/backups", methods=["GET"])
async def list_backups(req: func.HttpRequest) -> func.HttpResponse:
    """The backup sets of an app."""
    return await doors.data(req, "list_backups")


@app.function_name("order_backup")
@app.route("apps/{app}/backups/{verb}", methods=["POST"])
async def order_backup(req: func.HttpRequest) -> func.HttpResponse:
    """Back up, verify, restore, drill, clear out."""
    return await doors.data(req, "order_backup")


@app.function_name("plan_restore")
@app.route("apps/{app}/backups/{set}/plan", methods=["GET"])
async def plan_restore(req: func.HttpRequest) -> func.HttpResponse:
    """What a restore would do."""
    return await doors.data(req, "plan_restore")


@app.function_name("list_jobs")
@app.route("apps/{app}/jobs", methods=["GET"])
async def list_jobs(req: func.HttpRequest) -> func.HttpResponse:
    """An app's latest jobs of maintenance."""
    return await doors.data(req, "list_jobs")


@app.function_name("get_job")
@app.route("jobs/{id}", methods=["GET"])
async def get_job(req: func.HttpRequest) -> func.HttpResponse:
    """One job with its steps and its result."""
    return await doors.data(req, "get_job")
