"""A model taken apart into what other systems can compute: columns, features, linear scores, trees, links, weights.

What does not fit is said plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emlyn.core.calibration import Calibration
from emlyn.core.design import Design
from emlyn.core.exporter import Exportable, cannot
from emlyn.core.outcome import Outcome
from emlyn.core.parse import missing_tokens, text_cleaner
from emlyn.core.prep import Encoder
from emlyn.errors import ModelError
from emlyn.records.data_card import ColumnRule


@dataclass(frozen=True)
class Feature:
    """One encoded feature (float32), made from one column."""

    column: str
    rule: ColumnRule
    shift: float = 0.0
    """Taken off a number before it is rounded to float32."""
    codes: Mapping[str, int] | None = None
    """For a category: written form -> code."""
    missing: float = float("nan")
    """Code of "no value"."""
    unseen: float = float("nan")
    """Code of every other text."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Inner nodes as arrays; children count inner nodes from 0, leaves as -1 - leaf."""

    feature: np.ndarray
    threshold: np.ndarray
    """(nodes,) float64: rows with feature <= threshold go left."""
    sets: Mapping[int, tuple[int, ...]]
    """Node -> codes that go left, for splits on categories."""
    missing_left: np.ndarray
    """(nodes,) bool: where rows without a value go."""
    left: np.ndarray
    right: np.ndarray
    leaves: np.ndarray
    """(leaves, k) float64."""


@dataclass(frozen=True, eq=False)
class Trees:
    """The sum of trees times `factor`, per output; `outputs` of a tree are the columns its leaves add to."""

    trees: tuple[Tree, ...]
    outputs: tuple[tuple[int, ...], ...]
    width: int
    factor: float = 1.0
    fill: np.ndarray | None = None
    """What stands in for "no value" in each feature; None = nodes decide."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A linear score on a design."""

    design: Design
    coefficients: np.ndarray
    """(width, k) with centring and scaling folded in."""
    intercept: np.ndarray


@dataclass(frozen=True, eq=False)
class Part:
    """One fitted model: raw outputs, the link that makes them answers, its share."""

    weight: float
    body: Trees | Scores
    link: str
    """number | sigmoid | softmax | shares."""
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class Flat:
    """The whole model."""

    features: tuple[Feature, ...]
    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    width: int
    calibration: Calibration
    bounds: tuple[float, float] | None
    threshold: float | None

    @property
    def leaves(self) -> int:
        return sum(len(t.leaves) for p in self.parts if isinstance(p.body, Trees) for t in p.body.trees)


def flatten(what: Exportable, target: str) -> Flat:
    """Take a model apart. Raises ModelError with the first thing that cannot be expressed."""

    def refuse(why: str) -> ModelError:
        return cannot(what, target, why, "export it as docker or mlflow, which run the model itself")

    model = what.model
    if model.encoder is None:
        raise refuse("it has no columns")
    rules = {rule.name: rule for rule in model.contract.columns}
    features = _features(model.encoder, rules, refuse)
    parts = tuple(
        Part(member.weight / len(member.fitted), *_body(member.recipe.learner, fitted, refuse), fitted.outcome)
        for member in model.members
        if member.weight > 0
        for fitted in member.fitted
    )
    return Flat(features, parts, model.problem.classes, model.width, model.calibration, model.bounds, model.threshold)


def _features(encoder: Encoder, rules: Mapping[str, ColumnRule], refuse: Any) -> tuple[Feature, ...]:
    if encoder.pairs:
        raise refuse(f"it uses features of two columns ({encoder.pairs[0].first}, {encoder.pairs[0].second})")
    made: list[Feature | None] = []
    for name, code in encoder.codes:
        rule = rules[name]
        if code.kind == "number":
            made.append(Feature(name, rule, shift=code.shift))  # type: ignore[attr-defined]
        elif code.kind == "category":
            made.append(_category(name, rule, code))
        else:
            made += [None] * len(code.parts)
            if any(k in range(len(made) - len(code.parts), len(made)) for k in encoder.keep.tolist()):
                raise refuse(f"column {name!r} is read as {code.kind}")
    return tuple(feature for k in encoder.keep.tolist() if (feature := made[k]) is not None)


def _category(name: str, rule: ColumnRule, code: Any) -> Feature:
    """Every written form whose cleaned form is a level, and every one that means "no value"."""
    clean = text_cleaner(rule.parse, rule.kind)
    known = {text: float(i) for i, text in enumerate(code.vocabulary) if i not in (code.missing, code.rare)}
    unseen = float(code.rare) if code.rare >= 0 else float("nan")
    missing = float(code.missing) if code.missing >= 0 else unseen
    written = {form: int(known[kept]) for form in (*known, *rule.parse.merge) if (kept := clean(form)) in known}
    return Feature(name, rule, codes=written, missing=missing, unseen=unseen)


def missing_forms(rule: ColumnRule) -> tuple[str, ...]:
    """Texts, lower case, that mean "no value"."""
    return tuple(sorted(missing_tokens(rule.parse, rule.kind)))


def _body(learner: str, fitted: Any, refuse: Any) -> tuple[Trees | Scores, str]:
    prep = getattr(fitted, "prep", None)
    if prep is not None and (prep.pairs or prep.means):
        raise refuse(f"its {learner} member uses features made with the target or from several columns")
    if learner == "linear" and not fitted.text:
        return _linear(fitted), "number" if fitted.outcome.regression else "sigmoid" if fitted.outcome.width == 2 else "softmax"
    if learner == "lightgbm":
        return _boosted(fitted), "number" if fitted.outcome.regression else "sigmoid" if fitted.outcome.task == "binary" else "softmax"
    if learner == "trees":
        return _forest(fitted), "number" if fitted.outcome.regression else "shares"
    raise refuse(f"its {learner} member cannot be written as a formula of this kind")


def _linear(fitted: Any) -> Scores:
    design, model = fitted.design, fitted.model
    scale = 1.0 / design.spread.astype(np.float64)  # 1 / inf = 0: features that did not vary
    coefficients = model.coefficients.astype(np.float64) * scale[:, None]
    return Scores(design, coefficients, model.intercept.astype(np.float64) - design.centre.astype(np.float64) @ coefficients)


def _boosted(fitted: Any) -> Trees:
    found = fitted.booster.dump_model(num_iteration=fitted.steps)
    per_round = int(found["num_tree_per_iteration"])
    trees = tuple(_boosted_tree(t["tree_structure"]) for t in found["tree_info"])
    return Trees(trees, tuple((i % per_round,) for i in range(len(trees))), per_round)


def _boosted_tree(root: Mapping[str, Any]) -> Tree:
    nodes: list[Mapping[str, Any]] = []
    leaves: list[float] = []
    links: list[list[int]] = []

    def visit(node: Mapping[str, Any]) -> int:
        if "split_index" not in node:
            leaves.append(float(node["leaf_value"]))
            return -len(leaves)
        place = len(nodes)
        nodes.append(node)
        links.append([0, 0])
        links[place] = [visit(node["left_child"]), visit(node["right_child"])]
        return place

    visit(root)
    by_set = [node["decision_type"] == "==" for node in nodes]
    thresholds = [0.0 if s else float(node["threshold"]) for s, node in zip(by_set, nodes, strict=True)]
    sets = {i: tuple(int(c) for c in str(nodes[i]["threshold"]).split("||")) for i, s in enumerate(by_set) if s}
    return Tree(
        np.array([node["split_feature"] for node in nodes], dtype=np.int64),
        np.array(thresholds),
        sets,
        np.array([_missing_left(node, s, t) for node, s, t in zip(nodes, by_set, thresholds, strict=True)], dtype=bool),
        np.array([a for a, _ in links], dtype=np.int64),
        np.array([b for _, b in links], dtype=np.int64),
        np.array(leaves)[:, None],
    )


def _missing_left(node: Mapping[str, Any], by_set: bool, threshold: float) -> bool:
    """LightGBM: a category without a value is in no set; a number without one is 0 where the split learned of no gaps."""
    if by_set:
        return False
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0


def _forest(fitted: Any) -> Trees:
    forest = fitted.forest
    trees = tuple(_forest_tree(forest, int(a), int(b)) for a, b in zip(forest.start[:-1], forest.start[1:], strict=True))
    outputs = (0,) if fitted.outcome.regression else tuple(int(c) for c in fitted.classes)
    return Trees(trees, (outputs,) * len(trees), fitted.outcome.width, 1.0 / len(trees), fitted.fill)


def _forest_tree(forest: Any, a: int, b: int) -> Tree:
    left, right = forest.left[a:b], forest.right[a:b]
    inner = np.flatnonzero(left >= 0)
    leaf = np.flatnonzero(left < 0)
    place = np.zeros(b - a, dtype=np.int64)
    place[inner], place[leaf] = np.arange(len(inner)), -1 - np.arange(len(leaf))
    values = forest.value[a:b][leaf].astype(np.float64)
    none = np.zeros(len(inner), dtype=bool)
    return Tree(forest.feature[a:b][inner].astype(np.int64), forest.threshold[a:b][inner], {}, none, place[left[inner]], place[right[inner]], values)


TOLERANCE = 1e-4
"""Shares may differ by this, numbers by this share of their size: features are held in single precision on both sides."""


def parity(what: Exportable, target: str, labels: list[Any], answers: np.ndarray) -> dict[str, Any]:
    """Compare exported answers (n, k) and labels with the model's on the user's rows. Raises ModelError when they differ beyond rounding."""
    assert what.rows is not None
    wanted = what.model.predict(what.rows)
    ours = wanted.probabilities if wanted.probabilities is not None else wanted.values[:, None]
    scale = 1.0 if wanted.probabilities is not None else max(1.0, float(np.abs(ours).max(initial=0.0)))
    largest = float(np.abs(answers - ours).max(initial=0.0)) / scale
    same = float(np.mean([a == b for a, b in zip(labels, wanted.values.tolist(), strict=True)])) if wanted.probabilities is not None else None
    if not largest <= TOLERANCE:
        raise cannot(
            what, target, f"its answers differ from the model's by up to {largest:.2g} on your rows", "export it as docker or mlflow, and report this"
        )
    found: dict[str, Any] = {"rows": len(ours), "largest_difference": largest}
    return found if same is None else {**found, "same_labels": same}
