"""``slipway infra`` against an ``az`` that is a real process and plays recorded answers."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.cli.infrastructure import PROVIDERS
from controller.cli.main import main

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
GROUP = ("--group", "shop-dev")
QUICK = ("--poll", "0.1")
OUTPUTS: dict[str, dict[str, Any]] = {
    "app": {
        "siteName": "shop-site",
        "slotNames": ["blue", "green"],
        "vaultName": "shop-vault",
        "vaultId": "/v",
        "planId": "/plan",
        "componentsId": "/components",
        "firstSettings": {"WEBSITES_PORT": "8080", "REDIS_HOST": "r"},
    },
    "controller": {
        "functionAppName": "shop-slipway",
        "functionHostName": "shop-slipway.example",
        "storageId": "/s/shopstore",
    },
}


class FakeAz:
    """The folder on PATH, its rules and what was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules: list[dict[str, Any]] = []
        program = folder / "az"
        # -S -E: without site packages a start costs a few milliseconds
        text = (Path(__file__).parent / "fake_az.py").read_text()
        program.write_text(f"#!{sys.executable} -SE\n{text}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.write()

    def says(self, when: str, out: Any = None, **more: Any) -> None:
        """Answer commands that contain *when*; the newest rule is asked first."""
        self.rules.insert(0, {"when": when, **({} if out is None else {"out": out}), **more})
        self.write()

    def write(self) -> None:
        (self.folder / "answers.json").write_text(json.dumps(self.rules))

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def called(self, *words: str) -> list[dict[str, Any]]:
        """Return the calls that begin with *words*."""
        return [call for call in self.calls if call["argv"][: len(words)] == list(words)]

    @property
    def changes(self) -> list[str]:
        """Return the verbs of what was changed, in order."""
        verbs = {"create", "set", "upload", "config-zip", "register", "update", "delete"}
        return [
            " ".join(call["argv"][: next(i for i, w in enumerate(call["argv"]) if w in verbs) + 1])
            for call in self.calls
            if verbs & {w for w in call["argv"][:5] if not w.startswith("-")}
        ]


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAz:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "infra", clone / "infra")
    parameters = clone / "infra/parameters/dev.json"
    parameters.write_text(parameters.read_text().replace("00000000-0000-0000-0000-0", "1-2-3-4-5"))
    monkeypatch.chdir(clone)
    fake = FakeAz(folder)
    fake.says(
        "account show", {"id": "sub-1", "name": "Sub", "user": {"name": "me", "type": "user"}}
    )
    fake.says("group exists", out=True)
    fake.says("signed-in-user", {"id": "my-id"})
    fake.says("provider list", list(PROVIDERS))
    fake.says("what-if", {"changes": [{"changeType": "Create", "resourceId": "/new"}]})
    fake.says("deployment group show", status=3, err="DeploymentNotFound")
    return fake


def deployed(az: FakeAz) -> None:
    """Let the environment be there already."""
    for name, outputs in OUTPUTS.items():
        values = {key: {"value": value} for key, value in outputs.items()}
        az.says(f"--name {name} ", {"properties": {"outputs": values}})
    az.says("appservice plan show", {"sku": {"capacity": 5}})
    az.says("--ids /components", {"value": "InstrumentationKey=abc"})
    settings = [*OUTPUTS["app"]["firstSettings"], "APPLICATIONINSIGHTS_CONNECTION_STRING"]
    az.says("appsettings list", [*settings, "SLOT_NAME"])
    az.says("webapp config show", {"linuxFxVersion": ""})
    az.says("storage blob show", status=3, err="BlobNotFound")
    az.says("keyvault secret list", [])
    az.says("functionapp function list", ["shop-slipway/api"])


@pytest.fixture
def idle(controller: Any, app: dict[str, Any]) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app]}))
    controller.says("GET /api/health", (200, {"status": "ok"}))


def deploy(slipway: Run, *more: str) -> tuple[int, str, str]:
    return slipway("infra", "deploy", *GROUP, *QUICK, "--confirm", "shop-dev", *more)


def test_a_database_that_nobody_would_administer_is_refused(az: FakeAz, slipway: Run) -> None:
    parameters = Path("infra/parameters/dev.json")
    parameters.write_text((ROOT / parameters).read_text())
    for verb in ("plan", "deploy"):
        status, _, err = slipway("infra", verb, *GROUP)

        assert (status, "names nobody as administrator" in err, "az ad group" in err) == (
            2,
            True,
            True,
        )
    assert az.calls == []


# --- The guard -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["guard", "plan", "deploy", "finish"])
@pytest.mark.parametrize(
    "state", [{"rollout": "r1", "state": "observing"}, {"queued": ["r2"]}, {"state": "held"}]
)
def test_nothing_is_asked_of_azure_while_a_rollout_is_under_way(
    az: FakeAz, controller: Any, slipway: Run, app: Any, verb: str, state: Any
) -> None:
    deployed(az)
    controller.says("GET /api/apps", (200, {"apps": [app | state]}))
    confirmed = ("--confirm", "shop-dev") if verb == "deploy" else ()

    status, _, err = slipway("infra", verb, *GROUP, *confirmed)

    assert (status, az.changes, az.called("deployment", "group", "what-if")) == (4, [], [])
    assert "A rollout is under way: shop" in err


def test_a_rollout_that_begins_while_the_plan_is_made_stops_the_deployment(
    az: FakeAz, controller: Any, slipway: Run, app: Any
) -> None:
    deployed(az)
    begun = {"apps": [app | {"rollout": "r1"}]}
    controller.says("GET /api/apps", (200, {"apps": [app]}), (200, begun))

    assert deploy(slipway)[0] == 4
    assert not az.called("deployment", "group", "create")


def test_who_goes_on_anyway_says_why_and_it_is_recorded(
    az: FakeAz, controller: Any, slipway: Run, app: Any
) -> None:
    deployed(az)
    az.says("group show --name shop-dev", {"id": "/g"})
    controller.says("GET /api/apps", (200, {"apps": [app | {"rollout": "r1"}]}))

    assert deploy(slipway, "--anyway-because", "outage 42")[0] == 0
    (tag,) = az.called("tag", "update")
    assert "/g" in tag["argv"]
    assert any(
        w.startswith("slipway-guard-overridden=") and w.endswith("outage 42") for w in tag["argv"]
    )


def test_a_controller_that_cannot_be_asked_is_no_permission(
    az: FakeAz, slipway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(az)
    monkeypatch.setenv("SLIPWAY_URL", "http://127.0.0.1:1")

    status, _, err = deploy(slipway)

    assert (status, "Nobody can say whether" in err) == (4, True)
    assert not az.called("deployment", "group", "create")


def test_without_a_controller_it_is_the_first_deployment(
    az: FakeAz, slipway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_URL", raising=False)
    monkeypatch.setenv("PATH", str(az.folder) + os.pathsep + os.environ["PATH"])
    az.says("group exists", out=False)

    status, out, err = slipway("infra", "plan", *GROUP)

    assert (status, "first deployment" in err) == (0, True)
    assert "would be made anew" in out


def test_a_controller_without_history_of_its_deployment_is_asked_all_the_same(
    az: FakeAz, monkeypatch: pytest.MonkeyPatch, slipway: Run
) -> None:
    monkeypatch.delenv("SLIPWAY_URL")
    az.says("functionapp list", ["127.0.0.1:1"])
    az.says("functionapp function list", ["api"])

    status, _, err = slipway("infra", "plan", *GROUP)

    assert (status, "Nobody can say whether" in err) == (4, True)


def test_a_first_deployment_that_stopped_before_the_package_can_go_on(
    az: FakeAz, slipway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(az)
    monkeypatch.setenv("SLIPWAY_URL", "http://127.0.0.1:1")
    az.says("functionapp function list", [])

    assert deploy(slipway)[0] == 0


# --- Plan and confirmation -----------------------------------------------------------------------


@pytest.mark.usefixtures("idle")
def test_without_confirmation_the_plan_is_shown_and_nothing_is_changed(
    az: FakeAz, slipway: Run
) -> None:
    status, out, err = slipway("infra", "deploy", *GROUP)

    assert (status, az.changes) == (4, [])
    assert "Create  /new" in out
    assert "--confirm shop-dev" in err


def test_the_wrong_name_confirms_nothing(az: FakeAz, slipway: Run) -> None:
    status, _, err = slipway("infra", "deploy", *GROUP, "--confirm", "yes")

    assert (status, az.calls) == (4, [])
    assert "Nothing was done" in err


@pytest.mark.usefixtures("idle")
def test_a_plan_with_a_deletion_is_refused(az: FakeAz, slipway: Run) -> None:
    az.says("what-if", {"changes": [{"changeType": "Delete", "resourceId": "/db"}]})

    status, out, _ = deploy(slipway)

    assert (status, "/db" in out) == (4, True)
    assert not az.called("deployment", "group", "create")


@pytest.mark.usefixtures("idle")
def test_the_plan_for_programs(az: FakeAz, slipway: Run) -> None:
    status, out, _ = slipway("infra", "plan", *GROUP, "--json")

    assert status == 0
    assert json.loads(out)["changes"] == [{"change": "Create", "resource": "/new"}]


# --- The steps -----------------------------------------------------------------------------------


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    package = tmp_path / "slipway.zip"
    package.write_bytes(b"zip")
    monkeypatch.setenv("SECRET_WEBHOOK_ACR", "s3cret-v4lue")
    return (
        *("--apps", str(ROOT / "apps.example.yaml"), "--package", str(package)),
        *("--secret", "webhook-acr", "--first-image", "r.azurecr.io/shop@sha256:1"),
    )


@pytest.mark.usefixtures("idle")
def test_the_steps_come_in_order_and_no_secret_is_in_a_process_list(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)
    az.says("provider list", list(PROVIDERS[1:]))
    az.says("appsettings list", [])

    status, out, err = deploy(slipway, *content)

    assert status == 0
    assert list(dict.fromkeys(az.changes)) == [
        "provider register",
        "deployment group create",
        "role assignment create",
        "keyvault secret set",
        "webapp config appsettings set",
        "webapp config set",
        "storage blob upload",
        "functionapp deployment source config-zip",
    ]
    (secret,) = az.called("keyvault", "secret", "set")
    assert secret["stdin"] == "s3cret-v4lue"
    assert "s3cret-v4lue" not in f"{[call['argv'] for call in az.calls]}{out}{err}"


@pytest.mark.usefixtures("idle")
def test_each_step_looks_first_so_that_a_second_run_changes_only_what_it_must(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)
    az.says("webapp config show", {"linuxFxVersion": "DOCKER|r.io/shop@sha256:9"})
    az.says("keyvault secret list", ["webhook-acr"])
    az.says("role assignment list", [{"id": "/r"}])
    status = deploy(slipway, *content)[0]

    assert status == 0
    assert az.changes == [
        "deployment group create",
        "storage blob upload",
        "functionapp deployment source config-zip",
    ]


@pytest.mark.usefixtures("idle")
def test_a_plan_that_autoscale_has_grown_keeps_its_instances(az: FakeAz, slipway: Run) -> None:
    deployed(az)

    deploy(slipway)

    (create,) = az.called("deployment", "group", "create")
    assert "planCapacity=5" in create["argv"]


@pytest.mark.usefixtures("idle")
def test_pushes_are_connected_once_there_are_functions(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)
    az.says("functionapp function list", ["shop-slipway/on_image_pushed"])
    az.says("functionapp function list", [], times=2)  # the guard and the first deployment

    assert deploy(slipway, *content, "--anyway-because", "first")[0] == 0

    made = az.called("deployment", "group", "create")
    assert ["connectEvents=true" in each["argv"] for each in made] == [False, True]


@pytest.mark.usefixtures("idle")
def test_pushes_that_are_connected_or_said_not_to_be_are_deployed_once(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)

    assert deploy(slipway, *content)[0] == 0
    assert deploy(slipway, "--set", "connectEvents=false")[0] == 0

    made = az.called("deployment", "group", "create")
    said = [[w for w in each["argv"] if w.startswith("connectEvents")] for each in made]
    assert said == [["connectEvents=true"], ["connectEvents=false"]]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("when", "after", "told"),
    [
        ("config show", {"linuxFxVersion": "DOCKER|r/shop@old"}, "the image of production was"),
        (
            "config show",
            {"linuxFxVersion": "DOCKER|r/shop@new", "experiments": {"rampUpRules": []}},
            "the routing rules of production were blue 90.0 % and are none",
        ),
        ("appsettings list", ["A"], "production has lost settings: SLIPWAY_RELEASE"),
    ],
)
def test_a_deployment_that_changes_what_a_release_owns_ends_with_an_error(
    az: FakeAz, slipway: Run, when: str, after: Any, told: str
) -> None:
    deployed(az)
    rules = {"rampUpRules": [{"name": "blue", "reroutePercentage": 90.0}]}
    az.says("webapp config show", {"linuxFxVersion": "DOCKER|r/shop@new", "experiments": rules})
    az.says("appsettings list", ["A", "SLIPWAY_RELEASE"])
    first = next(each for each in az.rules if when in each["when"])
    first["times"] = 3  # production and two slots, before the deployment
    az.rules.insert(az.rules.index(first) + 1, {"when": when, "out": after})
    az.write()

    status, _, err = deploy(slipway)

    assert (status, "must leave alone" in err, told in err) == (1, True, True), err
    assert not az.called("webapp", "config", "set")


@pytest.mark.usefixtures("idle")
def test_settings_that_are_there_are_not_written_again(az: FakeAz, slipway: Run) -> None:
    deployed(az)
    az.says("appsettings list", ["WEBSITES_PORT", "SLOT_NAME"])

    deploy(slipway)

    written = [c for c in az.called("webapp", "config", "appsettings", "set") if c["stdin"]]
    assert [set(json.loads(c["stdin"])) for c in written] == [
        {"REDIS_HOST", "APPLICATIONINSIGHTS_CONNECTION_STRING"}
    ] * 3


@pytest.mark.usefixtures("idle")
def test_settings_that_cannot_be_seen_are_not_overwritten(az: FakeAz, slipway: Run) -> None:
    deployed(az)
    az.says("appsettings list", status=3, err="ResourceNotFound")

    assert deploy(slipway)[0] == 1
    assert not az.called("webapp", "config", "appsettings", "set")


@pytest.mark.usefixtures("idle")
def test_a_deployment_that_runs_is_waited_for(az: FakeAz, slipway: Run) -> None:
    deployed(az)
    az.says(
        "show --resource-group shop-dev --name slipway ",
        {"properties": {"provisioningState": "Running"}},
    )

    assert deploy(slipway)[0] == 0
    verbs = [c["argv"][2] for c in az.called("deployment", "group") if c["argv"][2] != "show"]
    assert verbs == ["what-if", "wait", "create"]


@pytest.mark.usefixtures("idle")
def test_secrets_from_standard_input(
    az: FakeAz, slipway: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deployed(az)
    path = tmp_path / "secrets.json"
    path.write_text('{"a": "1", "b": "2\\n"}')
    with path.open() as given:
        monkeypatch.setattr("sys.stdin", given)
        assert slipway("infra", "finish", *GROUP, "--secrets-from-stdin")[0] == 0

    assert [c["stdin"] for c in az.called("keyvault", "secret", "set")] == ["1", "2\n"]


def test_a_secret_that_is_not_in_the_environment_stops_before_azure(
    az: FakeAz, slipway: Run
) -> None:
    status, _, err = deploy(slipway, "--secret", "no-such")

    assert (status, az.calls) == (2, [])
    assert "SECRET_NO_SUCH is not set" in err


def test_a_wrong_apps_yaml_stops_before_azure(az: FakeAz, slipway: Run, tmp_path: Path) -> None:
    path = tmp_path / "apps.yaml"
    path.write_text("aps: {}\n")

    assert (deploy(slipway, "--apps", str(path))[0], az.calls) == (3, [])


# --- Azure at its worst --------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["(429) TooManyRequests", "(DeploymentActive) Conflict"])
@pytest.mark.usefixtures("idle")
def test_a_busy_azure_is_asked_again(az: FakeAz, slipway: Run, said: str) -> None:
    deployed(az)
    az.says("deployment group create", status=1, err=said, times=2)

    status, _, err = deploy(slipway)

    assert (status, err.count("Azure is busy")) == (0, 2)
    assert len(az.called("deployment", "group", "create")) == 3


@pytest.mark.usefixtures("idle")
def test_a_busy_azure_is_not_asked_for_ever(az: FakeAz, slipway: Run) -> None:
    deployed(az)
    az.says("deployment group create", status=1, err="TooManyRequests")

    status, _, err = deploy(slipway)

    assert (status, "goes on where it stopped" in err) == (1, True)
    assert len(az.called("deployment", "group", "create")) == 5


@pytest.mark.usefixtures("idle")
def test_a_role_that_does_not_hold_yet_is_waited_for(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)
    az.says("keyvault secret list", status=1, err="(Forbidden) ForbiddenByRbac", times=1)
    az.says("keyvault secret set", status=1, err="(Forbidden) ForbiddenByRbac", times=2)
    az.says("storage blob upload", status=1, err="AuthorizationPermissionMismatch", times=1)

    assert slipway("infra", "finish", *GROUP, *QUICK, *content)[0] == 0
    assert len(az.called("keyvault", "secret", "set")) == 3
    assert len(az.called("storage", "blob", "upload")) == 2


@pytest.mark.usefixtures("idle")
def test_a_role_that_never_holds_ends_the_wait(
    az: FakeAz, slipway: Run, content: tuple[str, ...]
) -> None:
    deployed(az)
    az.says("keyvault secret set", status=1, err="(Forbidden) ForbiddenByRbac")

    status, _, err = slipway("infra", "finish", *GROUP, *QUICK, *content, "--limit", "0.3")

    assert (status, "did not hold within" in err) == (1, True)
    assert not az.called("webapp", "config", "appsettings", "set")


def test_a_controller_that_stays_ill_is_told(
    az: FakeAz, controller: Any, slipway: Run, app: Any, content: tuple[str, ...]
) -> None:
    deployed(az)
    controller.says("GET /api/apps", (200, {"apps": [app]}))
    controller.says("GET /api/health", (503, {}))

    status, _, err = slipway("infra", "finish", *GROUP, *QUICK, *content, "--limit", "0.3")

    assert (status, "HTTP 503" in err) == (1, True)


def test_az_that_is_missing_or_logged_out_or_elsewhere_is_told_with_the_next_step(
    az: FakeAz, slipway: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, _, err = slipway("infra", "plan", *GROUP, "--subscription", "other")
    assert (status, "az account set --subscription other" in err) == (4, True)

    az.says("account show", status=1, err="Please run 'az login' to setup account.")
    status, _, err = slipway("infra", "plan", *GROUP)
    assert (status, "Log in: az login" in err) == (4, True)

    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = slipway("infra", "plan", *GROUP)
    assert (status, "not installed" in err) == (2, True)


@pytest.mark.usefixtures("idle")
def test_each_command_is_pinned_to_the_subscription(az: FakeAz, slipway: Run) -> None:
    deployed(az)

    slipway("infra", "plan", *GROUP, "--subscription", "sub-1")

    rest = [c["argv"] for c in az.calls if c["argv"][0] not in {"account", "ad"}]
    assert rest
    assert all(argv[-2:] == ["--subscription", "sub-1"] for argv in rest)


# --- Outputs and destroy -------------------------------------------------------------------------


def test_outputs_as_text_as_json_and_one_alone(az: FakeAz, slipway: Run) -> None:
    deployed(az)

    assert "shop-site" in slipway("infra", "outputs", *GROUP)[1]
    whole = json.loads(slipway("infra", "outputs", *GROUP, "--json")[1])
    assert whole == OUTPUTS["app"] | OUTPUTS["controller"]
    assert slipway("infra", "outputs", *GROUP, "--only", "siteName")[1] == "shop-site\n"
    status, _, err = slipway("infra", "outputs", *GROUP, "--only", "sitName")
    assert (status, "There is no output 'sitName'" in err) == (1, True)


def test_outputs_before_the_first_deployment(az: FakeAz, slipway: Run) -> None:
    assert az.calls == []
    assert slipway("infra", "outputs", *GROUP)[0] == 1


@pytest.mark.parametrize("more", [(), ("--confirm", "shop-prod")])
def test_destroy_without_the_groups_name_says_what_goes_and_what_stays(
    az: FakeAz, slipway: Run, more: tuple[str, ...]
) -> None:
    az.says("resource list", [{"type": "Microsoft.Web/sites", "name": "shop-site"}])
    az.says("lock list", [{"id": "/lock", "level": "CanNotDelete"}])

    status, out, _ = slipway("infra", "destroy", *GROUP, *more)

    assert (status, az.changes) == (4, [])
    assert "shop-site" in out
    assert "az lock delete --ids /lock" in out
    assert "kept for 90 days" in out
    assert "immutability" in out


def test_destroy_leaves_locks_to_a_person(az: FakeAz, slipway: Run) -> None:
    az.says("lock list", [{"id": "/lock", "level": "CanNotDelete"}])

    assert slipway("infra", "destroy", *GROUP, "--confirm", "shop-dev")[0] == 4
    assert az.changes == []


def test_destroy_with_the_groups_name_deletes_it(az: FakeAz, slipway: Run) -> None:
    assert slipway("infra", "destroy", *GROUP, "--confirm", "shop-dev")[0] == 0
    assert az.changes == ["group delete"]


# --- The dry run ---------------------------------------------------------------------------------


def test_a_dry_run_calls_nothing_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SECRET_WEBHOOK_ACR", "s3cret-v4lue")

    assert main(["infra", "deploy", *GROUP, "--dry-run", "--secret", "webhook-acr"]) == 0
    out = capsys.readouterr().out
    assert 'printf %s "$SECRET_WEBHOOK_ACR" | az keyvault secret set' in out
    assert "s3cret" not in out
    assert "az deployment group what-if" in out
