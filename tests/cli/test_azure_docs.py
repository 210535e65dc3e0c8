"""The Azure guide and azure.yaml say what the command really does."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.cli.main import build_parser, main

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "azure.md").read_text()
AZD = yaml.safe_load((ROOT / "azure.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "data" / "azure_yaml.schema.json").read_text())


def test_the_az_sequence_in_the_guide_is_what_a_dry_run_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    told = re.search(
        r"<!-- slipway infra deploy --dry-run -->\n\n```bash\n(.*?)```", GUIDE, re.DOTALL
    )
    assert told

    status = main(
        [
            *("infra", "deploy", "--dry-run", "--group", "shop-dev", "--environment", "dev"),
            *("--location", "westeurope", "--apps", "apps.yaml", "--secret", "webhook-acr"),
            *("--package", "dist/slipway.zip"),
            *("--first-image", "REGISTRY.azurecr.io/shop@sha256:DIGEST"),
        ]
    )

    assert status == 0
    assert re.sub(r" \\\n +", " ", told[1]) == capsys.readouterr().out


def ours(text: str) -> list[list[str]]:
    """Return the words after each ``slipway`` that begins a command in *text*."""
    joined = re.sub(r" \\\n +", " ", text)
    found = re.findall(r"(?:^|\$\()[ ]*slipway ([^\n)#]*)", joined, re.MULTILINE)
    return [shlex.split(command) for command in found]


@pytest.mark.parametrize(
    "words",
    [
        *(w for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for w in ours(block)),
        *(w for hook in AZD["hooks"].values() for w in ours(hook["run"])),
    ],
    ids=" ".join,
)
def test_each_slipway_command_of_the_guide_and_of_azd_is_understood(words: list[str]) -> None:
    known = [word.replace("sha256:DIGEST", "sha256:" + "a" * 64) for word in words]
    known = ["shop-dev" if word.startswith("$AZURE") else word for word in known]

    assert callable(build_parser().parse_args(known).run)


def test_azure_yaml_follows_the_schema() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(AZD)


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": {"controller": {"project": "dist/package", "host": "functions"}}},
        {"hooks": {"beforeprovision": {"run": "true"}}},
        {"infra": {"provider": "arm"}},
    ],
)
def test_the_schema_refuses_what_azd_would(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(AZD | wrong)


def test_azure_yaml_names_what_is_there() -> None:
    assert (ROOT / AZD["infra"]["path"] / f"{AZD['infra']['module']}.bicep").is_file()
    assert AZD["services"]["controller"]["project"] == "dist/package"
    assert "make package" in AZD["hooks"]["preprovision"]["run"]  # which writes that folder
