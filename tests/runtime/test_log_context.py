"""Log lines name the rollout that they belong to."""

import asyncio
import logging

import pytest

from controller.runtime.log_context import follow, install


async def test_invocations_side_by_side_keep_their_own_rollout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each record carries its invocation's rollout, in the message and as an attribute."""
    install()
    install()  # twice is once

    async def handle(rollout: str) -> None:
        follow(rollout)
        await asyncio.sleep(0)
        logging.getLogger("slipway.test").warning("step %s", 1)
        logging.getLogger("azure.test").warning("request %s", 2)

    await asyncio.gather(
        asyncio.create_task(handle("rollout-a")), asyncio.create_task(handle("rollout-b"))
    )

    lines = [(r.name, r.getMessage(), r.__dict__["rollout_id"]) for r in caplog.records]
    assert sorted(lines) == [
        ("azure.test", "request 2", "rollout-a"),
        ("azure.test", "request 2", "rollout-b"),
        ("slipway.test", "[rollout-a] step 1", "rollout-a"),
        ("slipway.test", "[rollout-b] step 1", "rollout-b"),
    ]
