"""Finds the user's app: ``"module:attribute"`` on a command line, or ``[tool.workflows] app`` in ``pyproject.toml``.

The user's folder comes first on the path, as it does for ``python app.py``: a ``sched.py`` of theirs is theirs and not
the standard library's. Our own top-level packages have plain names, so they are loaded before that, and a module of
theirs that has one of our names, which could never be imported, is an error that says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from workflows.authoring.app import App
from workflows.errors import ConfigError

OWN_MODULES: Final = ("workflows", "orchestrator", "worker")
_FORM: Final = 'Use "module:attribute", such as "app:app" for `app = App("media")` in app.py.'


def load_app(target: str | None = None, *, folder: str | os.PathLike[str] | None = None) -> App:
    """Import the app.

    Args:
        target: ``"module:attribute"``; the attribute may be left out if the module has exactly one app. None reads
            ``[tool.workflows] app`` of ``pyproject.toml``.
        folder: where modules and ``pyproject.toml`` are looked for; default the current one.
    Raises:
        ConfigError: nothing to load, no such module or attribute, not an app, or a module with one of our names. What
            goes wrong inside the user's module is raised as it is.
    """
    place = Path(folder) if folder is not None else Path.cwd()
    if target is None:
        target = _configured(place)
    module_name, colon, attribute = target.partition(":")
    if not module_name or (colon and not attribute) or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f'"{target}" does not name an app. {_FORM}')
    check_own_names(place)
    for name in OWN_MODULES:
        importlib.import_module(name)
    path = str(place.resolve())
    if sys.path[:1] != [path]:
        sys.path.insert(0, path)
        importlib.invalidate_caches()
    module = _import(module_name, target, place)
    found = _attribute(module, attribute, target) if attribute else _only_app(module, target)
    if not isinstance(found, App):
        raise ConfigError(f'"{target}" is a {type(found).__name__}, not an App. {_FORM}')
    return found


def check_own_names(folder: Path) -> None:
    """Refuse a folder with modules that have the names of our packages.

    Raises: ConfigError.
    """
    for name in OWN_MODULES:
        spec = importlib.util.find_spec(name)
        own = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        for candidate in (folder / f"{name}.py", folder / name / "__init__.py"):
            if candidate.is_file() and candidate.resolve() != own:
                raise _taken(candidate)


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} has the name of a package of rq-workflows and could never be imported. "
        f"Rename it: {', '.join(OWN_MODULES)} are taken."
    )


def _configured(folder: Path) -> str:
    file = folder / "pyproject.toml"
    try:
        with file.open("rb") as opened:
            settings = tomllib.load(opened)
    except FileNotFoundError:
        raise ConfigError(f"No app was named, and there is no pyproject.toml in {folder}. {_FORM}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"No app was named, and {file} cannot be read: {error}.") from error
    target = settings.get("tool", {}).get("workflows", {}).get("app")
    if not isinstance(target, str):
        raise ConfigError(f'No app was named. Name one, or add to {file}:\n[tool.workflows]\napp = "app:app"')
    return target


def _import(name: str, target: str, folder: Path) -> Any:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        first, _, below = (error.name or "").partition(".")
        if first in OWN_MODULES and below and (folder / first).is_dir():
            raise _taken(folder / first) from error
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the user's module was found; something it imports was not
        raise ConfigError(
            f'There is no module "{error.name}" for "{target}". Looked in {folder} and in the installed packages.'
        ) from error
    except ImportError as error:
        _check_loaded((error.name or "").partition(".")[0], folder, error)
        raise
    _check_loaded(name.partition(".")[0], folder, None)
    return module


def _check_loaded(name: str, folder: Path, error: ImportError | None) -> None:
    """Refuse a module of the user's that was asked for and not found, because one of its name was loaded before."""
    if name not in sys.modules:
        return
    loaded = getattr(sys.modules[name], "__file__", None)
    for path in (folder / f"{name}.py", folder / name / "__init__.py"):
        if path.is_file() and (loaded is None or Path(loaded).resolve() != path.resolve()):
            raise ConfigError(
                f"{path} has the name of a module that was loaded already, from {loaded or 'the interpreter'}, and "
                "cannot be imported. Rename it."
            ) from error


def _attribute(module: Any, path: str, target: str) -> Any:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            apps = ", ".join(f'"{module.__name__}:{name}"' for name in _apps(module))
            hint = f" It has: {apps}." if apps else ""
            raise ConfigError(f'The module {module.__name__} has no "{name}", as in "{target}".{hint}') from None
    return found


def _only_app(module: Any, target: str) -> Any:
    apps = _apps(module)
    if len(apps) == 1:
        return getattr(module, apps[0])
    if not apps:
        raise ConfigError(f'The module "{target}" has no app. {_FORM}')
    raise ConfigError(f'The module "{target}" has several apps: say which, "{target}:{apps[0]}".')


def _apps(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, App)]
