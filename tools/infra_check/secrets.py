"""No template, parameter or output holds a secret; `evaluate` follows the values that are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.infra_check.deployment import Deployment, Finding
from tools.infra_check.nodes import BicepFile, Call, Literal, Node, Object, walk
from tools.infra_check.values import is_secret

_SHAPES: Final = (
    ("an account key", r"AccountKey=|SharedAccessKey=|SharedAccessSignature=|[?&]sig=[A-Za-z0-9%]"),
    ("a password", r"(?i)(password|passwd|pwd)=[^\s'\";{}$]{3,}"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    (
        "a token",
        r"gh[pousr]_[A-Za-z0-9]{20,}|xox[abp]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{20,}\.eyJ",
    ),
    ("a webhook with its secret", r"https://hooks\.slack\.com/services/[A-Z0-9]+/"),
    ("an address with a password", r"[a-z]+://[^/\s:'\"]+:[^@\s'\"$]{3,}@"),
    ("a long random text", r"['\"][A-Za-z0-9+/]{43}=['\"]|['\"][A-Za-z0-9+/]{86}==['\"]"),
)
_TELLERS: Final = re.compile(r"list[A-Z]\w*|listKeys|reference")
# Where a secret may go, by type and property: Azure keeps it and does not tell it.
_ALLOWED: Final = frozenset(
    {
        ("Microsoft.DBforPostgreSQL/flexibleServers", "administratorLoginPassword"),
    }
)
_NAMED_SECRET: Final = re.compile(
    r"(?i)(password|secret|token|(account|access|shared)key)(value)?$"
)


def check_text(path: Path, text: str) -> Iterator[Finding]:
    """Yield what looks like a secret in a file."""
    for at, line in enumerate(text.splitlines(), 1):
        for what, pattern in _SHAPES:
            if re.search(pattern, line) and not line.lstrip().startswith(("//", "@description")):
                yield Finding(path, at, f"this looks like {what}: templates hold no secrets")


def check_declarations(file: BicepFile) -> Iterator[Finding]:
    """Yield parameters that ought to be @secure(), and functions that fetch keys."""
    for declaration in file.of("param"):
        if (
            declaration.type == "string"
            and _NAMED_SECRET.search(declaration.name)
            and declaration.decorator("secure") is None
        ):
            yield Finding(
                file.path, declaration.line, f"param {declaration.name} has to be @secure()"
            )
    for declaration in file.declarations.values():
        for node in walk(declaration.value):
            for key in _written(node):
                yield Finding(
                    file.path, node.line, f"{key} is a plain text: templates hold no secrets"
                )
            if isinstance(node, Call) and _TELLERS.fullmatch(node.name):
                yield Finding(
                    file.path,
                    node.line,
                    f"{node.name}() fetches a key; everything here has identities",
                )
        is_secret_output = declaration.kind == "output" and _NAMED_SECRET.search(declaration.name)
        if is_secret_output and not isinstance(declaration.value, Literal):
            yield Finding(
                file.path, declaration.line, f"output {declaration.name} would stay in the history"
            )


def _written(node: Node) -> Iterator[str]:
    """Yield an object's keys that are called as secrets are, with a plain text as their value."""
    for key, value in node.pairs if isinstance(node, Object) else ():
        name = key.value if isinstance(key, Literal) else ""
        is_text = isinstance(value, Literal) and isinstance(value.value, str) and value.value
        if is_text and isinstance(name, str) and _NAMED_SECRET.search(name):
            yield name


def check_values(deployment: Deployment) -> Iterator[Finding]:
    """Yield resources that a secret goes to, beside those that it is for."""
    for resource in deployment.resources:
        for name, value in resource.properties.items():
            if is_secret(value) and (resource.type, name) not in _ALLOWED:
                yield Finding(
                    resource.path,
                    resource.line,
                    f"{resource.type}: a secret is in properties.{name}",
                )
        outside = {key: value for key, value in resource.body.items() if key != "properties"}
        if is_secret(outside):
            yield Finding(resource.path, resource.line, f"{resource.type}: a secret is in its body")
