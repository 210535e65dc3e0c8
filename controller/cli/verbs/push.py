"""``slipway migrations push``."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from controller import wiring_cli
from controller.cli import migrating
from controller.cli.exits import CommandError, Exit
from controller.cli.folder import Folder, read_folder
from controller.cli.lint_views import report_text
from controller.cli.migration_arguments import (
    applied_arguments,
    folder_argument,
    policy_arguments,
)
from controller.cli.printing import Printer
from controller.cli.values import Json
from controller.cli.verb import Verb, digest, json_argument
from controller.cli.verb import image as image_type

_LOGIN: Final = "SLIPWAY_REGISTRY_LOGIN"
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DENIED_BY_REGISTRY: Final = (
    "For Azure Container Registry log in (`az login`) as somebody with the role AcrPush (Container "
    f"Registry Repository Writer where the registry uses ABAC); for others set {_LOGIN} to "
    "USER:PASSWORD."
)
_DENIED_BY_STORAGE: Final = (
    "Log in (`az login`) as somebody with the role Storage Blob Data Contributor on the container."
)


def _arguments(parser: ArgumentParser) -> None:
    folder_argument(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--image",
        metavar="IMAGE",
        type=image_type,
        help="attach it to this image: registry/repository@sha256:<64 hex digits>",
    )
    where.add_argument(
        "--container", metavar="URL", type=_container, help="put it into this blob container"
    )
    parser.add_argument(
        "--digest", metavar="DIGEST", type=digest, help="of the image, with --container"
    )
    parser.add_argument("--tag", metavar="TAG", help="of the image, with --container")
    parser.add_argument(
        "--prefix",
        metavar="TEXT",
        default="",
        help="what names in the container begin with, as in database.bundles.prefix",
    )
    parser.add_argument("--no-lint", action="store_true", help="push whatever the lint says")
    policy_arguments(parser)
    applied_arguments(parser)
    json_argument(parser)


def _container(text: str) -> str:
    """Return the URL of a container. What comes after it may be a secret: it is not shown."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _HERE)
    if not host or not is_safe or not parts.path.strip("/"):
        raise ArgumentTypeError("that is not https://ACCOUNT.blob.core.windows.net/CONTAINER")
    if parts.query or parts.username or parts.fragment:
        raise ArgumentTypeError(
            "a URL with a key or signature in it is not taken: log in with `az login` instead"
        )
    return text.rstrip("/")


def _run(arguments: Namespace, printer: Printer) -> Exit:
    names = [name for name in (arguments.digest, arguments.tag) if name]
    if bool(arguments.container) is not bool(names):
        raise CommandError(
            "--digest and --tag belong to --container, which needs one of them.",
            "Name the image that the bundle is for.",
            Exit.USAGE,
        )
    access = _access()
    folder = read_folder(arguments.folder)
    if not arguments.no_lint and not _passes(folder, arguments, printer):
        return Exit.FAILED
    if arguments.image:
        told = _to_image(folder, arguments, access)
    else:
        told = _to_container(folder, arguments, access, names)
    _report(folder, told, printer)
    return Exit.OK


def _access() -> wiring_cli.Access:
    login = os.environ.get(_LOGIN, "").strip()
    user, colon, password = login.partition(":")
    if login and not (user and colon and password):
        raise CommandError(
            f"{_LOGIN} is not of the form USER:PASSWORD.", "Set it so, or unset it.", Exit.USAGE
        )
    ca_file = os.environ.get("SLIPWAY_CA_FILE")
    hosts = os.environ.get("SLIPWAY_ACR_HOSTS", "").split(",")
    return wiring_cli.Access(
        login=login or None,
        acr_hosts=frozenset(host.strip() for host in hosts if host.strip()),
        ca_file=Path(ca_file) if ca_file else None,
    )


def _passes(folder: Folder, arguments: Namespace, printer: Printer) -> bool:
    report = migrating.linted(folder, arguments)
    if report.passed:
        return True
    if not printer.as_json:
        report_text(folder, report, printer)
    printer.remark(
        f"Nothing was pushed: the lint found errors. See them: slipway "
        f"migrations lint {folder.path}. --after and --accept tell what is not new, or was looked "
        "at; --no-lint pushes all the same."
    )
    return False


def _to_image(folder: Folder, arguments: Namespace, access: wiring_cli.Access) -> Json:
    image = str(arguments.image)
    with migrating.told(_LOGIN, denied=_DENIED_BY_REGISTRY):
        artifact = wiring_cli.run(wiring_cli.attach_to_image(image, folder.files, access))
    return {"image": image, "artifact": artifact}


def _to_container(
    folder: Folder, arguments: Namespace, access: wiring_cli.Access, names: list[str]
) -> Json:
    url, prefix = str(arguments.container), str(arguments.prefix)
    with migrating.told("--container", denied=_DENIED_BY_STORAGE):
        for name in names:
            keeping = wiring_cli.keep_in_container(url, name, folder.files, access, prefix=prefix)
            wiring_cli.run(keeping)
    return {"container": url, "prefix": prefix, "names": names}


def _report(folder: Folder, told: Json, printer: Printer) -> None:
    bundle = folder.bundle
    count = len(bundle.migrations)
    if printer.as_json:
        said = {"bundle": bundle.sha256, "format": bundle.format.value, "migrations": count}
        printer.json(said | told)
        return
    where = told.get("image") or f"{told.get('container')} ({', '.join(told.get('names', []))})"
    printer.line(f"Pushed {count} migration{'s' if count != 1 else ''} for {where}.")
    printer.fields({"Bundle": bundle.sha256, "Head": bundle.head, "Artifact": told.get("artifact")})


VERB = Verb(
    name="push",
    help="put the migrations where the release's rollout finds them",
    description="Lint a folder of migrations and put it where a rollout finds it: attached to the "
    "image in its registry, or in a blob container under the image's digest or tag. A manifest "
    "with the files' hashes is written where the folder has none. Registries of Azure and storage "
    f"accounts are asked as who is logged in with `az login`; for other registries {_LOGIN} is "
    "USER:PASSWORD.",
    arguments=_arguments,
    run=_run,
)
