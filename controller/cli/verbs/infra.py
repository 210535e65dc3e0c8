"""``slipway infra``: the environment in Azure, by the Azure CLI."""

import getpass
import json
import os
import shlex
import sys
from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from controller.cli.az import Az
from controller.cli.deployment_guard import busy
from controller.cli.exits import CommandError, Exit
from controller.cli.infra_arguments import (
    SECRET_NAME,
    deploy_arguments,
    destroy_arguments,
    finish_arguments,
    guard_arguments,
    outputs_arguments,
    plan_arguments,
)
from controller.cli.infrastructure import Environment, Plan
from controller.cli.printing import Printer, as_text
from controller.cli.values import Json, is_object
from controller.cli.verb import Group, Verb, connect
from controller.config.load import load_file
from controller.config.problems import InvalidConfigurationError

_ADMINISTRATOR: Final = "databaseAdministratorId"
_STAYS: Final = (
    "What stays: the vault, deleted but kept for 90 days (its name is taken; deploy again with "
    "vaultCreateMode=recover); backup sets under an immutability policy, with their storage "
    "account, until they are old enough (the deletion ends with an error and can be repeated); "
    "a role defined for the controller, and rights granted outside of the group."
)

# --- The guard -----------------------------------------------------------------------------------


def _guard(environment: Environment, arguments: Namespace, printer: Printer) -> None:
    """Refuse while a rollout is under way. No controller in the group yet: nothing to ask."""
    host = environment.controller_host()
    if not (arguments.url or os.environ.get("SLIPWAY_URL")):
        if not host:
            printer.remark("There is no controller yet: the first deployment.")
            return
        arguments.url = f"https://{host}"
    try:
        running = busy(connect(arguments).apps())
    except CommandError as error:
        if not (environment.has_code(host) if host else environment.exists()):
            printer.remark("There is no controller at work yet: the first deployment.")
            return
        if not arguments.anyway_because:
            raise CommandError(
                f"Nobody can say whether a rollout is under way. {error.what}",
                f"{error.fix} To go on all the same: --anyway-because TEXT.",
                Exit.REFUSED,
            ) from error
        running = [f"unknown: {error.what}"]
    if not running:
        return
    if not arguments.anyway_because:
        raise CommandError(
            f"A rollout is under way: {', '.join(running)}. A deployment would disturb it.",
            "Wait for its end (slipway status APP --watch), or say --anyway-because TEXT.",
            Exit.REFUSED,
        )
    printer.remark(f"Going on although under way: {', '.join(running)}.")
    if environment.exists():
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        environment.record(f"{moment} {_user()}: {arguments.anyway_because}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "cli"


# --- Verbs ---------------------------------------------------------------------------------------


def _environment(arguments: Namespace, printer: Printer) -> Environment:
    az = Az(
        printer=printer,
        subscription=arguments.subscription,
        dry=getattr(arguments, "dry_run", False),
        interval=arguments.poll,
    )
    plan = Plan(
        group=arguments.group,
        location=getattr(arguments, "location", ""),
        environment=getattr(arguments, "environment", ""),
        folder=getattr(arguments, "folder", Path("infra")),
        values=tuple(getattr(arguments, "set", ())),
        limit=getattr(arguments, "limit", timedelta(minutes=20)),
    )
    for needed in (plan.template, plan.parameters):
        if plan.environment and not Path(needed).is_file():
            raise CommandError(
                f"There is no {needed}.",
                "Run it in the clone, or name --folder and --environment.",
                Exit.USAGE,
            )
    if plan.environment and not az.dry:
        _refuse_nobody(plan)
    return Environment(az=az, plan=plan, printer=printer)


def _refuse_nobody(plan: Plan) -> None:
    """Refuse the zeros that the files come with: Azure does, too, after a quarter of an hour."""
    if any(value.startswith(f"{_ADMINISTRATOR}=") for value in plan.values):
        return
    try:
        given = json.loads(Path(plan.parameters).read_text(encoding="utf-8"))
        value = given["parameters"][_ADMINISTRATOR]["value"]
    except (KeyError, TypeError):
        return
    except ValueError as error:
        raise CommandError(
            f"{plan.parameters} is no JSON: {error}.", "Put it right.", Exit.USAGE
        ) from error
    if not str(value).strip("0-"):
        raise CommandError(
            f"{plan.parameters} names nobody as administrator of the database: "
            f"{_ADMINISTRATOR} is {value}.",
            "Write the object id of a group in Entra there: az ad group show --group NAME "
            "--query id --output tsv.",
            Exit.USAGE,
        )


def _prepared(arguments: Namespace, printer: Printer) -> tuple[Environment, Json]:
    """Return the environment and who is logged in, after the guard has agreed."""
    environment = _environment(arguments, printer)
    if environment.az.dry:
        return environment, {}
    account = environment.account()
    _guard(environment, arguments, printer)
    return environment, account


def _only_guard(arguments: Namespace, printer: Printer) -> Exit:
    _prepared(arguments, printer)
    printer.line("No rollout is under way.")
    return Exit.OK


def _plan(arguments: Namespace, printer: Printer) -> Exit:
    environment, _ = _prepared(arguments, printer)
    _show_plan(environment, printer)
    return Exit.OK


def _show_plan(environment: Environment, printer: Printer) -> None:
    dry = environment.az.dry
    if not dry and not environment.exists():
        if printer.as_json:
            printer.json({"group": environment.plan.group, "exists": False, "changes": []})
        else:
            printer.line(f"Group {environment.plan.group} is not there: all would be made anew.")
        return
    changes = environment.what_if()
    if dry:
        return
    if printer.as_json:
        rows = [{"change": change, "resource": name} for change, name in changes]
        printer.json({"group": environment.plan.group, "exists": True, "changes": rows})
    else:
        shown = [c for c in changes if c[0] not in {"NoChange", "Ignore"}]
        printer.table(("change", "resource"), shown)
        counts = Counter(change for change, _ in changes)
        printer.line(", ".join(f"{n} {change}" for change, n in sorted(counts.items())) or "None.")
    if any(change == "Delete" for change, _ in changes):
        raise CommandError(
            "The deployment would delete resources.",
            "These templates never do in the mode that is used: look at --set and the files.",
            Exit.REFUSED,
        )


def _deploy(arguments: Namespace, printer: Printer) -> Exit:
    secrets = _check_content(arguments)
    if arguments.confirm not in {None, arguments.group}:
        raise CommandError(
            f"--confirm says {arguments.confirm!r}, --group {arguments.group!r}.",
            "Nothing was done. Name the same group twice.",
            Exit.REFUSED,
        )
    environment, account = _prepared(arguments, printer)
    if environment.az.dry:
        environment.register()
        environment.make_group()
    _show_plan(environment, printer)
    if not environment.az.dry and arguments.confirm is None:
        printer.remark(f"Nothing was done. To deploy it: the same with --confirm {arguments.group}")
        return Exit.REFUSED
    if not environment.az.dry:
        environment.register()
        environment.make_group()
        if not arguments.anyway_because:  # the look at the plan took a while
            _guard(environment, arguments, printer)
    environment.deploy()
    status = _after(environment, account, arguments, secrets, printer)
    if arguments.package or not environment.az.dry:
        environment.connect()
    return status


def _finish(arguments: Namespace, printer: Printer) -> Exit:
    secrets = _check_content(arguments)
    environment, account = _prepared(arguments, printer)
    return _after(environment, account, arguments, secrets, printer)


def _after(
    environment: Environment,
    account: Json,
    arguments: Namespace,
    secrets: dict[str, str],
    printer: Printer,
) -> Exit:
    """Do what templates must not: secrets, first settings and image, apps.yaml, the controller."""
    environment.fill_vault(account, secrets, replace=arguments.replace_secrets)
    environment.first_settings()
    if arguments.first_image:
        environment.first_image(arguments.first_image)
    if arguments.apps:
        environment.upload(account, arguments.apps)
    if arguments.package:
        environment.publish(arguments.package)
    if environment.az.dry:
        return Exit.OK
    host = environment.outputs().get("functionHostName")
    url = arguments.url or os.environ.get("SLIPWAY_URL") or f"https://{host}"
    if arguments.package or arguments.apps:
        environment.check(url, os.environ.get("SLIPWAY_KEY") or None)
        printer.remark(f"The controller answers at {url}.")
    return _show_outputs(environment.outputs(), printer)


def _check_content(arguments: Namespace) -> dict[str, str]:
    """Return the secrets, after all that can be wrong on this machine was looked at."""
    looked_at = () if arguments.dry_run else (arguments.apps, arguments.package)
    for file in looked_at:
        if file and not file.is_file():
            raise CommandError(f"There is no {file}.", "Name a file.", Exit.USAGE)
    if arguments.apps and not arguments.dry_run:
        try:
            load_file(arguments.apps)
        except InvalidConfigurationError as error:
            raise CommandError(error.what, error.fix, Exit.CONFIGURATION) from error
    secrets: dict[str, str] = {}
    for name in arguments.secret:
        variable = f"SECRET_{name.upper().replace('-', '_')}"
        value = "-" if arguments.dry_run else os.environ.get(variable, "")
        if not value:
            raise CommandError(f"{variable} is not set.", f"It holds secret {name}.", Exit.USAGE)
        secrets[name] = value
    if arguments.secrets_from_stdin and not arguments.dry_run:
        secrets |= _from_stdin()
    return secrets


def _from_stdin() -> dict[str, str]:
    wrong = CommandError(
        "Standard input is not a JSON object of names and texts.",
        'It looks like {"webhook-acr": "..."}; names have letters, digits and - only.',
        Exit.USAGE,
    )
    try:
        value: object = json.load(sys.stdin)
    except ValueError as error:
        raise wrong from error
    if not is_object(value):
        raise wrong
    if not all(isinstance(v, str) and v and SECRET_NAME.fullmatch(k) for k, v in value.items()):
        raise wrong
    return dict(value)


def _outputs(arguments: Namespace, printer: Printer) -> Exit:
    environment = _environment(arguments, printer)
    environment.account()
    outputs = environment.outputs()
    if not outputs or (arguments.only and arguments.only not in outputs):
        raise CommandError(
            f"Group {arguments.group} has no outputs."
            if not outputs
            else f"There is no output {arguments.only!r}.",
            "Deploy first: slipway infra deploy"
            if not outputs
            else f"There are: {', '.join(sorted(outputs))}.",
            Exit.FAILED,
        )
    if arguments.only and not printer.as_json:
        printer.line(as_text(outputs[arguments.only]))
        return Exit.OK
    return _show_outputs(
        {arguments.only: outputs[arguments.only]} if arguments.only else outputs, printer
    )


def _show_outputs(outputs: Json, printer: Printer) -> Exit:
    if printer.as_json:
        printer.json(outputs)
    else:
        printer.fields({k: v for k, v in outputs.items() if not is_object(v)})
    return Exit.OK


def _destroy(arguments: Namespace, printer: Printer) -> Exit:
    environment = _environment(arguments, printer)
    environment.account()
    if not environment.exists():
        printer.line(f"Group {arguments.group} is not there.")
        return Exit.OK
    locks = environment.locks()
    if arguments.confirm != arguments.group:
        rows = [(r.get("type"), r.get("name")) for r in environment.resources()]
        printer.table(("type", "name"), rows)
        printer.line(_STAYS)
        _name_locks(locks, printer)
        printer.remark(
            "Nothing was done. To delete all of it: slipway infra destroy "
            f"--group {shlex.quote(arguments.group)} --confirm {shlex.quote(arguments.group)}"
        )
        return Exit.REFUSED
    if locks:
        _name_locks(locks, printer)
        raise CommandError(
            f"{len(locks)} locks keep the group.", "Remove them yourself first.", Exit.REFUSED
        )
    environment.destroy()
    printer.line(f"Group {arguments.group} is gone.")
    printer.line(_STAYS)
    return Exit.OK


def _name_locks(locks: list[Json], printer: Printer) -> None:
    for lock in locks:
        printer.line(f"Locked ({lock.get('level')}): az lock delete --ids {lock.get('id')}")


GROUP = Group(
    name="infra",
    help="put Slipway and an app on Azure, and take them off again",
    description="Make what the templates of infra/ declare, by the Azure CLI (az), and what no "
    "template may hold. Each step has a goal and looks first, so a command that failed is "
    "repeated as it was. Nothing is deployed while a rollout is under way.",
    verbs=(
        Verb(
            name="guard",
            help="refuse while a rollout is under way",
            description="Exit 0 where no rollout is under way, 4 otherwise or where nobody can "
            "tell: for what deploys templates by other means.",
            arguments=guard_arguments,
            run=_only_guard,
        ),
        Verb(
            name="plan",
            help="say what a deployment would change",
            description="Say what a deployment would change. Changes nothing.",
            arguments=plan_arguments,
            run=_plan,
        ),
        Verb(
            name="deploy",
            help="make the environment, or bring it up to date",
            description="Show what would change and, with --confirm, do it: resource group, "
            "templates, secrets, first settings and image, apps.yaml, the controller's package, "
            "and a look at whether it answers.",
            arguments=deploy_arguments,
            run=_deploy,
        ),
        Verb(
            name="finish",
            help="do what follows the templates",
            description="Do what deploy does after the templates, where something else (azd) has "
            "deployed these.",
            arguments=finish_arguments,
            run=_finish,
        ),
        Verb(
            name="outputs",
            help="print names and addresses of what was made",
            description="Print names and addresses of what was made. None is a secret.",
            arguments=outputs_arguments,
            run=_outputs,
        ),
        Verb(
            name="destroy",
            help="delete the environment",
            description="Say what would be deleted and what stays and, with --confirm, delete the "
            "resource group. Locks are named, not removed.",
            arguments=destroy_arguments,
            run=_destroy,
        ),
    ),
)
