"""Tables as matrices: one encoder, fitted once without the target, that every learner of a model shares.

Convention: `data.shared["encoder"]` is the encoder of a dataset. `encoded(data)` turns the base table into a `Matrix` once,
keeps it in `data.shared` and cuts it by `data.units`, so folds and recipes share the work.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, combinations
from typing import Any

import numpy as np
from scipy import sparse

from emlyn.core.dataset import Dataset
from emlyn.core.features.prep_columns import LARGEST, CategoryCode, ColumnCode, NumberCode, TextCode, columns_of, fit_codes, load_code
from emlyn.core.features.prep_text import LONGEST, terms_of
from emlyn.core.models.parts import pack, require, unpack
from emlyn.core.table import Column, Table

TEXT_DIMENSIONS = 30
CHARACTERS = 8_000_000
"""Characters of a table's texts that are read at most."""
TRIED = 200
PASSES = 8
"""Learning and applying a text model takes so many times as long as counting its terms once (measured on 6 to 24 million characters)."""
MOST_DATE_PAIRS = 10
CHUNK = 65_536
_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class Matrix:
    """Encoded rows."""

    dense: np.ndarray
    """(n, p) float32, NaN where there is no value; p is at least 1."""
    names: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]
    """For each feature, the positions in `columns` that it is made from."""
    levels: Mapping[int, int]
    """For each feature that is a code: how many codes there are."""
    columns: tuple[str, ...]
    sparse: sparse.csr_matrix | None = None
    """(n, q) float32 tf-idf rows of the text columns."""
    sparse_sources: np.ndarray | None = None
    """(q,) position in `columns` of each sparse feature."""

    def __len__(self) -> int:
        return len(self.dense)

    def take(self, rows: np.ndarray) -> Matrix:
        held = None if self.sparse is None else self.sparse[rows]
        return Matrix(self.dense[rows], self.names, self.sources, self.levels, self.columns, held, self.sparse_sources)

    def with_features(self, dense: np.ndarray, names: Sequence[str], sources: Sequence[tuple[int, ...]]) -> Matrix:
        """The matrix with further dense features behind its own."""
        both = np.hstack([self.dense, dense.astype(np.float32, copy=False)])
        return Matrix(both, (*self.names, *names), (*self.sources, *sources), self.levels, self.columns, self.sparse, self.sparse_sources)

    def only(self, features: np.ndarray) -> Matrix:
        """The matrix with these dense features alone, in this order."""
        places = features.tolist()
        levels = {new: self.levels[old] for new, old in enumerate(places) if old in self.levels}
        names, sources = tuple(self.names[j] for j in places), tuple(self.sources[j] for j in places)
        return Matrix(self.dense[:, features], names, sources, levels, self.columns, self.sparse, self.sparse_sources)

    def shares(self) -> np.ndarray:
        """(p, columns): how much of a feature belongs to each source column; rows add up to 1."""
        out = np.zeros((len(self.names), len(self.columns)))
        for i, source in enumerate(self.sources):
            out[i, list(source)] = 1 / max(len(source), 1)
        return out


@dataclass(frozen=True)
class Pair:
    """Features made from two columns: `difference` of two dates in days, or `place` from latitude and longitude."""

    kind: str
    first: str
    second: str
    centre: tuple[float, float] = (0.0, 0.0)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.first}:{self.second}:{what}" for what in (("sum", "difference", "distance") if self.kind == "place" else ("days",)))

    def dense(self, table: Table) -> np.ndarray:
        a, b = table[self.first].values, table[self.second].values
        if self.kind == "difference":
            return np.asarray(((a - b) / 86_400.0)[:, None], dtype=np.float32)
        a, b = a - self.centre[0], b - self.centre[1]
        return np.column_stack([a + b, a - b, np.hypot(a, b)]).astype(np.float32)


@dataclass(eq=False)
class Encoder:
    """Encodes tables with the columns it was fitted on. Made by `fit_encoder`; holds nothing of the target."""

    columns: tuple[str, ...]
    codes: list[tuple[str, ColumnCode]]
    """(column, encoder) in feature order."""
    pairs: list[Pair]
    keep: np.ndarray
    """Positions of the raw features that vary (p,)."""

    def __post_init__(self) -> None:
        self._place = {name: i for i, name in enumerate(self.columns)}
        widths = [len(code.parts) for _, code in self.codes]
        self._starts = [0, *accumulate(widths)]
        raw: list[str] = []
        sources: list[tuple[int, ...]] = []
        levels: dict[int, int] = {}
        for name, code in self.codes:
            levels.update({len(raw) + at: size for at, size in code.levels.items()})
            raw += columns_of(raw, name, code)
            sources += [(self._place[name],)] * len(code.parts)
        for pair in self.pairs:
            raw += pair.names
            sources += [(self._place[pair.first], self._place[pair.second])] * len(pair.names)
        raw, sources = raw or ["constant"], sources or [()]
        self._width = len(raw)
        kept = self.keep.tolist()
        require(all(0 <= k < len(raw) for k in kept), "a feature that no column makes")
        self.names: tuple[str, ...] = tuple(raw[k] for k in kept)
        self.sources: tuple[tuple[int, ...], ...] = tuple(sources[k] for k in kept)
        self.levels: dict[int, int] = {i: levels[k] for i, k in enumerate(kept) if k in levels}

    @property
    def text(self) -> bool:
        """Are there sparse features?"""
        return any(isinstance(code, TextCode) and code.model is not None for _, code in self.codes)

    @property
    def prose(self) -> bool:
        """Is there a column of sentences, rather than of names?"""
        return any(isinstance(code, TextCode) and code.model is not None and code.model.prose for _, code in self.codes)

    @cached_property
    def nameless(self) -> np.ndarray | None:
        """Features (k,) without those that are read from the letters of names that hardly come again; None where there are none, or no others."""
        read: set[int] = set()
        again = {name for name, code in self.codes if isinstance(code, CategoryCode)}
        for (name, code), at in zip(self.codes, self._starts, strict=False):
            if isinstance(code, TextCode) and code.model is not None and not code.model.prose and name not in again:
                read.update(range(at, at + len(code.parts)))
        others = np.array([i for i, k in enumerate(self.keep.tolist()) if k not in read], dtype=np.int64)
        return others if 0 < len(others) < len(self.keep) else None

    def transform(self, table: Table) -> Matrix:
        """The table's rows as a matrix. Raises KeyError when a column is missing: conform the table to the contract first."""
        if table.rows == 1 and not self.text:
            return self._one(table)
        raw = np.empty((table.rows, self._width), dtype=np.float32)
        terms, owners = [], []
        self._fill_numbers(table, raw)
        for (name, code), at in zip(self.codes, self._starts, strict=False):
            if isinstance(code, NumberCode):
                continue
            if isinstance(code, TextCode):
                block, weights = code.both(table[name])
                if weights is not None:
                    terms.append(weights)
                    owners.append(np.full(weights.shape[1], self._place[name]))
            else:
                block = code.dense(table[name])
            raw[:, at : at + block.shape[1]] = block
        at = self._starts[-1]
        for pair in self.pairs:
            raw[:, at : at + len(pair.names)] = pair.dense(table)
            at += len(pair.names)
        raw[:, at:] = 0.0
        every = raw if len(self.keep) == raw.shape[1] else raw[:, self.keep]
        held = terms[0] if len(terms) == 1 else sparse.csr_matrix(sparse.hstack(terms, format="csr")) if terms else None
        return Matrix(every, self.names, self.sources, self.levels, self.columns, held, np.concatenate(owners) if owners else None)

    def _one(self, table: Table) -> Matrix:
        """One row without terms, cell by cell."""
        cells: list[float] = []
        for name, code in self.codes:
            cells += code.one(table[name])
        for pair in self.pairs:
            cells += pair.dense(table)[0].tolist()
        raw = np.array([cells or [0.0]], dtype=np.float32)
        return Matrix(raw if len(self.keep) == raw.shape[1] else raw[:, self.keep], self.names, self.sources, self.levels, self.columns)

    def _fill_numbers(self, table: Table, raw: np.ndarray) -> None:
        """All number columns at once, some thousand rows at a time: one row must be quick, and many must fit."""
        found = [(at, name, code.shift) for (name, code), at in zip(self.codes, self._starts, strict=False) if isinstance(code, NumberCode)]
        if not found:
            return
        places, shift = [at for at, _, _ in found], np.array([s for _, _, s in found])[:, None]
        columns = [table[name].values for _, name, _ in found]
        for start in range(0, table.rows, CHUNK):
            block = np.array([c[start : start + CHUNK] for c in columns]) - shift
            raw[start : start + CHUNK, places] = np.clip(block, -LARGEST, LARGEST).T

    def save(self) -> dict[str, bytes]:
        states, arrays = [], {}
        for i, (name, code) in enumerate(self.codes):
            state, held = code.state()
            states.append({"column": name, **state})
            arrays.update({f"{i}.{key}": value for key, value in held.items()})
        pairs = [[p.kind, p.first, p.second, *p.centre] for p in self.pairs]
        return pack({"columns": list(self.columns), "codes": states, "pairs": pairs}, {"keep": self.keep, **arrays})

    @staticmethod
    def load(parts: Mapping[str, bytes]) -> Encoder:
        """The reverse of `save`. Raises ModelError for damaged parts."""
        document, arrays = unpack(parts)
        require({"columns", "codes", "pairs"} <= set(document) and "keep" in arrays, "the encoder is incomplete")
        columns = tuple(str(c) for c in document["columns"])
        codes = []
        for i, state in enumerate(document["codes"]):
            require(state.get("column") in columns, "an encoding of an unknown column")
            codes.append((str(state["column"]), load_code(state, {k.split(".", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{i}.")})))
        pairs = [Pair(str(k), str(a), str(b), (float(x), float(y))) for k, a, b, x, y in document["pairs"]]
        require(all(p.first in columns and p.second in columns for p in pairs), "a pair of unknown columns")
        return Encoder(columns, codes, pairs, arrays["keep"].astype(np.int64))


def fit_encoder(table: Table, columns: Sequence[str] | None = None, seed: int = 0, characters: float = CHARACTERS) -> Encoder:
    """An encoder of the table's columns (of `columns`, where given), in that order. Sees no target. Features that do not vary are left out.

    Of the texts so many `characters` are read about, beginnings first.
    """
    names = tuple(table if columns is None else columns)
    share = characters / max(1, sum(table[name].kind == "text" for name in names))
    codes = [(name, code) for name in names for code in fit_codes(table[name], TEXT_DIMENSIONS, seed, share)]
    pairs = _date_pairs(table, names) + _places(table, names)
    varies = [np.ones(len(code.parts), dtype=bool) if isinstance(code, TextCode) else _code_varies(code, table[name]) for name, code in codes]
    varies += [_varies(pair.dense(table)) for pair in pairs]
    keep = np.flatnonzero(np.concatenate(varies)) if varies else np.zeros(0, dtype=np.int64)
    if not len(keep):
        codes, pairs, keep = [], [], np.zeros(1, dtype=np.int64)
    return Encoder(names, codes, pairs, keep)


def readable(table: Table, seconds: float) -> float:
    """Characters of the table's texts that can be prepared within so many seconds, judged by a few texts; `CHARACTERS` where all of them can."""
    texts = [str(t) for c in table.values() if c.kind == "text" and c.levels is not None for t in c.levels]
    if not texts or math.isinf(seconds):
        return CHARACTERS
    tried = texts[:: max(1, len(texts) // TRIED)]
    began = time.perf_counter()
    for text in tried:
        Counter(terms_of(text, prose=True))
    pace = sum(min(len(t), LONGEST) for t in tried) / max(time.perf_counter() - began, 1e-6) / PASSES
    return CHARACTERS if seconds * pace > min(CHARACTERS, sum(map(len, texts))) else seconds * pace


def _code_varies(code: ColumnCode, column: Column) -> np.ndarray:
    """Which features of a column vary, (k,): mostly the first rows tell."""
    found = _varies(code.dense(column.take(slice(0, CHUNK))))
    return found if found.all() else _varies(code.dense(column))


def _varies(block: np.ndarray) -> np.ndarray:
    """Which features hold two different cells, "no value" counted as one: boolean (k,)."""
    if not len(block):
        return np.zeros(block.shape[1], dtype=bool)
    missing = np.isnan(block).mean(axis=0)
    low, high = np.nanmin(block, axis=0, initial=np.inf), np.nanmax(block, axis=0, initial=-np.inf)
    return np.asarray((missing < 1) & ((missing > 0) | (low < high)))


def _date_pairs(table: Table, names: Sequence[str]) -> list[Pair]:
    dates = [n for n in names if table[n].kind == "date"]
    return [Pair("difference", b, a) for a, b in combinations(dates, 2)][:MOST_DATE_PAIRS]


LATITUDE = re.compile(r"(^|[^a-z])lat(itude)?([^a-z]|$)", re.IGNORECASE)
LONGITUDE = re.compile(r"(^|[^a-z])(lon|lng|long|longitude)([^a-z]|$)", re.IGNORECASE)


def _places(table: Table, names: Sequence[str]) -> list[Pair]:
    """Latitude and longitude by name and range, paired in the order of the columns; turned by 45 degrees, and the distance to their centre."""

    def found(pattern: re.Pattern[str], most: float) -> list[str]:
        numbers = [n for n in names if table[n].kind == "number" and pattern.search(n)]
        return [n for n in numbers if np.nanmax(np.abs(table[n].values), initial=0) <= most and np.isfinite(table[n].values).any()]

    pairs = zip(found(LATITUDE, 90), found(LONGITUDE, 180), strict=False)
    return [Pair("place", a, b, (float(np.nanmedian(table[a].values)), float(np.nanmedian(table[b].values)))) for a, b in pairs]


def encoder_of(data: Dataset) -> Encoder:
    """The encoder that travels with a dataset. Raises ValueError when nobody put one there."""
    found = data.shared.get("encoder")
    if not isinstance(found, Encoder):
        raise ValueError('the dataset has no encoder: data.shared["encoder"] = fit_encoder(data.rows) first')
    return found


def encoded(data: Dataset) -> Matrix:
    """The dataset's units, encoded. The base table is encoded once per `data.shared`."""
    encoder = encoder_of(data)
    base: Matrix | None = data.shared.get("matrix")
    if base is None:
        with lock_of(data):
            base = data.shared.get("matrix")
            if base is None:
                base = data.shared["matrix"] = encoder.transform(data.rows)
    if len(data.units) == len(base) and _in_order(data.units):
        return base
    return base.take(data.units)


def _in_order(units: np.ndarray) -> bool:
    return len(units) < 2 or (units[0] == 0 and bool((np.diff(units) == 1).all()))


def lock_of(data: Dataset) -> Any:
    """The lock that guards what is made once for all cuts of a dataset."""
    with _LOCK:
        return data.shared.setdefault("lock", threading.RLock())
