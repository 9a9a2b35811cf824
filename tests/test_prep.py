"""Encoders and features of a fold: the same numbers for the same cells, whatever table they come in; nothing of the target leaks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emlyn.core.dataset import rows_dataset
from emlyn.core.features import fold_prep
from emlyn.core.features.design import Design
from emlyn.core.features.fold_prep import FoldPrep
from emlyn.core.features.prep import CHARACTERS, Encoder, encoded, fit_encoder, readable
from emlyn.core.features.prep_text import fit_text
from emlyn.core.models.forest import Forest
from emlyn.core.models.outcome import Outcome
from emlyn.core.searching.trials import ready
from emlyn.core.table import Table, number_column, text_column
from emlyn.errors import ModelError
from emlyn.testing.learners import dirty_table

KINDS = ["number", "boolean", "date", "category", "text"]


def column(kind, cells):
    if kind in ("category", "text"):
        return text_column([None if c is None else str(c) for c in cells], kind)
    return number_column([np.nan if c is None else float(c) for c in cells], kind)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_are_encoded_alone_as_in_company_and_after_loading(data):
    """A row's features follow from its cells: not from other rows, their order, or the level codes of the table."""
    n = data.draw(st.integers(1, 12))
    cell = st.one_of(st.none(), st.integers(-3, 3), st.floats(-1e308, 1e308), st.sampled_from([1e9, 2e9 + 1, 3e9 + 7]))
    table = Table({f"c{i}": column(kind, data.draw(st.lists(cell, min_size=n, max_size=n))) for i, kind in enumerate(KINDS)})
    encoder = fit_encoder(table)
    whole = encoder.transform(table)
    assert whole.dense.shape == (n, len(encoder.names))
    assert whole.dense.dtype == np.float32
    assert not np.isinf(whole.dense).any()
    again = Encoder.load(encoder.save())
    for i in range(n):
        cells = {name: c.strings()[i] if c.coded else c.values[i] for name, c in table.items()}
        kinds = {name: table[name].kind for name in table}
        alone = Table({name: text_column([v], kinds[name]) if table[name].coded else number_column([v], kinds[name]) for name, v in cells.items()})
        np.testing.assert_array_equal(again.transform(alone).dense[0], whole.dense[i])


def test_dates_become_their_parts_and_differences():
    days = np.array(["2024-02-29T13:00", "2025-01-01T00:00", "1969-12-31T06:00"], dtype="datetime64[s]").astype(float)
    table = Table({"born": number_column(days, "date"), "seen": number_column([days[0] + 86_400, np.nan, days[2]], "date")})
    m = fit_encoder(table).transform(table)
    at = {name: m.dense[:, i] for i, name in enumerate(m.names)}
    assert at["born:year"].tolist() == [2024, 2025, 1969]
    assert at["born:month"].tolist() == [2, 1, 12]
    assert at["born:day"].tolist() == [29, 1, 31]
    assert at["born:weekday"].tolist() == [3, 2, 2], "Monday is 0"
    assert at["born:hour"].tolist() == [13, 0, 6]
    np.testing.assert_array_equal(at["seen:born:days"], np.array([1, np.nan, 0], dtype=np.float32))


def test_rare_unseen_and_missing_levels():
    cells = [f"often{i % 60}" for i in range(240)] + [f"once{i}" for i in range(10)] + [None] * 5
    encoder = fit_encoder(Table({"c": text_column(cells, "category")}))
    codes = encoder.transform(Table({"c": text_column(["often0", "once3", "never seen", None, "missing"], "category")})).dense[:, 0]
    assert codes[1] == codes[2] == codes[4], "a level seen once is as good as unseen"
    assert len({codes[0], codes[1], codes[3]}) == 3
    few = fit_encoder(Table({"c": text_column(["a", "b", "b"], "category")}))
    assert few.transform(Table({"c": text_column(["b", "a", "z", None], "category")})).dense[:, 0].tolist()[:2] == [0, 1]
    assert np.isnan(few.transform(Table({"c": text_column(["z", None], "category")})).dense).all()


def test_large_whole_numbers_stay_apart():
    table = Table({"id": number_column(1.7e9 + np.arange(5.0))})
    assert len(np.unique(fit_encoder(table).transform(table).dense)) == 5


def test_what_does_not_vary_is_left_out_but_never_everything():
    table = Table({"same": number_column([1, 1, 1]), "none": number_column([np.nan] * 3), "x": number_column([1, 2, 2])})
    assert fit_encoder(table).names == ("x",)
    bare = fit_encoder(table.select(["same", "none"]))
    assert bare.transform(table).dense.shape == (3, 1)
    assert fit_encoder(Table({"x": number_column([])})).transform(Table({"x": number_column([1.0])})).dense.shape == (1, 1)


def test_places_are_turned():
    cells = {"pickup_latitude": [1.0, 2.0, 3.0], "pickup_longitude": [5.0, 7.0, 9.0], "platitude": [1, 2, 3]}
    table = Table({name: number_column(values) for name, values in cells.items()})
    names = fit_encoder(table).names
    assert "pickup_latitude:pickup_longitude:distance" in names
    assert not any("platitude:" in n for n in names)


def test_shares_add_up():
    encoder = fit_encoder(dirty_table(120))
    np.testing.assert_allclose(encoder.transform(dirty_table(10)).shares().sum(axis=1), 1)


def test_the_base_table_is_encoded_once_and_cut():
    table = dirty_table(50)
    data = rows_dataset(table)
    with pytest.raises(ValueError, match="fit_encoder"):
        encoded(data)
    data.shared["encoder"] = fit_encoder(table)
    rows = np.array([3, 1, 4, 1])
    np.testing.assert_array_equal(encoded(data.take(rows)).dense, encoded(data).dense[rows])
    assert encoded(data) is encoded(data)


@pytest.mark.parametrize("change", [
    {"keep": np.array([10_000])}, {"0.idf": np.zeros(3)},
])
def test_a_damaged_encoder_is_refused(change):
    from emlyn.core.models.parts import pack, unpack

    document, arrays = unpack(fit_encoder(Table({"t": text_column(["one two", "one three", "two three", None])})).save())
    with pytest.raises(ModelError):
        Encoder.load(pack(document, {**arrays, **change}))


def test_text_sees_parts_of_new_strings():
    prose = fit_text([f"the {a} fox jumps over the {b} dog again" for a in ("quick", "slow", "red") for b in ("lazy", "old")], 3, 0)
    assert prose.prose
    assert prose.weights(["quick fox", "nothing known here", ""]).getnnz(axis=1).tolist() == [2, 0, 0]
    short = fit_text(["AX-100", "AX-200", "BX-100"], 2, 0)
    assert not short.prose
    assert short.weights(["AX-999"]).getnnz() > 0
    assert fit_text(["unlike", "others"], 3, 0) is None


def noise(n=400, levels=80, seed=0):
    rng = np.random.default_rng(seed)
    table = Table({"c": text_column([f"l{i}" for i in rng.integers(0, levels, n)], "category"), "x": number_column(rng.normal(size=n))})
    data = rows_dataset(table, rng.integers(0, 2, n))
    data.shared["encoder"] = fit_encoder(table)
    return data


def test_target_means_of_the_fit_rows_do_not_hold_their_own_answers():
    """On pure noise, means over rows that include the row itself correlate with the answer; out-of-fold means do not."""
    outcome, found, naive = Outcome("binary", 2), [], []
    for seed in range(8):
        data = noise(seed=seed)
        prep, matrix = FoldPrep.learn(("target_encoding",), data, outcome, seed)
        column = matrix.names.index("mean1 c")
        found.append(np.corrcoef(matrix.dense[:, column], data.answers)[0, 1])
        naive.append(np.corrcoef(prep.matrix(data).dense[:, column], data.answers)[0, 1])
    assert np.mean(naive) > 0.25
    assert np.mean(found) < 0.05


def test_target_means_are_smoothed_weighted_and_safe_for_unseen_levels():
    table = Table({"c": text_column(["a"] * 90 + ["b"] * 10 + ["d"] * 2, "category")})
    data = rows_dataset(table, np.r_[np.zeros(90), np.ones(10), [1, 0]], weight=np.r_[np.ones(100), [1000.0, 1e-9]])
    data.shared["encoder"] = fit_encoder(table)
    prep, _ = FoldPrep.learn(("target_encoding",), data, Outcome("binary", 2), 0)
    ask = rows_dataset(Table({"c": text_column(["a", "b", "d", "unseen"], "category")}))
    ask.shared["encoder"] = data.shared["encoder"]
    mean = prep.matrix(ask).dense[:, 1]
    overall = (10 + 1000) / 1100
    np.testing.assert_allclose(mean, [10 * overall / 100, (10 + 10 * overall) / 20, (1000 + 10 * overall) / 1010, overall], rtol=1e-5)


@pytest.mark.parametrize(("feature", "answer", "wanted"), [
    ("arithmetic", lambda t: t["x"] * t["z"], {"x multiply z", "z multiply x"}),
    ("arithmetic", lambda t: t["x"] / t["z"], {"x divide z"}),
    ("crosses", lambda t: (t["a"] == t["b"]) * 1.0, {"mean1 a x b"}),
    ("aggregates", lambda t: (t["x"] > t["a"]) * 1.0, {"mean1 a of x"}),
])
def test_the_interaction_that_matters_is_found(feature, answer, wanted):
    rng = np.random.default_rng(3)
    n = 1_500
    raw = {"a": rng.integers(0, 4, n), "b": rng.integers(0, 4, n), "z": rng.uniform(0.5, 3, n), "noise": rng.normal(size=n)}
    raw["x"] = rng.normal(size=n) + raw["a"]
    table = Table({k: text_column([f"{k}{i}" for i in v], "category") if k in "ab" else number_column(v) for k, v in raw.items()})
    data = rows_dataset(table, answer(raw))
    data.shared["encoder"] = fit_encoder(table)
    prep, matrix = FoldPrep.learn((feature,), data, Outcome.learn({"task": "regression"}, data), 0)
    assert wanted & set(matrix.names), matrix.names
    assert len(matrix.names) - 5 <= 60
    held = FoldPrep.load(prep.save()).matrix(data)
    np.testing.assert_array_equal(held.dense, prep.matrix(data).dense)
    assert held.names == matrix.names


@pytest.mark.parametrize("levels", [3, 60])
def test_made_features_that_explain_no_more_than_luck_are_not_kept(levels):
    """With many groups a shuffled cross explains more by luck than with few: hundreds of ideas on pure noise, and none is kept."""
    rng, n = np.random.default_rng(levels), 3_000
    columns = {f"x{i}": number_column(rng.normal(size=n)) for i in range(8)}
    columns |= {f"c{i}": text_column([f"l{v}" for v in rng.integers(0, levels, n)], "category") for i in range(6)}
    data = rows_dataset(Table(columns), rng.normal(size=n))
    data.shared["encoder"] = fit_encoder(data.rows)
    prep, _ = FoldPrep.learn(("arithmetic", "crosses", "aggregates"), data, Outcome.learn({"task": "regression"}, data), 0)
    assert {kind: kept for kind, (kept, _) in prep.ideas.items()} == {"arithmetic": 0, "crosses": 0, "aggregates": 0}
    assert sum(tried for _, tried in prep.ideas.values()) > 200


def test_text_scores_read_what_components_miss():
    """One word among many decides; the fit rows' own scores come from other rows."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(300)], dtype=object)
    cells = [" ".join(rng.choice(words, 12)) for _ in range(900)]
    table = Table({"t": text_column(cells)})
    data = rows_dataset(table, np.array([float("w7 " in c or "w8 " in c) for c in cells]))
    data.shared["encoder"] = fit_encoder(table)
    fit, ask = data.take(np.arange(600)), data.take(np.arange(600, 900))
    prep, matrix = FoldPrep.learn(("text_score",), fit, Outcome("binary", 2), 0)
    assert np.corrcoef(matrix.dense[:, -1], fit.answers)[0, 1] < 0.95
    for found in (prep, FoldPrep.load(prep.save())):
        assert np.corrcoef(found.matrix(ask).dense[:, -1], ask.answers)[0, 1] > 0.6


def named(n=300, seed=0):
    """Names that mostly occur once, beside a number."""
    rng = np.random.default_rng(seed)
    names = [f"{rng.choice(['oak', 'pine', 'ash', 'elm'])} {rng.choice(['bark', 'chips', 'dust'])} {i}" for i in range(n)]
    table = Table({"name": text_column(names), "x": number_column(rng.normal(size=n))})
    data = rows_dataset(table, rng.integers(0, 2, n).astype(np.int64), classes=2)
    data.shared["encoder"] = fit_encoder(table)
    return data


def test_names_are_read_only_where_a_recipe_asks_for_it():
    data, outcome = named(), Outcome("binary", 2)
    plain, matrix = FoldPrep.learn((), data, outcome, 0)
    assert matrix.names == ("x",)
    for prep in (plain, FoldPrep.load(plain.save())):
        np.testing.assert_array_equal(prep.matrix(data).dense, matrix.dense)
    _, read = FoldPrep.learn(("text_score",), data, outcome, 0)
    assert {"name:length", "name:topic1", "x"} < set(read.names)
    screened, few = FoldPrep.learn(("screened",), data, outcome, 0)
    np.testing.assert_array_equal(screened.matrix(data).dense, few.dense)
    assert few.names == ("x",)


def test_sentences_are_read_by_all_and_so_are_names_that_come_again_or_where_there_is_nothing_else():
    rng = np.random.default_rng(0)
    sentences = [" ".join(rng.choice(["red", "green", "blue", "old", "new"], 9)) for _ in range(200)]
    prose = Table({"t": text_column(sentences), "x": number_column(rng.normal(size=200))})
    assert fit_encoder(prose).prose
    assert fit_encoder(prose).nameless is None
    again = Table({"name": text_column([f"shop {i % 40} {'ab'[i % 2]}" for i in range(200)]), "x": number_column(rng.normal(size=200))})
    assert fit_encoder(again).text
    assert fit_encoder(again).nameless is None, "the letters of names that come again help to tell them apart"
    alone = fit_encoder(Table({"name": named().rows["name"]}))
    assert not alone.prose
    assert alone.nameless is None


def test_unknown_features_are_named():
    with pytest.raises(ValueError, match="magic"):
        FoldPrep.learn(("magic",), noise(), Outcome("binary", 2), 0)


@pytest.mark.parametrize("splines", [False, True])
def test_a_design_is_finite_and_standard(splines):
    data = rows_dataset(dirty_table(200))
    data.shared["encoder"] = fit_encoder(data.rows)
    design, rows = Design.learn(encoded(data), splines)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-3)
    state, arrays = design.state()
    np.testing.assert_array_equal(Design.load(state, arrays).transform(encoded(data)), rows)
    assert len(design.features()) == rows.shape[1]


@pytest.mark.parametrize("scale", [1e-12, 1.0])
@pytest.mark.parametrize("cells", [[1e3, 1e9, 1e25, 1e30], [-1e3, -1e9, -1e25, -1e30]])
def test_a_number_far_beyond_all_others_stays_at_the_edge(cells, scale):
    """Its square leaves single precision; it must not come back as an ordinary number, or as none."""
    data = rows_dataset(Table({"x": number_column(scale * np.linspace(-2, 2, 100))}))
    data.shared["encoder"] = fit_encoder(data.rows)
    design, rows = Design.learn(encoded(data))
    asked = data.shared["encoder"].transform(Table({"x": number_column(cells)}))
    together = design.transform(asked)[:, 0]
    alone = [design.transform(asked.take(np.array([i])))[0, 0] for i in range(len(cells))]
    np.testing.assert_allclose(np.abs(together), together[-1] * np.sign(cells[-1]), rtol=1e-3)
    assert np.abs(together).min() > np.abs(rows).max()
    np.testing.assert_allclose(alone, together, rtol=1e-6)


@pytest.mark.parametrize(("name", "at", "value"), [("left", 0, 99), ("right", 0, 0), ("feature", 0, 7), ("start", -1, 2), ("left", 1, 0)])
def test_a_forest_that_points_outside_is_refused(name, at, value):
    arrays = {"start": np.array([0, 3]), "feature": np.array([0, -2, -2]), "threshold": np.array([0.5, -2, -2]), "left": np.array([1, -1, -1]),
              "right": np.array([2, -1, -1]), "value": np.array([[0.5], [0.0], [1.0]])}
    rows = np.array([[0.0], [1.0]], dtype=np.float32)
    assert Forest.load(arrays, 1).predict(rows)[:, 0].tolist() == [0, 1]
    assert Forest.load(arrays, 1).predict(np.repeat(rows, 50, axis=0))[:, 0].tolist() == [0] * 50 + [1] * 50
    arrays[name] = arrays[name].copy()
    arrays[name][at] = value
    with pytest.raises(ModelError):
        Forest.load(arrays, 1)


def test_an_outcome_keeps_numbers_in_range_and_classes_possible():
    data = rows_dataset(Table({"x": number_column([0, 1, 2])}), np.array([1.0, 10.0, 1000.0]))
    outcome = Outcome.learn({"task": "regression", "target": "log"}, data)
    np.testing.assert_allclose(outcome.answers(outcome.targets(data.answers))[:, 0], data.answers, rtol=1e-9)
    assert outcome.answers(np.array([1e9, -1e9]))[:, 0].tolist() == pytest.approx([1099.9, 0.0])
    assert Outcome.load(outcome.state()) == outcome
    classes = Outcome("multiclass", 3).answers(np.array([[1.0, 0.0, 0.0], [np.nan, 0.5, 0.5]]))
    assert (classes > 0).all()
    np.testing.assert_allclose(classes.sum(axis=1), 1)


def test_long_texts_are_read_as_far_as_they_can_be():
    texts = [f"start{i % 5} {'common words here ' * 60} item {i % 7} tail{i % 3}" for i in range(400)]
    whole, part = fit_text(texts, 3, 0), fit_text(texts, 3, 0, characters=80_000)
    assert "tail1" in whole.terms
    assert "tail1" not in part.terms
    assert part.longest * len(texts) <= 80_000
    assert part.weights(texts).shape[0] == len(texts)
    assert fit_text(texts, 3, 0, characters=5_000) is None, "not even the beginnings can be read"


def test_texts_are_prepared_within_the_time_there_is():
    table = Table({"t": text_column([f"row {i} says {' '.join(f'word{(i * j) % 97}' for j in range(60))}" for i in range(600)])})
    assert readable(table, math.inf) == readable(table, 1e6) == CHARACTERS
    hurried = rows_dataset(table)
    assert ready(hurried, seconds=1e-4).shared["hurried"]
    calm = ready(rows_dataset(table), seconds=1e6)
    assert not calm.shared["hurried"]
    assert calm.shared["encoder"].text
    assert hurried.shared["encoder"].transform(table).dense.shape[0] == 600, "every row is still encoded"


def test_recipes_on_one_fold_share_what_is_dear_to_make(monkeypatch):
    """Text scores and the ranking of made features follow from the fold's rows and answers, so the next recipe finds them made."""
    made = []
    real = fold_prep.TextScore.learn
    monkeypatch.setattr(fold_prep.TextScore, "learn", lambda *a: made.append(1) or real(*a))
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["red", "green", "blue", "large", "small", "old"], 12)) for _ in range(200)]
    table = Table({"note": text_column(words, "text"), "x": number_column(rng.normal(size=200))})
    data = ready(rows_dataset(table, np.array(["red red" in w for w in words]).astype(np.int64), classes=2))
    outcome = Outcome("binary", 2)
    first, matrix = FoldPrep.learn(("text_score",), data, outcome, 0)
    once = len(made)
    again, same = FoldPrep.learn(("arithmetic", "text_score"), data, outcome, 0)
    assert len(made) == once > 0
    assert again.text is first.text
    np.testing.assert_array_equal(same.dense[:, -1], matrix.dense[:, -1])
    FoldPrep.learn(("text_score",), replace(data, answers=1 - data.answers), outcome, 0)
    assert len(made) == 2 * once, "other answers, other scores"
