"""Four applications as a user meets them: the commands are taken from the pages in docs/examples and run, and what the pages promise is checked."""

from __future__ import annotations

import csv
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import emlyn
from emlyn.doors.cli.app import app
from emlyn.report.documents import read_evidence
from emlyn.samples import CLEAN

PAGES = Path(__file__).resolve().parents[1] / "docs" / "examples"
QUICK = ("--trials", "4", "--jobs", "1")
"""Instead of the page's budget: four recipes, on one core, whatever else the machine does."""


def commands(page: str) -> list[list[str]]:
    """The words of every command in the page's fenced blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", (PAGES / page).read_text(encoding="utf-8"), re.S | re.M)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


@dataclass
class Done:
    """What the commands of a page left: their output in order, and the folder they ran in."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)

    def model(self, name: str) -> Any:
        return emlyn.load(name)

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def run(page: str, table: Path, folder: Path, skip: Sequence[str] = ()) -> Done:
    """Every command of the page in an empty workspace beside the table; each must end with exit code 0."""
    shutil.copy(table, folder / table.name)
    done, runner = Done(folder), CliRunner()
    for words in commands(page):
        if set(words) & set(skip):
            continue
        assert words[0] == "emlyn"
        if "--budget" in words:
            at = words.index("--budget")
            words = [*words[:at], *QUICK, *words[at + 2 :]]
        found = runner.invoke(app, words[1:])
        assert found.exit_code == 0, f"{shlex.join(words)}\n{found.output}"
        done.said[" ".join(words[1:4] if "--counterfactual" not in words else words[1:])] = found.output
    return done


@pytest.fixture(scope="module")
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMLYN_HOME", str(folder / "home"))
        patch.chdir(folder)
        yield folder


def test_every_page_is_tested() -> None:
    assert {p.name for p in PAGES.glob("*.md")} == {"diagnosis.md", "credit.md", "churn.md", "price.md"}


def test_diagnosis(workspace: Path) -> None:
    done = run("diagnosis.md", CLEAN, workspace)
    found = done.model("diagnosis").evidence
    evaluation = found.evaluation
    assert evaluation.threshold == pytest.approx(1 / 11)
    assert evaluation.metrics["sensitivity"].value > 0.9
    assert evaluation.method == "cross-validation corrected for selection"
    curve = evaluation.plots["decision_curve"]
    assert max(m - max(a, 0.0) for m, a in zip(curve["model"], curve["all"], strict=True)) > 0.05
    page = (workspace / "diagnosis.html").read_text(encoding="utf-8")
    assert "are malignant and are missed" in page
    assert "decision curve" in page
    assert evaluation.metrics["sensitivity"].low is not None, "the page promises its interval"
    document = (workspace / "tripod-ai.md").read_text(encoding="utf-8")
    assert "TRIPOD" in document
    assert document.count("HUMAN") >= 5
    assert "row 0: malignant" in done.said["explain diagnosis breast_cancer.csv"]


def test_credit(workspace: Path, data_dir: Path) -> None:
    done = run("credit.md", data_dir / "german_credit.csv.gz", workspace, skip=("credit-blind",))
    evaluation = done.model("credit").evidence.evaluation
    assert evaluation.threshold == pytest.approx(1 / 6)
    assert evaluation.metrics["flagged"].value > 0.35, "a threshold of 1/6 turns more people away than there are bad loans"
    told = {c["column"]: c["gaps"] for c in evaluation.sections["fairness"]["columns"]}
    assert set(told) == {"age", "personal_status"}
    for gaps in told.values():
        assert gaps
        assert all(g["verdict"] in ("gap shown", "no gap shown", "cannot tell") for g in gaps)
    reasons = done.said["explain credit german_credit.csv.gz"]
    assert "toward “2”" in reasons
    assert re.search(r"^ +\+\S+  \w+ = ", reasons, re.M), "an adverse action has reasons that push toward it"
    assert "+" in (workspace / "why.html").read_text(encoding="utf-8")
    changes = done.said["explain credit german_credit.csv.gz --row 1 --counterfactual"]
    advice = re.findall(r"^ +If (.+), the answer would be 1\.$", changes, re.M)
    assert advice
    assert not any(re.search(r"\b(age|personal_status)\b", line) for line in advice), "sensitive columns are no advice"
    document = (workspace / "sr-26-2.md").read_text(encoding="utf-8")
    assert "HUMAN" in document
    assert "adverse action" in document


def test_a_page_trains_the_blind_model_without_the_sensitive_columns() -> None:
    (blind,) = [words for words in commands("credit.md") if "credit-blind" in words]
    sensitive, excluded = ({b for a, b in itertools.pairwise(blind) if a == flag} for flag in ("--sensitive", "--exclude"))
    assert sensitive == excluded == {"age", "personal_status"}


def test_churn(workspace: Path, data_dir: Path) -> None:
    done = run("churn.md", data_dir / "telco_churn.csv.gz", workspace)
    evaluation = done.model("churn").evidence.evaluation
    assert evaluation.method == "sealed rows"
    assert evaluation.openings == 1
    assert evaluation.metrics["flagged"].value == pytest.approx(500 / 7043, abs=0.03)
    assert evaluation.metrics["precision"].value > 2 * 1869 / 7043, "the 500 calls reach leavers more than twice as often as calls at random"
    rows = done.rows("calls.csv")
    assert len(rows) == 7043
    assert sum(r["prediction"] == "Yes" for r in rows) == pytest.approx(500, abs=120)
    assert all(r["reasons"] for r in rows[:20])
    assert not any(r["refused"] for r in rows)
    assert "HUMAN" in (workspace / "model-card.md").read_text(encoding="utf-8")
    assert read_evidence((workspace / "evidence.json").read_bytes()).model == "churn:1"


def test_price(workspace: Path, data_dir: Path) -> None:
    done = run("price.md", data_dir / "ames.csv.gz", workspace)
    model = done.model("price")
    rows = done.rows("prices.csv")
    assert len(rows) == 2930
    assert all(float(r["low"]) < float(r["prediction"]) < float(r["high"]) for r in rows)
    widths = {round(float(r["high"]) - float(r["low"])) for r in rows}
    assert max(widths) > 1.2 * min(widths), "wider where errors are larger"
    levels = {f["level"]: f for f in model.evidence.evaluation.sections["conformal"]["levels"]}
    assert levels[0.9]["coverage"]["low"] < 0.93
    assert levels[0.9]["coverage"]["high"] > 0.87
    assert "in the unit of Sale_Price" in done.said["explain price ames.csv.gz"]
    assert "HUMAN" in (workspace / "datasheet.md").read_text(encoding="utf-8")
