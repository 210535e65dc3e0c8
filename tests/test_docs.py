"""The documentation says what the code says: pages, codes, settings, routes, examples, links."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from controller.adapters.memory.bus import MemoryBus
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.evidence import MemoryEvidence
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.config.load import load_text
from controller.config.sections import AppSection
from controller.core import errors
from controller.core.errors import ConfigurationError
from controller.core.events import Tick
from controller.core.machine import decide
from controller.core.model import ENDS, Image, State
from controller.core.policy import Submit, apply
from controller.core.reference import LIMITS
from controller.entry.api import COMMANDS, Api
from controller.entry.http import Request
from controller.runtime.explainer import Explainer
from controller.runtime.messages import parse_command
from controller.runtime.reference import EXAMPLES
from controller.settings import Settings
from controller.verdict.explain import document
from controller.verdict.records import judge_again
from controller.web.views import app_detail, rollout_detail
from controller.wiring import start_telemetry
from tools import generate_docs

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
EVIDENCE = ROOT / "tests" / "verdict" / "samples" / "evidence-gate-1.json"
CODE = re.compile(r"\bSW\d{3}\b")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Settings of which one stands for the other: only the usual one is in the example.
INSTEAD = {
    "ServiceBus": "ServiceBus__fullyQualifiedNamespace",
    "AzureWebJobsStorage__tableServiceUri": "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__blobServiceUri": "AzureWebJobsStorage__accountName",
}


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of every table whose first cell is code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def bare(cell: str) -> str:
    return cell.strip("`")


# --- Generated pages ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", generate_docs.PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generate_docs.PAGES[name]()


def test_every_state_that_ends_by_time_names_a_key_that_exists() -> None:
    """QUEUED waits for others; every other state has a deadline, and the page says whose."""
    assert set(LIMITS) == set(State) - ENDS - {State.QUEUED}
    for text in LIMITS.values():
        for key in re.findall(r"`([^`]+)`", text):
            assert _has(AppSection, key.replace("[]", "").split(".")), key


def _has(model: type[BaseModel], path: list[str]) -> bool:
    info = model.model_fields.get(path[0])
    if info is None or len(path) == 1:
        return info is not None
    kinds = (info.annotation, *get_args(info.annotation))
    return any(
        isinstance(k, type) and issubclass(k, BaseModel) and _has(k, path[1:]) for k in kinds
    )


# --- Error codes ----------------------------------------------------------------------------------


def test_every_code_has_an_entry_and_every_entry_a_code() -> None:
    sources = [*ROOT.glob("controller/**/*.py"), ROOT / "function_app.py"]
    used = {code for path in sources for code in CODE.findall(path.read_text(encoding="utf-8"))}
    listed = [bare(row[0]) for row in rows(read("errors.md"))]

    assert listed == sorted(used)
    assert all(len(row) == 4 and all(row) for row in rows(read("errors.md")))


def test_no_two_classes_share_a_code() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and hasattr(k, "code")]

    assert len({kind.code for kind in kinds}) == len(kinds)


# --- Settings -------------------------------------------------------------------------------------


class Asked(Mapping[str, str]):
    """An environment with nothing in it that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture(scope="module")
def wanted() -> set[str]:
    """Every setting that the code reads, and those that the host resolves for function_app.py."""
    environment = Asked()
    with pytest.raises(ConfigurationError):
        Settings.read(environment)
    start_telemetry(environment)
    doors = (ROOT / "function_app.py").read_text(encoding="utf-8")
    return environment.names | set(re.findall(r'"%(\w+)%"', doors))


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    text = (ROOT / "local.settings.example.json").read_text(encoding="utf-8")
    values: dict[str, str] = json.loads(text)["Values"]
    return values


def test_every_setting_is_described_and_in_the_example(
    wanted: set[str], example: dict[str, str]
) -> None:
    described = {bare(row[0]) for row in rows(read("settings.md"))}

    assert len(wanted) > 15
    assert wanted - described == set()
    assert {INSTEAD.get(name, name) for name in wanted} - set(example) == set()
    assert set(example) - described == set()


def test_the_example_holds_texts_no_secret_and_is_accepted(example: dict[str, str]) -> None:
    text = json.dumps(example).lower()

    assert Settings.read(example).service_bus_namespace.endswith(".servicebus.windows.net")
    assert all(isinstance(value, str) for value in example.values())
    assert not re.search(r"sharedaccesskey|accountkey|instrumentationkey|sig=|password", text)


def test_the_defaults_in_the_page_are_those_of_the_code() -> None:
    """Saying a documented default changes nothing."""
    required = {
        "SLIPWAY_CONFIG": "apps.yaml",
        "ServiceBus__fullyQualifiedNamespace": "bus",
        "AzureWebJobsStorage__accountName": "store",
    }
    told = {bare(row[0]): bare(row[1]) for row in rows(read("settings.md")) if "`" in row[1]}
    told = {name: value for name, value in told.items() if name.isupper()}

    assert len(told) > 8
    assert Settings.read(required | told) == Settings.read(required)


def test_the_numbers_of_host_json_are_told() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    actual = {**host, **host["extensions"]["serviceBus"]}
    section = read("settings.md").partition("## host.json")[2]

    assert rows(section)
    for key, value, *_ in rows(section):
        assert _in_words(actual[bare(key)]) == value


def _in_words(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    hours, minutes, seconds = (int(part) for part in value.split(":"))
    parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


# --- The API --------------------------------------------------------------------------------------


def test_every_route_and_command_is_described() -> None:
    doors = (ROOT / "function_app.py").read_text(encoding="utf-8")
    routes = re.findall(r'@app\.route\("([^"]+)", methods=\["(\w+)"', doors)
    text = read("api.md")

    assert len(routes) == doors.count("@app.route(")
    for path, method in routes:
        assert f"`{method} /api/{path}`" in text
    commands = {bare(row[0]) for row in rows(text.partition("## Commands")[2])}
    assert set(COMMANDS) <= commands


async def test_the_requests_in_the_pages_are_accepted() -> None:
    """Every curl command with an order is taken, and leads to a message in the app's session."""
    orders = [order for page in ("api.md", "operations.md") for order in _orders(read(page))]
    bus, registry = MemoryBus(ManualClock()), MemoryRegistry()
    registry.push("contoso.azurecr.io", "shop", "sha256:" + "a" * 64, "v1.4.2")
    store = MemoryStore()
    api = Api(
        store=store,
        history=store,
        buckets=store,
        bus=bus,
        registry=registry,
        configuration=Configured(),
        explainer=Explainer(
            buckets=store, evidence=MemoryEvidence(), history=store, clock=ManualClock()
        ),
    )

    assert {command for command, _ in orders} == {"rollback", "deploy", "approve"}
    for command, body in orders:
        request = Request(route={"app": "shop", "command": command}, body=body.encode())
        assert (await api.command(request)).status == 202
    assert {message.session for message in bus.waiting("rollouts")} == {"shop"}


def _orders(text: str) -> list[tuple[str, str]]:
    return re.findall(r"/api/apps/shop/(\w+)\"[^']*-d '([^']+)'", text)


class Configured:
    """The documented configuration."""

    async def apps(self) -> Any:
        return load_text((ROOT / "apps.example.yaml").read_text(encoding="utf-8"), name="example")


async def test_every_field_of_an_answer_is_described() -> None:
    spec = (await Configured().apps())["shop"]
    image = Image(registry="contoso.azurecr.io", repository="shop", digest="sha256:" + "a" * 64)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    empty = (await MemoryStore().load(spec.id)).state
    state = apply(empty, spec, Submit(at=now, image=image, by="ann")).state
    assert state.active is not None
    rollout = decide(state.active, Tick(at=now + timedelta(seconds=1))).rollout

    known = set(re.findall(r"`(\w+)`", read("api.md")))
    shown = {*app_detail(spec, state, [rollout], []), *rollout_detail(rollout, [], [], None)}
    figures = rollout_detail(rollout, [], [], None)["numbers"]["canary"]
    explained = document(judge_again(json.loads(EVIDENCE.read_text(encoding="utf-8"))))

    assert shown - known == set()
    assert set(figures) - known == set()
    assert {*explained, *explained["course"], *explained["signals"][0]} - known == set()


# --- Messages -------------------------------------------------------------------------------------


def test_the_examples_of_messages_are_understood() -> None:
    blocks = [body for language, body in FENCED.findall(read("messages.md")) if language == "json"]
    inline = re.findall(r"(\{\"v\": 1[^}]*\})", read("messages.md"))

    assert len(blocks) == len(EXAMPLES)
    assert len(inline) == 2
    for body in (*blocks, *inline):
        assert parse_command(body.encode(), session="shop").app == "shop"


def test_the_schema_accepts_the_examples_and_nothing_unknown() -> None:
    schema = json.loads(read("messages.schema.json"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    for example in EXAMPLES:
        body = example.model_dump(mode="json", exclude_none=True)
        assert list(validator.iter_errors(body)) == []
        assert list(validator.iter_errors(body | {"colour": "red"})) != []


# --- Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_resolves(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_index_lists_every_page() -> None:
    index = read("README.md")
    pages = [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if p.name != "README.md"]

    assert [page for page in pages if f"]({page})" not in index] == []
