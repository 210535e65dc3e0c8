"""Every name is declared and used, every module is there, and what it takes and gives is right.

This looks at all branches, also at those that no environment's parameters reach.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tools.infra_check.deployment import Finding
from tools.infra_check.fits import misfits
from tools.infra_check.nodes import (
    BicepFile,
    BicepSyntaxError,
    Call,
    Declaration,
    If,
    Lambda,
    Literal,
    Loop,
    Member,
    Name,
    Node,
    Object,
    inner,
    walk,
)
from tools.infra_check.parser import parse
from tools.infra_check.values import DECORATORS, FUNCTIONS, METHODS

_TYPES: Final = frozenset(
    {"string", "int", "bool", "object", "array", "string[]", "int[]", "object[]"}
)
_SCOPES: Final = frozenset({"resourceGroup", "subscription"})


def check_symbols(file: BicepFile) -> Iterator[Finding]:
    """Yield what is wrong with the names of one file."""
    if file.scope not in _SCOPES:
        yield Finding(file.path, 1, f"{file.scope} is no scope of these templates")
    used: set[str] = set()
    for declaration in file.declarations.values():
        yield from _declared(file, declaration)
        names = list(_names(declaration.value, frozenset()))
        is_output = declaration.kind == "output"  # may be called as what it tells
        used |= {each.name for each in names if is_output or each.name != declaration.name}
        for each in names:
            if each.name not in file.declarations:
                yield Finding(file.path, each.line, f"{each.name} is declared nowhere")
            elif each.name == declaration.name and not is_output:
                yield Finding(file.path, each.line, f"{each.name} names itself")
        yield from _calls(file, declaration)
    for declaration in file.declarations.values():
        is_needed = declaration.kind in {"param", "var"} or declaration.is_existing
        if is_needed and declaration.name not in used:
            yield Finding(
                file.path,
                declaration.line,
                f"{declaration.kind} {declaration.name} is used nowhere",
            )


def check_modules(file: BicepFile) -> Iterator[Finding]:
    """Yield what is wrong between one file and the modules that it calls."""
    modules: dict[str, BicepFile] = {}
    for declaration in file.of("module"):
        path = (file.path.parent / declaration.type).resolve()
        if not path.is_file():
            yield Finding(file.path, declaration.line, f"there is no module {declaration.type}")
            continue
        try:
            modules[declaration.name] = parse(path)
        except BicepSyntaxError:
            continue  # told where that file is read
        yield from _parameters(file, declaration, modules[declaration.name])
    for declaration in file.declarations.values():
        for node in walk(declaration.value):
            yield from _outputs(file, node, modules)


def _declared(file: BicepFile, declaration: Declaration) -> Iterator[Finding]:
    for decorator in declaration.decorators:
        if decorator.name not in DECORATORS or decorator.of is not None:
            yield Finding(file.path, decorator.line, f"there is no decorator @{decorator.name}()")
    if declaration.kind not in {"param", "output"}:
        return
    what = f"{declaration.kind} {declaration.name}"
    if declaration.type.rstrip("?") not in _TYPES:
        yield Finding(file.path, declaration.line, f"{what}: there is no type {declaration.type}")
    if isinstance(declaration.value, Literal) and declaration.kind == "param":
        for wrong in misfits(declaration, declaration.value.value):
            yield Finding(file.path, declaration.line, f"the default of {what}: {wrong}")
    description = declaration.decorator("description")
    if description is None or not description.arguments:
        yield Finding(file.path, declaration.line, f"{what} has no @description")
    if declaration.decorator("secure") and declaration.kind == "param":
        default = declaration.value
        if default is not None and not (isinstance(default, Literal) and default.value == ""):
            yield Finding(file.path, declaration.line, f"{what} is @secure() and has a default")


def _names(node: Node | None, local: frozenset[str]) -> Iterator[Name]:
    """Yield the symbols in *node*, without those of loops and lambdas around them."""
    match node:
        case None:
            return
        case Name():
            if node.name not in local:
                yield node
        case Lambda(parameters=parameters, body=body):
            yield from _names(body, local | set(parameters))
        case Loop(item=item, index=index, items=items, body=body):
            yield from _names(items, local)
            yield from _names(body, local | {item} | ({index} if index else set()))
        case _:
            for each in inner(node):
                yield from _names(each, local)


def _calls(file: BicepFile, declaration: Declaration) -> Iterator[Finding]:
    for node in walk(declaration.value):
        if isinstance(node, Call):
            allowed = METHODS if node.of else FUNCTIONS
            if node.name not in allowed:
                yield Finding(file.path, node.line, f"there is no function {node.name}()")


def body_of(declaration: Declaration) -> Object | None:
    """Return the object of a resource or module, within its loop and condition."""
    node = declaration.value
    while isinstance(node, If | Loop):
        node = node.body
    return node if isinstance(node, Object) else None


def entries(node: Node | None) -> Mapping[str, Node]:
    """Return an object's values by key, as far as keys are plain."""
    if not isinstance(node, Object):
        return {}
    return {str(key.value): value for key, value in node.pairs if isinstance(key, Literal)}


def _parameters(file: BicepFile, call: Declaration, module: BicepFile) -> Iterator[Finding]:
    body = entries(body_of(call))
    given = entries(body.get("params"))
    wanted = {each.name: each for each in module.of("param")}
    for name in sorted(given.keys() - wanted.keys()):
        yield Finding(file.path, given[name].line, f"{call.type} has no param {name}")
    for name, each in wanted.items():
        if each.value is None and not each.type.endswith("?") and name not in given:
            yield Finding(file.path, call.line, f"param {name} of {call.type} is missing")
    for key in sorted(body.keys() - {"name", "params", "dependsOn", "scope"}):
        yield Finding(file.path, body[key].line, f"a module has no {key}")


def _outputs(file: BicepFile, node: Node, modules: Mapping[str, BicepFile]) -> Iterator[Finding]:
    match node:
        case Member(of=Member(of=Name(name=called), name="outputs"), name=name):
            if called in modules and f"output {name}" not in modules[called].declarations:
                yield Finding(
                    file.path, node.line, f"{modules[called].path.name} has no output {name}"
                )
        case _:
            return


def check_parameters(path: Path, given: Any, main: BicepFile) -> Iterator[Finding]:
    """Yield what is wrong with a parameter file; values are held against types by `evaluate`."""
    schema = str(given.get("$schema", "")) if isinstance(given, dict) else ""
    if not schema.endswith("/deploymentParameters.json#"):
        yield Finding(path, 1, "$schema is not that of deployment parameters")
    values = given.get("parameters", {}) if isinstance(given, dict) else {}
    wanted = {each.name: each for each in main.of("param")}
    for name, entry in values.items():
        if name not in wanted:
            yield Finding(path, 1, f"main.bicep has no param {name}")
        elif wanted[name].decorator("secure"):
            yield Finding(path, 1, f"{name} is @secure(): no file may hold its value")
        elif set(entry) != {"value"}:
            yield Finding(path, 1, f"{name} has to be an object with a value, and nothing else")
    for name, each in wanted.items():
        if each.value is None and name not in values:
            yield Finding(path, 1, f"param {name} is missing")
