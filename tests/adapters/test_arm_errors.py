"""What each of Resource Manager's refusals becomes, told by what it says and never by its class."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
)

from controller.adapters.azure.arm_answer import message, retry_after
from controller.adapters.azure.arm_errors import TABLE, Meaning, Refusal, arm_errors, classify
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PermanentError,
    PreparedForSwapError,
    SiteMissingError,
    SlipwayError,
    SlotMissingError,
    TransientError,
)
from sandbox.app_service import ArmError, errors
from tests.adapters.stands import BLUE, PRODUCTION, TARGET

RAISED: dict[Meaning, type[SlipwayError]] = {
    Meaning.LATER: BusyError,
    Meaning.WAIT: OperationInProgressError,
    Meaning.LOCKED: PreparedForSwapError,
    Meaning.APP: PermanentError,
    Meaning.ROLE: AccessDeniedError,
    Meaning.MISSING: SlotMissingError,
    Meaning.OURS: PermanentError,
}


class Response:
    reason = "Reason"

    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        self.status_code = status
        self.headers = headers
        self._text = text

    def text(self) -> str:
        return self._text


def answer(
    status: int,
    text: str,
    *,
    kind: type[HttpResponseError] = HttpResponseError,
    retry_after: str | None = None,
) -> HttpResponseError:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return kind("said by the SDK", response=cast("Any", Response(status, text, headers)))


def raised(error: Exception, slot: Any = BLUE) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught, arm_errors(TARGET, slot, "changing shop/blue"):
        raise error
    return caught.value


def dialects(text: str) -> Iterator[str]:
    """Yield bodies that say *text*: both dialects, the reason outside and deep inside, and HTML."""
    code, colon, rest = text.partition(": ")
    code, said = (code, rest) if colon and " " not in code else ("Conflict", text)
    inner = {"code": code, "message": said}
    yield json.dumps({"error": inner})
    yield json.dumps({"error": {"code": "BadRequest", "message": "Failed.", "details": [inner]}})
    yield json.dumps({"error": {"code": "Failed", "innererror": inner}})
    yield json.dumps(ArmError(409, code, said, legacy=True).body())
    entity = {"ExtendedCode": "51021", "MessageTemplate": "{0}", "Code": code, "Message": said}
    yield json.dumps({"Code": None, "Message": None, "Details": [{"ErrorEntity": entity}]})
    yield f"<html><body><h1>{code}</h1><p>{said}</p></body></html>"
    yield f"{code} {said}"


ROWS = [
    pytest.param(row, int(status.replace("xx", "00")), id=f"{status} {row.pattern[:30]}")
    for row in TABLE
    for status in row.statuses.split()
]


@pytest.mark.parametrize(("row", "status"), ROWS)
def test_every_row_is_reached_by_its_example_in_every_dialect(row: Refusal, status: int) -> None:
    """No row hides behind an earlier one, and each raises what its meaning says."""
    for body in dialects(row.example or "Something: Nobody has seen this one."):
        error = answer(status, body)

        assert classify(error) is row
        what = raised(error)
        gone = row.meaning is Meaning.MISSING and row.pattern
        assert type(what) is (SiteMissingError if gone else RAISED[row.meaning])
        assert what.fix
        assert "{" not in what.fix


@pytest.mark.parametrize("status", [*range(400, 430), 451, 499, *range(500, 512)])
@pytest.mark.parametrize("body", ["", "{}", "[]", "null", "{", "<html></html>", '{"error": "x"}'])
def test_no_answer_is_left_without_a_meaning(status: int, body: str) -> None:
    """What is 4xx and unknown is for good, but for the few that are not; 5xx passes."""
    passes = status >= 500 or status in {408, 409, 412, 429}

    assert isinstance(raised(answer(status, body)), TransientError) is passes


def test_the_class_of_the_exception_says_nothing() -> None:
    """The SDK calls a busy site ResourceExistsError, and while polling it is nothing special."""
    body = json.dumps(errors.operation_in_progress("shop", "blue").body())

    for kind in (HttpResponseError, ResourceExistsError):
        assert type(raised(answer(409, body, kind=kind))) is OperationInProgressError


def test_a_plan_that_is_busy_says_so_with_429() -> None:
    """Seen in life: the text, not the status, tells that another operation runs."""
    said = "Cannot modify this web hosting plan because another operation is in progress."

    assert type(raised(answer(429, json.dumps({"Message": said})))) is OperationInProgressError


def test_a_server_error_never_says_that_nothing_happened() -> None:
    """5xx may come after the effect: only a refusal is known to have changed nothing."""
    body = json.dumps(errors.operation_in_progress("shop", "blue").body())

    assert type(raised(answer(500, body))) is BusyError


@pytest.mark.parametrize(
    ("text", "header", "wait"),
    [
        ("", "17", 17),
        ("", "1.5", 1.5),
        ("", "-3", 0),
        ("Please try again after '6' seconds.", None, 6),
        ("Please try again in 2 minutes.", None, 120),
        ("Please try again after '6' seconds.", "17", 17),
        ("Please try again after '6' seconds.", "soon", 6),
        ("Please try again later.", None, None),
    ],
)
def test_when_to_come_back_is_read_wherever_it_stands(
    text: str, header: str | None, wait: float | None
) -> None:
    body = json.dumps({"error": {"code": "Throttled", "message": text}})
    error = answer(429, body, retry_after=header)
    expected = None if wait is None else timedelta(seconds=wait)

    assert retry_after(error) == expected
    what = raised(error)
    assert isinstance(what, BusyError)
    assert what.retry_after == expected


def test_the_real_reason_is_said_wherever_it_stands() -> None:
    """Outermost first, each thing once, the extended code for who has to ask the vendor."""
    entity = {"ExtendedCode": "59205", "Code": "Conflict", "Message": "The plan is moved."}
    body = {
        "Code": "Conflict",
        "Message": "It did not work.",
        "Details": [{"Message": "It did not work."}, {"Code": "Conflict"}, {"ErrorEntity": entity}],
    }

    assert message(answer(409, json.dumps(body))) == (
        "Conflict: It did not work. | Conflict: The plan is moved. | ExtendedCode 59205"
    )


def test_what_is_missing_is_told_apart() -> None:
    """Site, slot, and the group around them; a missing slot says which plan has slots at all."""
    gone = json.dumps(errors.resource_missing("Microsoft.Web/sites/shop", "g").body())
    group = json.dumps(errors.resource_group_missing("shop-group").body())

    assert type(raised(answer(404, gone), PRODUCTION)) is SiteMissingError
    slot = raised(answer(404, gone))
    assert type(slot) is SlotMissingError
    assert "Standard" in slot.fix
    assert "shop-group" in str(raised(answer(404, group)))
    assert type(raised(answer(404, group))) is SiteMissingError


def test_a_request_that_never_was_is_an_outage() -> None:
    """No connection, and no token to send one with."""
    assert "did not answer" in str(raised(ServiceRequestError("refused")))
    nobody = raised(ClientAuthenticationError("no managed identity endpoint"))
    assert type(nobody) is BusyError
    assert "gave no token" in str(nobody)


def test_the_answers_that_were_kept_from_life_mean_what_they_say() -> None:
    kept = Path(__file__).with_name("arm_answers.json").read_text(encoding="utf-8")

    for name, (status, meaning, body) in json.loads(kept).items():
        assert classify(answer(status, json.dumps(body))).meaning == meaning, name
