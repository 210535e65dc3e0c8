# ruff: noqa: E501 - a row of a table is one line
"""What is said about each kind of mistake: where it is, what is wrong, what was meant."""

from collections.abc import Callable

import pytest

from controller.config.problems import Problem

ProblemsOf = Callable[[str], tuple[Problem, ...]]

# Each row changes one thing of the minimal file: what is replaced, by what, and what is said.
# fmt: off
VALUES = [
    # id                  replaced                  by                                      line col key (below apps.shop) said                                  advised
    ("unknown-key", "site:", "sight:", 6, 7, "target.sight", "unknown key", "'site'"),
    ("missing-key", "      site: contoso-shop\n", "", 3, 5, "target.site", "is missing", ""),
    ("misplaced-key", "repository: shop", "repository: shop\n      readiness_path: /x", 11, 7, "source.readiness_path", "unknown key here", "under 'health'"),
    ("secret-key", "repository: shop", "repository: shop\n      password: hunter2", 11, 7, "source.password", "looks like a secret", "Key Vault"),
    ("not-a-guid", "00000000-0000-0000-0000-000000000001", "production", 4, 21, "target.subscription", "a GUID", ""),
    ("host-as-site", "site: contoso-shop", "site: contoso.azurewebsites.net", 6, 13, "target.site", "not its host name", ""),
    ("no-slots", "[blue, green]", "[]", 7, 14, "target.slots", "at least 1", ""),
    ("slot-twice", "[blue, green]", "[blue, Blue]", 7, 21, "target.slots[1]", "occurs twice", ""),
    ("production-slot", "[blue, green]", "[Production]", 7, 15, "target.slots[0]", "not 'production'", "the site itself"),
    ("slots-no-list", "[blue, green]", "blue", 7, 14, "target.slots", "'blue' is not a list", ""),
    ("url-as-registry", "contoso.azurecr.io", "https://contoso.azurecr.io/", 9, 17, "source.registry", "bare host", "'contoso.azurecr.io'"),
    ("tag-in-repository", "repository: shop", "repository: shop:v1", 10, 19, "source.repository", "must be a repository", "Without tag"),
    ("number-as-tag", "repository: shop", "repository: shop\n      tags: [1.10]", 11, 14, "source.tags[0]", "is not a text", '"1.10"'),
    ("no-tags", "repository: shop", "repository: shop\n      tags: []", 11, 13, "source.tags", "at least 1", ""),
    ("bad-glob", "repository: shop", "repository: shop\n      tags: ['v 1']", 11, 14, "source.tags[0]", "a pattern", ""),
    ("empty-section", "repository: shop", "repository: shop\n    health:", 11, 12, "health", "is empty", "remove the key"),
    ("long-id", "  shop:", "  " + "s" * 41 + ":", 2, 3, None, "longer than 40", ""),
    ("upper-id", "  shop:", "  Shop_1:", 2, 3, None, "1 to 40", "'shop-1'"),
]
SECTIONS = [
    # id                   appended to the app                                             key                                  said                        advised
    ("enum", "strategy: {new_push: superseed}", "strategy.new_push", "not one of", "'supersede'"),
    ("falling-weights", "strategy: {steps: [{weight: 50}, {weight: 10}]}", "strategy.steps[1].weight", "not more than the 50", ""),
    ("same-weights", "strategy: {steps: [{weight: 50}, {weight: 50}]}", "strategy.steps[1].weight", "not more than the 50", ""),
    ("weight-0", "strategy: {steps: [{weight: 0}]}", "strategy.steps[0].weight", "at least 1", ""),
    ("weight-101", "strategy: {steps: [{weight: 101}]}", "strategy.steps[0].weight", "at most 100", ""),
    ("weight-huge", "strategy: {steps: [{weight: 99999999999999999999999}]}", "strategy.steps[0].weight", "at most 100", ""),
    ("weight-text", "strategy: {steps: [{weight: '10'}]}", "strategy.steps[0].weight", "whole number", ""),
    ("weight-fraction", "strategy: {steps: [{weight: 10.5}]}", "strategy.steps[0].weight", "whole number", ""),
    ("weight-bool", "strategy: {steps: [{weight: true}]}", "strategy.steps[0].weight", "whole number", ""),
    ("no-steps", "strategy: {steps: []}", "strategy.steps", "is empty", "kind swap"),
    ("swap-to-100", "strategy: {kind: swap, steps: [{weight: 100}]}", "strategy.steps[0].weight", "needs no step of 100", "Remove this step."),
    ("swap-misspelt", "strategy: {kind: swop}", "strategy.kind", "", "swap"),
    ("min-over-max", "strategy: {steps: [{weight: 1, min_observation: 40m}]}", "strategy.steps[0].min_observation", "longer than max_obs", ""),
    ("max-under-min", "strategy: {steps: [{weight: 1, max_observation: 20s}]}", "strategy.steps[0].max_observation", "longer than max_obs", ""),
    ("cron-fields", "strategy: {freezes: [{cron: '0 18 * *', duration: 1h}]}", "strategy.freezes[0].cron", "five fields", "'0 18 * * fri'"),
    ("cron-range", "strategy: {freezes: [{cron: '0 25 * * *', duration: 1h}]}", "strategy.freezes[0].cron", "out of range", "'0 18 * * fri'"),
    ("cron-chance", "strategy: {freezes: [{cron: 'R 18 * * *', duration: 1h}]}", "strategy.freezes[0].cron", "five fields", ""),
    ("cron-never", "strategy: {freezes: [{cron: '0 0 31 2 *', duration: 1h}]}", "strategy.freezes[0].cron", "failed to find next date", ""),
    ("freeze-short", "strategy: {freezes: [{cron: '0 18 * * *', duration: 59s}]}", "strategy.freezes[0].duration", "at least 1 minute", ""),
    ("freeze-no-duration", "strategy: {freezes: [{cron: '0 18 * * *'}]}", "strategy.freezes[0].duration", "is missing", ""),
    ("freeze-words", "strategy: {freezes: [{cron: '0 18 * * *', duration: a while}]}", "strategy.freezes[0].duration", "not a duration", ""),
    ("freeze-zone", "strategy: {freezes: [{cron: '0 18 * * *', duration: 1h, timezone: Mars/Olympus}]}", "strategy.freezes[0].timezone", "not a time zone", "Europe/Berlin"),
    ("freeze-zone-form", "strategy: {freezes: [{cron: '0 18 * * *', duration: 1h, timezone: ../../etc/passwd}]}", "strategy.freezes[0].timezone", "a time zone such as", ""),
    ("freeze-always", "strategy: {freezes: [{cron: '0 18 * * *', duration: 24h}]}", "strategy.freezes", "no rollout could ever start", "Shorten"),
    ("delay-long", "strategy: {delay: {quiet: 2d}}", "strategy.delay.quiet", "at most 1 day", ""),
    ("hold-for-ever", "strategy: {hold: {on_expiry: hold}}", "strategy.hold.on_expiry", "not one of", ""),
    ("duration-words", "strategy: {bake: 5 minutes}", "strategy.bake", "not a duration", ""),
    ("duration-sexagesimal", "strategy: {bake: 1:30}", "strategy.bake", "not a duration", ""),
    ("duration-long", "strategy: {bake: 31d}", "strategy.bake", "longer than 30 days", ""),
    ("duration-nan", "strategy: {bake: .nan}", "strategy.bake", "between 0 and 30 days", ""),
    ("limit-0", "strategy: {approval: {limit: 0s}}", "strategy.approval.limit", "at least 1 second", ""),
    ("deadline-long", "deadlines: {warming: 2d}", "deadlines.warming", "at most 1 day", ""),
    ("rule-by-id", "alerts: {rules: [/subscriptions/s/x/metricAlerts/shop-5xx]}", "alerts.rules[0]", "the name of an alert rule", "'shop-5xx'"),
    ("resource-by-name", "alerts: {resources: [contoso-shop]}", "alerts.resources[0]", "the ARM id of a resource", "az resource show"),
    ("resource-from-portal", "alerts: {resources: ['https://portal.azure.com/#@x/resource/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg']}", "alerts.resources[0]", "the ARM id of a resource", "'/subscriptions/"),
    ("alert-age", "alerts: {max_age: 2d}", "alerts.max_age", "at most 1 day", ""),
    ("connection-string", "database: {connection: 'postgresql://shop:hunter2@db/shop'}", "database.connection", "the name of a secret", "Key Vault"),
    ("npgsql-string", "database: {connection: 'Host=db;Password=hunter2'}", "database.connection", "the name of a secret", "Key Vault"),
    ("no-connection", "database: {backup: none}", "database.connection", "is missing", ""),
    ("contract", "database: {connection: db, contract: forbid}", "database.contract", "not one of", ""),
    ("backup-kind", "database: {connection: db, backup: dmp}", "database.backup", "not one of", "'dump'"),
    ("blob-without-url", "database: {connection: db, bundles: {source: blob}}", "database.bundles", "names no container", "url"),
    ("url-of-image", "database: {connection: db, bundles: {url: 'https://a.blob.core.windows.net/c'}}", "database.bundles.url", "attached to the image", "source to blob"),
    ("prefix-of-image", "database: {connection: db, bundles: {source: image, prefix: shop/}}", "database.bundles.prefix", "attached to the image", "Remove it"),
    ("container-with-token", "database: {connection: db, bundles: {source: blob, url: 'https://a.blob.core.windows.net/c?sv=1&sig=x'}}", "database.bundles.url", "a blob container", "'https://a.blob.core.windows.net/c'"),
    ("copy-without-time", "database: {connection: db, dry_run: copy}", "database.dry_run", "deadlines.preflight is not given", "slipway backup drill"),
    ("platform-of-nothing", "database: {connection: db, backup: platform}", "database.backup", "needs to know the server", "database.server"),
    ("host-for-server", "database: {connection: db, server: {subscription: 00000000-0000-0000-0000-000000000001, resource_group: rg, name: shop-db.postgres.database.azure.com}}", "database.server.name", "not its host name", "'shop-db'"),
    ("patient-lock", "database: {connection: db, lock_timeout: 1m, statement_timeout: 30s}", "database.lock_timeout", "not shorter than statement_timeout", ""),
    ("short-statement", "database: {connection: db, statement_timeout: 5s}", "database.statement_timeout", "not shorter", ""),
    ("long-lock", "database: {connection: db, lock_timeout: 10m}", "database.lock_timeout", "at most 5 minutes", ""),
    ("percentile", "analysis: {limits: {latency_percentile: 94}}", "analysis.limits.latency_percentile", "50, 90, 95, 99", ""),
    ("percent-as-rate", "analysis: {limits: {error_rate_max: 5}}", "analysis.limits.error_rate_max", "at most 1", "5 % is 0.05"),
    ("rate-nan", "analysis: {limits: {error_rate_max: .NaN}}", "analysis.limits.error_rate_max", "finite", ""),
    ("latency-inf", "analysis: {limits: {latency_ms_max: .inf}}", "analysis.limits.latency_ms_max", "finite", ""),
    ("latency-1e999", "analysis: {limits: {latency_ms_max: 1e999}}", "analysis.limits.latency_ms_max", "finite", ""),
    ("latency-0", "analysis: {limits: {latency_ms_max: 0}}", "analysis.limits.latency_ms_max", "more than 0", ""),
    ("min-requests-0", "analysis: {limits: {min_requests: 0}}", "analysis.limits.min_requests", "at least 1", ""),
    ("impatient", "analysis: {poll: 5m}", "analysis.poll", "not longer than poll", ""),
    ("no-consecutive", "health: {consecutive: 0}", "health.consecutive", "at least 1", ""),
    ("relative-path", "health: {readiness_path: health}", "health.readiness_path", "starts with '/'", "'/health'"),
    ("url-as-path", "health: {readiness_path: 'https://x/health'}", "health.readiness_path", "starts with '/'", "Without scheme"),
    ("fragment", "health: {readiness_path: '/a#b'}", "health.readiness_path", "starts with '/'", ""),
    ("header-name", "health: {identity: {name: 'x:release'}}", "health.identity.name", "name of a header", ""),
    ("json-without-name", "health: {identity: {kind: json}}", "health.identity", "needs a name", "JSON field"),
    ("none-with-name", "health: {identity: {kind: none, name: x}}", "health.identity.name", "no meaning", "Remove"),
    ("method-case", "health: {smoke_tests: [{path: /, method: get}]}", "health.smoke_tests[0].method", "not one of", "'GET'"),
    ("smoke-no-path", "health: {smoke_tests: [{method: GET}]}", "health.smoke_tests[0].path", "is missing", ""),
    ("smoke-status", "health: {smoke_tests: [{path: /, expect_status: 99}]}", "health.smoke_tests[0].expect_status", "at least 100", ""),
    ("smoke-head-body", "health: {smoke_tests: [{path: /, method: HEAD, expect_body: x}]}", "health.smoke_tests[0].expect_body", "has no body", "GET"),
    ("smoke-empty-body", "health: {smoke_tests: [{path: /, expect_body: ''}]}", "health.smoke_tests[0].expect_body", "at least 1 char", ""),
    ("smoke-bad-header", "health: {smoke_tests: [{path: /, headers: {'a b': x}}]}", "health.smoke_tests[0].headers.a b", "name of a header", ""),
    ("smoke-secret", "health: {smoke_tests: [{path: /, headers: {Authorization: x}}]}", "health.smoke_tests[0].headers.Authorization", "secret", "Key Vault"),
    ("smoke-cookie", "health: {smoke_tests: [{path: /, headers: {cookie: x}}]}", "health.smoke_tests[0].headers.cookie", "secret", ""),
    ("smoke-host", "health: {smoke_tests: [{path: /, headers: {Host: x}}]}", "health.smoke_tests[0].headers.Host", "Slipway itself", ""),
    ("smoke-header-twice", "health: {smoke_tests: [{path: /, headers: {Accept: x, accept: y}}]}", "health.smoke_tests[0].headers.accept", "twice", ""),
    ("preset", "analysis: {judge: {preset: strikt}}", "analysis.judge.preset", "not one of", "'strict'"),
    ("alpha-percent", "analysis: {judge: {alpha: 2}}", "analysis.judge.alpha", "at most 0.2", ""),
    ("ratio-below-1", "analysis: {judge: {tolerance: {error_ratio: 0.5}}}", "analysis.judge.tolerance.error_ratio", "at least 1", ""),
    ("acceptance-inside", "analysis: {judge: {acceptance: {error_ratio: 1.1}}}", "analysis.judge.acceptance.error_ratio", "less than the tolerance of 1.2", "raise acceptance"),
    ("tolerance-outside", "analysis: {judge: {preset: strict, tolerance: {latency_ratio: 2}}}", "analysis.judge.tolerance.latency_ratio", "acceptance of 1.4125 is less", ""),
    ("quantile", "analysis: {judge: {quantiles: [95]}}", "analysis.judge.quantiles[0]", "not one of: 50, 90, 99", ""),
    ("probes-many", "analysis: {judge: {synthetic: {per_poll: 1000}}}", "analysis.judge.synthetic.per_poll", "at most 200", ""),
    ("probes-path", "analysis: {judge: {synthetic: {path: 'https://x/'}}}", "analysis.judge.synthetic.path", "starts with '/'", "Without scheme"),
    ("metric-no-query", "analysis: {judge: {metrics: [{name: a}]}}", "analysis.judge.metrics[0]", "has no query", "write KQL"),
    ("metric-misspelt", "analysis: {judge: {metrics: [{name: a, query: dependancies}]}}", "analysis.judge.metrics[0].query", "neither dependencies nor", "KQL returns"),
    ("metric-blank", "analysis: {judge: {metrics: [{name: a, query: ' '}]}}", "analysis.judge.metrics[0].query", "has no text", ""),
    ("metric-file", "analysis: {judge: {metrics: [{name: a, file: a.kql}]}}", "analysis.judge.metrics[0].file", "only be read beside", "as query"),
    ("metric-file-outside", "analysis: {judge: {metrics: [{name: a, file: ../a.kql}]}}", "analysis.judge.metrics[0].file", "below the folder", ""),
    ("metric-name", "analysis: {judge: {metrics: [{name: A b, query: exceptions}]}}", "analysis.judge.metrics[0].name", "a name of a-z", ""),
    ("metric-ours", "analysis: {judge: {metrics: [{name: errors, query: exceptions}]}}", "analysis.judge.metrics[0].name", "a signal of ours", ""),
    ("metric-twice", "analysis: {judge: {metrics: [{name: a, query: exceptions}, {name: a, query: dependencies}]}}", "analysis.judge.metrics[1].name", "another metric's", ""),
    ("metric-shares", "analysis: {judge: {metrics: [{name: a, query: exceptions, share: 0.3}, {name: b, query: dependencies, share: 0.3}]}}", "analysis.judge.metrics", "sum to 0.6", "Give each less"),
    ("metric-histogram", "analysis: {judge: {metrics: [{name: a, query: exceptions, kind: histogram}]}}", "analysis.judge.metrics[0].kind", "exceptions counts", "counts"),
    ("metric-direction", "analysis: {judge: {metrics: [{name: a, query: exceptions, direction: lower_is_worse}]}}", "analysis.judge.metrics[0].direction", "no meaning", "Remove"),
    ("smoke-header-lines", 'health: {smoke_tests: [{path: /, headers: {accept: "x\\r\\ny: z"}}]}', "health.smoke_tests[0].headers.accept", "one line", ""),
]
# fmt: on


@pytest.mark.parametrize(
    ("replaced", "by", "line", "column", "key", "said", "advised"),
    [pytest.param(*row[1:], id=row[0]) for row in VALUES],
)
def test_a_wrong_value_is_reported_where_it_stands(
    minimal: str,
    problems_of: ProblemsOf,
    replaced: str,
    by: str,
    line: int,
    column: int,
    key: str | None,
    said: str,
    advised: str,
) -> None:
    assert minimal.count(replaced) == 1, "the row must change one place"

    problem, *others = problems_of(minimal.replace(replaced, by))
    if key is not None and others:  # an unknown key that replaced a known one: also missing
        problem = next(p for p in (problem, *others) if p.key == f"apps.shop.{key}")

    assert (problem.line, problem.column) == (line, column)
    assert said in problem.message
    assert advised in (problem.suggestion or "")


@pytest.mark.parametrize(
    ("section", "key", "said", "advised"),
    [pytest.param(*row[1:], id=row[0]) for row in SECTIONS],
)
def test_a_wrong_section_is_reported_by_its_key(
    minimal: str, problems_of: ProblemsOf, section: str, key: str, said: str, advised: str
) -> None:
    text = minimal
    if section.startswith("analysis: {"):  # the minimal file has that section; extend it
        text += "      " + section.removeprefix("analysis: {").removesuffix("}") + "\n"
    else:
        text += f"    {section}\n"

    problems = problems_of(text)

    assert [problem.key for problem in problems] == [f"apps.shop.{key}"]
    assert problems[0].line == 13
    assert said in problems[0].message
    assert advised in (problems[0].suggestion or "")


# fmt: off
DOCUMENTS = [
    # id                text                                        line col  said
    ("empty", "", 1, 1, "is empty"),
    ("comments", "# nothing\n", 1, 1, "is empty"),
    ("no-mapping", "- shop\n", 1, 1, "not a mapping"),
    ("a-word", "apps\n", 1, 1, "not a mapping"),
    ("no-apps", "defaults: {}\n", 1, 1, "is missing"),
    ("apps-empty", "apps: {}\n", 1, 1, "has no app"),
    ("apps-null", "apps:\n", 1, 1, "not a mapping"),
    ("apps-list", "apps: [shop]\n", 1, 1, "not a mapping"),
    ("tab", "apps:\n\tshop: 1\n", 2, 1, "tab"),
    ("unclosed", "apps: {shop: [}\n", 1, 15, "not YAML"),
    ("duplicate", "apps:\n  a: 1\n  b: 2\n  a: 3\n", 4, 3, "occurs twice; first on line 2"),
    ("two-documents", "---\na: 1\n---\nb: 2\n", 3, 1, "single document"),
    ("itself", "apps: &a\n  x: *a\n", 1, 7, "contains itself"),
    ("python-tag", "apps: !!python/object:os.system x\n", 1, 7, "has the tag"),
    ("binary", "apps: !!binary aGk=\n", 1, 7, "has the tag"),
    ("number-key", "apps:\n  5: {}\n", 2, 3, "not a text"),
    ("merge-number", "apps:\n  a:\n    <<: 5\n", 3, 9, "not a mapping"),
    ("nul", "apps: \x00\n", 1, 7, "character"),
    ("huge-number", "apps: " + "9" * 5000, 1, 7, "no number that can be used"),
    ("deep", "[" * 100_000, 1, 51, "nested too deep"),
    ("large", "#" * (1 << 20) + "\n", 1, 1, "larger than"),
]
# fmt: on


@pytest.mark.parametrize(
    ("text", "line", "column", "said"), [pytest.param(*row[1:], id=row[0]) for row in DOCUMENTS]
)
def test_an_odd_document_is_refused_with_its_place(
    problems_of: ProblemsOf, text: str, line: int, column: int, said: str
) -> None:
    problem = problems_of(text)[0]

    assert (problem.line, problem.column) == (line, column)
    assert said in problem.message
