"""Writes docs/lint.md from the rules themselves."""

from typing import Final

from controller.migrations.rules import RULES, Group, Rule

_PROTECTS: Final = {
    Group.OLD_BUILD: "The build that still serves",
    Group.LOCKS: "Requests that would wait",
    Group.TRANSACTION: "All or nothing",
    Group.DATA: "Rows",
    Group.REFUSED: "What never runs in a migration",
}
_HEAD: Final = """\
# Rules of the migration lint

Generated from `controller/migrations/rules.py`. The lint reads every statement with PostgreSQL's
own parser, before anything runs; [data.md](data.md) says how it is used.

| Severity | Means |
|---|---|
| error | nothing runs |
| contract | an error under `database.contract: refuse`, a warning under `allow` |
| warning | a person should look |
| advice | it could be better |

Rules about locks are only advice where the table is known to hold no more than 10,000 rows. What
somebody looked at and found right is accepted as `SWM206`, or for one migration as
`SWM206@MIGRATION`; rules of the last group cannot be.
"""


def lint_page() -> str:
    """Return docs/lint.md."""
    parts = [_HEAD]
    for group, protects in _PROTECTS.items():
        rows = [_row(rule) for rule in RULES.values() if rule.group is group]
        parts.append(
            f"## {protects}\n\n| Code | A statement that | | Instead |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def _row(rule: Rule) -> str:
    grave = "contract" if rule.is_contract else rule.severity.value
    return f"| `{rule.code}` | {_cell(rule.title)} | {grave} | {_cell(rule.advice)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
