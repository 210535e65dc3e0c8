"""Works out what the templates make of parameters: the resources that Azure would be asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.infra_check.deployment import Deployment, Finding, Identity, Properties, Resource
from tools.infra_check.fits import misfit, misfits
from tools.infra_check.nodes import (
    Array,
    BicepSyntaxError,
    Call,
    Choice,
    Declaration,
    If,
    Index,
    Lambda,
    Literal,
    Loop,
    Member,
    Name,
    Node,
    Object,
    Operation,
    Text,
)
from tools.infra_check.parser import parse
from tools.infra_check.values import (
    ANY,
    PLAIN,
    SUBSCRIPTION,
    EvaluationError,
    Runtime,
    is_secret,
    joined,
    known,
    text_of,
)

_OF_BICEP: Final = frozenset({"name", "parent", "scope", "dependsOn"})  # the rest is the resource's


@dataclass(frozen=True, slots=True)
class _Module:
    outputs: Mapping[str, Any]


class _Absent:
    """A resource or module whose condition does not hold."""


def deploy(path: Path, parameters: Mapping[str, Any]) -> Deployment:
    """Return what the template at *path* and all its modules come to."""
    deployment = Deployment()
    _File(path, parameters, deployment, None).run()
    return deployment


class _File:
    """One file with the parameters it was given. Declarations are worked out when first needed."""

    def __init__(
        self,
        path: Path,
        parameters: Mapping[str, Any],
        deployment: Deployment,
        given_at: tuple[Path, int] | None,
    ) -> None:
        self._path = path
        self._deployment = deployment
        self._file = deployment.files.get(path) or parse(path)
        deployment.files[path] = self._file
        self._given_at = given_at or (path, 1)
        self._values: dict[str, Any] = {}
        self._pending: list[str] = []
        self._parameters = parameters

    def run(self) -> dict[str, Any]:
        """Work everything out; return the outputs."""
        for name in self._parameters:
            if name not in self._file.declarations or self._file.declarations[name].kind != "param":
                self._found(*self._given_at, f"{self._path.name} has no param {name}")
        outputs: dict[str, Any] = {}
        for declaration in self._file.declarations.values():
            try:
                if declaration.kind == "output":
                    outputs[declaration.name] = self._output(declaration)
                else:
                    self._value(declaration.name)
            except EvaluationError as error:
                self._found(self._path, declaration.line, str(error))
        return outputs

    def _found(self, path: Path, line: int, what: str) -> None:
        finding = Finding(path, line, what)
        if finding not in self._deployment.findings:
            self._deployment.findings.append(finding)

    # -- declarations

    def _value(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._pending:
            raise EvaluationError(f"{name} depends on itself: {' -> '.join(self._pending)}")
        declaration = self._file.declarations.get(name)
        if declaration is None:
            raise EvaluationError(f"{name} is declared nowhere")
        self._pending.append(name)
        try:
            self._values[name] = getattr(self, f"_{declaration.kind}")(declaration)
        except (EvaluationError, RecursionError) as error:
            self._values[name] = Runtime(f"{name}?")
            self._found(self._path, declaration.line, f"{name}: {error}")
        finally:
            self._pending.remove(name)
        return self._values[name]

    def _param(self, declaration: Declaration) -> Any:
        secret = declaration.decorator("secure") is not None
        if declaration.name in self._parameters:
            value = self._parameters[declaration.name]
            where = self._given_at
        elif declaration.value is not None:
            value = self._of(declaration.value, {})
            where = (self._path, declaration.line)
        else:
            self._found(
                *self._given_at, f"param {declaration.name} of {self._path.name} is missing"
            )
            return Runtime(declaration.name, is_secret=secret)
        for what in misfits(declaration, value):
            self._found(*where, f"{declaration.name} of {self._path.name}: {what}")
        if is_secret(value) and not secret:
            self._found(
                *where,
                f"{declaration.name} of {self._path.name} is given a secret and is not @secure()",
            )
        return Runtime(declaration.name, is_secret=True) if secret and value else value

    def _var(self, declaration: Declaration) -> Any:
        return self._of(declaration.value, {})

    def _output(self, declaration: Declaration) -> Any:
        value = self._of(declaration.value, {})
        if is_secret(value):
            self._found(self._path, declaration.line, f"output {declaration.name} tells a secret")
        if what := misfit(declaration.type, value):
            self._found(self._path, declaration.line, f"output {declaration.name}: {what}")
        return value

    def _resource(self, declaration: Declaration) -> Any:
        return self._instances(declaration.value, {}, declaration)

    def _module(self, declaration: Declaration) -> Any:
        return self._instances(declaration.value, {}, declaration)

    def _instances(self, node: Node | None, names: Mapping[str, Any], of: Declaration) -> Any:
        if isinstance(node, If):
            condition = self._of(node.condition, names)
            return self._instances(node.body, names, of) if condition else _Absent()
        if isinstance(node, Loop):
            return [self._instances(node.body, each, of) for each in self._rounds(node, names)]
        if of.kind == "module":
            return self._called(node, names, of)
        return self._made(node, names, of)

    def _rounds(self, node: Loop, names: Mapping[str, Any]) -> list[dict[str, Any]]:
        items = self._of(node.items, names)
        if not isinstance(items, list):
            raise EvaluationError(f"a loop goes over {text_of(items)}, which is no list")
        return [
            {**names, node.item: item, **({node.index: at} if node.index else {})}
            for at, item in enumerate(items)
        ]

    def _called(self, node: Node | None, names: Mapping[str, Any], of: Declaration) -> _Module:
        path = (self._path.parent / of.type).resolve()
        if not path.is_file():
            raise EvaluationError(f"there is no module {of.type}")
        body = {
            str(self._of(key, names)): value
            for key, value in (node.pairs if isinstance(node, Object) else ())
        }
        given = self._of(body["params"], names) if "params" in body else {}
        try:
            file = _File(path, given, self._deployment, (self._path, of.line))
        except BicepSyntaxError as error:
            self._found(path, error.line, str(error))
            return _Module({})
        return _Module(file.run())

    def _made(self, node: Node | None, names: Mapping[str, Any], of: Declaration) -> Resource:
        whole = self._of(node, names)
        name = whole.get("name")
        if name is None:
            raise EvaluationError("a resource has no name")
        parent, scope = whole.get("parent"), whole.get("scope")
        for what in ("parent", "scope"):
            if isinstance(whole.get(what), _Absent):
                raise EvaluationError(f"its {what} is not deployed")
        resource = Resource(
            type=of.type,
            api=of.api,
            name=name,
            id=_identity(of.type, name, parent, scope),
            body={key: value for key, value in whole.items() if key not in _OF_BICEP},
            is_existing=of.is_existing,
            path=self._path,
            line=of.line,
        )
        self._deployment.resources.append(resource)
        return resource

    # -- expressions

    def _of(self, node: Node | None, names: Mapping[str, Any]) -> Any:
        match node:
            case Literal(value=value):
                return value
            case Name(name=name):
                return names[name] if name in names else self._value(name)
            case Array(items=items):
                return [self._of(each, names) for each in items]
            case Object(pairs=pairs):
                return {text_of(self._of(key, names)): self._of(v, names) for key, v in pairs}
            case Loop():
                return [self._of(node.body, each) for each in self._rounds(node, names)]
            case _:
                return self._worked_out(node, names)

    def _worked_out(self, node: Node | None, names: Mapping[str, Any]) -> Any:
        match node:
            case Text(parts=parts):
                return joined(
                    [self._of(each, names) if isinstance(each, Node) else each for each in parts]
                )
            case Member(of=of, name=name):
                return self._member(self._of(of, names), name, node.line)
            case Index(of=of, key=key):
                return self._item(self._of(of, names), self._of(key, names))
            case Choice(condition=condition, yes=yes, no=no):
                # What Azure alone knows counts as true.
                return self._of(yes if self._of(condition, names) else no, names)
            case Call():
                return self._call(node, names)
            case Operation(operator=operator, operands=operands):
                return self._operation(operator, [self._of(each, names) for each in operands])
            case _:
                raise EvaluationError(f"{type(node).__name__} cannot stand here")

    def _member(self, value: Any, name: str, line: int) -> Any:
        if isinstance(value, Runtime):
            return Runtime(f"{value.text}.{name}", is_secret=value.is_secret)
        if isinstance(value, _Module):
            if name != "outputs":
                raise EvaluationError(f"a module has outputs, and no {name}")
            return value.outputs
        if isinstance(value, _Absent):
            raise EvaluationError(f".{name} of what is not deployed")
        if isinstance(value, Resource):
            return self._of_resource(value, name, line)
        if isinstance(value, Mapping):
            if name not in value:
                raise EvaluationError(f"there is no {name} among {', '.join(sorted(value))}")
            return value[name]
        raise EvaluationError(f"{text_of(value)!r} has no {name}")

    def _of_resource(self, resource: Resource, name: str, line: int) -> Any:
        if name == "id":
            return resource.id
        if name in {"name", "type"}:
            return getattr(resource, name)
        if name == "properties":
            return Properties(resource, self._deployment, self._path, line)
        if name in {"location", "tags", "sku", "kind"} and name in resource.body:
            return resource.body[name]
        if name == "identity":
            return Identity(resource)
        raise EvaluationError(f"a resource has no {name}")

    def _item(self, value: Any, key: Any) -> Any:
        if isinstance(value, Runtime) or isinstance(key, Runtime):
            return Runtime(f"{text_of(value)}[{text_of(key)}]", is_secret=is_secret(value))
        try:
            return value[key]
        except (LookupError, TypeError) as error:
            raise EvaluationError(f"there is no [{text_of(key)}]") from error

    def _call(self, node: Call, names: Mapping[str, Any]) -> Any:
        if node.of is not None:
            if node.name != "getSecret":
                raise EvaluationError(f"there is no method {node.name}()")
            self._of(node.of, names)
            return Runtime("a secret of a vault", is_secret=True)
        if node.name in {"filter", "map"}:
            return self._mapped(node, names)
        given = [self._of(each, names) for each in node.arguments]
        function = ANY.get(node.name) or PLAIN.get(node.name)
        if function is None:
            raise EvaluationError(f"there is no function {node.name}()")
        if (
            node.name not in ANY
            and not all(map(known, given))
            and node.name not in {"concat", "union"}
        ):
            text = f"{node.name}({', '.join(map(text_of, given))})"
            return Runtime(text, is_secret=any(map(is_secret, given)))
        try:
            return function(*given)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise EvaluationError(
                f"{node.name}({', '.join(map(text_of, given))}): {error}"
            ) from error

    def _mapped(self, node: Call, names: Mapping[str, Any]) -> Any:
        match node.arguments:
            case (listed, Lambda() as function):
                items = self._of(listed, names)
            case _:
                raise EvaluationError(f"{node.name}() takes a list and a lambda")
        results = [
            self._of(function.body, {**names, function.parameters[0]: each}) for each in items
        ]
        if node.name == "map":
            return results
        return [each for each, keeps in zip(items, results, strict=True) if keeps]

    def _operation(self, operator: str, values: list[Any]) -> Any:
        if operator == "??":
            return values[1] if values[0] is None else values[0]
        if operator in {"||", "&&"} and (operator == "||") in values:
            return operator == "||"
        if not all(map(known, values)):
            if operator in {"==", "!="} and None in values:
                return operator == "!="  # what Azure will know is something
            return Runtime(f" {operator} ".join(map(text_of, values)))
        try:
            return _OPERATORS[operator, len(values)](*values)
        except (TypeError, KeyError) as error:
            raise EvaluationError(f"{operator} of {', '.join(map(text_of, values))}") from error


_OPERATORS: Final[Mapping[tuple[str, int], Any]] = {
    ("!", 1): lambda a: not a,
    ("-", 1): lambda a: -a,
    ("==", 2): lambda a, b: a == b,
    ("!=", 2): lambda a, b: a != b,
    ("=~", 2): lambda a, b: a.lower() == b.lower(),
    ("!~", 2): lambda a, b: a.lower() != b.lower(),
    ("<", 2): lambda a, b: a < b,
    (">", 2): lambda a, b: a > b,
    ("<=", 2): lambda a, b: a <= b,
    (">=", 2): lambda a, b: a >= b,
    ("&&", 2): lambda a, b: a and b,
    ("||", 2): lambda a, b: a or b,
    ("+", 2): lambda a, b: a + b,
    ("-", 2): lambda a, b: a - b,
    ("*", 2): lambda a, b: a * b,
    ("/", 2): lambda a, b: a // b,
    ("%", 2): lambda a, b: a % b,
}


def _identity(kind: str, name: Any, parent: Any, scope: Any) -> str:
    """Return a resource's id."""
    above, _, last = kind.rpartition("/")
    if isinstance(parent, Resource):
        if above != parent.type:
            raise EvaluationError(f"{parent.type} cannot be the parent of {kind}")
        return f"{parent.id}/{last}/{text_of(name)}"
    provider, *kinds = kind.split("/")
    names = text_of(name).split("/")
    if len(kinds) != len(names) and known(name):
        raise EvaluationError(f"{kind} has {len(kinds)} names, not {len(names)}")
    inner = "/".join(f"{each}/{n}" for each, n in zip(kinds, names, strict=False))
    home = scope.id if isinstance(scope, Resource) else _home(scope)
    return f"{home}/providers/{provider}/{inner}"


def _home(scope: Any) -> str:
    if isinstance(scope, Mapping) and "id" in scope:
        return str(scope["id"])
    return f"{SUBSCRIPTION}/resourceGroups/group"
