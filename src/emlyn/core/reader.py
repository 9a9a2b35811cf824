"""Reading: whatever the user names becomes one raw table. Readers are plug-ins; this file only picks one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from emlyn import plugins
from emlyn.core.table import Table
from emlyn.errors import DataError


@dataclass(frozen=True, eq=False)
class Read:
    """A raw table and how it was read."""

    table: Table
    """Numbers, booleans and dates where the source is typed; text exactly as written otherwise."""
    source: str
    """As the user named it, passwords removed."""
    dialect: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What had to be repaired to read it: ragged lines, duplicate column names, NUL bytes."""
    room: int = 0
    """Bytes that the table was allowed to take, which says whether rows were left out and which; 0 = any number."""


class Reader(Protocol):
    """Reads one kind of source."""

    name: str

    def accepts(self, source: Any) -> bool:
        """Can this reader read it? Looks at the type, the name or the first bytes; never reads it all."""

    def read(self, source: Any) -> Read:
        """Raises DataError with what is wrong, where, what was allowed and what to do next."""


class SamplingReader(Reader, Protocol):
    """A reader that can leave rows out where all of them would not fit."""

    def read_within(self, source: Any, memory: int) -> Read:
        """The same, with an evenly drawn share of the rows (a note says which) where all would take too much of `memory` bytes."""


class BlockReader(Reader, Protocol):
    """A reader that can give the rows bit by bit."""

    def blocks(self, source: Any) -> Iterator[Table]:
        """The same rows in the same order, as tables of bounded size; a table without rows where there are none."""


def blocks(source: Any) -> Iterator[Table]:
    """The rows of a source that one reader accepts: as they come where the reader can, all at once where it cannot. Raises DataError."""
    reader = next((r for r in plugins.collect("readers") if r.accepts(source)), None)
    if reader is not None and hasattr(reader, "blocks"):
        yield from reader.blocks(source)
    else:
        yield read(source).table


def read(source: Any, memory: int = 0) -> Read:
    """Read a path, glob, folder, database URL, dataframe or array. Raises DataError.

    With `memory` (bytes), a share of the rows of a file whose table would not fit; without, every row.
    """
    for reader in plugins.collect("readers"):
        if reader.accepts(source):
            if memory and hasattr(reader, "read_within"):
                return replace(reader.read_within(source, memory), room=memory)
            found: Read = reader.read(source)
            return found
    raise DataError(
        f"cannot read {str(source)[:200]!r}",
        allowed="CSV, TSV, Parquet, JSON lines, Excel (also .gz, .zst), a folder or glob of them, DBURL::table-or-query, a dataframe",
        next_step="check the path and the file's ending",
    )
