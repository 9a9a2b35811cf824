"""Plug-ins: what can be carried in and out without touching a wall.

Built-ins are plug-ins named by dotted string, so nothing here imports them; third parties register under the entry-point group `emlyn`.
A plug-in module implements any of the hooks below; each returns a list of objects that satisfy the protocol named in the hook's docstring.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import pluggy

spec = pluggy.HookspecMarker("emlyn")
hook = pluggy.HookimplMarker("emlyn")
T = TypeVar("T")

BUILT_IN: tuple[str, ...] = (
    "emlyn.tasks.classification",
    "emlyn.tasks.regression",
    "emlyn.learners.baseline",
    "emlyn.learners.linear",
    "emlyn.learners.lightgbm",
    "emlyn.learners.catboost",
    "emlyn.learners.trees",
    "emlyn.learners.mlp",
    "emlyn.learners.xgboost",
    "emlyn.readers.delimited",
    "emlyn.readers.files",
    "emlyn.readers.database",
    "emlyn.executors.ray",
    "emlyn.checks.form",
    "emlyn.checks.values",
    "emlyn.checks.missing",
    "emlyn.checks.target",
    "emlyn.checks.leakage",
    "emlyn.checks.circular",
    "emlyn.checks.structure",
    "emlyn.checks.sampling",
    "emlyn.checks.enough",
    "emlyn.checks.fairness",
    "emlyn.checks.privacy",
    "emlyn.checks.model",
    "emlyn.explainers.attribution",
    "emlyn.exporters.docker",
    "emlyn.exporters.clouds",
    "emlyn.exporters.mlflow",
    "emlyn.exporters.onnx",
    "emlyn.exporters.sql",
)


class Hooks:
    """The hook specifications."""

    @spec
    def emlyn_tasks(self) -> list[Any]:  # type: ignore[empty-body]
        """Task kinds: objects of `emlyn.core.task.Task`."""

    @spec
    def emlyn_learners(self) -> list[Any]:  # type: ignore[empty-body]
        """Learners: objects of `emlyn.core.learner.Learner`."""

    @spec
    def emlyn_checks(self) -> list[Any]:  # type: ignore[empty-body]
        """Checks: objects of `emlyn.core.check.Check`."""

    @spec
    def emlyn_readers(self) -> list[Any]:  # type: ignore[empty-body]
        """Readers: objects of `emlyn.core.reader.Reader`."""

    @spec
    def emlyn_executors(self) -> list[Any]:  # type: ignore[empty-body]
        """Executors: objects of `emlyn.core.executor.Executor`, by their `scheme`."""

    @spec
    def emlyn_explainers(self) -> list[Any]:  # type: ignore[empty-body]
        """Explainers: objects of `emlyn.core.explainer.Explainer`."""

    @spec
    def emlyn_exporters(self) -> list[Any]:  # type: ignore[empty-body]
        """Exporters: objects of `emlyn.core.exporter.Exporter`."""

    @spec
    def emlyn_ideas(self) -> list[Any]:  # type: ignore[empty-body]
        """Idea sources: objects of `emlyn.core.idea.IdeaSource`."""


@functools.cache
def manager() -> pluggy.PluginManager:
    """The plug-in manager with entry points registered; built-ins join when their noun is first asked for."""
    found = pluggy.PluginManager("emlyn")
    found.add_hookspecs(Hooks)
    found.load_setuptools_entrypoints("emlyn")
    return found


def collect(noun: str) -> list[Any]:
    """Every plug-in object of one noun (`tasks`, `learners`, `checks`, …), built-ins first, in the order of `BUILT_IN`.

    Raises ValueError when two plug-ins claim the same name.
    """
    known = manager()
    for name in BUILT_IN:
        if name.startswith(f"emlyn.{noun}.") and not known.has_plugin(name):
            known.register(importlib.import_module(name), name)
    groups = getattr(known.hook, f"emlyn_{noun}")()
    found = [item for group in reversed(groups) for item in group]
    names = [item.name for item in found]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ValueError(f"two {noun} plug-ins are called {', '.join(sorted(twice))}; names must be unique")
    return found


def guarded(call: Callable[[], T]) -> tuple[T | None, str]:
    """A plug-in's answer, or None and in words what went wrong: the fault of one plug-in must not end the run of all."""
    try:
        return call(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def find(noun: str, name: str) -> Any:
    """The plug-in object of that name. Raises KeyError with the names that exist."""
    known = {item.name: item for item in collect(noun)}
    if name not in known:
        raise KeyError(f"no {noun} plug-in is called {name!r}; there are: {', '.join(known)}")
    return known[name]
