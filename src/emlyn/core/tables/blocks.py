"""A table read block by block: Arrow blocks one below the other, types agreed on at the end, a share of the rows where all would not fit.

The text of a block is gone once it is typed: memory holds numbers, dates and codes into the levels seen so far, never the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from emlyn.core.table import Column, mixed_bits
from emlyn.core.tables.parse import decode

SHARE = 0.2
"""Part of the memory that a raw table may take: training holds the rows once more as working rows, and as a matrix of half their size."""
PACE, READY_SHARE = 60e6, 0.3
"""Bytes of a raw table that become ready to learn from per second (10,000,000 x 30 from Parquet: 2 GB in 32 s on two cores), and the part of the time
that this may take."""
LEVEL = 60
"""Bytes of a string beyond its letters."""


class Blocks:
    """Columns of Arrow arrays, by position; `table_of` of them is what reading all at once would have given."""

    def __init__(self, columns: int, memory: int = 0) -> None:
        self.columns: list[list[Any]] = [[] for _ in range(columns)]
        self.memory = memory
        self.every = 1
        """One row in so many is kept."""
        self.seen = 0
        """Rows seen, kept or not."""

    def add(self, block: Any, share: float) -> None:
        """A further block (a pyarrow Table); `share` says which part of the whole it is, the first one tells what the whole will need."""
        if not self.seen and self.memory:
            self.every = every_of(bytes_of(block, share), self.memory)
        kept = self._thinned(block)
        self.seen += block.num_rows
        for held, array in zip(self.columns, kept.columns, strict=True):
            held.append(_coded(array))

    def _thinned(self, block: Any) -> Any:
        return block if self.every == 1 else block.take(kept_rows(self.seen, block.num_rows, self.every))

    def texts(self) -> set[int]:
        """Columns that hold text in some block, and so in all."""
        return {i for i, held in enumerate(self.columns) if any(_sort(c.type) == "text" for c in held)}

    def torn(self) -> dict[int, list[int]]:
        """Columns on whose type the blocks do not agree, and the blocks that must be read again, as text."""
        found: dict[int, list[int]] = {}
        for i, held in enumerate(self.columns):
            sorts = [_sort(c.type) for c in held]
            if "text" in sorts or len({*sorts} - {"null"}) > 1:
                again = [k for k, sort in enumerate(sorts) if sort != "text"]
                found |= {i: again} if again else {}
        return found

    def binary(self) -> bool:
        """Are there bytes that are not UTF-8?"""
        import pyarrow.types as t

        return any(t.is_dictionary(c.type) and t.is_binary(c.type.value_type) for held in self.columns for c in held)

    def replace(self, block: int, columns: Sequence[int], again: Any, first: int) -> None:
        """A block's columns as they were read again; `first` is the number of its first row."""
        rows = again if self.every == 1 else again.take(kept_rows(first, again.num_rows, self.every))
        for i, array in zip(columns, rows.columns, strict=True):
            self.columns[i][block] = _coded(array)

    def take_column(self, position: int) -> Column:
        """One column; its blocks are given back."""
        from emlyn.core.tables.frames import column_from_arrow

        held, self.columns[position] = self.columns[position], []
        return column_from_arrow(_joined(held))


def bytes_of(block: Any, share: float) -> float:
    """Bytes that the whole table will take, judged by a block (a pyarrow Table or RecordBatch) that is `share` of it.

    A float or a code per cell, and the levels of texts, which grow with the rows where most cells differ.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0.0
    for array in block.columns:
        if _sort(array.type) != "text":
            total += 8 * len(array) / share
            continue
        coded = _coded(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])).unify_dictionaries()
        words = coded.chunk(0).dictionary if coded.num_chunks else pa.array([], pa.string())
        levels = LEVEL * len(words) + (pc.sum(pc.binary_length(words)).as_py() or 0)
        total += 4 * len(array) / share + levels * (1 / share if len(words) > len(array) / 2 else 1)
    return total


def every_of(needed: float, memory: int) -> int:
    """1 where a table of `needed` bytes fits, else the power of two so that one row in so many does: the same rows on machines much alike."""
    room, every = SHARE * memory, 1
    while needed / every > room:
        every *= 2
    return every


def room(memory: int, seconds: float) -> int:
    """`memory` bytes, or fewer where a table that fits into so many would not be ready in time; 0 where nothing limits it."""
    if math.isinf(seconds):
        return memory
    in_time = max(1, int(max(0.0, seconds) * READY_SHARE * PACE / SHARE))
    return min(memory, in_time) if memory else in_time


def kept_rows(first: int, rows: int, every: int) -> np.ndarray:
    """Positions of the rows kept, one in `every`, of `rows` that begin with row number `first`: by their numbers, so the same however cut."""
    numbers = np.arange(first, first + rows, dtype=np.uint64)
    return np.flatnonzero(mixed_bits(numbers + np.uint64(1)) % np.uint64(every) == 0)


def told(kept: int, every: int, seen: int) -> str:
    """What the data card says about a share of the rows."""
    why = "all of them would not fit into the memory (--memory) or the time (--budget)"
    return f"{kept:,} of {seen:,} rows read, about one in {every}, drawn evenly by row number: {why}"


def _sort(kind: Any) -> str:
    """Types that one column may mix; numbers mix with numbers, dates with dates."""
    import pyarrow.types as t

    if t.is_null(kind):
        return "null"
    if t.is_integer(kind) or t.is_floating(kind):
        return "number"
    if t.is_date(kind) or (t.is_timestamp(kind) and kind.tz is None):
        return "date"
    if t.is_dictionary(kind) or t.is_string(kind) or t.is_binary(kind) or t.is_large_string(kind):
        return "text"
    return str(kind)


def _coded(array: Any) -> Any:
    """A chunked array whose text is held as codes."""
    import pyarrow.types as t

    return array if t.is_dictionary(array.type) or _sort(array.type) != "text" else array.dictionary_encode()


def _joined(held: list[Any]) -> Any:
    """Blocks of a column as one chunked array of one type."""
    import pyarrow as pa
    import pyarrow.types as t

    kinds = {array.type for array in held} - {pa.null()}
    if len(kinds) <= 1:
        target = kinds.pop() if kinds else pa.null()
    elif all(t.is_dictionary(k) for k in kinds):
        target, held = pa.dictionary(pa.int32(), pa.string()), [_as_text(array) for array in held]
    else:
        target = pa.float64() if any(t.is_floating(k) for k in kinds) else pa.timestamp("us")
    return pa.chunked_array([c for array in held for c in array.cast(target, safe=False).chunks], target)


def _as_text(array: Any) -> Any:
    """Levels that are bytes as strings."""
    import pyarrow as pa
    import pyarrow.types as t

    if not t.is_dictionary(array.type) or not t.is_binary(array.type.value_type):
        return array
    chunks = [pa.DictionaryArray.from_arrays(c.indices, pa.array([decode(b) for b in c.dictionary.to_pylist()], pa.string())) for c in array.chunks]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
