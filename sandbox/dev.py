"""The village stays up: ``make dev`` prints the addresses and what to try, until Ctrl-C."""

import asyncio
import signal
import sys
from typing import Any

from sandbox.clients import Clients
from sandbox.demo_app.images import demo_migrations
from sandbox.village import APP, WEBHOOK_SECRET, Options, Village

# Few clients and short steps show less of a build than the demo does, so less is asked of it.
_OPTIONS = Options(
    database=True,
    changes={
        "strategy": {
            "steps": [
                {"weight": 25, "min_observation": "3s", "max_observation": "60s"},
                {"weight": 50, "min_observation": "3s", "max_observation": "60s"},
                {"weight": 100, "min_observation": "2s", "max_observation": "60s"},
            ],
            "hold": {"limit": "5m"},  # a person is looking
        },
        "analysis": {
            "limits": {"latency_ms_max": 1000},
            "judge": {"acceptance": {"error_absolute": 0.05, "latency_ratio": 4}},
        },
    },
)
_RATE = 60  # requests per second
_PUSH_HELP = (
    "push VERSION [error_rate=0.3] [latency_ms=200] [never_ready=true] "
    "[migrations=001_orders,002_currency] ..."
)


def _introduction(village: Village) -> str:
    key = village.host.host_key
    url = village.host.url
    return f"""
The app        {village.site.url()}/work        (slots: {
        ", ".join(f"{name} {village.site.url(name)}" for name in village.options.slots)
    })
Slipway        {url}/api
Registry       https://{village.registry.host}
ARM            {village.app_service.arm_url}
Database       {village.database.owner_url}
Logs           {village.log_file}

Try, in another terminal:

  export SLIPWAY_URL={url} SLIPWAY_KEY={key}
  .venv/bin/slipway apps
  .venv/bin/slipway status {APP} --watch
  curl -H "x-functions-key: $SLIPWAY_KEY" $SLIPWAY_URL/api/apps
  curl -H "x-functions-key: $SLIPWAY_KEY" -d '{{"reason": "customers call"}}' \\
       $SLIPWAY_URL/api/apps/{APP}/rollback
  .venv/bin/slipway backup create {APP} --reason "before I break it" --wait
  .venv/bin/slipway backup list {APP}
  .venv/bin/slipway backup restore {APP}                  # the plan, and what to type
  .venv/bin/slipway backup drill {APP} --wait
  curl -H "Authorization: {WEBHOOK_SECRET}" -d '{{"action": "ping"}}' $SLIPWAY_URL/api/webhooks/acr

Here: {_PUSH_HELP}
      kill | restart (the functions process) | destroy (the database) | quit
"""


def _value(text: str) -> object:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


async def _push(village: Village, words: list[str]) -> str:
    version, *options = words
    pairs = (option.partition("=") for option in options)
    behaviour: dict[str, Any] = {name: _value(value) for name, _, value in pairs}
    if "migrations" in behaviour:
        behaviour["migrations"] = demo_migrations(*str(behaviour["migrations"]).split(","))
    try:
        digest = await village.push(version, **behaviour)
    except TypeError as error:
        return str(error)
    return f"pushed {version} {digest}; the push itself starts the rollout"


async def _obey(village: Village, words: list[str]) -> str:
    match words:
        case ["push", _, *_]:
            return await _push(village, words[1:])
        case ["kill"]:
            village.host.kill()
            return "the functions process got SIGKILL; 'restart' starts it again"
        case ["restart"]:
            await village.host.restart()
            return f"the functions process runs again, pid {village.host.pid}"
        case ["destroy"]:
            await village.database.destroy()
            return "the database was dropped, as by somebody's accident; users notice"
        case _:
            return f"{_PUSH_HELP} | kill | restart | destroy | quit"


async def _converse(village: Village, stop: asyncio.Event) -> None:
    """Read orders from the terminal; without one, just wait."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    try:
        while not stop.is_set():
            line = await lines.get()
            words = line.split()
            if not line or words == ["quit"]:
                stop.set()
            elif words:
                print(await _obey(village, words), flush=True)
    finally:
        loop.remove_reader(sys.stdin)


async def main() -> None:
    """Keep the village up until Ctrl-C, SIGTERM, or ``quit``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Village(_OPTIONS) as village:
        clients = Clients(village.site.url(), rate=_RATE)
        await clients.start()
        print(_introduction(village), flush=True)
        talk = asyncio.create_task(_converse(village, stop)) if sys.stdin.isatty() else None
        await stop.wait()
        if talk is not None:
            talk.cancel()
        await clients.stop()
    print("Everything was taken down.")


if __name__ == "__main__":
    asyncio.run(main())
