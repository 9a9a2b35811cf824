"""Contract tests for plug-ins and stores: subclass the class, give it your object, run pytest."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["ExecutorContract", "LearnerContract", "StoreContract"]

_HOMES = {"ExecutorContract": "executors", "LearnerContract": "learners", "StoreContract": "stores"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emlyn.testing' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"emlyn.testing.{_HOMES[name]}"), name)
