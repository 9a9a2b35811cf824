"""The framing: what is asked, and how rows are parted, by evidence; clear refusals for what cannot be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emlyn.core.reader import read
from emlyn.core.splits import TWINS
from emlyn.errors import DataError, OptionError, UserError
from emlyn.records.options import TrainOptions
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.profile import profile
from tables import context, framed, honest


def test_the_task_follows_the_target() -> None:
    table = honest(300)
    rng = np.random.default_rng(1)
    targets = {
        "binary": rng.choice(["yes", "no"], 300),
        "multiclass": rng.choice(["a", "b", "c"], 300),
        "regression": rng.normal(size=300),
    }
    for task, y in targets.items():
        _, _, problem = framed({**table, "y": y}, target="y")
        assert problem.task == task
        assert problem.why["task"]
        assert "y" not in problem.features


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("no", "yes"), "yes"),
        (("good", "bad"), "bad"),
        (("benign", "tumour"), "tumour"),
        (("stayed", "gone"), "gone"),
        (("0", "1"), "1"),
        (("apple", "pear"), "pear"),
        (("Yes", "No"), "Yes"),
    ],
)
def test_the_positive_class_is_the_event_and_comes_last(labels: tuple[str, str], positive: str) -> None:
    rng = np.random.default_rng(0)
    _, _, problem = framed({**honest(200), "y": rng.choice(labels, 200)}, target="y")
    assert problem.positive == positive
    assert problem.classes[-1] == positive
    assert problem.why["positive"]


def test_a_rare_label_without_telling_words_is_the_event() -> None:
    y = np.array(["zebra"] * 285 + ["ant"] * 15)
    _, _, problem = framed({**honest(300), "y": np.random.default_rng(0).permutation(y)}, target="y")
    assert problem.positive == "ant"


def test_the_user_says_which_label_is_positive() -> None:
    _, _, problem = framed(honest(), target="y", positive="no")
    assert problem.classes == ("yes", "no")


def test_rows_without_an_answer_are_left_out() -> None:
    table = honest(300)
    y = table["y"].astype(object)
    y[:40] = None
    raw, _, problem = framed({**table, "y": y}, target="y")
    assert raw.rows == 260
    assert problem.classes == ("no", "yes")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such column": ({"target": "yy"}, "did you mean 'y'"),
    "unknown task": ({"target": "y", "task": "clasification"}, "multiclass"),
    "unknown metric": ({"target": "y", "metric": "auc"}, "roc_auc"),
    "metric of another task": ({"target": "y", "metric": "rmse"}, "roc_auc"),
    "positive label that is none": ({"target": "y", "positive": "maybe"}, "no, yes"),
    "regression on words": ({"target": "y", "task": "regression"}, "numeric"),
    "target as group": ({"target": "y", "group": "y"}, "another column"),
    "no such group": ({"target": "y", "group": "patient"}, "size, speed"),
    "every column excluded": ({"target": "y", "exclude": ("size", "speed", "kind", "rank")}, "at least one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(name: str) -> None:
    options, says = REFUSED[name]
    with pytest.raises(UserError) as caught:
        framed(honest(200), **options)
    assert says in str(caught.value)


TARGETS: dict[str, tuple[Any, str]] = {
    "all missing": ([None] * 200, "no value"),
    "constant": (["same"] * 200, "nothing to learn"),
    "all different words": ([f"name {i}" for i in range(200)], "cannot be learned"),
    "one row of a class": (["a"] * 199 + ["b"], "at least two rows"),
    "four answers": ([1.0, 2.0, 3.0, 4.5] + [None] * 196, "at least 5"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_that_cannot_be_learned_are_refused(name: str) -> None:
    y, says = TARGETS[name]
    with pytest.raises(DataError) as caught:
        framed({**honest(200), "y": np.array(y, dtype=object)}, target="y")
    assert says in str(caught.value)


def test_ten_thousand_classes_are_refused_and_a_class_of_one_row_is_kept() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="cannot be learned"):
        framed({"x": rng.normal(size=20_000), "y": np.array([f"c{i % 9_000}" for i in range(20_000)])}, target="y")
    y = np.array(["a", "b"] * 100 + ["c"])
    _, _, problem = framed({"x": rng.normal(size=201), "y": y}, target="y")
    assert problem.classes == ("a", "b", "c")
    assert "one row" in problem.why["classes"]


def test_entities_are_discovered_and_keep_their_rows_together() -> None:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(150), 6)
    table = {
        "patient": who + 1000,
        "sex": rng.choice(["f", "m"], 150)[who],
        "age": rng.integers(20, 90, 150)[who],
        "centre": rng.choice(list("abcd"), 150)[who],
        "visit": np.tile(np.arange(6), 150),
        "dose": rng.normal(size=900),
        "y": np.where(rng.normal(size=150)[who] + rng.normal(size=900) > 0, "ill", "well"),
    }
    _, _, problem = framed(table, target="y")
    assert (problem.split.kind, problem.split.by) == ("group", "patient")
    assert "patient" not in problem.features
    assert "patient" in problem.split.why
    _, _, told = framed(table, target="y", group="centre")
    assert told.split.by == "centre"


def test_no_entity_is_invented() -> None:
    rng = np.random.default_rng(0)
    town = rng.integers(0, 60, 2_000)
    _, _, problem = framed({**honest(2_000), "town": town, "size_class": town // 20}, target="y")
    assert problem.split.kind == "stratified"


def test_time_is_discovered_by_order_or_by_name_but_not_from_birthdays() -> None:
    days = np.datetime64("2024-01-01") + np.arange(600).astype("timedelta64[D]")
    mixed = np.random.default_rng(0).permutation(days)
    assert framed({**honest(), "when": days}, target="y")[2].split.kind == "time"
    assert framed({**honest(), "order_date": mixed}, target="y")[2].split.by == "order_date"
    assert framed({**honest(), "birth_date": mixed}, target="y")[2].split.kind == "stratified"


def test_copies_of_rows_stay_together_and_coincidences_do_not_matter() -> None:
    table = honest(800)
    again = np.random.default_rng(3).integers(0, 800, 200)
    copied = {name: np.concatenate([v, np.asarray(v)[again]]) for name, v in table.items()}
    assert framed(copied, target="y")[2].split.by == TWINS
    rng = np.random.default_rng(0)
    survey = {f"q{i}": rng.choice(["agree", "disagree", "neutral"], 800, p=[0.8, 0.1, 0.1]) for i in range(8)}
    assert framed({**survey, "y": table["y"]}, target="y")[2].split.kind == "stratified"


def test_the_seal_follows_the_number_of_rows() -> None:
    assert framed(honest(1_999), target="y")[2].split.sealed == 0
    assert framed(honest(2_000), target="y")[2].split.sealed == 0.2
    assert framed(honest(2_000), target="y", test="t.csv")[2].split.sealed == 0


def test_every_excluded_column_has_its_reason() -> None:
    table = {**honest(), "row_id": [f"R-{i:05d}-{i * 7919 % 977}" for i in range(600)], "one": ["x"] * 600, "w": np.ones(600) + np.arange(600) % 3}
    _, _, problem = framed(table, target="y", exclude=("rank",), weight="w", id="row_id")
    assert set(problem.excluded) == {"y", "row_id", "one", "w", "rank"}
    assert all(problem.excluded.values())
    assert problem.weight == "w"


def test_without_a_target_there_is_a_problem_without_a_task() -> None:
    _, _, problem = framed(honest())
    assert problem.task == ""
    assert problem.features == ("size", "speed", "kind", "rank", "y")


def test_the_manifest_of_real_tables_is_framed_as_meant(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "manifest.json").read_text())
    for name in ("titanic", "german_credit", "glass", "wine_quality", "mpg", "abalone", "concrete"):
        options = TrainOptions(target=manifest[name]["target"])
        found = read(data_dir / manifest[name]["file"])
        card = profile(found, options, context())
        problem = frame(found.table, card, options, context())
        assert problem.task == manifest[name]["task"], name
        assert target_rows(found.table, card, problem).sum() == manifest[name]["rows"], name
        assert (problem.split.by == TWINS) == (name == "wine_quality"), name


def test_a_message_has_four_parts() -> None:
    with pytest.raises(OptionError) as caught:
        framed(honest(200), target="y", metric="log_los")
    assert caught.value.next_step == "did you mean 'log_loss'?"
    assert caught.value.allowed
