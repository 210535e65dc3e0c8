"""The templates as they are pass every check that needs no Azure."""

from pathlib import Path

from tests.infra.kit import PARAMETERS
from tools.infra_check.check import check
from tools.infra_check.code import BEYOND, HOST_SETTINGS, INDIRECT, UNSET, actions_called
from tools.infra_check.evaluate import deploy
from tools.infra_check.policies import check_policies
from tools.infra_check.schema import schema

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"


def test_every_check_passes() -> None:
    assert [str(each) for each in check(INFRA)] == []


def test_checkov_reads_every_file_and_finds_nothing() -> None:
    assert [str(each) for each in check_policies(INFRA)] == []


def test_the_environments_come_to_what_they_are_meant_to() -> None:
    """A run over nothing would find nothing: this counts what was looked at."""
    deployment = deploy(INFRA / "main.bicep", PARAMETERS)
    more = {"privateNetwork": False, "databaseAllowAzureServices": True}
    least = deploy(INFRA / "main.bicep", PARAMETERS | more)

    made = [each for each in (*deployment.resources, *least.resources) if not each.is_existing]
    kinds = {each.type for each in made}
    # Of the two variants of the Function App it is one.
    assert len(deployment.files) == len(list(INFRA.rglob("*.bicep"))) - 1
    assert kinds == schema()["types"].keys()
    assert len(deployment.declared("Microsoft.Web/sites/slots")) == 3
    assert len(deployment.declared("Microsoft.Authorization/roleAssignments")) > 20
    assert "Microsoft.Web/sites/slots/slotsswap/action" in actions_called()


def test_exceptions_have_a_reason() -> None:
    for exceptions in (BEYOND, HOST_SETTINGS, INDIRECT, UNSET):
        assert all(len(reason) > 8 for reason in exceptions.values())


def test_no_deployment_of_any_environment_names_what_a_release_owns() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (INFRA / "modules/app").glob("*.bicep")
    )
    for word in ("linuxFxVersion", "rampUpRules", "sitecontainers", "appSettings:"):
        assert word not in text
