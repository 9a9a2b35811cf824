"""Batch scoring: a source of rows in, one output row per input row out, in order, with the answers that the service would give.

Rows are read, scored and written in blocks, so memory does not grow with the source. A killed run is continued by the same command: what was
finished stays in `OUT.part` (Parquet as a chain of Arrow streams, which becomes the file when the last block is there).
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from emlyn.core.storing.durable import make_folder, write_durably, writing
from emlyn.core.table import Table
from emlyn.core.tables import sources
from emlyn.core.tables.frames import arrow_stream, streams_to_parquet
from emlyn.errors import OptionError
from emlyn.records import codec
from emlyn.service.blocks import blocks, stamp
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

    @property
    def types(self) -> list[type]:
        """What a Parquet file holds in each column."""
        texts = {self.id, "reasons", "refused", *(["prediction"] if self.classes else [])}
        return [int if name == "row" else str if name in texts else float for name in self.names]


def predict(
    model: Model, source: Any, out: str | None = None, *, explain: bool = False, to_stdout: bool = False, margin: Margin | None = None
) -> dict[str, Any]:
    """Score a source into `out` (.csv, .jsonl or .parquet), or as CSV to stdout.

    Returns `rows`, `refused`, `unusual` (rows with a value outside what training saw), `out`. Raises DataError for a source that cannot be
    read or lacks a required column, OptionError for an ending that is not written, WorkspaceError when the output cannot be.
    """
    kind = _kind(out, source)
    scorer = Scorer(model, margin)
    counted = {"rows": 0, "refused": 0, "unusual": 0}
    known = stamp(source) if out else ""  # before a row is read: what changes meanwhile is another source
    tables = blocks(source)
    first = next(tables, None)
    identity = scorer.problem.id if first is not None and scorer.problem.id in first else ""
    layout = Layout(scorer.classes, margin, identity, explain)
    parts = _in_blocks(itertools.chain(() if first is None else (first,), tables), counted)
    with _Sink(out, kind, layout, _identity(scorer, known, layout), counted) if out else _stdout(layout, to_stdout) as sink:
        for start, part in parts:
            if start + part.rows > sink.done:
                rest = part.take(slice(max(0, sink.done - start), part.rows))
                sink.write(_arrays(layout, _scored(scorer, rest, counted), rest, start + part.rows - rest.rows, scorer), rest.rows)
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
        names = self._layout.names
        self._put(arrow_stream(block, names, self._layout.types) if self._kind == "parquet" else _lines(block, names, self._kind))
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
                os.replace(self._as_parquet() if self._kind == "parquet" else self._part, self._out)
            self._part.unlink(missing_ok=True)
            self._state.unlink(missing_ok=True)


    def _as_parquet(self) -> Path:
        """The finished streams as a Parquet file beside them: killed meanwhile, they are still there."""
        made = self._part.with_name(self._part.name + ".parquet")
        with self._part.open("rb") as streams, made.open("wb") as out:
            streams_to_parquet(streams, out, self._layout.names, self._layout.types)
            out.flush()
            os.fsync(out.fileno())
        return made


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


def _kind(out: str | None, source: Any) -> str:
    """What is written. Raises OptionError where it cannot be, or would be written over what is read."""
    kind = Path(out).suffix.lower().lstrip(".") if out else "csv"
    if kind not in ("csv", "jsonl", "parquet"):
        raise OptionError(f"{out!r} has an ending that is not written", where="--out", allowed=".csv, .jsonl, .parquet")
    if out and sources.is_remote(out):
        raise OptionError(f"{sources.shown(out)!r} is not a local file", where="--out", allowed="a local path", next_step="copy it there afterwards")
    if out and sources.is_name(source) and os.path.exists(out) and os.path.realpath(sources.local(os.fspath(source))) == os.path.realpath(out):
        raise OptionError("the answers would be written over the rows they answer", where="--out", allowed="another file than the source")
    return kind


def _identity(scorer: Scorer, known: str, layout: Layout) -> str:
    """What must be the same for a stopped run to go on: the model (one answer stands for it), the output's columns, the source as it is now.

    Where nobody can tell whether a source is the same, and in the same order, no run is like another.
    """
    found: Mapping[str, Any] = {
        "contract": scorer.contract,
        "problem": scorer.problem,
        "answer": scorer.answer([example_row(scorer.contract)])[0].core(),
        "columns": layout.names,
        "source": known or secrets.token_hex(16),
    }
    return hashlib.sha256(codec.to_json(found)).hexdigest()
