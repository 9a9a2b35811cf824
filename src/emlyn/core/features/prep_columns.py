"""One encoder per column: cells of a typed column as one or more float32 features. Fitted without the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from emlyn.core.features.prep_text import COUNTS, TextModel, counts_of, fit_text
from emlyn.core.models.parts import require
from emlyn.core.table import Column

DAY = 86_400.0
LARGEST = 1e30
"""Numbers beyond this are held there: squares of features must stay finite in float64."""
EXACT = 2.0**24
"""float32 holds whole numbers exactly up to here; columns beyond are moved by their median first."""
RARE_FROM = 50
"""Levels from which those seen once share the code of unseen ones."""
STRINGS_FROM = 200
"""Levels from which a category's strings are read as well."""
MOST_LEVELS = 50_000


class ColumnCode(Protocol):
    """The encoding of one column."""

    kind: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Name of each feature within the column; empty for the column itself."""

    @property
    def levels(self) -> Mapping[int, int]:
        """For each feature that is a code, how many codes there are."""

    def dense(self, column: Column) -> np.ndarray:
        """(n, len(parts)) float32; NaN where there is no value."""

    def one(self, column: Column) -> list[float]:
        """`dense` of a column of one row: where there is one cell, an array costs more than what is done to it."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What `load_code` needs."""


@dataclass(eq=False)
class NumberCode:
    """A number as it is, held finite, moved near zero where float32 would round it."""

    shift: float = 0.0
    kind: str = "number"
    parts: tuple[str, ...] = ("",)
    levels: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, column: Column) -> NumberCode:
        if max(-np.nanmin(column.values, initial=np.inf), np.nanmax(column.values, initial=-np.inf)) <= EXACT:
            return cls()
        known = column.values[np.isfinite(column.values)]
        large = len(known) > 0 and np.abs(known).max() > EXACT and (known == np.round(known)).all()
        return cls(float(np.median(known)) if large else 0.0)

    def dense(self, column: Column) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.clip(column.values - self.shift, -LARGEST, LARGEST).astype(np.float32)[:, None]

    def one(self, column: Column) -> list[float]:
        return [max(min(column.values.item(0) - self.shift, LARGEST), -LARGEST)]  # in this order NaN stays

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"kind": self.kind, "shift": self.shift}, {}


CALENDAR: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "year": lambda when: when.astype("datetime64[Y]").astype(np.int64) + 1970,
    "month": lambda when: when.astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "day": lambda when: (when.astype("datetime64[D]") - when.astype("datetime64[M]")).astype(np.int64) + 1,
    "weekday": lambda when: (when.astype("datetime64[D]").astype(np.int64) + 3) % 7,
    "yearday": lambda when: (when.astype("datetime64[D]") - when.astype("datetime64[Y]")).astype(np.int64) + 1,
    "hour": lambda when: (when - when.astype("datetime64[D]")).astype(np.int64) / 3600,
}
DATE_PARTS = ("epoch", *CALENDAR)
HEAD = 10_000
"""Rows that are looked at before all of them are."""


@dataclass(eq=False)
class DateCode:
    """Days since 1970 and the calendar parts that vary in the data."""

    parts: tuple[str, ...] = DATE_PARTS
    kind: str = "date"
    levels: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, column: Column) -> DateCode:
        found = cls().varying(column.take(slice(0, HEAD)))  # mostly the first rows tell
        if len(column) > HEAD and (others := tuple(p for p in DATE_PARTS if p not in found)):
            found |= cls(others).varying(column)
        return cls(tuple(p for p in DATE_PARTS if p in found) or ("epoch",))

    def varying(self, column: Column) -> set[str]:
        """Those of its parts of which two different values occur."""
        return {p for p, c in zip(self.parts, self.dense(column).T, strict=True) if np.unique(c[np.isfinite(c)]).size > 1}

    def dense(self, column: Column) -> np.ndarray:
        known = np.isfinite(column.values) & (np.abs(column.values) < 1e12)
        when = np.zeros(len(column), dtype="datetime64[s]")
        when[known] = column.values[known].astype(np.int64).astype("datetime64[s]")
        out = np.empty((len(column), len(self.parts)), dtype=np.float32)
        with np.errstate(over="ignore"):
            for at, part in enumerate(self.parts):
                out[:, at] = column.values / DAY if part == "epoch" else CALENDAR[part](when)
        out[~known] = np.nan
        return out

    def one(self, column: Column) -> list[float]:
        return list(self.dense(column)[0].tolist())

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"kind": self.kind, "parts": list(self.parts)}, {}


@dataclass(eq=False)
class CategoryCode:
    """Codes ordered by frequency. "No value" is a level of its own where it occurred; unseen strings share the code of rare ones, else NaN."""

    vocabulary: list[str]
    missing: int
    """Code of "no value"; -1 where it never occurred."""
    rare: int
    """Code of levels seen once and of unseen ones; -1 where there is none."""
    kind: str = "category"
    parts: tuple[str, ...] = ("",)
    _seen: tuple[Any, np.ndarray] | None = None

    @classmethod
    def fit(cls, column: Column) -> CategoryCode:
        assert column.levels is not None
        counts = column.counts()
        keep = counts >= 2 if (counts > 0).sum() > RARE_FROM else counts > 0
        order = [i for i in np.argsort(-counts, kind="stable") if keep[i]][:MOST_LEVELS]
        sizes = [int(counts[i]) for i in order]
        absent, lumped = int((column.values < 0).sum()), int(counts.sum()) - sum(sizes)
        names: list[tuple[int, str | None, str]] = [(n, str(column.levels[i]), "") for n, i in zip(sizes, order, strict=True)]
        names += [(absent, None, "missing")] if absent else []
        names += [(lumped, None, "rare")] if lumped else []
        names.sort(key=lambda x: -x[0])
        special = {what: i for i, (_, _, what) in enumerate(names) if what}
        return cls([text or "" for _, text, _ in names], special.get("missing", -1), special.get("rare", -1))

    def __post_init__(self) -> None:
        special = {self.missing, self.rare}
        self._index = {text: i for i, text in enumerate(self.vocabulary) if i not in special}

    @property
    def levels(self) -> dict[int, int]:
        return {0: len(self.vocabulary)}

    def dense(self, column: Column) -> np.ndarray:
        return np.asarray(self._codes(column.levels)[column.values][:, None])

    def one(self, column: Column) -> list[float]:
        assert column.levels is not None, "a category column must be coded"
        at, unseen = column.values.item(0), self.rare if self.rare >= 0 else np.nan
        if at < 0:
            return [self.missing if self.missing >= 0 else unseen]
        return [self._index.get(column.levels[at], unseen)]

    def _codes(self, levels: np.ndarray | None) -> np.ndarray:
        """Code of each level, then of "no value" (position -1). Kept for the levels last seen: a service sends the same ones."""
        held = self._seen
        if held is None or held[0] is not levels:
            assert levels is not None, "a category column must be coded"
            unseen = self.rare if self.rare >= 0 else np.nan
            codes = [self._index.get(str(t), unseen) for t in levels]
            held = (levels, np.array([*codes, self.missing if self.missing >= 0 else unseen], dtype=np.float32))
            self._seen = held
        return held[1]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"kind": self.kind, "vocabulary": self.vocabulary, "missing": self.missing, "rare": self.rare}, {}


@dataclass(eq=False)
class TextCode:
    """Free text, or the strings of a category with many levels: counts, components, and tf-idf terms for linear models."""

    model: TextModel | None
    kind: str = "text"
    levels: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, column: Column, dimensions: int, seed: int, characters: float = math.inf) -> TextCode:
        assert column.levels is not None
        return cls(fit_text([str(t) for t, n in zip(column.levels, column.counts(), strict=True) if n], dimensions, seed, characters))

    @property
    def parts(self) -> tuple[str, ...]:
        dimensions = 0 if self.model is None else len(self.model.components)
        return (*COUNTS, *(f"topic{i + 1}" for i in range(dimensions)))

    def dense(self, column: Column) -> np.ndarray:
        return self.both(column)[0]

    def one(self, column: Column) -> list[float]:
        return list(self.dense(column)[0].tolist())

    def both(self, column: Column) -> tuple[np.ndarray, sparse.csr_matrix | None]:
        """Dense features, NaN where there is no value, and tf-idf rows."""
        used, codes = _used_levels(column)
        texts = [str(t) for t in used]
        by_level = counts_of(texts)
        rows = np.append(by_level, np.full((1, by_level.shape[1]), np.nan, dtype=np.float32), axis=0)[codes]
        if self.model is None:
            return rows, None
        weights = self.model.weights([*texts, ""])[codes]
        topics = self.model.dense(weights)
        topics[codes < 0] = np.nan
        return np.hstack([rows, topics]), weights

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        if self.model is None:
            return {"kind": self.kind, "terms": None}, {}
        held = {"idf": self.model.idf, "components": self.model.components}
        return {"kind": self.kind, "terms": self.model.terms, "prose": self.model.prose, "longest": self.model.longest}, held


def _used_levels(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The levels that occur in these rows, and each row's place among them (-1 for "no value"): long level lists of other rows cost nothing."""
    assert column.levels is not None
    used, codes = np.unique(column.values, return_inverse=True)
    if len(used) and used[0] < 0:
        used, codes = used[1:], codes - 1
    return column.levels[used], codes


def fit_codes(column: Column, dimensions: int, seed: int, characters: float = math.inf) -> list[ColumnCode]:
    """The encoders of one column, none when it holds fewer than two different cells; of its texts so many `characters` are read about."""
    if column.levels is None:
        return [DateCode.fit(column)] if column.kind == "date" else [NumberCode.fit(column)]
    counts = column.counts()
    distinct, repeated = int((counts > 0).sum()), int(counts[counts > 1].sum())
    found: list[ColumnCode] = []
    if column.kind == "category" or repeated > 0.5 * len(column):
        found.append(CategoryCode.fit(column))
    if column.kind == "text":
        found.append(TextCode.fit(column, dimensions, seed, characters))
    elif distinct > STRINGS_FROM:
        found.append(TextCode.fit(column, max(1, dimensions // 3), seed, characters))
    return found


def load_code(state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> ColumnCode:
    """The reverse of `ColumnCode.state`. Raises ModelError for a state that does not hold together."""
    kind = state.get("kind")
    if kind == "number":
        return NumberCode(float(state["shift"]))
    if kind == "date":
        parts = tuple(state["parts"])
        require(set(parts) <= set(DATE_PARTS), "unknown parts of a date")
        return DateCode(parts)
    if kind == "category":
        size = len(state["vocabulary"])
        require(-1 <= state["missing"] < size and -1 <= state["rare"] < size, "a level outside its vocabulary")
        return CategoryCode([str(t) for t in state["vocabulary"]], int(state["missing"]), int(state["rare"]))
    require(kind == "text", f"an unknown encoding {kind!r}")
    if state["terms"] is None:
        return TextCode(None)
    idf, components, terms = arrays["idf"], arrays["components"], [str(t) for t in state["terms"]]
    require(idf.shape == (len(terms),) and components.ndim == 2 and components.shape[1] == len(terms), "text terms and weights differ in number")
    return TextCode(TextModel(bool(state["prose"]), terms, idf.astype(np.float32), components.astype(np.float32), int(state["longest"])))


def columns_of(names: Sequence[str], name: str, code: ColumnCode) -> list[str]:
    """Feature names of one column's encoder, made different from `names`."""
    made = [f"{name}:{part}" if part else name for part in code.parts]
    return [f"{m}:{len(names)}" if m in names else m for m in made]
