"""Restores of a database server to a point in time: as people ask for them, and read them."""

from argparse import ArgumentParser, Namespace

from controller.cli.client import Client
from controller.cli.exits import Exit
from controller.cli.printing import Printer
from controller.cli.values import Json, part, parts, texts
from controller.cli.views import moment


def pitr_arguments(parser: ArgumentParser) -> None:
    """Let the verb say which moment, and into which server."""
    parser.add_argument(
        "--at",
        metavar="TIME",
        required=True,
        help="the moment, with its zone, such as 2026-11-23T07:45:00Z",
    )
    parser.add_argument(
        "--new-server",
        metavar="NAME",
        help="name of the server that is made (default: the old one's with the time)",
    )
    parser.add_argument(
        "--confirm", metavar="NAME", help="do it: the name of the server that is made"
    )


def show_pitr_plan(client: Client, arguments: Namespace, printer: Printer) -> Exit:
    """Print the plan, and what to type so that it is carried out."""
    asked = {"at": arguments.at, "new_server": arguments.new_server}
    plan = client.pitr_plan(arguments.app, {name: v for name, v in asked.items() if v})
    if printer.as_json:
        printer.json(plan)
    else:
        pitr_plan_page(plan, printer)
        printer.line()
    if texts(plan, "objections"):
        printer.remark("It would be refused: see the objections.")
        return Exit.REFUSED
    new = str(plan.get("new_server"))
    words = ["slipway backup pitr", arguments.app, "--at", arguments.at]
    words += ["--new-server", new, "--confirm", new, "--wait"]
    printer.remark(f"Nothing was done. To make that server: {' '.join(words)}")
    return Exit.REFUSED


def pitr_plan_page(plan: Json, printer: Printer) -> None:
    """Print what a restore would do, and what speaks against it."""
    printer.fields(
        {
            "App": plan.get("app"),
            "Server": plan.get("source"),
            "New server": plan.get("new_server"),
            "As of": moment(plan.get("at")),
            "Possible since": moment(plan.get("earliest")),
            "Goes over": "\n".join(texts(plan, "carried_over")),
            "Notes": "\n".join(texts(plan, "notes")),
            "Objections": "\n".join(texts(plan, "objections")),
        }
    )
    _left_behind(plan, printer)


def pitr_result(result: Json, printer: Printer) -> None:
    """Print the new server, what was found in it, and what people do next."""
    looked = part(result, "looked")
    printer.fields(
        {
            "Server": result.get("source"),
            "New server": result.get("new_server"),
            "Host": result.get("host"),
            "As of": moment(result.get("at")),
            "Found in it": f"{looked.get('tables')} tables, {looked.get('rows')} rows, head "
            f"{looked.get('head_then') or 'none'}"
            if looked
            else f"not looked into: {result.get('not_looked_because')}",
            "Then and now": "\n".join(texts(looked, "differences")),
        }
    )
    _left_behind(result, printer)
    steps = texts(result, "cut_over")
    if steps:
        printer.heading("What to do now. Slipway does none of it by itself")
        for number, step in enumerate(steps, start=1):
            printer.line(f"{number}. {step}")


def _left_behind(view: Json, printer: Printer) -> None:
    found = parts(view, "left_behind")
    if found:
        printer.heading("Does not go over")
    for each in found:
        printer.line(f"- {each.get('what')}: {each.get('act')}")
        for item in texts(each, "items"):
            printer.line(f"    {item}")
