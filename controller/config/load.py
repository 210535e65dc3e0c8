"""From the text of apps.yaml to the apps under our care, or to everything that is wrong with it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from controller.config.checks import CHECKS, one_app_per_site
from controller.config.explain import at_key, at_value, explain
from controller.config.fields import NO_SECRETS, AppKey, looks_secret
from controller.config.located import Located, merged, read_yaml
from controller.config.problems import InvalidConfigurationError, Problem
from controller.config.sections import AppSection
from controller.config.words import belongs_under, nearest
from controller.core.plan import AppId, AppSpec

_TOP: Final = ("apps", "defaults")
_APP_KEY: Final[TypeAdapter[str]] = TypeAdapter(AppKey)


ReadFile = Callable[[str], str]  # a path below the folder of apps.yaml -> its text


def load_text(text: str, *, name: str, read_file: ReadFile | None = None) -> dict[AppId, AppSpec]:
    """Return the apps in *text*, the content of the file called *name*.

    *read_file* reads what the text names beside itself; without it such names are refused.

    Raises:
        InvalidConfigurationError: with every problem, its line, column, key and remedy.
    """
    root = read_yaml(text, name=name)
    problems = list(_check_top(root))
    defaults = root.get("defaults")
    inherited = defaults if defaults and isinstance(defaults.value, dict) else None
    if inherited:
        problems += _check_defaults(inherited, read_file)
    apps: dict[str, Located] = {}
    specs: dict[AppId, AppSpec] = {}
    for app, own in _apps(root):
        problems += _check_id(app, root)
        apps[app] = tree = _inherit(inherited, own)
        spec, found = _app(AppId(app), tree, read_file)
        problems += found
        if spec:
            specs[spec.id] = spec
    problems += one_app_per_site(apps)
    if problems:
        raise InvalidConfigurationError(name, problems)
    return specs


def load_file(path: Path) -> dict[AppId, AppSpec]:
    """Return the apps in the file at *path*. Raises like `load_text`, also where it is unreadable.

    Raises:
        InvalidConfigurationError: see `load_text`.
    """
    return load_text(read_text(path), name=str(path), read_file=beside(path))


def beside(path: Path) -> ReadFile:
    """Return what reads texts below the folder of the file at *path*."""
    return lambda name: (path.parent / name).read_text(encoding="utf-8-sig")


def read_text(path: Path) -> str:
    """Return the text of the file at *path*.

    Raises:
        InvalidConfigurationError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or type(error).__name__
        problem = Problem(1, 1, "", f"cannot be read: {why}")
        raise InvalidConfigurationError(str(path), [problem]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(line, 1, "", "is not UTF-8 text", "Save it as UTF-8.")
        raise InvalidConfigurationError(str(path), [problem]) from error


def _check_top(root: Located) -> Iterator[Problem]:
    if not isinstance(root.value, dict):
        yield at_value(root, (), "is not a mapping", "Start it with: apps:")
        return
    for key in root.value:
        if key in _TOP:
            continue
        meant = nearest(key, _TOP)
        home = belongs_under(key)
        if looks_secret(key):
            yield at_key(root, (key,), "is unknown here and looks like a secret", NO_SECRETS)
        elif meant:
            yield at_key(root, (key,), "is an unknown key", f"Did you mean '{meant}'?")
        else:
            advice = (
                "It belongs under an app or under 'defaults'."
                if home is not None
                else "Known here: apps, defaults."
            )
            yield at_key(root, (key,), "is an unknown key", advice)
    yield from _check_sections(root)


def _check_sections(root: Located) -> Iterator[Problem]:
    apps, defaults = root.get("apps"), root.get("defaults")
    if apps is None:
        yield Problem(root.at.line, root.at.column, "apps", "is missing", "List the apps there.")
    elif not isinstance(apps.value, dict):
        yield at_key(root, ("apps",), "is not a mapping of app ids to apps")
    elif not apps.value:
        yield at_key(root, ("apps",), "has no app")
    if defaults and not isinstance(defaults.value, dict):
        yield at_key(root, ("defaults",), "is not a section of keys and values")


def _apps(root: Located) -> list[tuple[str, Located]]:
    apps = root.get("apps")
    return apps.items() if apps else []


def _inherit(defaults: Located | None, own: Located) -> Located:
    if defaults is None:
        return own
    return replace(merged(defaults, own), path=own.path, at=own.at, key_at=own.key_at)


def _check_id(app: str, root: Located) -> Iterator[Problem]:
    try:
        _APP_KEY.validate_python(app)
    except ValidationError as error:
        context = error.errors()[0].get("ctx", {})
        message = f"the app id {context.get('message', 'is not usable')}"
        yield at_key(root, ("apps", app), message, context.get("suggestion"))


def _check_defaults(defaults: Located, read_file: ReadFile | None) -> list[Problem]:
    """What is wrong in ``defaults``, also where every app overrides it; it need not be complete."""
    try:
        AppSection.model_validate(defaults.plain(), context={"read_file": read_file})
    except ValidationError as error:
        partial = [
            details["loc"]
            for details in error.errors()
            if details["type"] == "missing" and not any(isinstance(s, int) for s in details["loc"])
        ]
        return [
            problem
            for problem, details in zip(explain(error, defaults), error.errors(), strict=True)
            if details["loc"] not in partial
        ]
    return []


def _app(
    app: AppId, tree: Located, read_file: ReadFile | None
) -> tuple[AppSpec | None, list[Problem]]:
    problems = [problem for check in CHECKS for problem in check(tree)]
    try:
        section = AppSection.model_validate(tree.plain(), context={"read_file": read_file})
    except ValidationError as error:
        return None, [*problems, *explain(error, tree)]
    return (None if problems else section.to_core(app)), problems
