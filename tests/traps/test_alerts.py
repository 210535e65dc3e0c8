"""What stands in an alert in several places or types decides nothing twice."""

from typing import Any

import pytest

from controller.entry.alert_payloads import parse
from tests.entry.alert_kit import alert, measured, metric

STATIC = "SingleResourceMultipleMetricCriteria"
CUSTOM: dict[str, Any] = {"alertRule": "another", "IsSynthetic": "false", "slot": "blue"}


@pytest.mark.parametrize("service", ["Platform", "Log Alerts V2"])
@pytest.mark.parametrize("custom", [CUSTOM, {}, None, "text", [1]])
@pytest.mark.parametrize("place", ["customProperties", "properties"])
def test_custom_properties_decide_nothing_wherever_they_stand(
    service: str, custom: Any, place: str
) -> None:
    """``data.customProperties`` or ``alertContext.properties``: its author fills them."""
    body = alert(service, measured(STATIC, metric()))
    plain = parse(body)
    data = body["data"]
    inner = data if place == "customProperties" else data["alertContext"]
    inner[place] = custom

    assert parse(body) == plain


@pytest.mark.parametrize("threshold", ["2", 2])
def test_a_threshold_is_a_text_or_a_number(threshold: object) -> None:
    read = parse(alert("Platform", measured(STATIC, metric(threshold=threshold))))

    assert "was 3.5, more than 2" in read.detail


def test_nothing_is_counted_on_but_the_window_that_may_lack_its_times() -> None:
    """A resolving notice comes without windowStartTime and windowEndTime."""
    timed = measured(STATIC, metric(), windowStartTime="2026-01-01T11:55:00Z")

    assert parse(alert("Platform", timed)) == parse(alert("Platform", measured(STATIC, metric())))
