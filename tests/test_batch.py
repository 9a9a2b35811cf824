"""Batch scoring: one output row per input row, in order, the answers of the service, continued after a kill, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from emlyn.core.tables.frames import to_table
from emlyn.errors import DataError, OptionError, WorkspaceError
from emlyn.service import batch, blocks
from emlyn.service.scorer import Margin, Scorer
from service_kit import BAD, CHURN, PRICE, ROW, FakeModel, probability

ROWS = [{**ROW, "age": 20 + i % 60, "plan": ["gold", "basic"][i % 2], "id": f"c{i}"} for i in range(250)]


def write(path: Path, rows: list[dict]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(batch, "BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_row_is_answered_in_order_as_online(tmp_path, ending):
    rows = [*ROWS, {**BAD, "id": "bad"}, {**ROW, "plan": "new", "id": "odd"}]
    out = tmp_path / f"out.{ending}"
    summary = batch.predict(FakeModel(replace(CHURN, id="id")), write(tmp_path / "in.csv", rows), str(out))
    assert {k: summary[k] for k in ("rows", "refused", "unusual", "out")} == {"rows": 252, "refused": 1, "unusual": 1, "out": str(out)}
    if ending == "csv":
        found = [{k: v or None for k, v in line.items()} for line in read(out)]
    elif ending == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        pandas = pytest.importorskip("pandas")
        found = pandas.read_parquet(out).replace({np.nan: None}).to_dict("records")
    assert [line["id"] for line in found] == [row["id"] for row in rows]
    assert [int(line["row"]) for line in found] == list(range(252))
    online = Scorer(FakeModel()).answer(rows)
    for line, answer in zip(found, online, strict=True):
        assert line.get("prediction") == answer.prediction
        if not answer.refused:
            assert float(line["probability_yes"]) == pytest.approx(answer.probabilities["yes"], rel=1e-12)
            assert line.get("refused") is None
    assert "'age': 'old' is not a number" in found[250]["refused"]
    assert not list(tmp_path.glob("*.part*"))


def test_numbers_come_with_their_interval(tmp_path):
    batch.predict(FakeModel(PRICE), write(tmp_path / "in.csv", [ROW]), str(tmp_path / "out.csv"), margin=Margin(5.0, 7.0, 0.9))
    (line,) = read(tmp_path / "out.csv")
    assert (float(line["prediction"]), float(line["low"]), float(line["high"])) == (400.0, 395.0, 407.0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("torn", [b"", b"half a li"])
def test_a_killed_run_goes_on_where_it_was_without_scoring_again(tmp_path, monkeypatch, torn):
    source, whole, out = write(tmp_path / "in.csv", ROWS), tmp_path / "whole.csv", tmp_path / "out.csv"
    batch.predict(FakeModel(), source, str(whole))
    scored: list[int] = []
    score = Scorer.score

    def dies_at_the_third_block(self, raw):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(raw.rows)
        return score(self, raw)

    monkeypatch.setattr(Scorer, "score", dies_at_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        batch.predict(FakeModel(), source, str(out))
    assert not out.exists()
    part = tmp_path / "out.csv.part"
    part.write_bytes(part.read_bytes() + torn)
    scored.clear()
    monkeypatch.setattr(Scorer, "score", lambda self, raw: (scored.append(raw.rows), score(self, raw))[1])
    assert batch.predict(FakeModel(), source, str(out))["rows"] == 250
    assert out.read_bytes() == whole.read_bytes()
    assert sum(scored) == 250 - 128


@pytest.mark.usefixtures("small_blocks")
def test_another_model_or_a_changed_file_starts_afresh(tmp_path, monkeypatch):
    source, out = write(tmp_path / "in.csv", ROWS), tmp_path / "out.csv"
    part, state = tmp_path / "out.csv.part", tmp_path / "out.csv.part.json"
    part.write_bytes(b"something of somebody else")
    state.write_text('{"identity": "other", "rows": 64, "bytes": 5, "refused": 0, "unusual": 0}')
    batch.predict(FakeModel(shift=-9.0), source, str(out))
    lines = read(out)
    assert len(lines) == 250
    assert {line["prediction"] for line in lines} == {"no"}


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|'/c calc'!A0", "'=cmd|'/c calc'!A0"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-5", "-5"),
        ("+1e3", "+1e3"),
        ("x=1", "x=1"),
        (-5.0, -5.0),
        (None, None),
        ("", ""),
    ],
)
def test_cells_that_a_spreadsheet_would_run_are_made_harmless(cell, written):
    assert batch.neutral(cell) == written


def test_formulas_in_ids_and_in_column_names_are_harmless_in_csv_and_untouched_in_json(tmp_path):
    problem = replace(CHURN, id="=id")
    source = write(tmp_path / "in.csv", [{**ROW, "=id": "=1+1"}])
    batch.predict(FakeModel(problem), source, str(tmp_path / "out.csv"))
    batch.predict(FakeModel(problem), source, str(tmp_path / "out.jsonl"))
    assert read(tmp_path / "out.csv")[0]["'=id"] == "'=1+1"
    assert json.loads((tmp_path / "out.jsonl").read_text())["=id"] == "=1+1"


def test_what_cannot_be_done_is_said_before_any_work(tmp_path):
    source = write(tmp_path / "in.csv", [ROW])
    with pytest.raises(OptionError, match=r"\.xlsx"):
        batch.predict(FakeModel(), source, str(tmp_path / "out.xlsx"))
    with pytest.raises(DataError, match="age"):
        batch.predict(FakeModel(), write(tmp_path / "no.csv", [{"plan": "gold"}, {"plan": "gold"}]), str(tmp_path / "o.csv"))
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        batch.predict(FakeModel(), source, str(tmp_path / "file" / "out.csv"))


def test_stdout_gets_csv(tmp_path, capsys):
    batch.predict(FakeModel(), write(tmp_path / "in.csv", [ROW]), to_stdout=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row,prediction,probability_no,probability_yes,refused"
    assert float(lines[1].split(",")[3]) == pytest.approx(probability(ROW))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 1)
    monkeypatch.setattr(blocks, "PART", 700)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("title", ["", "A title\n\n"])
def test_a_large_file_is_scored_in_parts_with_the_same_output(tmp_path, monkeypatch, title):
    """Quoted line breaks fall on the borders of parts; leading zeros, gaps and bad cells appear in some parts alone."""
    rows = [
        {**row, "note": 'two\nlines, "quoted"' if i % 7 == 0 else "x", "age": "?" if i == 180 else row["age"], "income": "" if i > 100 else "7"}
        for i, row in enumerate(ROWS)
    ]
    source = tmp_path / "in.csv"
    write(source, rows)
    source.write_text(title + source.read_text())
    parts = list(blocks.blocks(source))
    assert len(parts) > 5
    assert sum(p.rows for p in parts) == 250
    model = FakeModel(replace(CHURN, id="id"))
    batch.predict(model, str(source), str(tmp_path / "parts.csv"))
    monkeypatch.setattr(blocks, "LARGE", 1 << 40)
    batch.predict(model, str(source), str(tmp_path / "whole.csv"))
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_glob_is_scored_file_by_file_in_the_order_of_names(tmp_path):
    for i in (2, 1, 3):
        write(tmp_path / f"in-{i}.csv", ROWS[i * 10 : i * 10 + 5])
    summary = batch.predict(FakeModel(replace(CHURN, id="id")), str(tmp_path / "in-*.csv"), str(tmp_path / "out.csv"))
    assert summary["rows"] == 15
    assert [line["id"] for line in read(tmp_path / "out.csv")] == [f"c{i * 10 + k}" for i in (1, 2, 3) for k in range(5)]


def database(path: Path, rows: list[dict]) -> str:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE people (id TEXT, age INTEGER, income REAL, plan TEXT, note TEXT)")
        made.executemany("INSERT INTO people VALUES (:id, :age, :income, :plan, :note)", rows)
    return f"{path}::people"


def parquet(path: Path, rows: list[dict]) -> str:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    return str(path)


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


MAKERS = {"in.csv": write, "in.parquet": parquet, "in.db": database, "in.jsonl": lines}


@pytest.mark.usefixtures("small_blocks", "small_parts")
@pytest.mark.parametrize("name", MAKERS)
def test_every_source_comes_in_blocks_with_the_answers_of_the_service(tmp_path, monkeypatch, name):
    monkeypatch.setattr("emlyn.readers.files.RECORDS", 70)
    monkeypatch.setattr("emlyn.readers.database.BLOCK", 70)
    source = MAKERS[name](tmp_path / name, ROWS)
    parts = list(blocks.blocks(source))
    assert len(parts) > 3
    assert max(part.rows for part in parts) < 100
    assert batch.predict(FakeModel(replace(CHURN, id="id")), source, str(tmp_path / "out.csv"))["rows"] == 250
    found, online = read(tmp_path / "out.csv"), Scorer(FakeModel()).answer(ROWS)
    assert [line["id"] for line in found] == [row["id"] for row in ROWS]
    assert [float(line["probability_yes"]) for line in found] == pytest.approx([a.probabilities["yes"] for a in online], rel=1e-12)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "in.jsonl"])
def test_an_object_store_is_read_as_a_disk_is_one_object_or_a_glob_with_partitions(tmp_path, name):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    source = MAKERS[name](tmp_path / name, ROWS)
    for place in ("one", "many/plan=gold", "many/plan=basic"):
        store.pipe(f"/{tmp_path.name}/{place}/{name}", Path(source).read_bytes())
    url = f"memory://{tmp_path.name}"
    assert batch.predict(FakeModel(replace(CHURN, id="id")), f"{url}/one/{name}", str(tmp_path / "one.csv"))["rows"] == 250
    assert [line["id"] for line in read(tmp_path / "one.csv")] == [row["id"] for row in ROWS]
    first = blocks.stamp(f"{url}/many/*/*")
    assert batch.predict(FakeModel(), f"{url}/many/*/{name}", str(tmp_path / "many.csv"))["rows"] == 500
    without = [{k: v for k, v in row.items() if k != "plan"} for row in ROWS]
    for plan in ("gold", "basic"):
        store.pipe(f"/{tmp_path.name}/many/plan={plan}/{name}", Path(MAKERS[name](tmp_path / name, without)).read_bytes())
    assert blocks.stamp(f"{url}/many/*/*") != first
    batch.predict(FakeModel(), f"{url}/many/*/{name}", str(tmp_path / "parts.csv"))
    wanted = [a.probabilities["yes"] for plan in ("basic", "gold") for a in Scorer(FakeModel()).answer([{**r, "plan": plan} for r in ROWS])]
    assert [float(line["probability_yes"]) for line in read(tmp_path / "parts.csv")] == pytest.approx(wanted, rel=1e-12)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from emlyn.service import batch
from service_kit import FakeModel
batch.BLOCK = 10
batch.predict(FakeModel(seconds=0.02), sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_run_killed_again_and_again_writes_every_row_once(tmp_path, ending):
    """SIGKILL in the middle, twice; the last run is left alone. Its file is that of a run that nobody disturbed."""
    source, whole, out = parquet(tmp_path / "in.parquet", ROWS), tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    script = KILLED.format(tests=str(Path(__file__).parent))

    def done() -> int:
        state = tmp_path / f"out.{ending}.part.json"
        return json.loads(state.read_bytes())["rows"] if state.exists() else 0

    for further in (40, 70, 0):
        began = done()
        run = subprocess.Popen([sys.executable, "-c", script, source, str(out)])
        while further and done() < began + further:
            assert run.poll() is None
            time.sleep(0.003)
        run.send_signal(signal.SIGKILL) if further else None
        assert run.wait(60) == (-signal.SIGKILL if further else 0)
        assert out.exists() == (not further), "the output appears whole or not at all"
        assert not further or done() < 250
    batch.predict(FakeModel(), source, str(whole))
    if ending == "parquet":
        pandas = pytest.importorskip("pandas")
        pandas.testing.assert_frame_equal(pandas.read_parquet(out), pandas.read_parquet(whole))
    else:
        assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_what_nobody_can_tell_to_be_the_same_is_never_continued(tmp_path):
    source = database(tmp_path / "in.db", ROWS)
    assert blocks.stamp(source)
    before = blocks.stamp(source)
    with sqlite3.connect(tmp_path / "in.db") as made:
        made.execute("UPDATE people SET age = 50")
    assert blocks.stamp(source) != before
    assert blocks.stamp(f"sqlite:///{tmp_path / 'in.db'}::people") == ""
    assert blocks.stamp(ROWS) == ""


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("done", [64, 100])
def test_a_run_goes_on_within_a_block_when_blocks_have_another_size_now(tmp_path, monkeypatch, done):
    source, whole, out = write(tmp_path / "in.csv", ROWS), tmp_path / "whole.csv", tmp_path / "out.csv"
    batch.predict(FakeModel(), source, str(whole))
    monkeypatch.setattr(batch, "BLOCK", done)
    monkeypatch.setattr(Scorer, "score", Mock(side_effect=[Scorer(FakeModel()).score(to_table(ROWS[:done])), KeyboardInterrupt]))
    with pytest.raises(KeyboardInterrupt):
        batch.predict(FakeModel(), source, str(out))
    monkeypatch.undo()
    batch.predict(FakeModel(), source, str(out))
    assert out.read_bytes() == whole.read_bytes()


def test_the_source_is_never_written_over_and_remote_outputs_are_refused(tmp_path):
    source = write(tmp_path / "in.csv", [ROW])
    with pytest.raises(OptionError, match="written over"):
        batch.predict(FakeModel(), source, str(tmp_path / ".." / tmp_path.name / "in.csv"))
    with pytest.raises(OptionError, match="not a local file"):
        batch.predict(FakeModel(), source, "s3://bucket/out.csv")
