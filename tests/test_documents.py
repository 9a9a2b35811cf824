"""The documents: filled from the evidence, empty where a person must speak, the same every time."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import emlyn
import evidences
from emlyn.doors import reports
from emlyn.doors.cli.app import app
from emlyn.errors import DataError, OptionError
from emlyn.records.evaluation import Measure, Verdict
from emlyn.records.finding import Finding
from emlyn.records.run import Evidence
from emlyn.report import cells, markdown, written
from emlyn.report.documents import diff, document, evidence_json, kinds, mapping, read_evidence
from emlyn.report.html import render
from emlyn.report.notebook import card
from test_report import Page

KINDS = ("datasheet", "eu-ai-act", "model-card", "probast-ai", "sr-26-2", "stard-ai", "tripod-ai")


def test_the_kinds_that_were_promised() -> None:
    assert kinds() == KINDS


def items(kind: str) -> list[dict[str, Any]]:
    return [i for s in mapping(kind)["sections"] for i in s["items"]]


@pytest.mark.parametrize("kind", KINDS)
def test_each_mapping_is_whole(kind: str) -> None:
    made = mapping(kind)
    assert all(made[k] for k in ("title", "version", "source", "about"))
    numbers = [i["item"] for i in items(kind)]
    assert len(numbers) == len(set(numbers))
    assert all(i["title"] and (i.get("from") or i.get("human")) for i in items(kind)), "an item nobody could answer"
    assert not [i for i in items(kind) if set(i) - {"item", "title", "from", "human"}]


SAID = {"verdict", "frequencies", "baseline", "measured_on", "not_for", "next", "weaker", "silence", "repairs"}


def reachable(kind: Any, steps: list[str]) -> bool:
    """Does a path exist in the records' types?"""
    if not steps:
        return True
    if isinstance(kind, types.UnionType):
        return any(reachable(k, steps) for k in typing.get_args(kind))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return steps[0] in hints and reachable(hints[steps[0]], steps[1:])
    return typing.get_origin(kind) is dict


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_leads_into_the_evidence(kind: str) -> None:
    """A typing mistake in a mapping would read as "not in this evidence" for ever."""
    source = ast.parse((Path(emlyn.__file__).parent / "stages/evaluate.py").read_text("utf-8"))
    promised = set(re.findall(r"^  (\w+) +\{", ast.get_docstring(source) or "", re.M))
    assert {"slices", "calibration"} <= promised
    for path in (p for i in items(kind) for p in i.get("from", {}).values()):
        names = [name for name, _, _ in cells.steps(path)]
        if names[0] == "said":
            assert names[1] in SAID
        else:
            assert reachable(Evidence, names), path
            if names[1] in ("plots", "sections") if len(names) > 1 else False:
                assert names[2] in promised, path


@pytest.mark.parametrize("name", evidences.EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_every_item_shows_and_only_humans_speak_for_humans(kind: str, name: str) -> None:
    evidence = evidences.EVERY[name]()
    page, text = Page(document(evidence, kind)), document(evidence, kind, "markdown")
    human = [i for i in items(kind) if i.get("human")]
    assert "".join(page.text).count("HUMAN:") == text.count("**HUMAN:**") == len(human)
    assert len(page.every("article")) == len(items(kind)) == len(re.findall("^### ", text, re.M))


def test_what_the_evidence_lacks_is_said() -> None:
    lacking = [line for line in document(evidences.failing(), "tripod-ai", "markdown").split("\n") if line.startswith("Not in this evidence")]
    assert any("`evaluation.sections.learning_curve`" in line for line in lacking)
    assert "learning_curve`" not in "".join(t for t in document(evidences.binary(), "tripod-ai", "markdown").split("\n") if t.startswith("Not in"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", ["html", "markdown"])
def test_data_cannot_write_html_or_markdown(kind: str, format: str) -> None:
    text = document(evidences.hostile(), kind, format)
    assert "<script" not in text
    assert text == document(evidences.hostile(), kind, format)
    assert len(text) < 400_000


@given(st.text())
def test_markdown_text_stays_in_its_cell(text: str) -> None:
    made = markdown.table(["a", "b"], [[text, "x"]]).split("\n")
    assert len(made) == 3
    assert len(re.findall(r"(?<!\\)\|", made[2].replace("\\\\", ""))) == 3


@given(st.text(), st.text(min_size=1), st.floats(-1e9, 1e9))
def test_front_matter_is_yaml_whatever_the_names(name: str, metric: str, value: float) -> None:
    base = evidences.failing()
    evaluation = dataclasses.replace(base.evaluation, metrics={metric: Measure(value)})
    evidence = dataclasses.replace(base, model=name, lineage=dataclasses.replace(base.lineage, data=name), evaluation=evaluation)
    read = yaml.safe_load(markdown.front_matter(evidence).split("\n---\n")[0].removeprefix("---\n"))
    assert read["pipeline_tag"] == "tabular-classification"
    assert read["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(value)


def test_card_front_matter_leaves_the_licence_to_a_person() -> None:
    text = document(evidences.regression(), "model-card", "markdown")
    front = yaml.safe_load(text.split("\n---\n")[0])
    assert "license" not in front
    assert front["pipeline_tag"] == "tabular-regression"
    assert "HUMAN: license" in text


@pytest.mark.parametrize(
    ("kind", "format", "allowed"), [("tripod", "html", ", ".join(KINDS)), ("../x", "html", "tripod-ai"), ("model-card", "pdf", "html, markdown")]
)
def test_unknown_kind_or_format_names_the_allowed(kind: str, format: str, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        document(evidences.failing(), kind, format)
    assert allowed in caught.value.allowed


@pytest.mark.parametrize("name", evidences.EVERY)
def test_evidence_file_is_the_same_bytes_and_comes_back(name: str) -> None:
    evidence = evidences.EVERY[name]()
    raw = evidence_json(evidence)
    assert raw == evidence_json(evidences.EVERY[name]()) == evidence_json(read_evidence(raw))
    assert json.loads(raw)["format"] == "emlyn.evidence/1"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda raw: raw.replace(b'"value":0.58', b'"value":0.98'), "changed after it was written"),
        (lambda raw: raw[:200], "not an evidence file"),
        (lambda raw: b"[1, 2]", "not an evidence file"),
        (lambda raw: b"{}", "not an evidence file"),
        (lambda raw: b"\xff\xfe", "not an evidence file"),
        (lambda raw: b'{"digest": 3, "evidence": {}}', "not an evidence file"),
    ],
)
def test_evidence_that_was_touched_is_refused(change: Any, what: str) -> None:
    raw = change(evidence_json(evidences.failing()))
    with pytest.raises(DataError, match=what):
        read_evidence(raw)


def test_nothing_changed_nothing_said() -> None:
    assert diff(evidences.binary(), evidences.binary()) == ()


def changed(**changes: Any) -> tuple[str, ...]:
    return diff(evidences.binary(), dataclasses.replace(evidences.binary(), **changes))


def evaluated(**changes: Any) -> tuple[str, ...]:
    return changed(evaluation=dataclasses.replace(evidences.binary().evaluation, **changes))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (evaluated(metrics={"roc_auc": Measure(0.92, 0.9, 0.94)}), "ROC AUC was between 0.83 and 0.89 and is now between 0.90 and 0.94: better."),
        (evaluated(metrics={"log_loss": Measure(0.6, 0.55, 0.65)}), "Log loss was between 0.42 and 0.49 and is now between 0.55 and 0.65: worse."),
        (evaluated(metrics={"roc_auc": Measure(0.87, 0.84, 0.9)}), "the ranges overlap, so this alone shows no change."),
        (evaluated(metrics={"roc_auc": Measure(0.87, None, None)}), "ROC AUC was between 0.83 and 0.89 and is now about 0.87."),
        (evaluated(verdict=Verdict("do not use yet", "it forgot")), "The verdict was “use with care” and is now “do not use yet”: it forgot."),
        (evaluated(threshold=0.3), "The decision threshold was 0.45 and is now 0.3."),
        (evaluated(sections={}), "Between the groups of “sex” (share found (TPR)): was “gap shown”, is now “not examined”."),
        (changed(findings=()), "No longer found: “boat” knows the answer"),
        (changed(findings=(*evidences.findings(), Finding("a.b", "a.b", "fail", "it broke"))), "New finding: it broke."),
        (changed(trials=()), "It was made of catboost, lightgbm and linear, and is now made of nothing recorded."),
        (
            changed(card=dataclasses.replace(evidences.binary().card, rows=9, digest="x")),
            "It learned from other data: 3,200 rows before, 9 rows now.",
        ),
        (changed(problem=dataclasses.replace(evidences.binary().problem, features=("sex", "age"))), "Gone columns: “fare”, “class” and “family”."),
        (
            changed(lineage=dataclasses.replace(evidences.LINEAGE, packages={"lightgbm": "5"})),
            "Other packages: lightgbm 4.7.0 → 5 and scikit-learn 1.9.1 → (absent).",
        ),
    ],
)
def test_what_changed_in_plain_words(lines: tuple[str, ...], said: str) -> None:
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize("name", evidences.EVERY)
def test_records_show_themselves_in_a_notebook(name: str) -> None:
    evidence = evidences.EVERY[name]()
    shown = [evidence, evidence.card, evidence.problem, evidence.evaluation, *evidence.findings[:1], *evidence.trials[:1], evidence.lineage]
    for record in shown:
        html = card(record)
        Page(html)
        assert "<script" not in html
        assert type(record).__name__ in html or "verdict" in html


SUFFIXES = [(kind, ".json" if kind == "evidence" else suffix) for kind in written.kinds() for suffix in (".html", ".md")]


@pytest.mark.parametrize(("kind", "suffix"), dict.fromkeys(SUFFIXES))
def test_the_suffix_decides_the_format(kind: str, suffix: str) -> None:
    text = written.written(evidences.binary(), kind, suffix).decode()
    assert text.startswith({".html": "<!doctype html>" if kind == "report" else "", ".json": "{"}.get(suffix, ("---\n", "# ")))
    assert ("<section" in text) == (suffix == ".html")


@pytest.mark.parametrize(("kind", "suffix"), [("report", ".pdf"), ("report", ""), ("model-card", ".json"), ("evidence", ".html"), ("tripod", ".md")])
def test_a_suffix_or_kind_that_is_not_known_names_those_that_are(kind: str, suffix: str) -> None:
    with pytest.raises(OptionError) as caught:
        written.written(evidences.binary(), kind, suffix)
    assert caught.value.allowed
    assert (".html" in caught.value.allowed) == (kind in ("report", "model-card"))


@pytest.mark.parametrize("name", evidences.EVERY)
def test_the_report_as_markdown_says_what_the_page_says(name: str) -> None:
    evidence = evidences.EVERY[name]()
    text = written.written(evidence, "report", ".md").decode()
    page = "".join(Page(render(evidence)).text)
    for title in re.findall(r"^## \d+\. (.+)$", text, re.M):
        assert title.replace("\\", "") in page
    assert len(re.findall(r"^## \d+\. ", text, re.M)) == 9
    assert "<script" not in text
    assert "Figure(" not in text


def test_documents_and_the_evidence_file_name_the_same_digest() -> None:
    evidence = evidences.binary()
    stated = json.loads(evidence_json(evidence))["digest"]
    assert stated in document(evidence, "tripod-ai")
    assert stated in document(evidence, "eu-ai-act", "markdown")


def test_the_evidence_file_does_not_point_at_single_people() -> None:
    evidence = evidences.binary()
    column = dataclasses.replace(evidence.card.columns[1], levels=(("common", 40), ("Mrs Unique", 1)), examples=("Mrs Unique",))
    evidence = dataclasses.replace(evidence, card=dataclasses.replace(evidence.card, columns=(column,)))
    raw = evidence_json(evidence)
    assert b"common" in raw
    assert b"Mrs Unique" not in raw


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_changes_stand_under_headings_with_those_for_people(suffix: str) -> None:
    old = evidences.binary()
    new = dataclasses.replace(
        old, model="churn:9", evaluation=dataclasses.replace(old.evaluation, sections={}, metrics={"roc_auc": Measure(0.92, 0.9, 0.94)})
    )
    text = written.written(new, "report", suffix, against=old).decode()
    assert "churn:9" in text
    assert text.index("How well it does") < text.index("For whom")
    assert "Nothing that a reader" in written.written(old, "report", suffix, against=old).decode()


def test_scores_of_another_question_are_not_called_better_or_worse() -> None:
    old = evidences.binary()
    new = dataclasses.replace(
        old,
        problem=dataclasses.replace(old.problem, target="another"),
        evaluation=dataclasses.replace(old.evaluation, metrics={"roc_auc": Measure(0.99, 0.98, 0.995)}),
    )
    assert not [line for line in diff(old, new) if ": better" in line]


def test_report_command_from_evidence_and_between_versions(tmp_path: Path) -> None:
    old, new, out = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "changes.html"
    old.write_bytes(evidence_json(evidences.binary()))
    new.write_bytes(evidence_json(dataclasses.replace(evidences.binary(), model="churn:9", trials=())))
    run = CliRunner()
    said = json.loads(run.invoke(app, ["report", str(new), "--against", str(old), "--json"]).stdout)
    assert said["model"] == "churn:9"
    assert any("nothing recorded" in line for lines in said["changes"].values() for line in lines)
    assert said["out"] == ""
    assert run.invoke(app, ["report", str(new), "--against", str(old), "--out", str(out)]).exit_code == 0
    Page(out.read_text("utf-8"))
    assert run.invoke(app, ["report", str(old), "--as", "tripod-ai", "--out", str(tmp_path / "t.md")]).exit_code == 0
    old.write_bytes(old.read_bytes().replace(b"0.8", b"0.9"))
    refused = run.invoke(app, ["report", str(old), "--out", str(tmp_path / "r.html")])
    assert refused.exit_code == 2
    assert "was changed" in refused.output
    assert run.invoke(app, ["report", str(tmp_path / "none.json")]).exit_code == 2


def test_tripod_ai_has_the_items_of_the_published_checklist() -> None:
    """Collins and colleagues 2024, checklist of 11 January 2024."""
    parts = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
    expected = [f"{n}{letter}" for n in range(1, 28) for letter in parts.get(n, [""])]
    assert [i["item"] for i in items("tripod-ai")] == expected
    assert len(expected) == 52


def test_annex_iv_has_the_points_of_the_annex() -> None:
    expected = [f"{n}({letter})" for n in (1, 2) for letter in "abcdefgh"] + [str(n) for n in range(3, 10)]
    assert [i["item"] for i in items("eu-ai-act")] == expected


def test_a_mapping_says_what_it_could_not_check() -> None:
    for kind in ("probast-ai", "stard-ai", "sr-26-2", "eu-ai-act"):
        text = document(evidences.binary(), kind)
        assert re.search("not checked|not be checked|secondary sources", text), kind


def test_a_long_answer_stands_once_and_is_pointed_at_afterwards() -> None:
    text = document(evidences.binary(), "tripod-ai", "markdown")
    assert text.count("| column | role | kind |") < text.count("`card.columns[role=feature]`")
    later = text[text.index("### 12b ") :]
    assert "(`card.columns[role=feature]`): As under 9b." in later


def test_an_evaluation_on_other_rows_takes_the_place_of_the_first_one() -> None:
    base = evidences.binary()
    sealed = dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, method="sealed rows", rows=200))
    found = dataclasses.replace(base.evaluation, method="external file", rows=77, verdict=Verdict("use", "it held elsewhere"))
    text = written.written(reports.judged_anew(sealed, found), "report", ".md").decode()
    assert "It held elsewhere." in text
    assert "77 rows of another file" in text
    assert f"learned from: {sealed.lineage.rows - 200:,} rows" in text
