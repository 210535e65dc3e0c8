"""What surrounds Microsoft's test suite; the suite itself runs by `make conformance`."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from sandbox.conformance.exceptions import EXCLUDED, KNOWN_FAILURES, SLOWEST
from sandbox.conformance.namespace import Namespace
from sandbox.conformance.preparers import Resource, names
from sandbox.conformance.report import Case, Outcome, Report, read
from sandbox.conformance.source import LOCK, PACKAGE, SourceMissingError, lock_entry, unpack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

JUNIT = """<testsuites><testsuite>
<testcase classname="async_tests.test_a_async.TestA" name="test_good[pyamqp]"/>
<testcase classname="async_tests.test_a_async.TestA" name="test_bad[pyamqp]">
  <failure message="assert 1 == 2&#10;more">trace</failure></testcase>
<testcase classname="async_tests.test_b_async.TestB" name="test_broken">
  <error message="failed on setup">trace</error></testcase>
<testcase classname="async_tests.test_b_async.TestB" name="test_left_out">
  <skipped type="pytest.skip" message="no WebSocket">where</skipped></testcase>
</testsuite></testsuites>"""

PASSED = [Case(f"m::{number}", Outcome.PASSED) for number in range(38)]
FAILED, SKIPPED = Case("m::bad", Outcome.FAILED), Case("m::out", Outcome.EXCLUDED, "why")


def test_a_junit_report_is_read_case_by_case(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(JUNIT, encoding="utf-8")

    assert read(path) == [
        Case("test_a_async::test_good[pyamqp]", Outcome.PASSED),
        Case("test_a_async::test_bad[pyamqp]", Outcome.FAILED, "assert 1 == 2"),
        Case("test_b_async::test_broken", Outcome.FAILED, "failed on setup"),
        Case("test_b_async::test_left_out", Outcome.EXCLUDED, "no WebSocket"),
    ]


@pytest.mark.parametrize(
    ("cases", "excluded", "known", "problems"),
    [
        pytest.param([*PASSED, FAILED, SKIPPED], ["m::out"], ["m::bad"], [], id="as-expected"),
        pytest.param([*PASSED, FAILED], [], [], ["m::bad fails"], id="new-failure"),
        pytest.param([*PASSED, SKIPPED], [], [], ["m::out was skipped"], id="skip-not-listed"),
        pytest.param(PASSED, ["m::gone"], [], ["m::gone is listed"], id="stale-exclusion"),
        pytest.param(PASSED, [], ["m::gone"], ["m::gone is listed"], id="stale-failure"),
        pytest.param([*PASSED[:18], FAILED], [], ["m::bad"], ["94.7 % passed"], id="too-few"),
        pytest.param([], [], [], ["0.0 % passed"], id="nothing-ran"),
    ],
)
def test_a_run_is_good_only_if_all_of_it_was_expected(
    cases: list[Case], excluded: list[str], known: list[str], problems: list[str]
) -> None:
    report = Report(cases, dict.fromkeys(excluded, "why"), dict.fromkeys(known, "why"))

    found = report.problems(whole=True)

    assert [line[: len(start)] for line, start in zip(found, problems, strict=True)] == problems


def test_a_part_of_the_suite_is_good_if_nothing_in_it_fails_unexpectedly() -> None:
    part = Report([FAILED], {"m::out": "why"}, {"m::bad": "why"})

    assert part.problems(whole=False) == []
    assert Report([FAILED], {}, {}).problems(whole=False) == [
        "m::bad fails, and is no known failure."
    ]


def test_only_the_asynchronous_tests_and_their_helpers_are_unpacked(tmp_path: Path) -> None:
    archive, suite = tmp_path / "source.tar.gz", tmp_path / "suite"
    with tarfile.open(archive, "w:gz") as made:
        for name in (
            "p-1/tests/async_tests/test_a_async.py",
            "p-1/tests/utilities.py",
            "p-1/tests/conftest.py",
            "p-1/tests/async_tests/../../evil.py",
            "p-1/azure/__init__.py",
        ):
            made.addfile(tarfile.TarInfo(name), io.BytesIO())

    unpack(archive, suite)

    written = {str(path.relative_to(suite)) for path in suite.rglob("*.py")}
    assert written == {"async_tests/test_a_async.py", "utilities.py"}


def test_the_table_counts_by_module_and_names_what_did_not_pass() -> None:
    report = Report([*PASSED, FAILED, SKIPPED], {"m::out": "why"}, {"m::bad": "known"})

    lines = report.table().splitlines()

    assert lines[1].split() == ["m", "38", "1", "1"]
    assert lines[lines.index("failed m::bad") + 1].strip() == "known"
    assert lines[lines.index("excluded m::out") + 1].strip() == "why"
    assert lines[-1] == "38 of 39 applicable tests passed: 97.4 %"


def test_the_source_distribution_is_pinned_by_the_lock() -> None:
    entry = lock_entry(LOCK.read_text(encoding="utf-8"), PACKAGE)

    assert re.fullmatch(r"azure-servicebus==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry)
    with pytest.raises(SourceMissingError, match="does not pin nothing-of-the-kind"):
        lock_entry("a==1\n", "nothing-of-the-kind")


async def test_prepared_tests_get_what_the_decorators_above_them_made() -> None:
    namespace = Namespace()
    namespace.start()
    try:
        made = names(namespace)
        queue, topic = made["ServiceBusQueuePreparer"], made["CachedServiceBusTopicPreparer"]
        subscription = made["ServiceBusSubscriptionPreparer"]
        seen: dict[str, object] = {}

        @topic(name_prefix="t")
        @subscription(name_prefix="s", lock_duration="PT5S")
        @queue(name_prefix="q", requires_session=True, lock_duration="PT5M")
        async def test(self: object, given: int, **resources: object) -> None:
            seen.update(resources, given=given)

        await test(None, given=1)
        assert set(seen) == {
            "given",
            "servicebus_queue",
            "servicebus_topic",
            "servicebus_subscription",
        }
        for name in ("queue", "topic"):
            resource = seen[f"servicebus_{name}"]
            assert isinstance(resource, Resource)
            assert namespace.broker.queue(resource.name).name == resource.name
    finally:
        namespace.stop()


def listed(heading: str) -> dict[str, str]:
    """Return the table under *heading* of the page: test and reason."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))


def test_the_page_lists_every_exception_with_its_reason() -> None:
    assert listed("Excluded") == EXCLUDED
    assert listed("Known failures") == KNOWN_FAILURES


def test_no_exception_is_a_pattern_and_each_has_a_reason() -> None:
    name = re.compile(r"test_\w+_async::test_\w+(\[[\w-]+\])?")

    for test, reason in {**EXCLUDED, **KNOWN_FAILURES}.items():
        assert name.fullmatch(test), test
        assert len(reason.split()) > 3, test
    assert not set(EXCLUDED) & set(KNOWN_FAILURES)
    assert len(set(SLOWEST)) == len(SLOWEST)
