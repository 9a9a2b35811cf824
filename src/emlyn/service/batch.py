"""Batch scoring: a source of rows in, one output row per input row out, in order, with the answers that the service would give.

CSV and JSON lines are written in blocks and can be continued after a kill: what was finished stays in `OUT.part`.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from emlyn.core.storing.durable import make_folder, write_durably, writing
from emlyn.core.table import Column, Table, text_column
from emlyn.core.tables.frames import to_pandas
from emlyn.errors import OptionError
from emlyn.records import codec
from emlyn.service.blocks import blocks
from emlyn.service.scorer import Margin, Model, Scored, Scorer, example_row

BLOCK = 50_000
REASONS = 5
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Layout:
    """The columns of the output."""

    classes: tuple[str, ...]
    margin: Margin | None
    id: str
    explain: bool

    @property
    def names(self) -> list[str]:
        found = ["row", *([self.id] if self.id else []), "prediction", *(f"probability_{c}" for c in self.classes)]
        found += ["low", "high"] if self.margin else []
        return [*found, *(["reasons"] if self.explain else []), "refused"]


def predict(
    model: Model, source: Any, out: str | None = None, *, explain: bool = False, to_stdout: bool = False, margin: Margin | None = None
) -> dict[str, Any]:
    """Score a source into `out` (.csv, .jsonl or .parquet), or as CSV to stdout.

    Returns `rows`, `refused`, `unusual` (rows with a value outside what training saw), `out`. Raises DataError for a source that cannot be
    read or lacks a required column, OptionError for an ending that is not written, WorkspaceError when the output cannot be.
    """
    kind = _kind(out)
    scorer = Scorer(model, margin)
    counted = {"rows": 0, "refused": 0, "unusual": 0}
    tables = blocks(source)
    first = next(tables, None)
    identity = scorer.problem.id if first is not None and scorer.problem.id in first else ""
    layout = Layout(scorer.classes, margin, identity, explain)
    parts = _in_blocks(itertools.chain(() if first is None else (first,), tables), counted)
    if kind == "parquet":
        written = [_arrays(layout, _scored(scorer, part, counted), part, start, scorer) for start, part in parts]
        _write_parquet(Path(str(out)), layout, written)
        return {**counted, "out": out}
    with _Sink(out, kind, layout, _identity(scorer, source, layout), counted) if out else _stdout(layout, to_stdout) as sink:
        for start, part in parts:
            if start >= sink.done:
                sink.write(_arrays(layout, _scored(scorer, part, counted), part, start, scorer), part.rows)
    return {**counted, "out": out}


def _in_blocks(tables: Iterable[Table], counted: dict[str, int]) -> Iterator[tuple[int, Table]]:
    """Pieces of at most `BLOCK` rows with the position of their first row."""
    for table in tables:
        for at in range(0, table.rows, BLOCK):
            part = table.take(slice(at, min(at + BLOCK, table.rows)))
            counted["rows"] += part.rows
            yield counted["rows"] - part.rows, part


def _scored(scorer: Scorer, part: Table, counted: dict[str, int]) -> Scored:
    scored = scorer.score(part)
    counted["refused"] += int(scored.refused.sum())
    counted["unusual"] += scorer.unusual_rows(scored)
    return scored


def _arrays(layout: Layout, scored: Scored, part: Table, start: int, scorer: Scorer) -> list[Sequence[Any]]:
    """The output's columns for one block, None where there is nothing to say."""
    found: list[Sequence[Any]] = [range(start, start + part.rows)]
    if layout.id:
        found.append(part[layout.id].strings().tolist())
    found.append([None if bad else label for bad, label in zip(scored.refused.tolist(), scored.labels.tolist(), strict=True)])
    found += [_gaps(scored.values[:, column]) for column in range(len(layout.classes))]
    if layout.margin:
        found += [_gaps(end) for end in layout.margin.around(scored.labels)]
    if layout.explain:
        found.append(_reasons(scored, scorer))
    found.append(scorer.why_refused(scored, part))
    return found


def _gaps(values: np.ndarray) -> list[Any]:
    """Numbers as a list, None for NaN."""
    return [None if v != v else v for v in values.tolist()]


def _reasons(scored: Scored, scorer: Scorer) -> list[str | None]:
    kept = np.flatnonzero(~scored.refused)
    found: list[str | None] = [None] * len(scored.refused)
    if len(kept) and scorer.explain is not None:
        for row, why in zip(kept.tolist(), scorer.explain(scorer.model, scored.data.take(kept)), strict=True):
            found[row] = orjson.dumps([{"column": r.column, "value": r.value, "push": r.push} for r in why[:REASONS]]).decode()
    return found


class _Sink:
    """`OUT.part`, continued where an earlier run of the same model on the same source was stopped, and renamed to `OUT` at the end."""

    def __init__(self, out: str, kind: str, layout: Layout, identity: str, counted: dict[str, int]) -> None:
        self._out, self._kind, self._layout, self._identity, self._counted = Path(out), kind, layout, identity, counted
        self._part = self._out.with_name(self._out.name + ".part")
        self._state = self._out.with_name(self._out.name + ".part.json")
        make_folder(self._out.parent)
        self.done = self._resume()

    def _resume(self) -> int:
        """How many rows an earlier run finished; its output is cut back to them."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = orjson.loads(self._state.read_bytes())
            if state["identity"] == self._identity and self._part.stat().st_size >= state["bytes"]:
                os.truncate(self._part, state["bytes"])
                self._counted.update(refused=state["refused"], unusual=state["unusual"])
                return int(state["rows"])
        with writing(self._part):
            self._part.write_bytes(b"")
        return 0

    def __enter__(self) -> _Sink:
        with writing(self._part):
            self._file = self._part.open("ab")
        if not self.done and self._kind == "csv":
            self._put(_csv_line(self._layout.names))
        return self

    def write(self, block: list[Sequence[Any]], rows: int) -> None:
        self._put(_lines(block, self._layout.names, self._kind))
        self.done += rows
        with writing(self._part):
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
        state = {"identity": self._identity, "rows": self.done, "bytes": size, **{k: self._counted[k] for k in ("refused", "unusual")}}
        write_durably(self._state, orjson.dumps(state))

    def _put(self, data: bytes) -> None:
        with writing(self._part):
            self._file.write(data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if kind is None:
            with writing(self._out):
                os.replace(self._part, self._out)
            self._state.unlink(missing_ok=True)


class _Stream:
    """CSV to a stream that is not ours to rename."""

    done = 0

    def __init__(self, stream: IO[str], layout: Layout) -> None:
        self._stream, self._names = stream, layout.names
        stream.write(_csv_line(self._names).decode())

    def write(self, block: list[Sequence[Any]], rows: int) -> None:
        self._stream.write(_lines(block, self._names, "csv").decode())


@contextlib.contextmanager
def _stdout(layout: Layout, wanted: bool) -> Iterator[_Stream]:
    yield _Stream(sys.stdout if wanted else io.StringIO(), layout)


def _lines(block: list[Sequence[Any]], names: Sequence[str], kind: str) -> bytes:
    if kind == "jsonl":
        return b"".join(orjson.dumps({n: v for n, v in zip(names, row, strict=True) if v is not None}) + b"\n" for row in zip(*block, strict=True))
    out = io.StringIO()
    safe = [[neutral(cell) for cell in column] if any(isinstance(cell, str) for cell in column[:1000]) else column for column in map(list, block)]
    csv.writer(out, lineterminator="\n").writerows(zip(*safe, strict=True))
    return out.getvalue().encode("utf-8", "surrogatepass")


def _csv_line(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([neutral(cell) for cell in cells])
    return out.getvalue().encode("utf-8", "surrogatepass")


def neutral(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula, made harmless by an apostrophe in front; numbers stay as they are."""
    if isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _write_parquet(path: Path, layout: Layout, blocks: list[list[Sequence[Any]]]) -> None:
    columns: dict[str, Column] = {}
    for i, name in enumerate(layout.names):
        cells = [cell for block in blocks for cell in block[i]]
        text = name in (layout.id, "reasons", "refused") or (name == "prediction" and bool(layout.classes))
        columns[name] = text_column(cells) if text else Column("number", np.array(cells, dtype=np.float64))
    made = io.BytesIO()
    to_pandas(Table(columns)).to_parquet(made, index=False)
    make_folder(path.parent)
    write_durably(path, made.getvalue())


def _kind(out: str | None) -> str:
    kind = Path(out).suffix.lower().lstrip(".") if out else "csv"
    if kind not in ("csv", "jsonl", "parquet"):
        raise OptionError(f"{out!r} has an ending that is not written", where="--out", allowed=".csv, .jsonl, .parquet")
    return kind


def _identity(scorer: Scorer, source: Any, layout: Layout) -> str:
    """What must be the same for a stopped run to go on: the model (one answer stands for it), the output's columns, the file as it is now."""
    answer = scorer.answer([example_row(scorer.contract)])[0].core()
    found: Mapping[str, Any] = {
        "contract": scorer.contract,
        "problem": scorer.problem,
        "answer": answer,
        "columns": layout.names,
        "source": str(source)[:1000],
    }
    with contextlib.suppress(OSError, TypeError, ValueError):
        facts = os.stat(source)
        found = {**found, "size": facts.st_size, "changed": facts.st_mtime_ns}
    return hashlib.sha256(codec.to_json(found)).hexdigest()
