"""emlyn, the machine learning engineer in a box.

>>> import emlyn
>>> run = emlyn.train("churn.csv", target="churn", budget="60s")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "Regressor", "audit", "load", "train"]

if TYPE_CHECKING:
    from emlyn.doors.python import audit, load, train
    from emlyn.estimators import Classifier, Regressor

_HOMES = {"train": "doors.python", "audit": "doors.python", "load": "doors.python", "Classifier": "estimators", "Regressor": "estimators"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emlyn' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"emlyn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
