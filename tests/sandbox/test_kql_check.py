"""Microsoft's KQL parser: what it finds wrong, and that it finds nothing wrong in our queries."""

import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from itertools import product
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.kql_check import KqlChecker, KqlCheckError
from sandbox.monitor import CLASSIC_TABLES, TABLES

ROOT = Path(__file__).resolve().parents[2]
QUERIES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "controller").rglob("*.kql"))
}
# A value of each type, to stand in for a query's parameters.
SAMPLES = {
    "dynamic": 'dynamic(["a", "b"])',
    "datetime": "datetime(2026-01-01T00:00:00Z)",
    "timespan": "time(00:00:15)",
    "string": '"a"',
    "long": "long(-1)",
    "real": "real(1.5)",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checker() -> AsyncIterator[KqlChecker]:
    async with KqlChecker({**TABLES, **CLASSIC_TABLES}) as running:
        yield running


def declared(text: str, word: str) -> list[tuple[str, str]]:
    """Return what a query's header declares on lines like ``//   param Name: type``."""
    found = re.findall(rf"^//\s+{word} (\w+): (\w+)", text, re.MULTILINE)
    return [(name, kind) for name, kind in found]


# Which query a parameter that is a table may be.
TABLES_OF = {
    "Arrived": (
        "requests",
        "requests_classic",
        "calls",
        "calls_classic",
        "requests_and_thrown",
    ),
    "Named": ("by_version", "by_any"),
    "Judged": ("judged",),
    "Requests": ("requests", "requests_classic"),
    "Thrown": ("thrown", "thrown_classic"),
}


def with_parameters(
    text: str, tables: Mapping[str, str] | None = None, *, without: str = ""
) -> str:
    """Return *text* below its parameters; one that is a table is another query, by *tables*."""
    chosen = tables or {name: names[0] for name, names in TABLES_OF.items()}
    lets: dict[str, str] = {}  # each a statement

    def declare(query: str) -> None:
        for name, kind in declared(query, "param"):
            if kind == "table":
                inner = QUERIES[chosen[name]]
                declare(inner)
                statements, separator, result = inner.rpartition(";\n")
                lets[name] = f"{statements}{separator}let {name} = {result};"
            else:
                lets[name] = f"let {name} = {SAMPLES[kind]};"

    declare(text)
    return "\n".join([*(let for name, let in lets.items() if name != without), text])


def test_there_are_queries_to_check() -> None:
    """The search below finds the controller's queries, or it proves nothing."""
    assert "releases" in QUERIES


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", QUERIES.values(), ids=QUERIES)
async def test_every_query_is_valid_and_returns_what_it_declares(
    checker: KqlChecker, text: str
) -> None:
    """A query of the controller has no error and returns the columns of its header, in order."""
    result = await checker.check(with_parameters(text))

    assert result.errors == []
    assert result.columns == declared(text, "result")


ARRIVED = {
    "releases": ("requests", "requests_classic"),
    "latencies": ("requests", "requests_classic"),
    "history": ("requests", "requests_classic"),
    "dependencies": ("calls", "calls_classic"),
    "exceptions": ("requests_and_thrown",),
}
VARIANTS = [
    (name, arrived, named, is_classic)
    for name, tables in ARRIVED.items()
    for arrived, named, is_classic in product(tables, TABLES_OF["Named"], (False, True))
    if is_classic == arrived.endswith("_classic") or name == "exceptions"
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda v: "-".join([*v[:3], *(["classic"] if v[3] else [])])
)
async def test_the_queries_for_builds_are_valid_in_every_variant(
    checker: KqlChecker, variant: tuple[str, str, str, bool]
) -> None:
    """A workspace's rows or a component's classic ones, told apart by version or otherwise."""
    name, arrived, named, is_classic = variant
    ending = "_classic" if is_classic else ""
    tables = {
        "Arrived": arrived,
        "Named": named,
        "Judged": "judged",
        "Requests": f"requests{ending}",
        "Thrown": f"thrown{ending}",
    }
    result = await checker.check(with_parameters(QUERIES[name], tables))

    assert result.errors == []
    assert result.columns == declared(QUERIES[name], "result")


EXAMPLES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs/examples/metrics").glob("*.kql"))
}
OF_KIND = {
    "counts": [("Build", "string"), ("Bucket", "datetime"), ("Total", "long"), ("Bad", "long")],
    "histogram": [("Build", "string"), ("Bucket", "datetime"), ("Bin", "long"), ("Total", "long")],
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
async def test_the_examples_of_metrics_are_valid_and_return_what_their_kind_asks(
    checker: KqlChecker, text: str
) -> None:
    """Below the parameters that Slipway puts in front of every metric's query."""
    kinds = {"From": "datetime", "To": "datetime", "Since": "datetime", "BucketSize": "timespan"}
    lets = [f"let {name} = {SAMPLES[kind]};" for name, kind in kinds.items()]
    result = await checker.check("\n".join([*lets, 'let Builds = dynamic(["version|a"]);', text]))

    assert result.diagnostics == []
    (kind,) = re.findall(r"^// kind: (\w+)", text)
    assert sorted(result.columns) == sorted(OF_KIND[kind])


def test_there_is_an_example_of_each_kind() -> None:
    kinds = {re.findall(r"^// kind: (\w+)", text)[0] for text in EXAMPLES.values()}

    assert kinds == set(OF_KIND)


@pytest.mark.parametrize("names", [*TABLES_OF.values()], ids=[*TABLES_OF])
def test_queries_that_stand_for_one_table_have_the_same_columns(names: tuple[str, ...]) -> None:
    first, *others = (declared(QUERIES[name], "result") for name in names)

    assert others == [first] * len(others)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", QUERIES.values(), ids=QUERIES)
async def test_every_declared_parameter_is_needed(checker: KqlChecker, text: str) -> None:
    """Without one of its parameters a query misses exactly that name, and nothing else."""
    for name, _ in declared(text, "param"):
        result = await checker.check(with_parameters(text, without=name))

        assert {one.text for one in result.errors} == {name}


# fmt: off
WRONG = [
    # id           query                                            code     at
    ("column",    "AppRequests | where Nope == 1",                  "KS142", "Nope"),
    ("table",     "Requests | count",                               "KS204", "Requests"),
    ("function",  "AppRequests | extend x = nope(Name)",            "KS211", "nope"),
    ("syntax",    "AppRequests | summarize count( by AppRoleName",  "KS005", "by"),
]
# fmt: on


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("query", "code", "at"), [pytest.param(*case, id=name) for name, *case in WRONG]
)
async def test_a_wrong_query_is_found_out(
    checker: KqlChecker, query: str, code: str, at: str
) -> None:
    """The parser says what is wrong and where."""
    result = await checker.check(query)

    assert (result.errors[0].code, result.errors[0].text) == (code, at)
    assert query[result.errors[0].start :].startswith(at)


@pytest.mark.asyncio(loop_scope="module")
async def test_result_types_are_kustos(checker: KqlChecker) -> None:
    """The parser knows the types a query returns, those of aggregates too."""
    result = await checker.check(
        "AppRequests | summarize n = sum(ItemCount), p = percentile(DurationMs, 95)"
        " by Minute = bin(ingestion_time(), 1m)"
    )

    assert result.columns == [("Minute", "datetime"), ("n", "long"), ("p", "real")]


async def test_a_checker_that_does_not_run_says_so() -> None:
    """Before start and after stop a check fails instead of waiting; stopping twice is fine."""
    checker = KqlChecker(TABLES)
    with pytest.raises(KqlCheckError, match="not started"):
        await checker.check("print 1")
    await checker.start()
    assert (await checker.check("print 1")).columns == [("print_0", "long")]
    await checker.stop()
    await checker.stop()
    with pytest.raises(KqlCheckError, match="not started"):
        await checker.check("print 1")


async def test_a_parser_that_dies_is_an_error_of_the_check() -> None:
    """A dead Node.js is not taken for a wrong query."""
    async with KqlChecker(TABLES) as checker:
        assert checker.pid is not None
        os.kill(checker.pid, signal.SIGKILL)
        with pytest.raises(KqlCheckError, match="ended"):
            await checker.check("print 1")
