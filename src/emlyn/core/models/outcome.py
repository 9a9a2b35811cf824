"""What a learner aims at: answers on the scale it learns on, and its raw outputs as probabilities or numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.dataset import Dataset
from emlyn.core.models.parts import require
from emlyn.records.problem import Problem

FLOOR = 1e-6
"""No class is given less: a class that was absent from the fit rows can still be right."""
MARGIN = 0.1
"""Numbers are kept within the training range widened by this share of it."""
SKEWED = 1.25


@dataclass(frozen=True)
class Outcome:
    """The target's scale, learned from the fit rows."""

    task: str
    width: int
    """Number of classes, or 1."""
    log: bool = False
    centre: float = 0.0
    scale: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    @staticmethod
    def learn(params: Mapping[str, Any], data: Dataset) -> Outcome:
        """From recipe settings `task`, `classes` and (regression) `target: "log"`. Raises ValueError where the task is not one of the three."""
        assert data.answers is not None
        task = str(params["task"])
        if task in ("binary", "multiclass"):
            return Outcome(task, int(params["classes"]))
        if task != "regression":
            raise ValueError(f"no outcome for the task {task!r}")
        y = data.answers.astype(np.float64)
        low, high = float(y.min()), float(y.max())
        log = params.get("target") == "log" and low > -1
        moved = np.log1p(y) if log else y
        edge = MARGIN * (high - low)
        floor = max(low - edge, 0.0) if low >= 0 else low - edge
        return Outcome(task, 1, log, float(np.average(moved, weights=data.weight)), float(moved.std()) or 1.0, floor, high + edge)

    @property
    def regression(self) -> bool:
        return self.task == "regression"

    def targets(self, answers: np.ndarray) -> np.ndarray:
        """Class codes (n,) int64, or numbers (n,) of mean 0 and standard deviation 1 on the fit rows."""
        if not self.regression:
            return answers.astype(np.int64)
        y = answers.astype(np.float64)
        return ((np.log1p(np.maximum(y, -0.999999)) if self.log else y) - self.centre) / self.scale

    def answers(self, raw: np.ndarray) -> np.ndarray:
        """Raw outputs, (n,) or (n, width), as answers (n, width) float64: numbers in range, or probabilities above the floor that add up to 1."""
        raw = np.asarray(raw, dtype=np.float64)
        if self.regression:
            numbers = np.asarray((raw if raw.ndim == 1 else raw[:, 0]) * self.scale + self.centre)
            numbers = np.expm1(np.minimum(numbers, 700.0)) if self.log else numbers
            return np.asarray(np.clip(numbers, self.low, self.high)[:, None])
        if self.width == 2 and (raw.ndim == 1 or raw.shape[1] == 1):
            positive = raw.reshape(-1)
            if len(positive) == 1:
                return _pair(1 - positive.item(0), positive.item(0))
            raw = np.empty((len(positive), 2))
            raw[:, 0], raw[:, 1] = 1 - positive, positive
        if raw.shape == (1, 2):
            return _pair(*raw[0].tolist())
        if math.isnan(raw.sum()):
            raw = np.nan_to_num(raw, nan=1 / self.width)
        raw = np.minimum(np.maximum(raw, FLOOR), 1.0)
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def state(self) -> dict[str, Any]:
        return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in dataclasses.asdict(self).items()}

    @staticmethod
    def load(state: Mapping[str, Any]) -> Outcome:
        """The reverse of `state`. Raises ModelError for an unknown task or a width below 1."""
        require(state.get("task") in ("binary", "multiclass", "regression"), "an unknown task")
        require(isinstance(state.get("width"), int) and state["width"] >= 1, "no classes")
        low, high = (end if state[name] is None else float(state[name]) for name, end in (("low", -np.inf), ("high", np.inf)))
        return Outcome(state["task"], state["width"], bool(state["log"]), float(state["centre"]), float(state["scale"]), low, high)


class Outcomes:
    """The scales that the folds of a bag learned, for one row that all of their models answer."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.first = outcomes[0]
        self.centre, self.scale, self.low, self.high = (np.array([getattr(o, name) for o in outcomes]) for name in ("centre", "scale", "low", "high"))

    def answers(self, raw: np.ndarray) -> np.ndarray:
        """What each outcome answers to its own model's raw outputs, (models,) or (models, width): (models, width)."""
        if not self.first.regression:
            return self.first.answers(raw)
        numbers = np.asarray(raw, dtype=np.float64).reshape(-1) * self.scale + self.centre
        numbers = np.expm1(np.minimum(numbers, 700.0)) if self.first.log else numbers
        return np.asarray(np.minimum(np.maximum(numbers, self.low), self.high)[:, None])


def _pair(first: float, second: float) -> np.ndarray:
    """Two probabilities (1, 2) above the floor: `answers` for one row, where scalars cost less than arrays."""
    first, second = (0.5 if p != p else min(max(p, FLOOR), 1.0) for p in (first, second))
    return np.array([[first / (first + second), second / (first + second)]])


def base_params(problem: Problem) -> dict[str, Any]:
    """The settings that every recipe of a problem carries."""
    return {"task": problem.task, "classes": len(problem.classes)} if problem.task != "regression" else {"task": problem.task}


def skewed(data: Dataset) -> bool:
    """Is the target positive with a long upper tail, so that learning its logarithm is worth a recipe of its own?"""
    y = data.answers
    if y is None or not len(y) or y.min() < 0:
        return False
    spread = y.std()
    return bool(spread > 0 and ((y - y.mean()) ** 3).mean() / spread**3 > SKEWED)


def softmax(raw: np.ndarray) -> np.ndarray:
    """Rows of scores (n, k) as probabilities."""
    moved = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def sigmoid(raw: np.ndarray) -> np.ndarray:
    if raw.size == 1:
        return np.array(1 / (1 + math.exp(-min(max(raw.item(), -500.0), 500.0)))).reshape(raw.shape)
    return np.asarray(1 / (1 + np.exp(-np.minimum(np.maximum(raw, -500), 500))))


def probabilities(task: str, raw: np.ndarray) -> np.ndarray:
    """Raw scores, (n,) or (n, k), as what `Outcome.answers` takes: numbers as they are, one score as log odds, several through softmax."""
    if task == "regression":
        return raw
    return sigmoid(raw) if raw.ndim == 1 or raw.shape[1] == 1 else softmax(raw)
