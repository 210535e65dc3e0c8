"""apps.yaml: what it becomes, and what is said about one that is wrong."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.adapters.memory.clock import ManualClock
from controller.config.gate import PRESETS, Preset
from controller.config.load import load_file, load_text
from controller.config.problems import InvalidConfigurationError, Problem
from controller.core import plan
from controller.core.data import (
    BackupKind,
    Bundles,
    BundleSource,
    ContractPolicy,
    DatabaseSpec,
    OnRollback,
    ServerName,
)
from controller.core.errors import ConfigurationError
from controller.core.gate import Gate, Metric
from controller.runtime.configuration import TextConfiguration

ProblemsOf = Callable[[str], tuple[Problem, ...]]


def test_what_is_left_out_is_the_cores_default(minimal: str) -> None:
    spec = load_text(minimal, name="apps.yaml")[plan.AppId("shop")]

    assert spec.health == plan.Health()
    assert spec.deadlines == plan.Deadlines()
    assert spec.strategy.hold == plan.Hold()
    assert spec.strategy.approval == plan.Approval()
    assert spec.analysis == plan.Analysis(workspace="00000000-0000-0000-0000-000000000002")
    assert spec.source.tags == ("*",)
    assert [step.weight for step in spec.strategy.steps] == [10, 50, 100]
    assert {step.min_observation for step in spec.strategy.steps} == {timedelta(minutes=2)}
    assert {step.max_observation for step in spec.strategy.steps} == {timedelta(minutes=30)}


def test_an_app_has_no_database_unless_it_names_one(minimal: str) -> None:
    assert load_text(minimal, name="apps.yaml")[plan.AppId("shop")].database is None

    text = minimal + "    database: {connection: shop-db}\n"
    assert load_text(text, name="apps.yaml")[plan.AppId("shop")].database == DatabaseSpec(
        connection="shop-db",
        contract=ContractPolicy.REFUSE,
        on_rollback=OnRollback.KEEP,
        backup=BackupKind.DUMP,
    )


def test_every_value_of_a_database_arrives(minimal: str) -> None:
    text = minimal + (
        "    database:\n      connection: shop-db\n"
        "      bundles: {source: blob, url: 'https://a.blob.core.windows.net/c/', prefix: shop/}\n"
        "      contract: allow\n      on_rollback: down\n      backup: platform\n"
        "      server: {subscription: 00000000-0000-0000-0000-00000000000A,"
        " resource_group: rg-data, name: shop-db}\n"
        "      accept: [SWM206, SWM301@0042_x]\n"
        "      lock_timeout: 1s\n      statement_timeout: 2m\n"
        "    deadlines: {backup: 3m, migrating: 4m}\n"
    )

    spec = load_text(text, name="apps.yaml")[plan.AppId("shop")]

    assert spec.database == DatabaseSpec(
        connection="shop-db",
        server=ServerName(
            subscription="00000000-0000-0000-0000-00000000000a",
            resource_group="rg-data",
            name="shop-db",
        ),
        bundles=Bundles(
            source=BundleSource.BLOB, url="https://a.blob.core.windows.net/c", prefix="shop/"
        ),
        contract=ContractPolicy.ALLOW,
        on_rollback=OnRollback.DOWN,
        backup=BackupKind.PLATFORM,
        accept=("SWM206", "SWM301@0042_x"),
        lock_timeout=timedelta(seconds=1),
        statement_timeout=timedelta(minutes=2),
    )
    assert spec.deadlines.backup == timedelta(minutes=3)
    assert spec.deadlines.migrating == timedelta(minutes=4)


def test_every_value_arrives(minimal: str) -> None:
    text = minimal + (
        "      limits: {error_rate_max: 0.01, latency_percentile: 99, latency_ms_max: 250,"
        " min_requests: 7}\n"
        "      poll: 1s\n      bucket: 2s\n      settle: 3s\n      provider_grace: 4s\n"
        "      on_no_evidence: {insufficient_data: proceed, provider_unavailable: roll_back,"
        " ambient_incident: proceed}\n"
        "    deadlines: {preflight: 1m, staging: 2m, warming: 3m, shifting: 4m, promoting: 5m,"
        " rolling_back: 6m}\n"
        "    health:\n      readiness_path: /up\n      identity: {kind: json, name: build.digest}\n"
        "      consecutive: 2\n      interval: 1s\n      request_timeout: 2s\n"
        "      smoke_tests: [{method: POST, path: '/a?b=c', headers: {accept: text/html},"
        " expect_status: 201, expect_body: hi}]\n"
        "    strategy:\n      steps: [{weight: 5, min_observation: 1s, max_observation: 2s}]\n"
        "      bake: 0s\n      approval: {point: before_full, limit: 1h, on_expiry: hold}\n"
        "      hold: {traffic: returned, limit: 2h, on_expiry: proceed}\n      new_push: queue\n"
    )

    spec = load_text(text, name="apps.yaml")[plan.AppId("shop")]

    second, minute = timedelta(seconds=1), timedelta(minutes=1)
    assert spec.analysis == plan.Analysis(
        workspace="00000000-0000-0000-0000-000000000002",
        limits=plan.Limits(
            error_rate_max=0.01, latency_percentile=99, latency_ms_max=250.0, min_requests=7
        ),
        poll=second,
        bucket=2 * second,
        settle=3 * second,
        provider_grace=4 * second,
        on_no_evidence=plan.NoEvidence(
            insufficient_data=plan.NoEvidenceAction.PROCEED,
            provider_unavailable=plan.NoEvidenceAction.ROLL_BACK,
            ambient_incident=plan.NoEvidenceAction.PROCEED,
        ),
    )
    assert spec.deadlines == plan.Deadlines(
        preflight=minute,
        staging=2 * minute,
        warming=3 * minute,
        shifting=4 * minute,
        promoting=5 * minute,
        rolling_back=6 * minute,
    )
    assert spec.health == plan.Health(
        readiness_path="/up",
        identity=plan.Identity(kind=plan.IdentityKind.JSON, name="build.digest"),
        consecutive=2,
        interval=second,
        request_timeout=2 * second,
        smoke_tests=(
            plan.SmokeTest(
                method="POST",
                path="/a?b=c",
                headers=(("accept", "text/html"),),
                expect_status=201,
                expect_body="hi",
            ),
        ),
    )
    assert spec.strategy == plan.Strategy(
        steps=(
            plan.Step(weight=plan.Percent(5), min_observation=second, max_observation=2 * second),
        ),
        bake=timedelta(0),
        approval=plan.Approval(
            point=plan.ApprovalPoint.BEFORE_FULL,
            limit=timedelta(hours=1),
            on_expiry=plan.ExpiryAction.HOLD,
        ),
        hold=plan.Hold(
            traffic=plan.HeldTraffic.RETURNED,
            limit=timedelta(hours=2),
            on_expiry=plan.ExpiryAction.PROCEED,
        ),
        new_push=plan.NewPushPolicy.QUEUE,
    )
    assert spec.target.slots == ("blue", "green")


def test_defaults_are_merged_under_each_app_and_lists_replaced_whole() -> None:
    spec = load_text(
        """
defaults: &common
  target: {subscription: 00000000-0000-0000-0000-00000000000A, resource_group: rg, slots: [a, b]}
  source: {registry: r.example, tags: ["v*"]}
  analysis: {workspace: 00000000-0000-0000-0000-000000000002, limits: {min_requests: 9}}
apps:
  shop:
    target: {site: shop, slots: [c]}
    source: {repository: shop}
    analysis: {limits: {error_rate_max: 0.5}}
""",
        name="apps.yaml",
    )[plan.AppId("shop")]

    assert spec.target.subscription == "00000000-0000-0000-0000-00000000000a"
    assert spec.target.slots == ("c",)
    assert spec.source.tags == ("v*",)
    assert (spec.analysis.limits.min_requests, spec.analysis.limits.error_rate_max) == (9, 0.5)


def test_anchors_and_merge_keys_work(minimal: str) -> None:
    text = minimal.replace("shop:\n    target:", "shop: &shop\n    target: &target", 1) + (
        "  blog:\n    <<: *shop\n    target:\n      <<: *target\n      site: contoso-blog\n"
    )

    apps = load_text(text, name="apps.yaml")

    assert apps[plan.AppId("blog")].target.site == "contoso-blog"
    assert apps[plan.AppId("blog")].source == apps[plan.AppId("shop")].source


def test_aliases_of_aliases_do_not_fill_the_memory(problems_of: ProblemsOf) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "too many" in problems_of("\n".join(levels))[-1].message


def test_two_apps_on_one_site_are_refused(minimal: str, problems_of: ProblemsOf) -> None:
    twin = minimal.removeprefix("apps:\n").replace("shop:", "blog:", 1).replace("rg-web", "RG-Web")

    problem = problems_of(minimal + twin)[0]

    assert (problem.key, problem.message) == (
        "apps.blog.target.site",
        "app 'shop' has the same site",
    )


def test_all_problems_are_reported_at_once_in_file_order(
    minimal: str, problems_of: ProblemsOf
) -> None:
    """Neither one wrong value nor one wrong app hides another, and checks across values speak."""
    problems = problems_of(
        minimal.replace("site:", "sight:").replace("[blue, green]", "[blue, blue]")
        + "    strategy: {bake: soon, steps: [{weight: 50, min_observation: x}, {weight: 10}]}\n"
        + "  Blog: {}\n"
        + "extra: 1\n"
    )

    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert [problem.key for problem in problems] == [
        "apps.shop.target.site",
        "apps.shop.target.sight",
        "apps.shop.target.slots[1]",
        "apps.shop.strategy.bake",
        "apps.shop.strategy.steps[0].min_observation",
        "apps.shop.strategy.steps[1].weight",
        "apps.Blog",
        "apps.Blog.analysis",
        "apps.Blog.source",
        "apps.Blog.target",
        "extra",
    ]


def test_a_problem_in_defaults_is_said_once_and_at_its_place(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        """\
defaults:
  target: {subscription: 00000000-0000-0000-0000-000000000001, resource_group: rg, slots: [a]}
  source: {registry: r.example, repository: x}
  analysis: {workspace: 00000000-0000-0000-0000-000000000002, pol: 5s}
  health: {identity: {kind: json}}
  strategy: {bake: never}
apps:
  one: {target: {site: one}, strategy: {bake: 0s}}
  two: {target: {site: two}, strategy: {bake: 0s}}
"""
    )

    assert [(p.line, p.key) for p in problems] == [
        (4, "defaults.analysis.pol"),
        (5, "defaults.health.identity"),
        (6, "defaults.strategy.bake"),
    ]


def test_what_defaults_leave_open_is_missing_in_each_app(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        """\
defaults:
  target: {subscription: 00000000-0000-0000-0000-000000000001, resource_group: rg, slots: [a]}
  source: {registry: r.example, repository: x}
  analysis: {workspace: 00000000-0000-0000-0000-000000000002}
apps:
  one: {}
  two: {}
"""
    )

    assert [(p.line, p.key) for p in problems] == [
        (6, "apps.one.target.site"),
        (7, "apps.two.target.site"),
    ]


def test_the_error_is_one_text_with_every_place_and_the_next_act(minimal: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(minimal.replace("site:", "sight:"), name="conf/apps.yaml")

    lines = caught.value.what.splitlines()
    assert lines[0] == "conf/apps.yaml has 2 problems:"
    assert lines[2] == (
        "conf/apps.yaml:6:7: apps.shop.target.sight: is an unknown key. Did you mean 'site'?"
    )
    assert caught.value.fix.endswith("slipway validate conf/apps.yaml")
    assert caught.value.code == "SW400"


def test_a_secret_is_never_repeated(minimal: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(minimal + "    clientSecret: hunter2\n    api_key: hunter2\n", name="apps.yaml")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"apps:\n  \xff", "not UTF-8")]
)
def test_an_unreadable_file_is_a_problem_too(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "apps.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidConfigurationError, match=said):
        load_file(path)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path, minimal: str) -> None:
    path = tmp_path / "apps.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + minimal.encode())

    assert list(load_file(path)) == ["shop"]
    assert list(load_text("\ufeff" + minimal, name="blob")) == ["shop"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_configuration_error_or_no_error(example: str, data: st.DataObject) -> None:
    """Whatever is done to the file, nothing but a ConfigurationError comes out."""
    lines = example.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    odd = st.sampled_from(
        ["", "x", "- ", "{", "*a", "&a ", "!!int ", "? ", "1", "null", "'", "<<: "]
    )
    cut = data.draw(st.integers(0, len(lines[at])))
    lines[at] = lines[at][:cut] + data.draw(odd | st.text(max_size=5)) + lines[at][cut:]
    with suppress(ConfigurationError):
        load_text("".join(lines), name="apps.yaml")


# --- The judge ------------------------------------------------------------------------------------


def test_a_preset_gives_margins_and_what_is_said_beside_it_wins(minimal: str) -> None:
    text = (
        minimal + "      judge: {preset: strict, acceptance: {error_absolute: 0.01}, beta: 0.1,"
        " quantiles: [50]}\n"
    )

    gate = load_text(text, name="apps.yaml")[plan.AppId("shop")].analysis.gate

    assert (gate.tolerance.error_ratio, gate.tolerance.error_absolute) == (1.0, 0.0)
    assert gate.tolerance.latency_ratio == Gate().tolerance.latency_ratio
    assert (gate.acceptance.error_ratio, gate.acceptance.error_absolute) == (1.5, 0.01)
    assert (gate.alpha, gate.beta) == (Gate().alpha, 0.1)
    assert gate.quantiles == (50,)


@pytest.mark.parametrize("preset", list(Preset))
def test_every_preset_lets_pass_what_it_tolerates(preset: Preset) -> None:
    """Acceptance is nowhere less than tolerance, or a good build would wait for ever."""
    gate = PRESETS[preset]

    for name in ("error_ratio", "error_absolute", "latency_ratio"):
        assert getattr(gate.tolerance, name) <= getattr(gate.acceptance, name)


def test_a_metric_may_come_from_a_file_beside_the_configuration(
    minimal: str, tmp_path: Path
) -> None:
    """What is kept is its text: a rollout stays the same when the file changes."""
    (tmp_path / "kql").mkdir()
    (tmp_path / "kql/slow.kql").write_text("AppRequests | take 1", encoding="utf-8")
    config = tmp_path / "apps.yaml"
    config.write_text(
        minimal + "      judge: {metrics: [{name: slow, file: kql/slow.kql}]}\n", encoding="utf-8"
    )

    (metric,) = load_file(config)[plan.AppId("shop")].analysis.gate.metrics

    assert metric == Metric(name="slow", query="AppRequests | take 1")


async def test_a_changed_query_file_is_noticed_without_a_change_of_the_configuration(
    minimal: str,
) -> None:
    """And one that became unreadable is no reason to go on with the old one."""
    files = {"a.kql": "one | two"}
    clock = ManualClock()
    text = minimal + "      judge: {metrics: [{name: a, file: a.kql}]}\n"

    async def read() -> str:
        return text

    def read_file(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    configuration = TextConfiguration(read=read, name="x", clock=clock, read_file=read_file)

    async def query() -> str:
        clock.advance(configuration.refresh)
        return (await configuration.apps())[plan.AppId("shop")].analysis.gate.metrics[0].query

    assert await query() == "one | two"
    files["a.kql"] = "three | four"
    assert await query() == "three | four"
    del files["a.kql"]
    for _ in range(2):
        with pytest.raises(InvalidConfigurationError, match="cannot be read"):
            await query()
