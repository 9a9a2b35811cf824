"""A model taken apart into what other systems can compute: columns, features, linear scores, trees, links, weights.

What does not fit is said plainly.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emlyn.core.exporter import Exportable, cannot
from emlyn.core.features.design import Design
from emlyn.core.features.prep import Encoder
from emlyn.core.models.calibration import Calibration
from emlyn.core.models.network import Shape, Weights
from emlyn.core.models.outcome import Outcome
from emlyn.core.tables.parse import missing_tokens, text_cleaner
from emlyn.errors import ModelError
from emlyn.records.data_card import ColumnRule

ANY = 1e300
"""Above every feature: a split that only parts off rows without a value."""


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
    bias: np.ndarray | None = None
    """(width,) added to the sums."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A linear score on a design."""

    design: Design
    coefficients: np.ndarray
    """(width, k) with centring and scaling folded in."""
    intercept: np.ndarray


@dataclass(frozen=True, eq=False)
class Network:
    """Networks of one shape on one design; their answers are averaged."""

    design: Design
    shape: Shape
    members: tuple[Weights, ...]
    smoothing: float = 0.0
    """Of the labels it learned, which is taken back from its probabilities."""


@dataclass(frozen=True, eq=False)
class Part:
    """One fitted model: raw outputs, the link that makes them answers."""

    body: Trees | Scores | Network
    link: str
    """number | sigmoid | softmax | shares."""
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class Bag:
    """The fitted models of one member, and its share."""

    weight: float
    parts: tuple[Part, ...]
    roots: bool
    """It answers by the mean of the square roots of their probabilities; else by that of their answers."""


@dataclass(frozen=True, eq=False)
class Flat:
    """The whole model."""

    features: tuple[Feature, ...]
    bags: tuple[Bag, ...]
    classes: tuple[str, ...]
    width: int
    calibration: Calibration
    bounds: tuple[float, float] | None
    threshold: float | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those of all bags, one after another."""
        return tuple(part for bag in self.bags for part in bag.parts)

    @property
    def leaves(self) -> int:
        return sum(len(t.leaves) for p in self.parts if isinstance(p.body, Trees) for t in p.body.trees)


def flatten(what: Exportable, target: str, *, networks: bool = False) -> Flat:
    """Take a model apart. Raises ModelError with the first thing that cannot be expressed; `networks` says whether those can."""

    def refuse(why: str) -> ModelError:
        return cannot(what, target, why, "export it as docker or mlflow, which run the model itself")

    model = what.model
    if model.encoder is None:
        raise refuse("it has no columns")
    rules = {rule.name: rule for rule in model.contract.columns}
    features = _features(model.encoder, rules, refuse)
    encoder = model.encoder

    def bag(member: Any) -> Bag:
        parts = tuple(Part(*_body(member.recipe.learner, fitted, encoder, networks, refuse), fitted.outcome) for fitted in member.fitted)
        return Bag(member.weight, parts, len(parts) > 1 and model.width > 1 and not member.arithmetic)

    bags = tuple(bag(member) for member in model.members if member.weight > 0)
    return Flat(features, bags, model.problem.classes, model.width, model.calibration, model.bounds, model.threshold)


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


def _body(learner: str, fitted: Any, encoder: Encoder, networks: bool, refuse: Any) -> tuple[Trees | Scores | Network, str]:
    prep = getattr(fitted, "prep", None)
    if prep is not None and prep.kept is not None:
        raise refuse(f"its {learner} member looks at a selection of the columns alone")
    if prep is not None and (prep.pairs or prep.means):
        raise refuse(f"its {learner} member uses features made with the target or from several columns")
    if learner == "linear" and not fitted.text:
        return _linear(fitted), "number" if fitted.outcome.regression else "sigmoid" if fitted.outcome.width == 2 else "softmax"
    if learner == "lightgbm":
        return _boosted(fitted), "number" if fitted.outcome.regression else "sigmoid" if fitted.outcome.task == "binary" else "softmax"
    if learner == "trees":
        return _forest(fitted), "number" if fitted.outcome.regression else "shares"
    if learner == "baseline":
        return _bins(fitted), "number" if fitted.outcome.regression else "shares"
    if learner == "catboost" and fitted.model is not None:
        return _symmetric(fitted, encoder, refuse), "number" if fitted.outcome.regression else "sigmoid" if len(fitted.classes) == 2 else "softmax"
    if learner == "mlp" and networks:
        if not fitted.outcome.regression and len(fitted.networks.classes) < fitted.outcome.width:
            raise refuse(f"its {learner} member saw no row of some class")
        body = Network(fitted.design, fitted.networks.shape, tuple(fitted.networks.members), fitted.smoothing)
        return body, "number" if fitted.outcome.regression else "shares"
    raise refuse(f"its {learner} member cannot be written as a formula of this kind")


def _bins(fitted: Any) -> Trees:
    """A mean for each bin of one feature as a balanced tree; without a feature, one leaf. "No value" has the last mean."""
    outputs = tuple(range(fitted.outcome.width))
    none = np.zeros(0, dtype=np.int64)
    if fitted.column < 0:
        return Trees(
            (Tree(none, none.astype(float), {}, none.astype(bool), none, none, fitted.prior[None].astype(np.float64)),), (outputs,), len(outputs)
        )
    edges = np.nextafter(fitted.edges.astype(np.float64), -np.inf)  # bins begin at their edge, splits end at theirs
    thresholds, left, right = [ANY], [0], [-1 - (len(edges) + 1)]

    def split(low: int, high: int) -> int:
        """The node (or leaf) that parts bins low..high."""
        if low == high:
            return -1 - low
        place, middle = len(thresholds), (low + high) // 2
        thresholds.append(float(edges[middle]))
        left.append(0)
        right.append(0)
        left[place], right[place] = split(low, middle), split(middle + 1, high)
        return place

    left[0] = split(0, len(edges))
    count = len(thresholds)
    return Trees(
        (
            Tree(
                np.full(count, fitted.column, dtype=np.int64),
                np.array(thresholds),
                {},
                np.zeros(count, dtype=bool),
                np.array(left, dtype=np.int64),
                np.array(right, dtype=np.int64),
                fitted.means.astype(np.float64),
            ),
        ),
        (outputs,),
        len(outputs),
    )


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


def _symmetric(fitted: Any, encoder: Encoder, refuse: Any) -> Trees:
    """CatBoost's symmetric trees, where every split is on a number: the i-th split gives the i-th bit of the leaf."""
    if not fitted.outcome.regression and len(fitted.classes) != fitted.outcome.width:
        raise refuse("its catboost member never saw one of the classes")
    with tempfile.TemporaryDirectory(prefix="emlyn-") as folder:
        path = Path(folder) / "model.json"
        fitted.model.save_model(str(path), format="json")
        found = json.loads(path.read_bytes())
    scale, bias = found["scale_and_bias"]
    numbers = [j for j in range(len(encoder.names)) if j not in encoder.levels]
    right = {f["feature_index"]: f["nan_value_treatment"] == "AsTrue" for f in found["features_info"].get("float_features", ())}
    width = 1 if fitted.outcome.regression or len(fitted.classes) == 2 else len(fitted.classes)
    trees = []
    for tree in found["oblivious_trees"][: fitted.steps]:
        splits = tree["splits"] or []
        if any(split["split_type"] != "FloatFeature" for split in splits):
            raise refuse("its catboost member splits on categories by statistics of its own")
        trees.append(_symmetric_tree([(s["float_feature_index"], s["border"]) for s in splits], np.array(tree["leaf_values"]), width, numbers, right))
    return Trees(
        tuple(trees), (tuple(range(width)),) * len(trees), width, float(scale), None, np.resize(np.array(bias or [0.0], dtype=np.float64), width)
    )


def _symmetric_tree(splits: list[tuple[int, float]], leaves: np.ndarray, width: int, numbers: list[int], right: Mapping[int, bool]) -> Tree:
    """A full binary tree: the last split at the root, so that leaves come in the order of their bits."""
    depth = len(splits)
    level = np.repeat(np.arange(depth), 2 ** np.arange(depth))
    feature, border = (np.array([splits[depth - 1 - k][what] for k in level]) for what in (0, 1))
    inner = len(level)
    child = 2 * np.arange(inner)
    left, far = (np.where(c < inner, c, -1 - (c - inner)) for c in (child + 1, child + 2))
    missing_left = np.array([not right.get(int(f), False) for f in feature], dtype=bool)
    at = np.array([numbers[int(f)] for f in feature], dtype=np.int64)
    return Tree(at, border.astype(np.float64), {}, missing_left, left, far, leaves.reshape(-1, width).astype(np.float64))


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
