"""All checks of a folder of templates, in order: what cannot be read ends what follows from it."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from pycep import BicepParser

from tools.infra_check.code import check_code
from tools.infra_check.deployment import Deployment, Finding
from tools.infra_check.evaluate import deploy
from tools.infra_check.known import check_known
from tools.infra_check.nodes import BicepFile, BicepSyntaxError
from tools.infra_check.parser import parse
from tools.infra_check.policies import check_exceptions
from tools.infra_check.promises import check_promises
from tools.infra_check.schema import check_schema
from tools.infra_check.secrets import check_declarations, check_text, check_values
from tools.infra_check.symbols import check_modules, check_parameters, check_symbols

_DIGEST: Final = "sha256:" + "0" * 64
_SOMEBODY: Final = "00000000-0000-4000-8000-00000000000a"
# Beside the environments of parameters/: all that can be asked for, and the other variant.
EVERYTHING: Final[Mapping[str, Any]] = {
    "alertEmails": ["on-call@example.com"],
    "alertsApplicationId": _SOMEBODY,
    "alertsObjectId": _SOMEBODY,
    "chat": "slack",
    "connectEvents": True,
    "controllerImage": f"registry.azurecr.io/slipway@{_DIGEST}",
    "databasePasswordLogin": "app",
    "databasePasswordVaultName": "kv-there",
    "lockDatabase": True,
    "lockResources": True,
    "pointInTime": True,
    "privateController": True,
    "privateNetwork": True,
    "registryByRepository": True,
    "registryReplicaLocation": "northeurope",
    "registrySku": "Premium",
    "slotNames": ["blue", "green", "staging"],
    "trustedAddresses": ["203.0.113.7"],
    "variant": "container",
}
LEAST: Final[Mapping[str, Any]] = {
    "backsSecretsUp": False,
    "databaseAllowAzureServices": False,
    "environment": "dev",
    "lockDatabase": False,
    "lockResources": False,
    "privateNetwork": False,
    "redisHighAvailability": False,
    "registrySku": "Standard",
    "slotNames": ["staging"],
    "variant": "container",
}


def check(folder: Path) -> list[Finding]:
    """Return all that is wrong below *folder*, which holds main.bicep and parameters/."""
    found: list[Finding] = []
    files: list[BicepFile] = []
    for path in sorted(folder.rglob("*.bicep")):
        text = path.read_text(encoding="utf-8")
        found += [*check_text(path, text), *check_exceptions(path, text)]
        file, why = _read(path, text)
        found += why
        files += [file] if file else []
    if not any(each.path == folder / "main.bicep" for each in files):
        return _sorted([*found, Finding(folder / "main.bicep", 1, "there is no such template")])
    for file in files:
        found += [*check_symbols(file), *check_modules(file), *check_declarations(file)]
    found += _unused(folder, files)
    main = next(each for each in files if each.path == folder / "main.bicep")
    if main.scope != "resourceGroup":
        found.append(Finding(main.path, 1, f"main.bicep is for a {main.scope}, not for a group"))
    environments = dict(_environments(folder, main, found))
    for name, parameters in environments.items():
        found += _deployed(folder, parameters, is_everything=name == "everything")
    return _sorted(found)


def _read(path: Path, text: str) -> tuple[BicepFile | None, list[Finding]]:
    """Parse a file by pycep, then by the parser that tells names from texts."""
    found: list[Finding] = []
    if refusal := _refusal_of_pycep(text):
        found.append(Finding(path, *refusal))
    try:
        return parse(path, text), found
    except BicepSyntaxError as error:
        return None, [*found, Finding(path, error.line, str(error))]


@cache
def _pycep() -> BicepParser:
    return BicepParser()


@cache
def _refusal_of_pycep(text: str) -> tuple[int, str] | None:
    try:
        _pycep().parse(text=text)
    except Exception as error:  # noqa: BLE001 - lark's errors have no common base
        first = str(error).partition("\n")[0]
        return getattr(error, "line", None) or 1, f"pycep: {first}"
    return None


def _unused(folder: Path, files: list[BicepFile]) -> Iterator[Finding]:
    """Yield files that nothing calls."""
    called = {
        (file.path.parent / each.type).resolve() for file in files for each in file.of("module")
    }
    for file in files:
        if file.path.resolve() not in called and file.path != folder / "main.bicep":
            yield Finding(file.path, 1, "nothing calls this module")


def _environments(
    folder: Path, main: BicepFile, found: list[Finding]
) -> Iterator[tuple[str, dict[str, Any]]]:
    last: dict[str, Any] = {}
    for path in sorted((folder / "parameters").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        found += check_text(path, text)
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            found.append(Finding(path, error.lineno, f"no JSON: {error.msg}"))
            continue
        found += check_parameters(path, given, main)
        entries = given.get("parameters", {}) if isinstance(given, dict) else {}
        last = {
            name: entry["value"]
            for name, entry in entries.items()
            if isinstance(entry, dict) and "value" in entry
        }
        yield path.stem, last
    if not last:
        found.append(Finding(folder / "parameters", 1, "there is no file of parameters"))
        return
    wanted = {each.name for each in main.of("param")}
    for name, more in (("everything", EVERYTHING), ("least", LEAST)):
        yield name, last | {key: value for key, value in more.items() if key in wanted}


def _deployed(
    folder: Path, parameters: Mapping[str, Any], *, is_everything: bool
) -> Iterator[Finding]:
    try:
        deployment: Deployment = deploy(folder / "main.bicep", parameters)
    except BicepSyntaxError:
        return  # told where that file was read
    yield from deployment.findings
    yield from check_schema(deployment)
    yield from check_known(deployment)
    yield from check_values(deployment)
    yield from check_promises(deployment, parameters)
    yield from check_code(deployment, everything=is_everything)


def _sorted(found: list[Finding]) -> list[Finding]:
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda each: (str(each.path), each.line, each.what))
