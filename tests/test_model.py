"""The model file: the same numbers after loading, for rows of every shape; damage and strangers are refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import emlyn
import toys
from emlyn.core.dataset import rows_dataset
from emlyn.core.models.calibration import Calibration
from emlyn.core.models.model import Member, Model
from emlyn.core.tables.frames import to_table
from emlyn.errors import DataError, ModelError
from emlyn.records.plan import Recipe


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 300
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, n).astype(float),
            "city": rng.choice(["Rome", "Oslo", "Lima"], n),
            "note": np.where(rng.random(n) < 0.3, None, "x"),
        }
    )


@pytest.fixture(scope="module")
def model(table):
    y = np.where(table["age"] + 20 * (table["city"] == "Rome") > 55, "yes", "no")
    return emlyn.Classifier(trials=8, n_jobs=1).fit(table, y).model_


@pytest.fixture(scope="module")
def number_model(table):
    return emlyn.Regressor(trials=6, n_jobs=1).fit(table[["city", "note"]], table["age"]).model_


def shapes(table):
    odd = table.head(6).copy()
    odd["city"] = ["Atlantis", None, "Rome", "Oslo", "Lima", ""]
    return {
        "as trained": table.head(20),
        "one row": table.head(1),
        "no row": table.head(0),
        "unseen and missing categories": odd,
        "other order": table.head(5)[["city", "note", "age"]],
        "columns too many": table.head(5).assign(extra=1),
        "a missing optional column": table.head(5).drop(columns="note"),
        "other types": table.head(5).assign(age=table["age"].head(5).astype(int).astype(str)),
    }


@pytest.mark.parametrize("shape", list(shapes(pd.DataFrame({"age": range(20), "city": ["a"] * 20, "note": ["x"] * 20}))))
def test_the_same_numbers_after_loading(model, table, shape):
    raw = to_table(shapes(table)[shape])
    again = Model.load(model.save())
    before, after = model.predict(raw), again.predict(raw)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(before.values, after.values)
    assert len(before.values) == raw.rows
    if shape in ("other order", "columns too many", "other types"):
        np.testing.assert_allclose(before.probabilities, model.predict(to_table(table.head(5))).probabilities)


@pytest.mark.parametrize("rows", [3, 300])
def test_models_that_answer_side_by_side_say_the_same(model, table, rows):
    raw, alone = to_table(table.head(rows)), Model.load(model.save())
    assert sum(len(member.fitted) for member in alone.members) > 1
    np.testing.assert_array_equal(replace(alone, threads=4).predict(raw).probabilities, alone.predict(raw).probabilities)


def test_a_model_that_cannot_answer_is_heard_of_side_by_side_too(model, table):
    class Broken:
        def predict(self, data, steps=None):
            raise ModelError("broken")

    first = model.members[0]
    broken = replace(model, members=(replace(first, fitted=(*first.fitted, Broken())), *model.members[1:]), threads=2)
    with pytest.raises(ModelError, match="broken"):
        broken.predict(to_table(table))


def test_one_record_is_the_row(model, table):
    record = table.iloc[3].to_dict()
    np.testing.assert_allclose(model.predict_one(record), model.predict(to_table(table.iloc[[3]])).probabilities[0])


def test_a_missing_required_column_is_named(model, table):
    with pytest.raises(DataError, match="city"):
        model.predict(to_table(table.head(3).drop(columns="city")))


def test_the_operating_point_decides(model, table):
    p = model.predict(to_table(table)).probabilities[:, 1]
    eager = Model.load(model.with_threshold(0.1, "a missed yes costs nine times a false one").save())
    assert list(eager.predict(to_table(table)).values == "yes") == list(p >= 0.1)
    assert eager.threshold_why.startswith("a missed yes")


def test_numbers_stay_near_what_was_seen(number_model):
    wild = replace(number_model, bounds=(30.0, 40.0))
    got = wild.predict(to_table(pd.DataFrame({"city": ["Rome", "Oslo"], "note": ["x", None]})))
    assert ((got.values >= 30) & (got.values <= 40)).all()
    assert got.probabilities is None


def test_nothing_in_it_can_run_code(model):
    for name, part in model.save().items():
        assert not part.startswith(b"\x80"), f"{name} is a pickle"
        assert name.endswith((".json", ".npz", ".txt", ".cbm", ".ubj"))


def test_a_calibration_of_the_first_format_means_what_it_meant(model, table):
    """It had one shift, of the last class, and a kind that said whether there was a map at all."""
    parts, raw = dict(model.save()), to_table(table.head(50))
    logistic = {"kind": "logistic", "slope": 1.3, "shift": -0.2, "gain": 0.1}
    for stored, meant in ((logistic, Calibration(1.3, (0.0, -0.2))), ({"kind": "none"}, Calibration())):
        document = json.loads(parts["state.json"])
        document["format"], document["calibration"] = 1, stored
        first = Model.load({**parts, "state.json": json.dumps(document).encode()})
        np.testing.assert_array_equal(first.predict(raw).probabilities, replace(model, calibration=meant).predict(raw).probabilities)


class Says:
    """A fitted model that gives every row the same answer."""

    def __init__(self, *answer):
        self.answer = np.array([answer])

    def predict(self, data, steps=None):
        return self.answer.repeat(len(data), axis=0)


def bag(*answers):
    return Member(Recipe("toy", "toy", {}), 1.0, tuple(Says(*a) for a in answers))


def test_a_bag_answers_by_the_mean_of_square_roots_of_probabilities_or_of_numbers():
    shares = bag((0.36, 0.64), (0.16, 0.84), (0.04, 0.96)).predict(range(2))
    means = np.array([0.4, np.sqrt([0.64, 0.84, 0.96]).mean()])
    np.testing.assert_allclose(shares, np.tile(means**2 / (means**2).sum(), (2, 1)))
    assert 0.13 < shares[0, 0] < (0.36 + 0.16 + 0.04) / 3, "surer than the mean of the three"
    np.testing.assert_allclose(bag((1.0,), (3.0,)).predict(range(2)), [[2.0], [2.0]])
    assert bag((0.0, 1.0), (0.5, 0.5)).predict(range(1))[0, 0] > 0.1, "a model that is sure does not silence the others"


def test_bags_of_earlier_formats_answer_as_they_did(model, table):
    """Up to format 2 they averaged the probabilities themselves; stored again, they still do."""
    parts, raw = dict(model.save()), to_table(table.head(50))
    document = json.loads(parts["state.json"])
    document["format"] = 2
    for member in document["members"]:
        del member["arithmetic"]
    second = Model.load({**parts, "state.json": json.dumps(document).encode()})
    meant = replace(model, members=tuple(replace(m, arithmetic=True) for m in model.members))
    assert not np.array_equal(meant.predict(raw).probabilities, model.predict(raw).probabilities)
    for found in (second, Model.load(second.save())):
        np.testing.assert_array_equal(found.predict(raw).probabilities, meant.predict(raw).probabilities)


@pytest.mark.parametrize("damage", ["truncated", "absent", "of a newer format", "of an unknown learner", "calibrated for other classes"])
def test_damage_is_refused(model, damage):
    parts = dict(model.save())
    if damage == "truncated":
        parts["state.json"] = parts["state.json"][:50]
    elif damage == "absent":
        parts = {k: v for k, v in parts.items() if not k.startswith("members/0/0")}
    elif damage == "of a newer format":
        parts["state.json"] = parts["state.json"].replace(b'"format":3', b'"format":99')
    elif damage == "calibrated for other classes":
        parts["state.json"] = parts["state.json"].replace(b'"shifts":[', b'"shifts":[0.5,')
    else:
        parts["state.json"] = parts["state.json"].replace(b'"learner":"', b'"learner":"un')
    with pytest.raises(ModelError):
        Model.load(parts)


def test_answers_of_no_units(model):
    with toys.only(toys.Ridge()):
        assert model.predict_answers(rows_dataset(toys.rows_data(3).rows.take(slice(0, 0)))).shape == (0, 2)
