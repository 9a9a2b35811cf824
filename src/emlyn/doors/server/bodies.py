"""Bodies into rows: JSON, JSON lines, CSV and Parquet become a list of records; nothing else is ever decoded."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from emlyn.doors.server.problems import Problem
from emlyn.records.data_card import Contract
from emlyn.service.limits import Limits

Records = list[Mapping[str, Any]]

JSON = "application/json"
CSV = "text/csv"
JSON_LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl")
PARQUET = ("application/vnd.apache.parquet", "application/x-parquet")

UNPACKED = 8
"""A Parquet file may unpack to so many times the largest body, not more."""


def parse_json(body: bytes) -> Any:
    """Raises Problem 400 with the place of the mistake; nesting deeper than 1,024 is one."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def parse_object(body: bytes) -> dict[str, Any]:
    found = parse_json(body)
    if not isinstance(found, dict):
        raise Problem(400, f"the body is a JSON {_kind(found)}", allowed="a JSON object")
    return found


def named_rows(rows: Any, where: str) -> Records:
    """A list of objects, one per row. Raises Problem 400 naming the first entry that is none."""
    if not isinstance(rows, list):
        raise Problem(400, f"{where} is a JSON {_kind(rows)}", allowed="a list of objects, one per row: column name to value")
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Problem(400, f"{where}[{i}] is a JSON {_kind(row)}", allowed="an object: column name to value")
    return rows


def rows_of(rows: Any, where: str, contract: Contract, columns: int) -> Records:
    """Rows with or without names: objects, SageMaker's {"features": [...]} and {"data": {...}}, or plain lists in the order of the contract."""
    if not isinstance(rows, list):
        raise Problem(400, f"{where} is a JSON {_kind(rows)}", allowed="a list, one entry per row")
    found: Records = []
    names: list[str] = []
    known = {rule.name for rule in contract.columns}
    for i, row in enumerate(rows):
        if isinstance(row, dict) and len(row) == 1 and next(iter(row)) not in known and next(iter(row)) in ("features", "data"):
            row = next(iter(row.values()))
        if isinstance(row, dict):
            found.append(row)
        elif isinstance(row, list):
            names = names or ordered_names(contract)
            found.append(by_place(row, names, f"{where}[{i}]"))
        else:
            raise Problem(
                400, f"{where}[{i}] is a JSON {_kind(row)}", allowed="an object (column name to value) or a list in the order of the contract"
            )
        if len(found[-1]) > columns:
            raise Problem(413, f"{where}[{i}] has {len(found[-1]):,} columns", allowed=f"at most {columns:,}")
    return found


def ordered_names(contract: Contract) -> list[str]:
    """The contract's columns in the order of the training table, for rows that come without names."""
    return [rule.name for rule in sorted(contract.columns, key=lambda rule: rule.position)]


def by_place(cells: Sequence[Any], names: Sequence[str], where: str) -> dict[str, Any]:
    if len(cells) != len(names):
        raise Problem(400, f"{where} has {len(cells)} values", allowed=f"{len(names)} values, in this order: {_some(names)}")
    return dict(zip(names, cells, strict=True))


def parse_json_lines(body: bytes, contract: Contract, columns: int) -> Records:
    lines = [line for line in body.splitlines() if line.strip()]
    return rows_of([parse_json(line) for line in lines], "line", contract, columns)


def parse_csv(body: bytes, contract: Contract, columns: int) -> Records:
    """Comma-separated rows. The first line is a header when it names every required column, otherwise it is a row like the others.

    Raises Problem 400 for text that is not UTF-8 or a line of another length.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8 text") from None
    except csv.Error as error:
        raise Problem(400, f"the body is not CSV: {error}") from None
    if not lines:
        return []
    if len(lines[0]) > columns:
        raise Problem(413, f"the first line has {len(lines[0]):,} columns", allowed=f"at most {columns:,}")
    required = {rule.name for rule in contract.columns if rule.required}
    first = [cell.strip() for cell in lines[0]]
    headed = bool(required) and required <= set(first)
    names = first if headed else ordered_names(contract)
    return [by_place(line, names, f"line {i}") for i, line in enumerate(lines[headed:], start=1 + headed)]


def parse_parquet(body: bytes, limits: Limits) -> Records:
    """Raises Problem 400 for bytes that are no flat Parquet file, 413 for one that unpacks to more than the limits allow."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(pa.BufferReader(body))
        if any(pa.types.is_nested(field.type) for field in schema):
            raise Problem(400, "the Parquet file holds lists or structs", allowed="columns of plain values")
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
        file = parquet.ParquetFile(pa.BufferReader(body), read_dictionary=texts)
        unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if file.metadata.num_rows > limits.rows or file.metadata.num_columns > limits.columns or unpacked > UNPACKED * limits.body:
            raise Problem(413, "the Parquet file is too large", allowed=f"at most {limits.rows:,} rows and {limits.columns:,} columns")
        found: Records = []
        size = 0
        for batch in file.iter_batches(batch_size=1024):
            size += sum(_unpacked(column, limits) for column in batch.columns)
            if len(found) + batch.num_rows > limits.rows or size > UNPACKED * limits.body:
                raise Problem(413, "the Parquet file unpacks to more than it says", allowed=f"at most {UNPACKED * limits.body:,} bytes")
            found += batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError):
        raise Problem(400, "the body is not a Parquet file that can be read") from None
    return found


def _unpacked(column: Any, limits: Limits) -> int:
    """Bytes of a column once every text stands for itself: a text that is stored once may be meant a million times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    if len(lengths) and (pc.max(lengths).as_py() or 0) > limits.cell:
        raise Problem(413, "a cell of the Parquet file is too long", allowed=f"at most {limits.cell:,} bytes")
    return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)


def _kind(value: Any) -> str:
    return {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", and {len(names) - 12} more" if len(names) > 12 else "")
