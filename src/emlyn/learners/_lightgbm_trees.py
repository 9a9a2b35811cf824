"""LightGBM's trees once they are learned: read from a text with care, asked about one row and about many."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from emlyn.core.models.parts import broken, require

THREADED_ROWS = 500
"""More rows are answered by several threads."""
BLOCK_ROWS = 100
BLOCK_TREES = 100
"""From so many rows on, about so many trees at a time: they stay in the processor's cache, where thousands would come from memory for every row."""
PER_SPLIT = {
    "split_feature": np.int64, "left_child": np.int64, "right_child": np.int64, "decision_type": np.int64, "threshold": np.float64,
    "split_gain": np.float64, "internal_value": np.float64, "internal_weight": np.float64, "internal_count": np.int64,
}
PER_LEAF = {"leaf_value": np.float64, "leaf_weight": np.float64, "leaf_count": np.int64}
"""Arrays of a tree in a model text, with one entry for each split or leaf."""


class OneRow:
    """One row through LightGBM's C interface (`LGBM_BoosterPredictForMatSingleRowFast`), whose settings are read once. Safe in several threads."""

    RAW_SCORE, FLOAT32 = 1, 0
    """Numbers that the C interface gives to its kinds of prediction and of cells."""

    def __init__(self, booster: Any, rounds: int | None, features: int, width: int) -> None:
        """Raises LightGBMError when the library refuses the model."""
        from lightgbm import basic

        self.rounds, self.booster, self.width = rounds, booster, width  # the booster must live as long as what was prepared for it
        library, config = basic._LIB, ctypes.c_void_p()
        basic._safe_call(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle, self.RAW_SCORE, 0, -1 if rounds is None else rounds, self.FLOAT32, ctypes.c_int32(features),
                b"num_threads=1", ctypes.byref(config),
            )
        )
        self._config, self._check = config, basic._safe_call
        self._call, self._written = library.LGBM_BoosterPredictForMatSingleRowFast, ctypes.byref(ctypes.c_int64())  # how many: always the width
        weakref.finalize(self, library.LGBM_FastConfigFree, config)

    def __call__(self, dense: np.ndarray) -> np.ndarray:
        """Raw scores (1,) or (1, width) of a row (1, features) float32."""
        row, out = np.ascontiguousarray(dense, dtype=np.float32), np.empty(self.width)
        self.write(row.ctypes.data, out.ctypes.data)
        return out if self.width == 1 else out[None]

    def write(self, row: int, out: int) -> None:
        """From the address of the cells of a row (float32) to that of its raw scores (float64, as many as the width)."""
        self._check(self._call(self._config, ctypes.c_void_p(row), self._written, ctypes.c_void_p(out)))


def many_rows(booster: Any, dense: np.ndarray, rounds: int | None, threads: int) -> np.ndarray:
    """Raw scores (n,) or (n, classes) of rows (n, features) by the first `rounds` rounds, None for all."""
    known = booster.current_iteration()
    rounds = step = min(rounds or known, known)
    if len(dense) >= BLOCK_ROWS:  # each block reads each row again, so that wide rows go through more trees at a time
        step = max(1, max(BLOCK_TREES, dense.shape[1] // 2) // booster.num_model_per_iteration())
    said = {"num_threads": threads if len(dense) > THREADED_ROWS else 1, "raw_score": True}
    parts = (booster.predict(dense, start_iteration=at, num_iteration=min(step, rounds - at), **said) for at in range(0, rounds, step))
    return np.asarray(sum(parts))


def check_text(text: str, features: int, per_round: int) -> None:
    """Raises ModelError unless a LightGBM model text is whole and every tree stays within its own arrays and the known features.

    LightGBM itself trusts the text: a truncated one ends the process.
    """
    try:
        _check_trees(text, features, per_round)
    except ValueError as error:
        raise broken(f"its trees cannot be read ({error})") from error


def _check_trees(text: str, features: int, per_round: int) -> None:
    head, mark, _ = text.partition("\nTree=0\n")
    facts = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    require(head.startswith("tree\n") and bool(mark) and facts.get("max_feature_idx") == str(features - 1), "its trees use other features")
    sizes = [int(size) for size in facts.get("tree_sizes", "").split()]
    rounds, rest = divmod(len(sizes), per_round)
    require(facts.get("num_tree_per_iteration") == str(per_round) and rounds > 0 and not rest, "its trees do not fit the classes")
    at = len(head) + 1
    for i, size in enumerate(sizes):
        tree = text[at : at + size]
        require(size > 0 and tree.startswith(f"Tree={i}\n") and tree.endswith("\n\n"), "a tree does not begin or end where it should")
        _check_tree(dict(line.split("=", 1) for line in tree.splitlines() if "=" in line), features)
        at += size
    require(text[at:].startswith("end of trees\n"), "its trees do not end")


def _check_tree(lines: Mapping[str, str], features: int) -> None:
    leaves, inner = int(lines.get("num_leaves", "0")), int(lines.get("num_leaves", "0")) - 1
    require(leaves >= 1 and lines.get("is_linear") == "0", "a tree of another kind")
    held = {key: np.array(lines.get(key, "").split(), dtype=kind) for key, kind in (*PER_SPLIT.items(), *PER_LEAF.items())}
    require(len(held["leaf_value"]) == leaves, "a tree without its leaves")
    if leaves == 1:
        return
    require(all(len(held[key]) == inner for key in PER_SPLIT) and all(len(held[key]) == leaves for key in PER_LEAF), "a tree of uneven arrays")
    require(bool(((held["split_feature"] >= 0) & (held["split_feature"] < features)).all()), "a split on an unknown feature")
    for side in ("left_child", "right_child"):
        child = held[side]
        require(bool(((child >= -leaves) & (child < inner) & ((child < 0) | (child > np.arange(inner)))).all()), "a child outside its tree")
    by_set = held["decision_type"].astype(np.int64) % 2 == 1
    if by_set.any():
        edges = np.array(lines.get("cat_boundaries", "").split(), dtype=np.int64)
        words = np.array(lines.get("cat_threshold", "").split(), dtype=np.int64)
        places = held["threshold"][by_set]
        require(len(edges) == int(lines.get("num_cat", "0")) + 1 > 1, "sets of categories without edges")
        whole = edges[0] == 0 and edges[-1] == len(words) and bool((np.diff(edges) >= 0).all())
        require(whole and bool(((places >= 0) & (places < len(edges) - 1)).all()), "a set of categories outside its tree")
