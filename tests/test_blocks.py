"""Reading block by block is reading: the same table whatever the size of a block; and a share of the rows where not all would fit."""

from __future__ import annotations

import math
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import emlyn
from emlyn.context import Budget, Context
from emlyn.core.reader import read
from emlyn.core.table import row_hashes, table_digest
from emlyn.core.tables import blocks
from emlyn.readers import delimited
from emlyn.records.options import TrainOptions
from emlyn.stages.profile import profile

LATE = {
    "number then text": [*map(str, range(60)), "x9", *map(str, range(9))],
    "number as written": [*["1.50", "2e3", "+4"] * 20, "many"],
    "whole then broken": [*map(str, range(50)), "2.5", ""],
    "date then moment": [*["2020-01-03"] * 50, "2020-01-03 10:30:00"],
    "date then number": [*["2020-01-03"] * 50, "17"],
    "gaps, then text": [*["NA", "", "null"] * 20, "Bern", "NA"],
    "gaps, then numbers": [*["NA", "", "null"] * 20, "7"],
    "hours, late": [*["2020-01-03"] * 50, "10:30"],
    "long, late": [*["12"] * 50, "9007199254740995"],
    "bytes, late": [*["plain"] * 50, b"Z\xfcrich", "plain"],
    "bytes": [*[b"Z\xfcrich", b"Gen\xe8ve"] * 30],
    "all gaps": ["", "NA"] * 30,
    "lines within": [*["a"] * 40, '"two\nlines, ""quoted"""', "b", '"one\r\nmore"'],
    "leading zeros late": [*["12"] * 50, "012"],
    "keys": [f"k{i}" for i in range(70)],
}


def a_file(path, columns, end=b"\n"):
    rows = max(map(len, columns.values()))
    cell = lambda c: c if isinstance(c, bytes) else c.encode()  # noqa: E731
    lines = [b",".join(b"c%d" % i for i in range(len(columns)))]
    lines += [b",".join(cell(c[i]) if i < len(c) else b"" for c in columns.values()) for i in range(rows)]
    path.write_bytes(end.join(lines) + end)
    return str(path)


def same(one, other):
    assert one.notes == other.notes
    assert {n: c.kind for n, c in one.table.items()} == {n: c.kind for n, c in other.table.items()}
    for name in one.table:
        assert one.table[name].strings().tolist() == other.table[name].strings().tolist(), name
    assert table_digest(one.table) == table_digest(other.table)


def card(found):
    return profile(found, TrainOptions(), Context(Budget(1e9, time.monotonic())))


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blocks_give_the_same_table_and_card(tmp_path, monkeypatch, name, end):
    path = a_file(tmp_path / "t.csv", {"k": [str(i) for i in range(70)], name: LATE[name], "w": ["u", "v", "w"] * 25}, end)
    whole = read(path)
    for size in (64, 200, 1000):
        monkeypatch.setattr(delimited, "BLOCKS", size)
        parts = read(path)
        same(whole, parts)
        assert card(whole) == card(parts)


@pytest.mark.parametrize("seed", range(12))
def test_random_tables_in_random_blocks(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(list(LATE), 4, replace=False)
    columns = {n: [LATE[n][i] for i in rng.permutation(len(LATE[n]))] for n in chosen}
    path = a_file(tmp_path / "t.csv", columns)
    whole = read(path)
    monkeypatch.setattr(delimited, "BLOCKS", int(rng.integers(40, 900)))
    same(whole, read(path))


def test_ragged_rows_are_counted_over_all_blocks(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    lines = ["a,b,c", *[f"{i},{i},x" for i in range(60)]]
    lines[20], lines[45], lines[50] = "1,2", "1,2,3,4", "# a comment"
    path.write_text("\n".join(lines) + "\n")
    whole = read(str(path))
    assert any("first is row 20" in note for note in whole.notes)
    monkeypatch.setattr(delimited, "BLOCKS", 100)
    same(whole, read(str(path)))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_that_does_not_fit_is_read_as_an_even_share_and_says_so(tmp_path, monkeypatch, ending):
    n = 20_000
    rng = np.random.default_rng(0)
    made = pa.table({"row": np.arange(n), "x": rng.normal(size=n), "c": [f"level {i % 7}" for i in range(n)]})
    path = tmp_path / f"t.{ending}"
    pq.write_table(made, path) if ending == "parquet" else pa.csv.write_csv(made, path)
    whole = read(str(path), memory=1 << 40)
    assert whole.table.rows == n
    assert not whole.notes
    fits = int(blocks.SHARE * 20 * n)  # 20 bytes a row: two floats and a code
    part = read(str(path), memory=int(fits / blocks.SHARE / blocks.SHARE / 3))
    rows = part.table["row"].values.astype(int)
    assert n / 5 < len(rows) < n / 3
    assert f"{len(rows):,} of {n:,} rows read, about one in 4" in part.notes[0]
    assert abs(np.mean(rows < n / 2) - 0.5) < 0.03, "the share is drawn evenly over the file"
    assert (row_hashes(whole.table)[rows] == row_hashes(part.table)).all(), "whole rows"
    monkeypatch.setattr(delimited, "BLOCKS", 1 << 14)
    again = read(str(path), memory=int(fits / blocks.SHARE / blocks.SHARE / 3))
    assert table_digest(again.table) == table_digest(part.table), "the same rows, however the file is cut"


def test_with_little_time_a_large_table_is_read_in_part_and_the_run_says_so(tmp_path, monkeypatch):
    """Reading and auditing cannot be cut short: what would take more than its part of the budget is not begun."""
    n = 20_000
    table = pa.table({"x": np.arange(n, dtype=float), "z": np.arange(n) % 7, "y": np.where(np.arange(n) % 3, "a", "b")})
    pq.write_table(table, tmp_path / "t.parquet")
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(blocks, "PACE", 20 * n / 4 / blocks.READY_SHARE / 3)  # 20 bytes a row: a third of them would be ready in time
    run = emlyn.train(str(tmp_path / "t.parquet"), "y", budget="4s")
    assert run.evidence.card.rows < n / 3
    assert "about one in 4" in run.evidence.card.notes[0]
    assert "--budget" in run.evidence.card.notes[0]


@pytest.mark.parametrize(
    ("memory", "seconds", "found"), [(0, math.inf, 0), (7, math.inf, 7), (1 << 40, 10.0, 900e6), (1000, 10.0, 1000), (0, 10.0, 900e6)]
)
def test_what_may_be_read_is_what_memory_and_time_allow(memory, seconds, found):
    """Three tenths of the seconds at 60 MB each, for a table that may take a fifth of what is allowed."""
    assert blocks.room(memory, seconds) == found


def test_any_reader_without_a_share_of_its_own_reads_all(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(f'{{"a": {i}}}' for i in range(50)))
    assert read(str(path), memory=1).table.rows == 50
