"""A forest of decision trees as flat arrays: saved without pickle, checked before use, quick on one row and on many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from emlyn.core.models.parts import require

ARRAYS = ("start", "feature", "threshold", "left", "right", "value")
FEW_ROWS = 32
"""Up to so many rows walk all trees at once in numpy; more rows use compiled trees."""


class Forest:
    """Trees one behind another. Rows with feature <= threshold go left; leaves have left = right = -1 within the arrays.

    `start` (trees + 1,), `feature`, `left`, `right` (nodes,) int32 relative to the tree, `threshold` (nodes,) float64, `value` (nodes, k) float32
    means of the targets. The prediction is the mean over trees.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], width: int) -> None:
        """Arrays as below, which hold together; `width` features."""
        self.start, self.feature, self.threshold, self.left, self.right, self.value = (arrays[name] for name in ARRAYS)
        self.width = width
        self._compiled: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.start) - 1

    @staticmethod
    def of(trees: list[Any], width: int) -> Forest:
        """From scikit-learn's fitted trees (`estimator.tree_`)."""
        start = np.concatenate([[0], np.cumsum([t.node_count for t in trees])]).astype(np.int64)

        def joined(name: str, dtype: type) -> np.ndarray:
            return np.concatenate([getattr(t, name) for t in trees]).astype(dtype)

        held = {"start": start, "feature": joined("feature", np.int32), "threshold": joined("threshold", np.float64)}
        held |= {"left": joined("children_left", np.int32), "right": joined("children_right", np.int32)}
        return Forest({**held, "value": np.concatenate([t.value[:, 0, :] for t in trees]).astype(np.float32)}, width)

    def predict(self, dense: np.ndarray) -> np.ndarray:
        """(n, k) float64 means over trees, for rows (n, width) float32 without NaN."""
        if len(dense) <= FEW_ROWS:
            return np.concatenate([self._walk(row[None]) for row in dense]) if len(dense) else np.zeros((0, self.value.shape[1]))
        if self._compiled is None:
            self._compiled = [self._tree(i) for i in range(len(self))]
        rows = np.ascontiguousarray(dense, dtype=np.float32)
        total = np.zeros((len(rows), self.value.shape[1]))
        for i, tree in enumerate(self._compiled):
            total += self.value[self.start[i] + tree.apply(rows)]
        return total / len(self)

    @cached_property
    def _walk(self) -> Walk:
        return Walk([self])

    def _tree(self, i: int) -> Any:
        """One tree in scikit-learn's compiled form, which was checked by `load`: every child lies behind its parent."""
        from sklearn.tree._tree import NODE_DTYPE, Tree

        a, b = self.start[i], self.start[i + 1]
        nodes = np.zeros(b - a, dtype=NODE_DTYPE)
        for name, held in (("left_child", self.left), ("right_child", self.right), ("feature", self.feature), ("threshold", self.threshold)):
            nodes[name] = held[a:b]
        made = Tree(self.width, np.array([1], dtype=np.intp), 1)
        made.__setstate__({"max_depth": 0, "node_count": int(b - a), "nodes": nodes, "values": np.zeros((b - a, 1, 1))})
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ARRAYS}

    @staticmethod
    def load(arrays: Mapping[str, np.ndarray], width: int) -> Forest:
        """The reverse of `arrays`. Raises ModelError unless every child lies behind its parent in the same tree and every feature exists."""
        start, feature, left, right = (arrays[name].astype(np.int64) for name in ("start", "feature", "left", "right"))
        threshold, value = arrays["threshold"].astype(np.float64), arrays["value"].astype(np.float32)
        nodes = len(feature)
        require(len(start) > 1 and start[0] == 0 and start[-1] == nodes and bool((np.diff(start) > 0).all()), "trees do not fill their nodes")
        require(len(left) == len(right) == len(threshold) == len(value) == nodes and value.ndim == 2, "uneven trees")
        leaf = left < 0
        own = np.arange(nodes) - np.repeat(start[:-1], np.diff(start))
        size = np.repeat(np.diff(start), np.diff(start))
        inside = (left > own) & (right > own) & (left < size) & (right < size) & (feature >= 0) & (feature < width)
        require(bool((inside | (leaf & (left == -1) & (right == -1))).all()), "a child or feature outside its tree")
        small = {"feature": feature.astype(np.int32), "left": left.astype(np.int32), "right": right.astype(np.int32)}
        return Forest({"start": start, "threshold": threshold, "value": value, **small}, width)


class Walk:
    """All trees of some forests, those of a bag's folds, walked at once: one row for each forest.

    What a step needs of a node lies together, 16 bytes of it: on large forests, fetching it from memory is what takes the time.
    """

    def __init__(self, forests: Sequence[Forest]) -> None:
        held, before = [], 0
        for i, forest in enumerate(forests):
            own, leaf = before + np.arange(len(forest.feature)), forest.left < 0
            roots = before + np.repeat(forest.start[:-1], np.diff(forest.start))
            # leaves point at themselves, so that all trees can be walked for the same number of steps
            left, right = np.where(leaf, own, forest.left + roots), np.where(leaf, own, forest.right + roots)
            feature = i * forest.width + np.where(leaf, 0, forest.feature)
            held.append(np.column_stack([feature, rounded_down(forest.threshold).view(np.int32), left, right]).astype(np.int32))
            before += len(own)
        self.nodes, sizes = np.concatenate(held), np.cumsum([0, *(len(f.feature) for f in forests)])
        self.roots = np.concatenate([f.start[:-1] + at for f, at in zip(forests, sizes, strict=False)])
        self.value = np.concatenate([f.value for f in forests])
        self.trees = np.array([len(f) for f in forests])
        self.first = np.cumsum([0, *self.trees[:-1]])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(forests, k) float64 means over each forest's trees, for its row of (forests, width) float32 without NaN."""
        cells, at = np.ascontiguousarray(rows, dtype=np.float32).ravel(), self.roots
        while True:
            node = self.nodes.take(at, axis=0)
            after = np.where(cells.take(node[:, 0]) <= node[:, 1].view(np.float32), node[:, 2], node[:, 3])
            if (after == at).all():
                break
            at = after
        return np.asarray(np.add.reduceat(self.value[at].astype(np.float64), self.first) / self.trees[:, None])


def rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Thresholds as float32, none of them rounded up: a float32 number is at most the one where it is at most the other."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
