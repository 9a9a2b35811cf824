"""The model: one encoder, weighted members, calibration and an operating point. Saved without pickle, the same numbers after loading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from emlyn import plugins
from emlyn.core.dataset import Dataset, rows_dataset
from emlyn.core.features.prep import Encoder
from emlyn.core.learner import Fitted, Joined
from emlyn.core.models.calibration import Calibration
from emlyn.core.models.parts import below, pack, require, unpack, within
from emlyn.core.table import Table
from emlyn.core.tables.contract import Issue, conform, conform_records
from emlyn.errors import ModelError
from emlyn.records.codec import from_json, to_json, to_plain
from emlyn.records.data_card import Contract
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem

FORMAT = 3
"""3: bags average the square roots of probabilities; 2: a calibration has a shift for each class. 1 and 2 are read too, and answer as they did."""
SIDE_BY_SIDE = 250
"""Rows from which fold models answer side by side: a round number, so that one row and small requests start no threads."""


@dataclass(frozen=True, eq=False)
class Member:
    """One recipe in the ensemble: a bag of fold models, or one model of all rows.

    A bag answers by the mean of its numbers, or by that of the square roots of its probabilities: weights and calibration are chosen on answers of
    single models, and the plain mean is less sure than these (Amari, Integration of stochastic models by minimizing alpha-divergence, Neural
    Computation 2007, alpha = 0; docs/decisions/0015-square-roots.md).
    """

    recipe: Recipe
    weight: float
    fitted: tuple[Fitted, ...]
    score: float | None = None
    """Its own out-of-fold score, in the problem's metric."""
    one_row_s: float = 0.0
    """Seconds one row takes, measured when the model was made."""
    arithmetic: bool = False
    """Probabilities are averaged as they are, as in models of formats 1 and 2."""

    def predict(self, data: Dataset) -> np.ndarray:
        if len(data) == 1 and self._joined is not None:
            return self._given(self._taken(self._joined(data)).mean(axis=0, keepdims=True))
        return self.mean(answers_of(self.fitted, data))

    def __getstate__(self) -> dict[str, Any]:
        """For copies of estimators: what was made for one row is made again where it is wanted."""
        return {name: value for name, value in self.__dict__.items() if name != "_joined"}

    @cached_property
    def _joined(self) -> Joined | None:
        """How a bag answers one row, where its learner knows a quicker way than to ask each model."""
        together = getattr(self.fitted[0], "together", None)
        return together(self.fitted) if together is not None and len(self.fitted) > 1 else None

    def mean(self, answers: Iterator[np.ndarray]) -> np.ndarray:
        """The member's answer from those of its models, which are taken from the iterator."""
        if len(self.fitted) == 1:
            return next(answers)
        total = self._taken(next(answers))
        for answer in islice(answers, len(self.fitted) - 1):
            total = total + self._taken(answer)
        return self._given(total / len(self.fitted))

    def _taken(self, answers: np.ndarray) -> np.ndarray:
        """What the mean is taken of."""
        return answers if self.arithmetic or answers.shape[1] == 1 else np.sqrt(answers)

    def _given(self, mean: np.ndarray) -> np.ndarray:
        if self.arithmetic or mean.shape[1] == 1:
            return mean
        shares = mean * mean
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def answers_of(models: Sequence[Fitted], data: Dataset, threads: int = 1) -> Iterator[np.ndarray]:
    """What each model answers, in their order; to many rows `threads` of them answer at a time, with the same numbers."""
    if threads < 2 or len(models) < 2 or len(data) < SIDE_BY_SIDE:
        yield from (fitted.predict(data) for fitted in models)
        return
    with ThreadPoolExecutor(threads, "emlyn-answer") as pool:
        yield from pool.map(lambda fitted: fitted.predict(data), models)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a table of rows was answered, in its order."""

    values: np.ndarray
    """(n,) labels (str) or numbers (float64); None / NaN where the row was refused."""
    probabilities: np.ndarray | None
    """(n, classes), NaN where the row was refused; None for numbers."""
    issues: list[Issue] = field(default_factory=list)
    refused: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))


@dataclass(frozen=True, eq=False)
class Model:
    """A frozen ensemble. `predict_answers` serves every kind of dataset, `predict` tables of rows through the contract."""

    problem: Problem
    members: tuple[Member, ...]
    width: int
    encoder: Encoder | None = None
    contract: Contract = field(default_factory=lambda: Contract(()))
    calibration: Calibration = field(default_factory=Calibration)
    bounds: tuple[float, float] | None = None
    """Numbers are kept within: the range seen in training and a tenth of it on either side."""
    threshold: float | None = None
    """Operating point of two classes; None = the more probable class."""
    threshold_why: str = ""
    score: float | None = None
    """Out-of-fold score of the ensemble, chosen on the same rows: optimistic by the selection."""
    threads: int = 1
    """Fold models that answer many rows at the same time. The machine's, not the model's: it is not saved."""

    def with_contract(self, contract: Contract) -> Model:
        return replace(self, contract=contract)

    def with_threshold(self, threshold: float, why: str) -> Model:
        """The same model deciding for the last class from this probability on."""
        return replace(self, threshold=threshold, threshold_why=why)

    def predict_answers(self, data: Dataset) -> np.ndarray:
        """Answers for the dataset's units: (n, classes) probabilities or (n, 1) numbers, float64."""
        if not len(data):
            return np.zeros((0, self.width))
        if data.shared.get("encoder") is not self.encoder:
            data = replace(data, shared={} if self.encoder is None else {"encoder": self.encoder})
        if len(data) == 1:
            total = np.asarray(sum(member.weight * member.predict(data) for member in self.members))
        else:
            answers = answers_of([fitted for member in self.members for fitted in member.fitted], data, self.threads)
            total = np.asarray(sum(member.weight * member.mean(answers) for member in self.members))
        total = self.calibration.apply(total)
        return total if self.bounds is None else np.clip(total, *self.bounds)

    def predict(self, raw: Table) -> Predictions:
        """Answers for a raw table: one per row, in order. Raises DataError when a required column is absent."""
        conformed = conform(raw, self.contract)
        answers = self.predict_answers(rows_dataset(conformed.table, classes=len(self.problem.classes)))
        refused = np.asarray(conformed.refused, dtype=bool)
        values = self.decide(answers)
        if refused.any():
            answers[refused] = np.nan
            values[refused] = None if self.problem.classes else np.nan
        return Predictions(values, answers if self.problem.classes else None, list(conformed.issues), refused)

    def predict_one(self, record: Mapping[str, Any]) -> np.ndarray:
        """The answer (width,) to one record, without a dataframe. Raises DataError where the contract refuses the record."""
        conformed = conform_records([dict(record)], self.contract)
        return np.asarray(self.predict_answers(rows_dataset(conformed.table, classes=len(self.problem.classes)))[0])

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Labels (n,) of str at the operating point, or the numbers themselves (n,)."""
        classes = self.problem.classes
        if not classes:
            return answers[:, 0].copy()
        chosen = answers.argmax(axis=1) if self.threshold is None else (answers[:, -1] >= self.threshold).astype(np.int64)
        return np.asarray(np.array(classes, dtype=object)[chosen])

    def save(self) -> dict[str, bytes]:
        """Named parts; nothing in them can run code."""
        document = {
            "format": FORMAT,
            "problem": to_plain(self.problem),
            "contract": to_plain(self.contract),
            "calibration": to_plain(self.calibration),
            "members": [
                {
                    "recipe": to_plain(m.recipe),
                    "models": len(m.fitted),
                    **{k: getattr(m, k) for k in ("weight", "score", "one_row_s", "arithmetic")},
                }
                for m in self.members
            ],
            "encoder": self.encoder is not None,
            **{k: getattr(self, k) for k in ("width", "bounds", "threshold", "threshold_why", "score")},
        }
        parts = pack(document)
        if self.encoder is not None:
            parts |= below("encoder", self.encoder.save())
        for i, member in enumerate(self.members):
            for k, fitted in enumerate(member.fitted):
                parts |= below(f"members/{i}/{k}", fitted.save())
        return parts

    @staticmethod
    def load(parts: Mapping[str, bytes]) -> Model:
        """The reverse of `save`. Raises ModelError for damaged parts, a newer format, or a learner that is not here."""
        document, _ = unpack(parts)
        if document.get("format") not in range(1, FORMAT + 1):
            raise ModelError(
                f"the model has format {document.get('format')!r}",
                allowed=f"format 1 to {FORMAT}",
                next_step="open it with the version of emlyn that wrote it",
            )
        members = tuple(_load_member(plain, i, parts) for i, plain in enumerate(document["members"]))
        require(len(members) > 0, "it has no members")
        bounds = document["bounds"]
        return Model(
            problem=from_json(to_json(document["problem"]), Problem),
            members=members,
            width=int(document["width"]),
            encoder=Encoder.load(within(parts, "encoder")) if document["encoder"] else None,
            contract=from_json(to_json(document["contract"]), Contract),
            calibration=Calibration.of(document["calibration"], int(document["width"])),
            bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            threshold=document["threshold"],
            threshold_why=document["threshold_why"],
            score=document["score"],
        )


def _load_member(plain: dict[str, Any], place: int, parts: Mapping[str, bytes]) -> Member:
    recipe = from_json(to_json(plain["recipe"]), Recipe)
    try:
        learner = plugins.find("learners", recipe.learner)
    except KeyError as error:
        raise ModelError(
            f"the model was learned with {recipe.learner!r}, which is not installed", next_step="install the plug-in that brings it"
        ) from error
    if reason := learner.missing():
        raise ModelError(f"a member cannot be opened: {reason}", next_step="install what is missing")
    fitted = tuple(learner.load(within(parts, f"members/{place}/{k}")) for k in range(int(plain["models"])))
    require(len(fitted) > 0, "a member without a model")
    return Member(recipe, float(plain["weight"]), fitted, plain["score"], float(plain["one_row_s"]), bool(plain.get("arithmetic", True)))
