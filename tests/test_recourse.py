"""What would turn a decision, asked as a user asks: from the shell and from Python, on a trained and stored model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import emlyn
from emlyn.doors.cli.app import app
from emlyn.errors import ModelError

ROWS = 300


def people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "income": rng.normal(50, 15, ROWS).round(1),
            "debt": rng.normal(10, 4, ROWS).round(1),
            "sex": rng.choice(["f", "m"], ROWS),
            "job": rng.choice(["none", "clerk", "doctor"], ROWS),
        }
    )
    score = table.income / 15 - table.debt / 4 + (table.job == "doctor") + (table.sex == "m") + rng.logistic(0, 0.4, ROWS)
    return table.assign(loan=np.where(score > score.median(), "granted", "refused"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recourse")
    people().to_csv(folder / "people.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMLYN_HOME", str(folder / "home"))
        run = emlyn.train(str(folder / "people.csv"), target="loan", positive="granted", sensitive=["sex"], trials=3, jobs=1, name="loan")
    Path(run.result["path"]).rename(folder / "loan.emlyn")
    return folder


def said(home: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", str(home / "loan.emlyn"), *words])
    return done.exit_code, done.output


def test_every_counterfactual_flips_the_stored_model_and_keeps_what_cannot_change(home: Path) -> None:
    code, text = said(home, str(home / "people.csv"), "--counterfactual", "--immutable", "job", "--json")
    assert code == 0
    told, model, table = json.loads(text), emlyn.load(str(home / "loan.emlyn")), people().drop(columns="loan")
    assert told["immutable"] == ["job", "sex"]
    found = [(row, c) for row in told["rows"] for c in row["counterfactuals"]]
    assert len(found) >= 20
    for row, c in found:
        cells = table.iloc[[row["row"]]].assign(**{change["column"]: change["then"] for change in c["changes"]})
        assert not {"job", "sex"} & {change["column"] for change in c["changes"]}
        assert model.predict(cells)[0] == c["wanted"] != row["prediction"]
        assert all(f"{change['column']} were" in c["sentence"] for change in c["changes"])


def test_one_row_borrows_from_the_rows_named(home: Path) -> None:
    people().iloc[[0]].to_csv(home / "one.csv", index=False)
    code, text = said(home, str(home / "one.csv"), "--counterfactual")
    assert code == 0
    assert "No change to values of the 1 rows" in text
    code, text = said(home, str(home / "one.csv"), "--row", "0", "--counterfactual", "--among", str(home / "people.csv"))
    assert "the answer would be" in text
    assert "The most similar row that got" in text


def test_what_cannot_be_asked_is_told(home: Path) -> None:
    code, text = said(home, str(home / "people.csv"), "--counterfactual", "--immutable", "height")
    assert code == 2
    assert "height" in text
    assert said(home, "--counterfactual")[0] == 2
    assert said(home, str(home / "people.csv"), "--immutable", "sex")[0] == 2


def test_reasons_name_what_they_compare_with(home: Path) -> None:
    _, text = said(home, str(home / "people.csv"), "--row", "0")
    assert "compared with the average training row" in text


def test_a_number_has_no_other_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMLYN_HOME", str(tmp_path))
    run = emlyn.train(people().drop(columns="loan"), target="debt", trials=2, jobs=1, name="debt")
    with pytest.raises(ModelError, match="no decision"):
        run.model.counterfactuals(people())
