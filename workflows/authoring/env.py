"""``self.env``: the app's bindings, real inside a step and only nameable outside of one.

A worker process makes the bindings once. ``run`` may be replayed anywhere, also where nothing may be touched, so there
an attribute of ``self.env`` is a reference: it can be handed on as a callback or argument, and does what it says once
the step runs. Calling it, or looking at what it holds, in ``run`` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from workflows.errors import ForbiddenInRun
from workflows.sandbox import guard

_UNSET: Any = object()


class LazyEnv:
    """The bindings of this worker process.

    Args:
        source: a mapping or object holding the bindings, or a function without arguments that returns one. The
            function is called at every use outside ``run``, so that a worker may make its bindings late.
    """

    __slots__ = ("_source",)

    def __init__(self, source: object = None) -> None:
        object.__setattr__(self, "_source", {} if source is None else source)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        reference = BindingReference(self, (name,))
        return reference if guard.current() is not None else reference.resolve()

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in names_of(_bindings(self))

    def __dir__(self) -> list[str]:
        return names_of(_bindings(self))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"self.env.{name} cannot be set: bindings are made by the function under @app.bindings.")

    def __repr__(self) -> str:
        return "<env>"


class BindingReference:
    """A part of ``self.env`` named but not touched: ``self.env.BUCKET.get``."""

    __slots__ = ("_env", "_path")

    def __init__(self, env: LazyEnv, path: tuple[str, ...]) -> None:
        object.__setattr__(self, "_env", env)
        object.__setattr__(self, "_path", path)

    @property
    def path(self) -> tuple[str, ...]:
        """The names from ``self.env`` on, for example ``("BUCKET", "get")``."""
        path: tuple[str, ...] = object.__getattribute__(self, "_path")
        return path

    def resolve(self) -> Any:
        """The real thing.

        Raises:
            ForbiddenInRun: this thread is executing ``run``.
            AttributeError: this process has no such binding, or it has no such attribute.
        """
        if guard.current() is not None:
            self._refuse("used")
        env: LazyEnv = object.__getattribute__(self, "_env")
        first, *rest = self.path
        bindings = _bindings(env)
        value = bindings.get(first, _UNSET) if isinstance(bindings, Mapping) else getattr(bindings, first, _UNSET)
        if value is _UNSET:
            names = ", ".join(names_of(bindings)) or "none"
            raise AttributeError(
                f"self.env has no binding {first}. The bindings of this worker are: {names}. "
                "They are what the function under @app.bindings returns, plus one for each workflow of the app."
            )
        for name in rest:
            value = getattr(value, name)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if guard.current() is None:
            return getattr(self.resolve(), name)
        env: LazyEnv = object.__getattribute__(self, "_env")
        return BindingReference(env, (*self.path, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if guard.current() is not None:
            self._refuse("called")
        return self.resolve()(*args, **kwargs)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.resolve(), name, value)

    def __getitem__(self, key: Any) -> Any:
        return self.resolve()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.resolve()[key] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.resolve())

    def __len__(self) -> int:
        return len(self.resolve())

    def __contains__(self, item: object) -> bool:
        return item in self.resolve()

    def __bool__(self) -> bool:
        return bool(self.resolve())

    def __str__(self) -> str:
        return str(self.resolve())

    def __format__(self, specification: str) -> str:
        return format(self.resolve(), specification)

    def __await__(self) -> Any:
        self._refuse("awaited")

    def __enter__(self) -> NoReturn:
        self._refuse("entered")

    def __exit__(self, *details: object) -> None: ...

    async def __aenter__(self) -> NoReturn:
        self._refuse("entered")

    async def __aexit__(self, *details: object) -> None: ...

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BindingReference):
            return self.path == other.path
        return bool(self.resolve() == other)

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"<self.env.{'.'.join(self.path)}>"

    def _refuse(self, how: str) -> NoReturn:
        text = f"self.env.{'.'.join(self.path)}"
        raise ForbiddenInRun(
            f"{text} cannot be {how} in run() outside a step: a replay would do it again, maybe on another machine. "
            f'Hand it to a step: await step.do("name", {text}, …), or use it inside a callback.'
        )


def names_of(bindings: object) -> list[str]:
    """The names of the bindings that a mapping or object holds, in its order."""
    if isinstance(bindings, Mapping):
        return [str(name) for name in bindings]
    return [name for name in dir(bindings) if not name.startswith("_")]


def _bindings(env: LazyEnv) -> Any:
    source: Any = object.__getattribute__(env, "_source")
    if isinstance(source, Mapping) or not callable(source):
        return source
    make: Callable[[], Any] = source
    return make()
