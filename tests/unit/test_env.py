"""``self.env``: real outside ``run``, only nameable inside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workflows.authoring.env import BindingReference, LazyEnv
from workflows.errors import ForbiddenInRun
from workflows.sandbox import guard


class Bucket:
    url = "redis://x"

    def get(self, key: str) -> str:
        return f"got {key}"


ENV = LazyEnv({"BUCKET": Bucket(), "NAME": "prod"})


def test_outside_run_attributes_and_keys_are_the_real_bindings() -> None:
    assert isinstance(ENV.BUCKET, Bucket)
    assert ENV["NAME"] == "prod"
    assert "NAME" in ENV and "OTHER" not in ENV
    assert dir(ENV) == ["BUCKET", "NAME"]


@pytest.mark.parametrize("source", [{"A": 1}, SimpleNamespace(A=1), lambda: {"A": 1}, lambda: SimpleNamespace(A=1)])
def test_bindings_come_from_mappings_objects_and_functions(source: Any) -> None:
    assert LazyEnv(source).A == 1


def test_unknown_binding_names_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no binding BUKET. .* are: BUCKET, NAME"):
        _ = ENV.BUKET
    with pytest.raises(AttributeError, match="none"):
        _ = LazyEnv().ANY


def test_inside_run_a_binding_is_a_reference_that_resolves_outside() -> None:
    with guard.inside(object()):
        get = ENV.BUCKET.get
        assert isinstance(get, BindingReference)
        assert get.path == ("BUCKET", "get")
        assert repr(get) == "<self.env.BUCKET.get>"
        assert get == ENV.BUCKET.get and hash(get) == hash(ENV.BUCKET.get)
    assert get("k") == "got k"
    assert get.resolve()("k") == "got k"


@pytest.mark.parametrize(
    "use",
    [
        lambda env: env.BUCKET.get("k"),
        lambda env: env.BUCKET(),
        lambda env: str(env.NAME),
        lambda env: f"{env.NAME}",
        lambda env: bool(env.NAME),
        lambda env: list(env.NAME),
        lambda env: len(env.NAME),
        lambda env: env.NAME == "prod",
        lambda env: env.BUCKET["k"],
        lambda env: "k" in env.BUCKET,
        lambda env: setattr(env.BUCKET, "x", 1),
        lambda env: env.BUCKET.__enter__(),
    ],
)
def test_inside_run_using_a_reference_raises_with_the_way_out(use: Any) -> None:
    with guard.inside(object()), pytest.raises(ForbiddenInRun, match=r"self.env.*await step.do\("):
        use(ENV)


def test_reference_kept_by_a_callback_works_like_the_binding() -> None:
    with guard.inside(object()):
        bucket, name = ENV.BUCKET, ENV.NAME
    assert bucket.get("k") == "got k"
    assert bucket.url == "redis://x"
    assert f"{name}" == "prod" and list(name) == list("prod") and "p" in name


def test_bindings_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match=r"@app.bindings"):
        ENV.BUCKET = 1
