"""One model, three roads: in memory, loaded from its file, in batch through CSV. The same rows get the same answers, whatever their shape."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import emlyn
from emlyn.core.models.model import Model, Predictions
from emlyn.core.tables.frames import to_table
from emlyn.doors.options import train_options
from emlyn.doors.session import Session
from emlyn.errors import DataError
from emlyn.events import silent
from emlyn.service.scorer import Scorer

ASKED = 60
TABLES = ("titanic", "deliveries", "glass")
TARGETS = {"titanic": "survived", "deliveries": "time_to_delivery", "glass": "target"}


@dataclass(frozen=True)
class Trained:
    """A model as it was trained, the same loaded from its file, and rows that it has not seen."""

    memory: Model
    loaded: Any
    asked: pd.DataFrame
    folder: Path

    def optional(self) -> list[str]:
        return [c.name for c in self.memory.contract.columns if not c.required]


def rows_of(name: str, data_dir: Path) -> pd.DataFrame:
    frame = pd.read_csv(data_dir / f"{name}.csv.gz").sample(frac=1, random_state=0).reset_index(drop=True)[:900]
    if name == "deliveries":  # a date and a column that may be empty
        days = np.random.default_rng(0).integers(0, 700, len(frame))
        frame["ordered"] = [str(d.date()) for d in pd.Timestamp("2023-01-01") + pd.to_timedelta(days, unit="D")]
        frame.loc[frame.index[::7], "distance"] = np.nan
    if name == "glass":
        frame.loc[frame.index[::9], frame.columns[0]] = np.nan
    return frame


@pytest.fixture(scope="module", params=TABLES)
def trained(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    frame, target = rows_of(name, data_dir), TARGETS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMLYN_HOME", str(folder / "home"))
        learn = frame[: len(frame) - ASKED]
        with Session(train_options({"target": target, "trials": 4, "jobs": 1, "name": name}), silent) as session:
            result, made = session.train(learn)
    return Trained(made.model, emlyn.load(result["path"]), frame[-ASKED:].drop(columns=target).reset_index(drop=True), folder)


def in_memory(t: Trained, frame: pd.DataFrame) -> Predictions:
    return t.memory.predict(to_table(frame))


def in_batch(t: Trained, frame: pd.DataFrame) -> list[dict[str, str]]:
    source, out = t.folder / "asked.csv", t.folder / "scored.csv"
    frame.to_csv(source, index=False)
    summary = t.loaded.predict_file(str(source), str(out))
    assert summary["rows"] == len(frame)
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(t: Trained, found: Predictions) -> np.ndarray:
    """(n, k) of what was answered: probabilities, or the number."""
    return found.values[:, None] if found.probabilities is None else found.probabilities


def as_is(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    return frame


def other_order(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    return frame[list(frame.columns[::-1])]


def extra_columns(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    return frame.assign(zz_new="x", zz_number=np.arange(len(frame)))


def other_dtypes(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    """Numbers as text or as nullable integers, words as categories, dates as dates."""
    out = {}
    for i, (name, column) in enumerate(frame.items()):
        if name == "ordered":
            out[name] = pd.to_datetime(column)
        elif not pd.api.types.is_numeric_dtype(column):
            out[name] = column.astype("category")
        elif i % 2 and (column.dropna() == column.dropna().round()).all():
            out[name] = column.astype("Int64")
        else:
            out[name] = column.map(lambda v: None if pd.isna(v) else repr(v)).astype(object)
    return pd.DataFrame(out)


def unseen_categories(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    words = [c for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c]) and c != "ordered"]
    return frame.assign(**{c: ["never seen"] * 10 + frame[c].tolist()[10:] for c in words})


def without_optional(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    gone = [c for c in t.optional() if c in frame]
    assert gone, "the table has a column that may be absent"
    return frame.drop(columns=gone)


def one_row(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    return frame[:1]


def no_rows(frame: pd.DataFrame, t: Trained) -> pd.DataFrame:
    return frame[:0]


SHAPES = (as_is, other_order, extra_columns, other_dtypes, unseen_categories, without_optional, one_row, no_rows)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_the_file_answers_as_the_memory_did(trained: Trained, shape: Callable[[pd.DataFrame, Trained], pd.DataFrame]) -> None:
    frame = shape(trained.asked, trained)
    memory, loaded = in_memory(trained, frame), trained.loaded.model.predict(to_table(frame))
    np.testing.assert_array_equal(memory.values, loaded.values)
    np.testing.assert_array_equal(numbers(trained, memory), numbers(trained, loaded))
    assert len(memory.values) == len(frame)
    assert np.isfinite(numbers(trained, memory)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_batch_through_csv_answers_the_same(trained: Trained, shape: Callable[[pd.DataFrame, Trained], pd.DataFrame]) -> None:
    frame = shape(trained.asked, trained)
    found, memory = in_batch(trained, frame), in_memory(trained, frame)
    assert [r["row"] for r in found] == [str(i) for i in range(len(frame))]
    assert not any(r["refused"] for r in found)
    classes = trained.memory.problem.classes
    if classes:
        assert [r["prediction"] for r in found] == memory.values.tolist()
    asked = [f"probability_{c}" for c in classes] or ["prediction"]
    shares = np.array([[float(r[a]) for a in asked] for r in found]).reshape(len(frame), len(asked))
    np.testing.assert_allclose(shares, numbers(trained, memory), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [other_order, extra_columns, other_dtypes], ids=lambda f: f.__name__)
def test_the_shape_of_a_table_changes_no_answer(trained: Trained, shape: Callable[[pd.DataFrame, Trained], pd.DataFrame]) -> None:
    plain, shaped = in_memory(trained, trained.asked), in_memory(trained, shape(trained.asked, trained))
    np.testing.assert_allclose(numbers(trained, plain), numbers(trained, shaped), rtol=1e-9)


def test_a_row_alone_is_answered_as_among_others(trained: Trained) -> None:
    many = numbers(trained, in_memory(trained, trained.asked))
    alone = np.vstack([numbers(trained, in_memory(trained, trained.asked[i : i + 1])) for i in range(5)])
    np.testing.assert_allclose(alone, many[:5], rtol=1e-5, atol=1e-7)


JUNK = ("abc", "", "NA", "1e400", "inf", "-inf", " 7 ", "?", "none", "yesterday", "\u0660\u0661", "0x10", "1_000", "true", "never seen")


def dirty(frame: pd.DataFrame) -> pd.DataFrame:
    """Every column holds every piece of junk once, in rows of its own; all cells as text, as a careless export writes them."""
    found = pd.concat([frame] * 8, ignore_index=True).map(lambda v: "" if pd.isna(v) else str(v))
    places = [(i, name) for name in found.columns for i in range(len(JUNK))]
    for row, (i, name) in enumerate(places[: len(found)]):
        found.loc[row, name] = JUNK[i]
    return found


def test_dirty_rows_are_answered_or_refused_alike_in_memory_in_batch_and_online(trained: Trained) -> None:
    frame = dirty(trained.asked)
    memory, batch = in_memory(trained, frame), in_batch(trained, frame)
    online = Scorer(trained.memory).answer(frame.to_dict("records"))
    refused = memory.refused.tolist()
    assert any(refused)
    assert not all(refused)
    assert [a.refused for a in online] == refused
    assert [bool(r["refused"]) for r in batch] == refused
    assert [a.prediction for a, bad in zip(online, refused, strict=True) if bad] == [None] * sum(refused)
    kept = np.flatnonzero(~np.array(refused))
    wanted = numbers(trained, memory)[kept]
    told = [online[i].probabilities.values() if online[i].probabilities else [online[i].prediction] for i in kept]
    classes = trained.memory.problem.classes
    asked = [f"probability_{c}" for c in classes] or ["prediction"]
    np.testing.assert_allclose([list(map(float, row)) for row in told], wanted, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose([[float(batch[i][a]) for a in asked] for i in kept], wanted, rtol=1e-6, atol=1e-9)
    if classes:
        assert [online[i].prediction for i in kept] == [batch[i]["prediction"] for i in kept] == memory.values[kept].tolist()


def test_an_absent_required_column_is_named(trained: Trained) -> None:
    required = next(c.name for c in trained.memory.contract.columns if c.required)
    with pytest.raises(DataError, match=required):
        in_memory(trained, trained.asked.drop(columns=required))
