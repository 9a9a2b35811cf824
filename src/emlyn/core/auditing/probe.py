"""Cheap probes: one column at a time by a shallow tree on binned cells, and a small cross-validated model over all columns.

Both see a sample of the rows and answer in well under a second; they compare situations, they are never shipped.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from emlyn.core.dataset import Dataset, Fold
from emlyn.core.judging.metrics import auc, metric
from emlyn.core.splits import make_folds
from emlyn.core.table import Column
from emlyn.records.problem import Problem, SplitRule

BINS = 64
FOLDS = 3
LEAF = 5
MOST_CLASSES = 32
PROBE_ROWS, PROBE_CELLS = 5_000, 2_000_000
ROUNDS = 60
AT_ONCE = 256
"""Columns whose trees are grown together."""
LOADING = 0.7
"""Seconds that loading LightGBM takes at least, with the libraries that come along."""
SERIAL_CELLS = 1_000_000
"""Cells up to which one thread learns: two threads that wait for each other on busy cores take several times as long."""


def standard(score: float, task: str) -> float:
    """How far a single-column score stands above guessing, on the scale 0 (nothing) to 1 (perfect): 2 AUC - 1, or R2."""
    return max(0.0, 2 * score - 1) if task != "regression" else max(0.0, score)


@dataclass(frozen=True)
class Strength:
    """What one column alone tells about the answers, out of fold."""

    score: float
    """ROC AUC (mean of one against the rest for several classes), or R2 for numbers."""
    accuracy: float
    """Share of right labels; R2 for numbers."""


def column_strengths(data: Dataset, columns: Sequence[str], seed: int = 0) -> dict[str, Strength]:
    """The out-of-fold score of each column alone.

    Numbers: a tree of depth 3 (up to 6 for more classes and for numbers as answers) on at most 64 quantile bins, no value lowest; words: the
    smoothed mean of each level. Rows of one group share a fold. A tree so shallow was measured against 26 real tables (see docs/checks).
    """
    assert data.answers is not None
    stats = _channels(data)
    side = _sides(data, seed)
    depth = {0: 6, 2: 3}.get(data.classes, min(6, 3 + int(np.ceil(np.log2(max(2, data.classes) / 2)))))
    rows = data.rows
    found: dict[str, Strength] = {}
    for some in range(0, len(columns), AT_ONCE):
        names = columns[some : some + AT_ONCE]
        found.update(zip(names, _strengths([rows[name].take(data.units) for name in names], stats, side, depth), strict=True))
    return found


@dataclass(frozen=True, eq=False)
class _Channels:
    """Sums that a leaf needs: one column per class, or the answer itself and its square."""

    sums: np.ndarray
    """(n, k) float64."""
    classes: int


def _channels(data: Dataset) -> _Channels:
    assert data.answers is not None
    if data.classes > MOST_CLASSES:  # the commonest ones stand for all, the others are one
        common = np.argsort(-np.bincount(data.answers.astype(np.int64), minlength=data.classes), kind="stable")[: MOST_CLASSES - 1]
        place = np.full(data.classes, MOST_CLASSES - 1)
        place[common] = np.arange(MOST_CLASSES - 1)
        return _Channels(np.eye(MOST_CLASSES)[place[data.answers.astype(np.int64)]], MOST_CLASSES)
    if data.classes:
        return _Channels(np.eye(data.classes)[data.answers.astype(np.int64)], data.classes)
    centred = data.answers - data.answers.mean()
    return _Channels(np.column_stack([centred, centred**2]), 0)


def _sides(data: Dataset, seed: int) -> np.ndarray:
    """The fold of each row; stratified by class, whole groups together."""
    rng = np.random.default_rng(seed)
    if data.group is not None:
        _, group = np.unique(data.group, return_inverse=True)
        return rng.permutation(np.arange(group.max() + 1) % FOLDS)[group]
    order = rng.permutation(len(data))
    order = order[np.argsort(data.answers[order], kind="stable")]  # type: ignore[index]
    side = np.empty(len(data), dtype=np.int64)
    side[order] = np.arange(len(data)) % FOLDS
    return side


def binned(column: Column, bins: int = BINS) -> np.ndarray:
    """Bin of each cell (n,) of int64, 0 for no value: quantile bins of numbers, one bin per level of words."""
    if column.levels is not None:
        return column.values.astype(np.int64) + 1
    known = column.values[np.isfinite(column.values)]
    values = np.unique(known)
    if len(values) > bins:
        values = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:], method="inverted_cdf"))
    codes = np.searchsorted(values, column.values, side="left") + 1
    codes = np.minimum(codes, len(values))
    return np.where(np.isfinite(column.values), codes, np.where(column.values == np.inf, len(values), 0))


def _strengths(columns: Sequence[Column], stats: _Channels, side: np.ndarray, depth: int) -> list[Strength]:
    """Numbers together, padded to as many bins as the widest has: one column at a time, thousands take as long as a model."""
    sums = [_bin_sums(column, stats, side) for column in columns]
    width = stats.classes or 1
    told: dict[int, np.ndarray] = {}
    numbers = [i for i, column in enumerate(columns) if column.levels is None]
    if numbers:
        padded = np.zeros((len(numbers), FOLDS, max(sums[i].shape[1] for i in numbers), sums[0].shape[2]))
        for place, i in enumerate(numbers):
            padded[place, :, : sums[i].shape[1]] = sums[i]
        fit = padded.sum(axis=1, keepdims=True) - padded
        fit = fit.reshape(-1, *fit.shape[2:])
        means = _leaf_means(fit, _trees(fit[..., :width], fit[..., -1], depth), width, 1e-9).reshape(*padded.shape[:3], width)
        told = {i: means[place, :, : sums[i].shape[1]] for place, i in enumerate(numbers)}
    for i, column in enumerate(columns):
        if column.levels is not None:
            fit = sums[i].sum(axis=0) - sums[i]
            told[i] = _leaf_means(fit, np.broadcast_to(np.arange(fit.shape[1]), fit.shape[:2]), width, 2.0)
    return [_scored(told[i], sums[i], stats.classes) for i in range(len(columns))]


def _bin_sums(column: Column, stats: _Channels, side: np.ndarray) -> np.ndarray:
    """What each bin holds of each channel, and last its rows: (folds, bins, channels + 1)."""
    codes = binned(column)
    size = int(codes.max()) + 1
    flat, channels = side * size + codes, [*stats.sums.T, None]
    return np.stack([np.bincount(flat, c, minlength=FOLDS * size).reshape(FOLDS, size) for c in channels], axis=-1).astype(np.float64)


def _trees(sums: np.ndarray, counts: np.ndarray, depth: int) -> np.ndarray:
    """Leaf of each bin (trees, bins): in each tree greedy splits on the ordered bins that reduce the squared error (Gini) most.

    `sums` (trees, bins, width) and `counts` (trees, bins) are what each bin holds. All spans of a level are cut at once.
    """
    trees, size = counts.shape
    before = np.pad(np.cumsum(sums, axis=1), ((0, 0), (1, 0), (0, 0))).reshape(-1, sums.shape[2])
    rows_before = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0))).ravel()
    begins = np.zeros((trees, size), dtype=bool)  # where a span does
    begins[:, 0] = True
    home = np.repeat(np.arange(trees) * (size + 1), size).reshape(trees, size) + np.arange(size)  # of a bin in what stands before
    for _ in range(depth):
        starts = np.flatnonzero(begins)
        lengths = np.diff(np.append(starts, trees * size))
        first = home.ravel()[starts]
        low, high, cut = np.repeat(first, lengths), np.repeat(first + lengths, lengths), home.ravel() + 1
        left_n, right_n = rows_before[cut] - rows_before[low], rows_before[high] - rows_before[cut]
        left, right = before[cut] - before[low], before[high] - before[cut]
        gain = (left**2).sum(axis=1) / np.maximum(left_n, 1) + (right**2).sum(axis=1) / np.maximum(right_n, 1)
        gain[(left_n < LEAF) | (right_n < LEAF) | (cut == high)] = -np.inf
        best = np.maximum.reduceat(gain, starts)
        whole = ((before[first + lengths] - before[first]) ** 2).sum(axis=1) / np.maximum(rows_before[first + lengths] - rows_before[first], 1)
        places = np.where(gain == np.repeat(best, lengths), np.arange(trees * size), trees * size)
        at = np.minimum.reduceat(places, starts)[best > whole + 1e-12]
        if not len(at):
            break
        begins.ravel()[at + 1] = True
    return np.cumsum(begins, axis=1) - 1


def _leaf_means(fit: np.ndarray, leaf: np.ndarray, width: int, smooth: float) -> np.ndarray:
    """The answer of each bin's leaf (trees, bins, width), pulled to the tree's overall mean by `smooth` rows."""
    trees, leaves = len(leaf), int(leaf.max()) + 1
    place = (np.arange(trees)[:, None] * leaves + leaf).ravel()
    held = np.stack([np.bincount(place, fit[..., k].ravel(), minlength=trees * leaves) for k in (*range(width), -1)], axis=1)
    whole = fit.sum(axis=1)
    prior = np.repeat(whole[:, :width] / np.maximum(whole[:, -1:], 1), leaves, axis=0)
    means: np.ndarray = (held[:, :width] + smooth * prior) / (held[:, width:] + smooth)
    return np.asarray(means[place].reshape(*leaf.shape, width))


def _scored(told: np.ndarray, sums: np.ndarray, classes: int) -> Strength:
    """Score from per-bin answers (folds, bins, width) and the held-out sums of the same bins."""
    if not classes:
        count, first, second = sums[..., -1], sums[..., 0], sums[..., 1]
        error = second - 2 * told[..., 0] * first + told[..., 0] ** 2 * count
        r2 = 1 - float(error.sum()) / max(float(second.sum()), 1e-300)
        return Strength(r2, r2)
    flat, held = told.reshape(-1, classes), sums[..., :classes].reshape(-1, classes)
    seen = held.sum(axis=1) > 0
    flat, held = flat[seen], held[seen]
    accuracy = float(held[np.arange(len(held)), flat.argmax(axis=1)].sum() / held.sum())
    values = [_class_auc(flat[:, k], held[:, k], held.sum(axis=1) - held[:, k]) for k in ([1] if classes == 2 else range(classes))]
    known = [v for v in values if np.isfinite(v)]
    return Strength(float(np.mean(known)) if known else 0.5, accuracy)


def _class_auc(score: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    positive = np.r_[np.ones(len(score), dtype=bool), np.zeros(len(score), dtype=bool)]
    return auc(positive, np.r_[score, score], np.r_[inside, outside])


@dataclass(eq=False)
class Probe:
    """A small boosted model, cross-validated on at most 5,000 rows by the problem's own split rule."""

    data: Dataset
    problem: Problem
    seed: int = 0
    threads: int = 1
    _kept: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        most = max(200, min(PROBE_ROWS, PROBE_CELLS // max(1, len(self.problem.features))))
        if len(self.data) > most:
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(self.data), most, replace=False))
            self.data = self.data.take(chosen)
        self.folds = self._folds(self.problem.split)

    @property
    def start_s(self) -> float:
        """Seconds that the first question to it takes beyond those of any other."""
        return 0.0 if "lightgbm" in sys.modules else LOADING

    def _folds(self, rule: SplitRule) -> list[Fold]:
        return make_folds(self.data, rule, FOLDS, self.seed, stratify=bool(self.data.classes))

    def score(self, columns: Sequence[str] | None = None, rule: SplitRule | None = None) -> float:
        """The problem's metric out of fold with these columns (all features when not given), under another split rule when given."""
        folds = self.folds if rule is None else self._folds(rule)
        return self.scored(self.predict(columns, folds), self.data.answers)  # type: ignore[arg-type]

    def scored(self, told: np.ndarray, answers: np.ndarray) -> float:
        """The problem's metric of out-of-fold answers (n, k) on the rows that were asked."""
        asked = np.isfinite(told[:, 0])
        return metric(self.problem.metric).score(answers[asked], told[asked], None)

    def shuffled(self) -> float:
        """The score when the answers are shuffled: it must be chance (negative control)."""
        mixed = np.random.default_rng(self.seed + 1).permutation(self.data.answers)  # type: ignore[arg-type]
        told = self.predict(None, self.folds, mixed)
        return self.scored(told, mixed)

    @property
    def oof(self) -> np.ndarray:
        """Out-of-fold answers (n, k) with every feature; NaN for rows that were never asked."""
        names = self.problem.features
        if names not in self._kept:
            self._kept[names] = self.predict(names, self.folds)
        return self._kept[names]

    def predict(self, columns: Sequence[str] | None, folds: Sequence[Fold], answers: np.ndarray | None = None) -> np.ndarray:
        """Out-of-fold answers (n, k) with these columns; `answers` (n,) replaces the data's own."""
        names = tuple(self.problem.features if columns is None else columns)
        truth = self.data.answers if answers is None else answers
        assert truth is not None
        width = self.data.classes or 1
        told = np.full((len(self.data), width), np.nan)
        cells, words = self._matrix(names)
        for fold in folds:
            fit = np.setdiff1d(np.arange(len(self.data)), fold.positions) if self.problem.split.kind != "time" else _positions(self.data, fold.fit)
            told[fold.positions] = _fit_predict(cells, truth, (fit, fold.positions), _Setting(words, self.data.classes, self.seed, self.threads))
        return told

    def _matrix(self, names: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Cells as float64 (n, columns) with NaN for no value, and which columns are words (levels numbered by how common they are).

        Equally common levels stand in random order: by their codes, which follow their first appearance, they would betray the order of the rows.
        """
        rng = np.random.default_rng(self.seed)
        cells, words = np.zeros((len(self.data), max(1, len(names)))), []
        for i, name in enumerate(names):
            column = self.data.rows[name].take(self.data.units)
            if column.levels is None:
                cells[:, i] = np.where(np.isfinite(column.values), column.values, np.nan)
                continue
            counts = column.counts()
            rank = np.empty(len(counts) + 1)
            rank[:-1][np.lexsort((rng.permutation(len(counts)), -counts))] = np.arange(len(counts))
            rank[-1] = np.nan
            cells[:, i] = rank[column.values]
            if (counts > 0).sum() <= BINS:
                words.append(i)
        return cells, words


def _positions(data: Dataset, part: Dataset) -> np.ndarray:
    where = np.full(int(data.units.max()) + 1, -1, dtype=np.int64)
    where[data.units] = np.arange(len(data))
    return np.asarray(where[part.units])


@dataclass(frozen=True)
class _Setting:
    words: list[int]
    classes: int
    seed: int
    threads: int


def _fit_predict(cells: np.ndarray, truth: np.ndarray, parts: tuple[np.ndarray, np.ndarray], setting: _Setting) -> np.ndarray:
    """Answers (asked, k) of a small boosted model learned on the first part; the prior where there is nothing to learn."""
    fit, ask = parts
    width = setting.classes or 1
    prior = np.bincount(truth[fit].astype(np.int64), minlength=width) / len(fit) if setting.classes else np.array([truth[fit].mean()])
    if len(np.unique(truth[fit])) < 2:
        return np.tile(prior, (len(ask), 1))
    if importlib.util.find_spec("lightgbm") is not None:
        return _with_lightgbm(cells, truth, parts, setting)
    return _with_sklearn(cells, truth, parts, setting)


def _with_lightgbm(cells: np.ndarray, truth: np.ndarray, parts: tuple[np.ndarray, np.ndarray], setting: _Setting) -> np.ndarray:
    import lightgbm as lgb

    fit, ask = parts
    threads = setting.threads if cells.size > SERIAL_CELLS else 1
    objective = {0: "regression", 2: "binary"}.get(setting.classes, "multiclass")
    params = {
        "objective": objective,
        "num_leaves": 15,
        "learning_rate": 0.1,
        "min_data_in_leaf": max(2, min(20, len(fit) // 30)),
        "max_bin": 63,
        "feature_fraction": 0.7 if cells.shape[1] > 20 else 1.0,
        "verbosity": -1,
        "num_threads": threads,
        "seed": setting.seed,
        "deterministic": True,
        "force_row_wise": True,
        "max_cat_to_onehot": 8,
        "feature_pre_filter": False,
    }
    if setting.classes > 2:
        params["num_class"] = setting.classes
    rounds = ROUNDS if setting.classes <= 2 else max(8, 2 * ROUNDS // setting.classes)
    data = lgb.Dataset(
        cells[fit],
        truth[fit].astype(np.float64),
        categorical_feature=setting.words,
        free_raw_data=False,
        params={"verbosity": -1, "max_bin": 63, "num_threads": threads},
    )
    told = np.asarray(lgb.train(params, data, rounds).predict(cells[ask], num_threads=threads))
    return np.column_stack([1 - told, told]) if setting.classes == 2 else told.reshape(len(ask), -1)


def _with_sklearn(cells: np.ndarray, truth: np.ndarray, parts: tuple[np.ndarray, np.ndarray], setting: _Setting) -> np.ndarray:
    """Where LightGBM or its OpenMP library is absent."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    fit, ask = parts
    kind = HistGradientBoostingClassifier if setting.classes else HistGradientBoostingRegressor
    model = kind(
        max_iter=ROUNDS // 2, max_leaf_nodes=15, max_bins=63, early_stopping=False, random_state=setting.seed, categorical_features=setting.words
    )
    model.fit(cells[fit], truth[fit])
    if not setting.classes:
        return np.asarray(model.predict(cells[ask])).reshape(-1, 1)
    told = np.zeros((len(ask), setting.classes))
    told[:, model.classes_.astype(np.int64)] = model.predict_proba(cells[ask])
    return told
