"""Files that are not delimited text, folders and globs of any files, and dataframes in memory."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from emlyn.core import reader as door
from emlyn.core.reader import Read
from emlyn.core.table import Table, text_column
from emlyn.core.tables import sources
from emlyn.core.tables.blocks import bytes_of, every_of, kept_rows, told
from emlyn.core.tables.parse import cell_text, unique_names
from emlyn.core.tables.stack import stack
from emlyn.errors import DataError
from emlyn.plugins import hook

RECORDS = 50_000
"""Records turned into columns, and rows of a Parquet file scored, at a time."""
SAMPLE = 65_536
"""Rows of a Parquet file by which the size of the table is judged."""


class FrameReader:
    """Reads what is already in memory: dataframes, arrays, dicts of lists, lists of records."""

    name = "frame"

    def accepts(self, source: Any) -> bool:
        from emlyn.core.tables.frames import is_frame

        return not sources.is_name(source) and is_frame(source)

    def read(self, source: Any) -> Read:
        from emlyn.core.tables.frames import to_table

        given = getattr(source, "columns", None)
        table = to_table(source)
        notes = unique_names(map(str, given))[1] if given is not None and not callable(given) and not isinstance(source, Table) else []
        if not len(table):
            raise DataError("this table has no columns", where=f"a {type(source).__name__}", allowed="at least one column")
        return Read(table, f"a {type(source).__module__.partition('.')[0]} {type(source).__name__}", {"format": "memory"}, tuple(notes))


class ParquetReader:
    """Reads Parquet and Arrow (Feather) files; Parquet column by column."""

    name = "parquet"

    def accepts(self, source: Any) -> bool:
        return sources.sort_of(source) in ("parquet", "arrow")

    def read(self, source: Any) -> Read:
        return self.read_within(source, 0)

    def read_within(self, source: Any, memory: int) -> Read:
        """The same; an evenly drawn share of the rows where all of them would take too much of `memory` bytes (0: as many as there are)."""
        import pyarrow as pa
        import pyarrow.feather as feather
        import pyarrow.parquet as parquet

        from emlyn.core.tables.frames import from_arrow

        name, sort = os.fspath(source), sources.sort_of(source)
        try:
            with sources.open_raw(name) as file:
                if sort == "parquet":
                    table, notes = _parquet_table(parquet.ParquetFile(file), memory)
                else:
                    found = feather.read_table(file)
                    table, notes = from_arrow(found), unique_names(found.column_names)[1]
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"this {sort} file is damaged: {str(error)[:200]}", where=sources.shown(name), next_step="copy or write it again"
            ) from None
        table = table.drop([c for c in table if c.startswith("__index_level_")])
        _needs_rows(name, table.rows)
        return Read(table, sources.shown(name), {"format": sort}, tuple(notes))


    def blocks(self, source: Any) -> Iterator[Table]:
        """The same rows, by batches of the file's row groups (Arrow files at once)."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        from emlyn.core.tables.frames import from_arrow

        if sources.sort_of(source) != "parquet":
            yield self.read(source).table
            return
        name = os.fspath(source)
        try:
            with sources.open_raw(name) as file:
                found = parquet.ParquetFile(file)
                names = [c for c in found.schema_arrow.names if not c.startswith("__index_level_")]
                if not found.metadata.num_rows:
                    yield from_arrow(found.schema_arrow.empty_table().select(names))
                for batch in found.iter_batches(RECORDS, columns=names):
                    yield from_arrow(pa.Table.from_batches([batch]))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"this parquet file is damaged: {str(error)[:200]}", where=sources.shown(name), next_step="copy or write it again"
            ) from None


def _parquet_table(file: Any, memory: int) -> tuple[Table, list[str]]:
    """The columns, two of them in Arrow's form at a time: all rows, or one in so many where they would not fit."""
    from emlyn.core.tables.frames import column_from_arrow, from_arrow

    given, rows = file.schema_arrow.names, file.metadata.num_rows
    names, notes = unique_names(given)
    if len(set(given)) < len(given):
        return from_arrow(file.read()), notes
    first = next(file.iter_batches(SAMPLE), None) if memory else None
    every = 1 if first is None or not len(first) else every_of(bytes_of(first, len(first) / rows), memory)
    kept = kept_rows(0, rows, every)
    columns = {}
    with ThreadPoolExecutor(1, "emlyn-read") as ahead:  # the next column is read while one is turned into numbers
        coming = ahead.submit(file.read, given[:1])
        for at, name in enumerate(names):
            array, coming = coming.result().column(0), ahead.submit(file.read, given[at + 1 : at + 2])
            columns[name] = column_from_arrow(array if every == 1 else array.take(kept))
        coming.result()
    return Table(columns, rows=len(kept)), notes + ([told(len(kept), every, rows)] if every > 1 else [])


class JsonReader:
    """Reads JSON lines and JSON arrays of objects; nested objects become dotted columns, lists stay as JSON text."""

    name = "json"

    def accepts(self, source: Any) -> bool:
        return sources.sort_of(source) == "json"

    def read(self, source: Any) -> Read:
        from emlyn.core.tables.frames import to_table

        name = os.fspath(source)
        whole = sources.content(source)
        raw = bytes(whole.data).removeprefix(b"\xef\xbb\xbf").strip()
        notes: list[str] = []
        tables, block = [], []
        for record in _records(name, raw, notes):
            flat: dict[str, Any] = {}
            _flatten("", record, flat, notes)
            block.append(flat)
            if len(block) == RECORDS:
                tables.append(to_table(block))
                block = []
        tables += [to_table(block)] if block or not tables else []
        table = stack(tables)
        _needs_rows(name, table.rows)
        return Read(table, sources.shown(name), {"format": "json"} | ({"compression": whole.compression} if whole.compression else {}), tuple(notes))


def _records(name: str, raw: bytes, notes: list[str]) -> Iterator[dict[str, Any]]:
    import orjson

    where = sources.shown(name)
    try:
        whole = orjson.loads(raw) if raw[:1] == b"[" or b"\n" not in raw else None
    except orjson.JSONDecodeError as error:
        whole = None
        if raw[:1] == b"[":
            raise DataError(f"this is not valid JSON: {error}", where=where, next_step="check that the file was written to its end") from None
    if whole is None:
        try:
            first = orjson.loads(raw.partition(b"\n")[0])
        except orjson.JSONDecodeError:
            first = None
        if first is None:
            try:
                whole = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                raise DataError(f"this is not valid JSON: {error}", where=where, allowed="one object per line, or one array of objects") from None
    if whole is not None:
        yield from _rows_of(whole, where, notes)
        return
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"line {number} is not valid JSON: {error}", where=where, allowed="one object per line", next_step="check whether the file is cut off"
            ) from None
        if not isinstance(record, dict):
            raise DataError(f"line {number} is not an object", where=where, allowed='one object per line, such as {"age": 41, "city": "Bern"}')
        yield record


def _rows_of(whole: Any, where: str, notes: list[str]) -> list[dict[str, Any]]:
    """The rows within one JSON value: an array of objects, columns, or the one array an object wraps."""
    if isinstance(whole, dict):
        lists = {k: v for k, v in whole.items() if isinstance(v, list)}
        if (
            lists
            and len(lists) == len(whole)
            and len({len(v) for v in lists.values()}) == 1
            and not any(isinstance(c, dict) for v in lists.values() for c in v[:1])
        ):
            return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
        tables = [k for k, v in lists.items() if v and isinstance(v[0], dict)]
        if len(tables) == 1:
            notes.append(f"the rows are those under {tables[0]!r}; the rest of the document was left out")
            whole = lists[tables[0]]
        elif lists or any(isinstance(v, dict) for v in whole.values()):
            raise DataError(
                "this JSON document is not one table", where=where,
                allowed="an array of objects, one object per line, or one object of equally long lists",
                next_step="write the part you mean as one object per line",
            )  # fmt: skip
        else:
            whole = [whole]
    if not isinstance(whole, list) or not all(isinstance(r, dict) for r in whole):
        if isinstance(whole, list) and whole and all(isinstance(r, list) for r in whole):
            width = max(map(len, whole))
            return [{f"column_{i + 1}": (r[i] if i < len(r) else None) for i in range(width)} for r in whole]
        raise DataError("this JSON holds no objects", where=where, allowed='an array of objects, such as [{"age": 41}, {"age": 38}]')
    return whole


def _flatten(prefix: str, record: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _note(notes, "nested objects became columns with dotted names")
            _flatten(name + ".", value, out, notes)
        elif isinstance(value, list):
            _note(notes, f"lists became JSON text (column {name!r})")
            out[name] = cell_text(value)
        else:
            out[name] = value


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


class ExcelReader:
    """Reads one sheet of an .xlsx workbook: the first that holds anything, or the one named after `::`."""

    name = "excel"

    def accepts(self, source: Any) -> bool:
        return sources.sort_of(source) == "excel"

    def read(self, source: Any) -> Read:
        import zipfile

        import openpyxl

        path, _, wanted = os.fspath(source).partition("::")
        with sources.open_raw(path) as file:
            raw = io.BytesIO(file.read())
        try:
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
            raise DataError(
                f"this workbook cannot be opened: {error}", where=sources.shown(path), next_step="open it in a spreadsheet program and save it again"
            ) from None
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        if wanted and wanted not in sheets:
            raise DataError(f"no sheet is called {wanted!r}", where=sources.shown(path), allowed=", ".join(sheets))
        notes: list[str] = []
        for title in [wanted] if wanted else sheets:
            rows = [list(row) for row in sheets[title].iter_rows(values_only=True)]
            rows = [row for row in rows if any(cell is not None and cell != "" for cell in row)]
            if len(rows) > 1:
                if len(sheets) > 1 and not wanted:
                    notes.append(f"of {len(sheets)} sheets {title!r} was read; name another as FILE::SHEET")
                table, more = _sheet_table(rows)
                return Read(table, sources.shown(source), {"format": "excel", "sheet": title}, tuple(notes + more))
        raise DataError("this workbook holds no rows", where=sources.shown(source), allowed="a header row and at least one row")


def _sheet_table(rows: list[list[Any]]) -> tuple[Table, list[str]]:
    from emlyn.core.tables.frames import column_from_cells

    notes: list[str] = []
    filled = [sum(c is not None and c != "" for c in row) for row in rows[:20]]
    title = 0
    while title < len(filled) - 2 and filled[title] <= 1 < filled[title + 1]:
        title += 1
    if title:
        notes.append(f"{title} line{'s' * (title > 1)} above the table skipped")
    rows = rows[title:]
    width = max(map(len, rows))
    rows = [row + [None] * (width - len(row)) for row in rows]
    used = [i for i in range(width) if any(row[i] is not None and row[i] != "" for row in rows)]
    header = [cell_text(rows[0][i]) for i in used]
    below = rows[1:]
    if not any(isinstance(rows[0][i], str) for i in used):
        header, below = [f"column_{k + 1}" for k in range(len(used))], rows
        notes.append("the sheet has no header; its columns are called column_1, column_2, …")
    names, renamed = unique_names(header)
    return Table({name: column_from_cells([row[i] for row in below]) for name, i in zip(names, used, strict=True)}, rows=len(below)), notes + renamed


class FolderReader:
    """Reads a folder or a glob of files that hold parts of one table."""

    name = "folder"

    def accepts(self, source: Any) -> bool:
        return sources.sort_of(source) in ("folder", "glob")

    def read(self, source: Any) -> Read:
        name = os.fspath(source)
        files = _files_of(name)
        reads = [_with_partitions(door.read(file), file, name) for file in files]
        first = reads[0]
        for file, one in zip(files[1:], reads[1:], strict=True):
            if set(one.table) != set(first.table):
                more, less = [c for c in one.table if c not in first.table], [c for c in first.table if c not in one.table]
                told = [f"has also {', '.join(more[:5])}"] * bool(more) + [f"lacks {', '.join(less[:5])}"] * bool(less)
                raise DataError(
                    "the files do not have the same columns", allowed="files that are parts of one table",
                    where=f"{sources.shown(file)} {' and '.join(told)} (compared with {sources.shown(files[0])})",
                    next_step="name the files of one table by a glob, such as data/part-*.csv",
                )  # fmt: skip
        heard = [f"{Path(f).name}: {note}" for f, r in zip(files, reads, strict=True) for note in r.notes]
        notes = [f"{len(files)} files read", *heard[:20]]
        return Read(stack([r.table for r in reads]), sources.shown(name), first.dialect, tuple(notes))


def _files_of(name: str) -> list[str]:
    endings = tuple(e + p for e in sources.ENDINGS for p in ("", *sources.PACKED))
    if sources.is_remote(name):
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(name)
        except ImportError:
            sources.open_raw(name)
            raise
        scheme = name.partition("://")[0]
        found = [
            f"{scheme}://{p.lstrip('/') if scheme != 'memory' else p}" for p in (system.glob(path) if glob.has_magic(path) else system.find(path))
        ]
    elif os.path.isdir(sources.local(name)):
        found = [str(p) for p in Path(sources.local(name)).rglob("*") if p.is_file()]
        found = [f for f in found if not any(part.startswith((".", "_")) for part in Path(f).relative_to(sources.local(name)).parts)]
        found = [f for f in found if f.lower().endswith(endings)]
    else:
        found = [f for f in glob.glob(sources.local(name), recursive=True) if os.path.isfile(f)]
    if not found:
        what = "no file matches" if glob.has_magic(name) else "this folder holds no file that can be read"
        raise DataError(what, where=sources.shown(name), allowed=sources.ALLOWED, next_step="check the folder and the files' endings")
    return sorted(found)


def _with_partitions(read: Read, file: str, root: str) -> Read:
    """Folders named `key=value` become columns, as Hive and Spark write them."""
    pairs = [part.split("=", 1) for part in Path(file).parent.parts if "=" in part and part not in Path(root).parts]
    extra = {key: text_column([value] * read.table.rows) for key, value in pairs if key not in read.table}
    return Read(read.table.with_columns(extra), read.source, read.dialect, read.notes) if extra else read


def _needs_rows(name: str, rows: int) -> None:
    if not rows:
        raise DataError("this file holds no rows", where=sources.shown(name), allowed="at least one row", next_step="export it again with its rows")


@hook
def emlyn_readers() -> list[Any]:
    return [FrameReader(), ParquetReader(), JsonReader(), ExcelReader(), FolderReader()]
