"""Write the documentation pages that are made of code, or check that they are up to date.

    python tools/generate_docs.py           write them
    python tools/generate_docs.py --check   exit 1 if one differs

To add a page, add an entry to PAGES: its path and a function that returns its text.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def configuration() -> str:
    """Return docs/configuration.md."""
    from controller.config.reference import configuration_reference  # noqa: PLC0415

    return configuration_reference()


def cli() -> str:
    """Return docs/cli.md."""
    from controller.cli.reference import cli_reference  # noqa: PLC0415

    return cli_reference()


def state_machine() -> str:
    """Return docs/state-machine.md."""
    from controller.core.reference import state_machine_page  # noqa: PLC0415

    return state_machine_page()


def messages() -> str:
    """Return docs/messages.md."""
    from controller.runtime.reference import messages_page  # noqa: PLC0415

    return messages_page()


def messages_schema() -> str:
    """Return docs/messages.schema.json."""
    from controller.runtime.reference import messages_schema  # noqa: PLC0415

    return messages_schema()


def arm_errors() -> str:
    """Return docs/arm-errors.md."""
    from controller.adapters.azure.arm_reference import arm_errors_page  # noqa: PLC0415

    return arm_errors_page()


def lint() -> str:
    """Return docs/lint.md."""
    from controller.migrations.reference import lint_page  # noqa: PLC0415

    return lint_page()


def registry_payloads() -> str:
    """Return docs/registries/payloads.md."""
    from tests.entry.payload_page import payload_page  # noqa: PLC0415

    return payload_page()


def sandbox() -> str:
    """Return docs/sandbox.md."""
    from tools.traps import page  # noqa: PLC0415

    return page((ROOT / "docs" / "traps" / "sandbox.md.in").read_text(encoding="utf-8"))


def judge() -> str:
    """Return docs/judge.md."""
    from tools.detectable import table  # noqa: PLC0415

    prose = (ROOT / "docs" / "judge" / "judge.md.in").read_text(encoding="utf-8")
    return prose.replace("@DETECTABLE@", table())


def picture(name: str) -> str:
    """Return a picture of docs/pictures."""
    from tools import pictures  # noqa: PLC0415

    drawn: str = getattr(pictures, name)()
    return drawn


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/configuration.md": configuration,
    "docs/cli.md": cli,
    "docs/state-machine.md": state_machine,
    "docs/messages.md": messages,
    "docs/messages.schema.json": messages_schema,
    "docs/registries/payloads.md": registry_payloads,
    "docs/arm-errors.md": arm_errors,
    "docs/lint.md": lint,
    "docs/sandbox.md": sandbox,
    "docs/judge.md": judge,
    "docs/pictures/path.svg": partial(picture, "path"),
    "docs/pictures/rollout.svg": partial(picture, "rollout"),
    "docs/pictures/state-machine.svg": partial(picture, "state_machine"),
}


def write(root: Path = ROOT) -> None:
    """Write every page under *root*."""
    for name, make in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(make(), encoding="utf-8", newline="\n")


def outdated(root: Path = ROOT) -> list[str]:
    """Return the pages under *root* that are not what the code says."""
    return [name for name, make in PAGES.items() if _differs(name, _committed(root / name), make())]


def _differs(name: str, committed: str | None, made: str) -> bool:
    """Tell whether a page says something else: each Python aligns and wraps --help its own way."""
    if name == "docs/cli.md" and committed is not None:
        return committed.split() != made.split()
    return committed != made


def _committed(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    if arguments == ["--check"]:
        wrong = outdated()
        for name in wrong:
            print(f"{name} is out of date. Run: python tools/generate_docs.py", file=sys.stderr)
        return 1 if wrong else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
