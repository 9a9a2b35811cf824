"""The table: named columns of numpy memory with a kind each. Dataframe libraries are touched in `frames.py` and the readers only.

Two physical forms carry every kind: float64 with NaN for "no value" (number, boolean, date), and coded strings (category, text):
int32 codes into a list of levels, -1 for "no value".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emlyn.types import Kind

CODED: frozenset[str] = frozenset({"category", "text"})


@dataclass(frozen=True, eq=False)
class Column:
    """One column. `values` is float64 (n,), or int32 codes (n,) with `levels` (k,) of str where the kind is coded."""

    kind: Kind
    values: np.ndarray
    levels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def coded(self) -> bool:
        return self.levels is not None

    @property
    def missing(self) -> np.ndarray:
        """Boolean mask (n,) of cells without a value."""
        return self.values < 0 if self.coded else np.isnan(self.values)

    def take(self, rows: np.ndarray | slice) -> Column:
        return Column(self.kind, self.values[rows], self.levels)

    def strings(self) -> np.ndarray:
        """Cells as an object array of str, None where there is no value; whole numbers without a decimal point."""
        if self.levels is not None:
            with_none = np.array([*self.levels, None], dtype=object)
            return with_none[self.values]
        out = np.empty(len(self.values), dtype=object)
        for i, v in enumerate(self.values.tolist()):
            out[i] = None if v != v else number_text(v)
        return out

    def as_coded(self, kind: Kind = "category") -> Column:
        """The same cells as coded strings, levels in order of first appearance in sorted value order."""
        if self.levels is not None:
            return Column(kind, self.values, self.levels)
        known = ~np.isnan(self.values)
        unique, inverse = np.unique(self.values[known], return_inverse=True)
        codes = np.full(len(self.values), -1, dtype=np.int32)
        codes[known] = inverse
        return Column(kind, codes, np.array([number_text(v) for v in unique.tolist()], dtype=object))

    def counts(self) -> np.ndarray:
        """How often each level occurs (k,); coded columns only."""
        assert self.levels is not None
        return np.bincount(self.values[self.values >= 0], minlength=len(self.levels))


def number_text(value: float) -> str:
    """A number as a person would write it: 3 rather than 3.0, all digits otherwise."""
    return str(int(value)) if value == value and abs(value) < 1e15 and value == int(value) else repr(float(value))


def number_column(values: Iterable[float] | np.ndarray, kind: Kind = "number") -> Column:
    return Column(kind, np.asarray(values, dtype=np.float64))


def text_column(cells: Iterable[object], kind: Kind = "text") -> Column:
    """A coded column from strings; None (and NaN) mean "no value"."""
    index: dict[str, int] = {}
    codes = [-1 if c is None or c != c else index.setdefault(c if isinstance(c, str) else str(c), len(index)) for c in cells]
    return Column(kind, np.array(codes, dtype=np.int32), np.array(list(index), dtype=object))


class Table(Mapping[str, Column]):
    """Columns of one length, by name, in order. Immutable: every change is a new table that shares memory."""

    __slots__ = ("_columns", "rows")

    def __init__(self, columns: Mapping[str, Column], rows: int | None = None) -> None:
        self._columns = dict(columns)
        lengths = {len(c) for c in self._columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of one table have different lengths: {sorted(lengths)}")
        self.rows: int = lengths.pop() if lengths else (rows or 0)

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns; `rows` is the number of rows."""
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Table({self.rows} rows x {len(self)} columns)"

    def take(self, rows: np.ndarray | slice) -> Table:
        """The given rows (positions or a boolean mask), in that order."""
        if isinstance(rows, slice):
            kept = len(range(*rows.indices(self.rows)))
        else:
            kept = int(rows.sum()) if rows.dtype == bool else len(rows)
        return Table({n: c.take(rows) for n, c in self._columns.items()}, rows=kept)

    def select(self, names: Sequence[str]) -> Table:
        """Some columns. Raises KeyError for a name that is not there."""
        return Table({n: self._columns[n] for n in names}, rows=self.rows)

    def drop(self, names: Iterable[str]) -> Table:
        gone = set(names)
        return Table({n: c for n, c in self._columns.items() if n not in gone}, rows=self.rows)

    def with_columns(self, columns: Mapping[str, Column]) -> Table:
        return Table({**self._columns, **columns}, rows=self.rows)

    def nbytes(self) -> int:
        """Bytes of cells, levels estimated at 80 bytes each."""
        return sum(c.values.nbytes + (0 if c.levels is None else 80 * len(c.levels)) for c in self.values())


def row_hashes(table: Table, names: Sequence[str] | None = None) -> np.ndarray:
    """A 64-bit hash per row (n,) of uint64 that follows from content alone: not from order, seed, dtype or level codes.

    Column hashes are mixed with the hash of the column's name and added, so column order does not matter either.
    """
    total = np.zeros(table.rows, dtype=np.uint64)
    for name in names if names is not None else table:
        column = table[name]
        salt = np.uint64(_text_hash(name))
        with np.errstate(over="ignore"):
            total += mixed_bits(_cell_words(column) ^ salt)
    return mixed_bits(total)


def table_digest(table: Table) -> str:
    """SHA-256 (hex) over names, kinds and cells; the order of rows counts."""
    found = hashlib.sha256()
    for name, column in table.items():
        found.update(f"{name}\0{column.kind}\0".encode())
        found.update(np.ascontiguousarray(_cell_words(column)).data)
    return found.hexdigest()


def _cell_words(column: Column) -> np.ndarray:
    """A 64-bit word per cell (n,): the bits of a number, the hash of a text, one word for "no value"."""
    if column.levels is not None:
        by_level = np.array([_text_hash(str(level)) for level in column.levels] + [0], dtype=np.uint64)
        words: np.ndarray = by_level[column.values]
        return words
    missing = np.isnan(column.values)
    return (np.where(missing, 0.0, column.values) if missing.any() else column.values + 0.0).view(np.uint64)


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def mixed_bits(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): spreads every input bit over the output. (n,) uint64 both ways."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
