"""``slipway backup fetch``: a part of a set, without any controller."""

import os
import re
import sys
from argparse import ArgumentParser, Namespace
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final

from controller import wiring_cli
from controller.cli.exits import CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.verb import Verb

_KEY: Final = "SLIPWAY_BACKUP_KEY_VALUE"
_PASSPHRASE: Final = "SLIPWAY_BACKUP_PASSPHRASE_VALUE"  # noqa: S105 - a variable's name
_VAULT_KEY: Final = re.compile(r"https://[^/?#\s]+/keys/[0-9A-Za-z-]{1,127}/?")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("set", metavar="SET", help="the set's id")
    parser.add_argument("part", metavar="PART", help="the part's name, such as database")
    parser.add_argument(
        "--container", metavar="URL", required=True, help="the blob container of the sets"
    )
    parser.add_argument(
        "--vault-key",
        metavar="URL",
        help="where a key in Key Vault seals the sets: https://VAULT.vault.azure.net/keys/NAME",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write it there (default: standard output)"
    )


def _run(arguments: Namespace, printer: Printer) -> Exit:
    ca_file = os.environ.get("SLIPWAY_CA_FILE")
    if arguments.output is None and sys.stdout.isatty():
        raise CommandError(
            "A terminal is no place for a part.", "Say --output FILE, or redirect.", Exit.USAGE
        )
    if arguments.vault_key and not _VAULT_KEY.fullmatch(arguments.vault_key):
        raise CommandError(
            f"{arguments.vault_key} is no key in Key Vault.",
            "Give it without its version: https://VAULT.vault.azure.net/keys/NAME",
            Exit.USAGE,
        )
    try:
        size = wiring_cli.run(_fetch(arguments, Path(ca_file) if ca_file else None))
    except OSError as error:
        raise CommandError(
            f"{arguments.output or 'the output'} cannot be written: {error.strerror}.",
            "Choose another place.",
            Exit.FAILED,
        ) from error
    printer.remark(f"{arguments.part} of {arguments.set}: {size:,} bytes, as they were put in.")
    return Exit.OK


async def _fetch(arguments: Namespace, ca_file: Path | None) -> int:
    """Write the part and return its size. A file that is not whole is not left behind."""
    keys = wiring_cli.GivenKeys(
        value=os.environ.get(_KEY, "").strip() or None,
        passphrase=os.environ.get(_PASSPHRASE) or None,
        vault_key=arguments.vault_key,
    )
    stream = wiring_cli.fetch_part(
        arguments.container, arguments.set, arguments.part, keys=keys, ca_file=ca_file
    )
    size = 0
    if arguments.output is None:
        async with aclosing(stream):
            async for piece in stream:
                size += sys.stdout.buffer.write(piece)
        return size
    whole = Path(arguments.output)
    begun = whole.with_name(f"{whole.name}.part")
    try:
        with begun.open("wb") as file:
            target: BinaryIO = file
            async with aclosing(stream):
                async for piece in stream:
                    size += target.write(piece)
        begun.replace(whole)
    finally:
        begun.unlink(missing_ok=True)
    return size


VERB: Final = Verb(
    name="fetch",
    help="read a part of a set straight from the storage account",
    description="Read a part of a backup set straight from the storage account, for the day on "
    "which no controller runs. Who is logged in (az login) needs the role Storage Blob Data "
    f"Reader. The key of an encrypted set is taken from the environment: {_KEY}, the secret's "
    f"value, or {_PASSPHRASE}; a key that stays in Key Vault is named by --vault-key, and "
    "needs the role Key Vault Crypto User. Every byte is compared with what was written; a part "
    "that is damaged is not left "
    "behind as a file.",
    arguments=_arguments,
    run=_run,
)
