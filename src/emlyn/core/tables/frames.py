"""Dataframes and arrays at the edge: pandas, polars, Arrow, numpy to a raw table, a table back to pandas, answers to Parquet.

With `blocks.py` the only core file that knows a dataframe library; each is imported when one of its objects comes along.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from emlyn.core.table import Column, Table, number_text, text_column
from emlyn.core.tables.parse import EXACT, cell_text, decode, seconds_of, unique_names
from emlyn.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def is_frame(source: Any) -> bool:
    """True for what `to_table` reads: a dataframe, series, Arrow table, array, dict of lists or list of records."""
    if isinstance(source, Table | np.ndarray) or hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__"):
        return True
    if _library(source) in ("pandas", "polars", "pyarrow", "duckdb", "modin", "dask", "ibis"):
        return True
    return isinstance(source, Mapping) or (isinstance(source, Sequence) and not isinstance(source, str | bytes))


def to_table(source: Any) -> Table:
    """Any dataframe, series, Arrow table, array, dict of lists or list of records as a raw table.

    Duplicate column names are made unique; whole numbers beyond 2**53 become text so that identifiers keep their digits.
    Raises DataError for what has no columns.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, np.ndarray):
        return _from_numpy(source)
    library = _library(source)
    if library == "pandas":
        return _from_pandas(source)
    if library == "pyarrow":
        return from_arrow(source)
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return _from_records(source)
    return from_arrow(_arrow_table(source))


def to_pandas(table: Table) -> pd.DataFrame:
    """A pandas table: float64 for numbers and booleans, datetime64 for dates, Categorical for categories, str objects for text."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, column in table.items():
        if column.levels is not None and column.kind == "category":
            columns[name] = pd.Categorical.from_codes(column.values, categories=pd.Index(column.levels, dtype=object))
        elif column.levels is not None:
            columns[name] = column.strings()
        elif column.kind == "date":
            columns[name] = _moments(column.values)
        else:
            columns[name] = column.values
    return pd.DataFrame(columns, index=pd.RangeIndex(table.rows))


def _moments(seconds: np.ndarray) -> np.ndarray:
    """Seconds since 1970 (n,) as datetime64 in microseconds, NaT for NaN."""
    micro = np.where(np.isnan(seconds), 0.0, np.round(seconds * 1e6)).astype(np.int64).astype("datetime64[us]")
    micro[np.isnan(seconds)] = np.datetime64("NaT")
    return micro


def from_arrow(source: pa.Table) -> Table:
    """An Arrow table (or record batch) as a raw table; dictionary columns keep their codes."""
    names, _ = unique_names(source.schema.names)
    return Table({name: column_from_arrow(source.column(i)) for i, name in enumerate(names)}, rows=source.num_rows)


def arrow_stream(columns: Sequence[Sequence[Any]], names: Sequence[str], types: Sequence[type]) -> bytes:
    """Some rows (cells of int, float or str, None for "no value", column by column) as an Arrow stream.

    Streams of the same columns can be put one behind the other in a file, and cut off between them.
    """
    import pyarrow as pa

    schema, sink = _schema(names, types), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.record_batch([pa.array(list(cells), kind) for cells, kind in zip(columns, schema.types, strict=True)], schema=schema))
    return bytes(sink.getvalue())


def streams_to_parquet(streams: IO[bytes], out: IO[bytes], names: Sequence[str], types: Sequence[type]) -> None:
    """A file of such streams as a Parquet file, one stream in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    end = streams.seek(0, 2)
    streams.seek(0)
    with parquet.ParquetWriter(out, _schema(names, types)) as writer:
        while streams.tell() < end:
            for batch in pa.ipc.open_stream(streams):
                writer.write_batch(batch)


def _schema(names: Sequence[str], types: Sequence[type]) -> Any:
    import pyarrow as pa

    known = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.schema([(name, known[kind]) for name, kind in zip(names, types, strict=True)])


def column_from_arrow(array: pa.ChunkedArray | pa.Array) -> Column:
    """One Arrow array as a raw column, without a loop over cells (nested types excepted: they become JSON text)."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    kind = array.type
    if t.is_null(kind):
        return Column("number", np.full(len(array), np.nan))
    if t.is_dictionary(kind) or t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or _is_binary(kind):
        return _coded_from_arrow(array)
    if t.is_boolean(kind):
        return Column("boolean", _floats(array.cast(pa.int8())))
    if t.is_integer(kind):
        bounds = pc.min_max(array).as_py()
        if bounds["max"] is not None and max(abs(bounds["min"]), abs(bounds["max"])) > EXACT:
            return _coded_from_arrow(array.cast(pa.string()))
        return Column("number", _floats(array))
    if t.is_floating(kind):
        return Column("number", _floats(array if t.is_float64(kind) else array.cast(pa.float64())))
    if t.is_decimal(kind):
        return Column("number", _floats(array.cast(pa.float64())))
    if t.is_timestamp(kind) or t.is_date(kind):
        micro = array.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        return Column("date", _floats(micro) / 1e6)
    if t.is_duration(kind):
        return Column("number", _floats(array.cast(pa.duration("us"), safe=False).cast(pa.int64())) / 1e6)
    if t.is_time(kind):
        return _coded_from_arrow(array.cast(pa.string()))
    return text_column([cell_text(cell) for cell in array.to_pylist()])


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind))


def _floats(array: Any) -> np.ndarray:
    """Numbers of an Arrow array as float64, NaN for null, copied once."""
    out = np.empty(len(array), dtype=np.float64)
    start = 0
    for chunk in array.chunks if hasattr(array, "chunks") else [array]:
        stop = start + len(chunk)
        out[start:stop] = _bare(chunk)
        if chunk.null_count:
            out[start:stop][_nulls(chunk)] = np.nan
        start = stop
    return out


def _bare(chunk: Any) -> np.ndarray:
    """The numbers of an Arrow array (n,), anything where there is none. Not by `to_numpy`, which loads pandas for it: a quarter of a second."""
    import pyarrow as pa

    if not len(chunk):
        return np.empty(0)
    return np.from_dlpack(pa.Array.from_buffers(chunk.type, len(chunk), [None, chunk.buffers()[1]], offset=chunk.offset))


def _nulls(chunk: Any) -> np.ndarray:
    """Where an Arrow array has no value (n,)."""
    import pyarrow as pa

    return np.asarray(np.from_dlpack(chunk.is_null().cast(pa.int8()))).astype(bool)


def _coded_from_arrow(array: Any) -> Column:
    import pyarrow as pa

    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries()
        chunks = array.chunks
    else:
        chunks = [array]
    if not chunks:
        return Column("text", np.empty(0, dtype=np.int32), np.empty(0, dtype=object))
    codes = np.empty(len(array), dtype=np.int32)
    start = 0
    for chunk in chunks:
        stop = start + len(chunk)
        codes[start:stop] = _bare(chunk.indices)
        if chunk.null_count:
            codes[start:stop][_nulls(chunk.indices)] = -1
        start = stop
    levels = chunks[0].dictionary.to_pylist()
    return _recoded(codes, levels)


def _recoded(codes: np.ndarray, levels: list[Any]) -> Column:
    """Codes into any values as a text column: values written out, duplicates among them joined, nulls to -1."""
    texts = [level if type(level) is str else cell_text(level) for level in levels]
    if None not in texts and len(set(texts)) == len(texts):
        return Column("text", codes.astype(np.int32, copy=False), np.array(texts, dtype=object))
    index: dict[str, int] = {}
    where = np.array([-1 if text is None else index.setdefault(text, len(index)) for text in texts] + [-1], dtype=np.int32)
    return Column("text", where[codes], np.array(list(index), dtype=object))


def _from_pandas(source: Any) -> Table:
    import pandas as pd

    frame = source.to_frame() if isinstance(source, pd.Series | pd.Index) else source
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"a pandas {type(source).__name__} is not a table", allowed="DataFrame, Series")
    names, _ = unique_names(".".join(map(str, n)) if isinstance(n, tuple) else n for n in frame.columns)
    return Table({name: _from_series(frame.iloc[:, i]) for i, name in enumerate(names)}, rows=len(frame))


def _from_series(series: Any) -> Column:
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = _recoded(series.cat.codes.to_numpy(), series.cat.categories.tolist())
        return Column("category", column.values, column.levels)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufMmc":
        return _from_vector(series.to_numpy())
    if isinstance(dtype, pd.SparseDtype):
        return _from_series(series.sparse.to_dense())
    if isinstance(dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    return _from_objects(series)


def _from_objects(cells: Any) -> Column:
    """Strings and mixed cells: by Arrow where it agrees on one type, cell by cell otherwise."""
    import pyarrow as pa

    try:
        array = pa.array(cells, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):  # mixed types, integers beyond 64 bits, lone surrogates
        return column_from_cells(list(cells))
    if pa.types.is_floating(array.type) or pa.types.is_nested(array.type) or pa.types.is_time(array.type):
        return column_from_cells(list(cells))  # floats: whole numbers among them may lose digits
    return column_from_arrow(array)


def _from_vector(values: np.ndarray) -> Column:
    """A numpy vector (n,) of one type as a column."""
    kind = values.dtype.kind
    if kind == "b":
        return Column("boolean", values.astype(np.float64))
    if kind in "iu":
        if len(values) and max(abs(int(values.min())), abs(int(values.max()))) > EXACT:
            return text_column(map(str, values.tolist()))
        return Column("number", values.astype(np.float64))
    if kind == "f":
        return Column("number", np.array(values, dtype=np.float64))
    if kind == "M":
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return Column("date", np.where(np.isnat(values), np.nan, seconds))
    if kind == "m":
        seconds = values.astype("timedelta64[us]").astype(np.int64) / 1e6
        return Column("number", np.where(np.isnat(values), np.nan, seconds))
    if kind == "c":
        raise DataError(
            "Complex data not supported: a complex number has no order",
            allowed="numbers, text, dates, booleans",
            next_step="give its real and imaginary part as two columns",
        )
    return _from_objects(values.tolist() if kind in "SUV" else values)


def _from_numpy(array: np.ndarray) -> Table:
    if array.dtype.names:
        flat = array.reshape(-1)
        return Table({name: _from_vector(np.ascontiguousarray(flat[name])) for name in array.dtype.names}, rows=len(flat))
    if array.ndim not in (1, 2):
        raise DataError(
            f"an array with {array.ndim} dimensions is not a table", allowed="one or two dimensions", next_step="reshape it to (rows, columns)"
        )
    wide = array.reshape(len(array), -1) if array.ndim == 1 else array
    if wide.dtype.kind in "biuf":
        wide = np.ascontiguousarray(wide.T)
        return Table({f"x{i}": _from_vector(wide[i]) for i in range(len(wide))}, rows=wide.shape[1])
    return Table({f"x{i}": _from_vector(wide[:, i]) for i in range(wide.shape[1])}, rows=len(wide))


def _from_mapping(source: Mapping[Any, Any]) -> Table:
    names, _ = unique_names(source)
    columns = {}
    for name, cells in zip(names, source.values(), strict=True):
        if isinstance(cells, str | bytes) or not hasattr(cells, "__len__"):
            raise DataError(
                f"the value of {name!r} is not a list of cells", allowed="a dict of lists of one length", next_step="give one list per column"
            )
        if isinstance(cells, np.ndarray) and cells.dtype.kind != "O":
            columns[name] = _from_vector(cells)
        else:
            columns[name] = _from_series(cells) if _library(cells) == "pandas" else column_from_cells(list(cells))
    lengths = {len(c) for c in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"the columns have different lengths: {sorted(lengths)[:5]}", allowed="a dict of lists of one length")
    return Table(columns)


def _from_records(source: Sequence[Any]) -> Table:
    if source and not isinstance(source[0], Mapping):
        if isinstance(source[0], Sequence) and not isinstance(source[0], str | bytes):
            width = max(len(row) for row in source)
            return Table({f"x{i}": column_from_cells([row[i] if i < len(row) else None for row in source]) for i in range(width)}, rows=len(source))
        return Table({"x0": column_from_cells(list(source))}, rows=len(source))
    keys = list(dict.fromkeys(key for record in source for key in record))
    names, _ = unique_names(keys)
    return Table({name: column_from_cells([record.get(key) for record in source]) for name, key in zip(names, keys, strict=True)}, rows=len(source))


def column_from_cells(cells: list[Any]) -> Column:
    """Python cells of any types as a column: typed where all agree, text where they do not."""
    cells = [_plain(cell) for cell in cells]
    kinds = {type(cell) for cell in cells if cell is not None}
    n = len(cells)
    if not kinds:
        return Column("number", np.full(n, np.nan))
    if kinds <= {str}:
        return text_column(cells)
    if kinds == {bool}:
        return Column("boolean", np.array([np.nan if c is None else float(c) for c in cells]))
    if kinds <= {int, float} and not any(isinstance(c, int) and abs(c) > EXACT for c in cells):
        return Column("number", np.array([np.nan if c is None else c for c in cells], dtype=np.float64))
    if kinds <= {datetime.datetime, datetime.date}:
        return Column("date", np.array([np.nan if c is None else seconds_of(c) for c in cells]))
    return text_column(cell_text(cell) for cell in cells)


def _plain(cell: Any) -> Any:
    """A cell as a plain Python value; None for every kind of "no value"."""
    kind = type(cell)
    if kind in (str, int, bool) or cell is None:
        return cell
    if kind is float:
        return None if cell != cell else cell
    if isinstance(cell, np.generic):
        return _plain(cell.item())
    if isinstance(cell, decimal.Decimal):
        return None if cell.is_nan() else float(cell)
    if isinstance(cell, datetime.datetime):
        return None if str(cell) == "NaT" else datetime.datetime.fromisoformat(cell.isoformat()[:32] if cell.tzinfo else cell.isoformat()[:26])
    if isinstance(cell, bytes):
        return decode(cell)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(cell, datetime.timedelta):
        return cell.total_seconds()
    return cell


def _arrow_table(source: Any) -> Any:
    """Polars, DuckDB, Modin, Ibis, Dask and other dataframes as an Arrow table."""
    import narwhals.stable.v2 as nw

    try:
        frame = nw.from_native(source, allow_series=True)
    except TypeError:
        raise DataError(
            f"a {type(source).__module__}.{type(source).__name__} is not a table that can be read",
            allowed="a pandas, polars or Arrow table, a numpy array, a dict of lists, a list of records",
        ) from None
    if isinstance(frame, nw.Series):
        return frame.to_frame().to_arrow()
    return frame.lazy().collect("pyarrow").to_native()


def _library(source: Any) -> str:
    return type(source).__module__.partition(".")[0]


__all__ = ["column_from_arrow", "column_from_cells", "from_arrow", "is_frame", "number_text", "to_pandas", "to_table"]
