"""Batch scoring: one output row per input row, in order, the answers of the service, continued after a kill, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
