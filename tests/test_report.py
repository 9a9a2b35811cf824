"""The report: right, safe, readable and the same every time."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evidences
from emlyn.records.codec import from_json, to_json
from emlyn.records.data_card import ColumnCard, Parse
from emlyn.records.evaluation import Driver, Evaluation, Explanation, Measure, Verdict
from emlyn.records.finding import Finding
from emlyn.records.repair import Repair
from emlyn.records.run import Evidence
from emlyn.report import charts, plots, waterfall, words
from emlyn.report.documents import document
from emlyn.report.html import flags, render
from emlyn.report.notebook import card

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Reads a page and notes what the tests ask about; raises on tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module", params=evidences.EVERY)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(render(evidences.EVERY[request.param]()))


def test_nothing_is_fetched_and_nothing_runs(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    for tag, attrs in page.tags:
        assert not [k for k in attrs if k.startswith("on") or k in ("src", "srcset", "action")], tag
        assert (attrs.get("href") or "#").startswith("#")


def test_style_sheet_loads_nothing() -> None:
    css = files("emlyn.report").joinpath("templates/style.css").read_text("utf-8")
    assert not re.search(r"url\(|@import|http", css)


def test_reader_without_eyes_finds_the_way(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert all(attrs["aria-labelledby"] in ids for _, attrs in page.tags if attrs.get("aria-labelledby"))
    assert len(page.every("h1")) == len(page.every("main")) == 1
    assert page.every("html")[0]["lang"] == "en"
    assert all(attrs.get("aria-label") for attrs in page.every("svg") if attrs.get("role") == "img")
    assert all(attrs.get("role") == "img" or attrs.get("aria-hidden") for attrs in page.every("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= 4 for b in levels)


def test_every_figure_has_its_numbers(page: Page) -> None:
    names = [tag for tag, _ in page.tags]
    figures = [i for i, tag in enumerate(names) if tag == "figure"]
    for start, end in itertools.pairwise([*figures, len(names)]):
        assert "td" in names[start:end]
        assert "figcaption" in names[start:end]


def test_answers_stand_in_their_fixed_order(page: Page) -> None:
    found = [attrs["id"] for attrs in page.every("section") if attrs.get("id")]
    assert found == ["frequencies", "range", "today", "repairs", "weaker", "drivers", "silence", "not-for", "next"]


def test_data_cannot_write_html() -> None:
    html = render(evidences.hostile())
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 50


def test_five_thousand_columns_stay_a_page() -> None:
    html = render(evidences.hostile())
    assert "4,854 more columns" in html
    assert "and 4,903 more" in html, "excluded columns are cut"
    assert len(html.encode()) < 400_000


@pytest.mark.parametrize("name", evidences.EVERY)
def test_same_evidence_same_bytes_and_through_json(name: str) -> None:
    evidence = evidences.EVERY[name]()
    assert render(evidence) == render(evidence) == render(from_json(to_json(evidence), Evidence))


def test_a_report_is_small() -> None:
    assert len(render(evidences.binary()).encode()) < 200_000


def test_says_the_evaluations_own_sentence_and_draws_its_thousand() -> None:
    evidence = evidences.binary()
    html = render(evidence)
    assert evidence.evaluation.sections["natural"]["sentence"] in html
    drawn = {style: path.count("h0") for style, path in re.findall(r'<path class="icon (\w+)" d="([^"]*)"', html)}
    natural = evidence.evaluation.sections["natural"]
    assert drawn["hit"] == natural["right"]
    assert drawn["miss"] == natural["missed"]
    assert drawn["hit"] + drawn["alarm"] == natural["flagged"]
    assert sum(v for k, v in drawn.items() if k != "hole") == 1000


def test_flags_are_set_apart_and_still_escaped() -> None:
    assert flags("<b> use --cost-fp X or --sensitive COLUMN.") == (
        '&lt;b&gt; use <code class="flag">--cost-fp X</code> or <code class="flag">--sensitive COLUMN</code>.'
    )


def test_two_scores_of_a_quarantined_column() -> None:
    assert "with it 0.994, without it 0.862" in render(evidences.binary())


def test_many_findings_of_one_kind_fold_into_a_line_with_their_columns() -> None:
    many = tuple(Finding(f"form.number_text:c{k}", "form.number_text", "info", f"c{k} writes numbers as text", columns=(f"c{k}",)) for k in range(30))
    html = render(dataclasses.replace(evidences.binary(), findings=(*evidences.findings(), *many)))
    assert "27 more of the kind form.number_text: c3, c4, c5, c6, c7, c8 and 21 more" in html
    assert all(f"c{k} writes numbers as text" in html for k in range(30)), "folded is not lost"


def test_a_finding_of_data_and_evaluation_is_told_once() -> None:
    told = evidences.findings()[1]
    assert render(with_evaluation(findings=(told,))).count(told.message) == 1


def test_a_code_for_no_value_is_no_range() -> None:
    base = evidences.binary()
    age = dataclasses.replace(base.card.column("age"), low=-999.0, parse=Parse(not_numbers=(-999.0,)))
    card = dataclasses.replace(base.card, columns=tuple(age if c.name == "age" else c for c in base.card.columns))
    assert "98 of 100 rows have “age”" in render(base)
    assert "98 of 100 rows have “fare”" in render(dataclasses.replace(base, card=card))


@pytest.mark.parametrize("draw", [render, lambda e: document(e, "datasheet"), lambda e: document(e, "datasheet", "markdown")])
def test_values_that_point_at_people_are_not_shown(draw: Callable[[Evidence], str]) -> None:
    base = evidences.binary()
    name = ColumnCard("name", "category", rows=3200, distinct=3, levels=(("Ada Lovelace", 300),), examples=("Grace Hopper",))
    ward = ColumnCard("ward", "category", rows=3200, distinct=2, levels=(("North", 3000), ("Tiny Island", 4)), examples=("Atlantis",))
    columns = (name, ward, *(c for c in base.card.columns if c.name != "name"))
    html = draw(dataclasses.replace(base, card=dataclasses.replace(base.card, columns=columns)))
    assert "North" in html
    html += card(dataclasses.replace(base, card=dataclasses.replace(base.card, columns=columns)))
    assert not [word for word in ("Lovelace", "Hopper", "Tiny", "Atlantis") if word in html]


def test_no_interval_is_said_and_not_invented() -> None:
    html = render(evidences.failing())
    assert "about 0.58" in html
    assert "too few events for an interval" in html
    assert "cannot be told" in html


def with_evaluation(**changes: Any) -> Evidence:
    base = evidences.binary()
    return dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {}, "baseline": {}, "plots": {}, "sections": {}, "verdict": None, "comparison": None},
        {"metrics": {"roc_auc": Measure(None, method="only one class in the test rows")}},
        {"verdict": Verdict("a word of a later version", "because")},
        {"plots": {"roc": {"of": "yes", "points": [], "chosen": None}, "calibration": {"of": "yes", "bins": []}, "of_a_later_version": [1]}},
        {"plots": {"calibration": {"of": "yes", "bins": [{"predicted": 0.5, "observed": 0.5, "low": None, "high": None, "n": 1}]}}},
        {
            "sections": {
                "fairness": {"columns": [{"column": "sex", "groups": [], "gaps": []}]},
                "slices": {"confirmed": [], "tested": 0},
                "learning_curve": {"points": []},
            }
        },
        {"sections": {"learning_curve": {"points": [{"rows": 10, "value": 0.5, "low": None, "high": None}] * 2}, "abstention": None}},
    ],
)
def test_an_evaluation_with_holes_is_still_a_page(changes: dict[str, Any]) -> None:
    Page(render(with_evaluation(**changes)))


def test_negative_and_flat_numbers_are_drawn() -> None:
    base = evidences.binary()
    drivers = (Driver("a", -0.2, -0.3, -0.1, curve=((0.0, 1.0), (0.0, 1.0))), Driver("b", 0.0), Driver("c", 0.0, curve=(("x", 0.0), ("y", -1e-9))))
    html = render(dataclasses.replace(base, explanation=Explanation("permutation", drivers)))
    assert "nan" not in "".join(re.findall(r'(?:style|d)="([^"]*)"', html)).lower()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(theme: int) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: 4.5 to 1 for text, 3 to 1 for marks that carry meaning."""
    css = files("emlyn.report").joinpath("templates/style.css").read_text("utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", css, re.S)[theme]))

    def contrast(a: str, b: str) -> float:
        dark, light = sorted((luminance(colours[a]), luminance(colours[b])))
        return (light + 0.05) / (dark + 0.05)

    texts = [(text, ground) for text in ("ink", "soft") for ground in ("paper", "card", "wash", "go-wash", "care-wash", "stop-wash", "none-wash")]
    texts += [(tone, f"{tone}-wash") for tone in ("go", "care", "stop", "none")]
    assert {pair: round(contrast(*pair), 2) for pair in texts if contrast(*pair) < 4.5} == {}
    marks = [(mark, ground) for mark in ("s1", "s2", "s3") for ground in ("paper", "card")]
    assert {pair: round(contrast(*pair), 2) for pair in marks if contrast(*pair) < 3} == {}


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    found = charts.ticks(low, low + width)
    assert len(found) <= 8
    slack = 1e-6 * max(abs(low), width, 1)
    assert all(low - slack <= t <= low + width + slack for t in found)


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_any_point_lands_inside_the_drawing(x: float, y: float) -> None:
    axes = charts.Axes((0, 1), (0, 1))
    if x == x and y == y:
        a, b = axes.at(x, y)
        assert axes.LEFT <= a <= charts.WIDTH - axes.RIGHT
        assert axes.TOP <= b <= axes.height - axes.BOTTOM


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_has_a_text(value: float) -> None:
    text = words.number(value)
    assert text
    if abs(value) < 1e308 and text != "–":
        assert float(text.replace(",", "")) == pytest.approx(value, rel=6e-3, abs=1e-15)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_ends_of_an_interval_stay_apart(low: float, width: float) -> None:
    text = words.between(low, low + width)
    a, b = (float(t.replace(",", "")) for t in text.removeprefix("between ").split(" and "))
    assert a < b or width < 1e-6 * max(abs(low), 1)


@given(st.text())
def test_short_keeps_to_its_length(text: str) -> None:
    assert 0 < len(words.short(text, 60)) <= 60


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (words.between(0.8123, 0.8712), "between 0.81 and 0.87"),
        (words.between(19_950.3, 24_750.1), "between 20,000 and 24,800"),
        (words.between(None, 0.5), ""),
        (words.number(0.5), "0.5"),
        (words.number(22_350.4), "22,400"),
        (words.number(None), "–"),
        (words.number(3e-7), "3.00e-07"),
        (" ".join(words.numbers([0.142, 0.004, None])), "0.142 0.004 –"),
        (words.percent(0.0004), "under 0.1 %"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed([str(k) for k in range(90)], 6), "0, 1, 2, 3, 4, 5 and 84 more"),
        (words.measure(Measure(0.58, None, None, 40, "too few events")), "about 0.58 (too few events)"),
        (words.measure(Measure(None, method="one class only")), "one class only"),
        (words.verdict_sentence(Verdict("do not use yet", "too few events")), "Do not use yet: too few events"),
        (words.verdict_sentence(None), "This model has not been judged yet."),
        (words.seconds(0.0421), "42 ms"),
        (words.sentence("log loss is lower", ()), "Log loss is lower."),
        (words.sentence("age alone tells it", ["age"]), "age alone tells it."),
        (words.sentence("loan_status tells it", ()), "loan_status tells it."),
        (words.sentence("age alone tells it!"), "age alone tells it!"),
        (words.between(0.00905, 0.0527), "between 0.009 and 0.053"),
        (words.between(2.1e-13, 3.4e-13), "between 2.10e-13 and 3.40e-13"),
        (words.number(2.1e-13), "2.10e-13"),
        (words.number(0.1 + 0.2 - 0.3), "0"),
        (words.repair_sentence("Left out: it tells nothing", ["a", "b"]), "“a” and “b”: left out: it tells nothing."),
        (words.repair_sentence("“a” is left out", ["a"]), "“a” is left out."),
        (words.metric("made_by_a_plugin").label, "made by a plugin"),
    ],
)
def test_words(said: str, text: str) -> None:
    assert said == text


def compared(model: Measure, base: Measure, difference: Measure | None, metric: str = "roc_auc") -> str:
    problem = dataclasses.replace(evidences.binary().problem, metric=metric)
    return words.against_baseline(problem, Evaluation({metric: model}, {metric: base}, 100, "sealed rows", comparison=difference))


@pytest.mark.parametrize(
    ("metric", "difference", "start"),
    [
        ("roc_auc", Measure(0.1, 0.05, 0.15), "Better than no model"),
        ("roc_auc", Measure(-0.1, -0.15, -0.05), "Worse than no model"),
        ("roc_auc", Measure(0.1, -0.05, 0.25), "Not shown to be better"),
        ("log_loss", Measure(-0.1, -0.15, -0.05), "Better than no model"),
        ("log_loss", Measure(0.1, 0.05, 0.15), "Worse than no model"),
    ],
)
def test_better_worse_or_cannot_tell(metric: str, difference: Measure, start: str) -> None:
    assert compared(Measure(0.6), Measure(0.5), difference, metric).startswith(start)


def test_without_an_interval_no_claim_is_made() -> None:
    assert "cannot be told" in compared(Measure(0.9), Measure(0.5), Measure(0.4, None, None, 9, "too few events"))
    assert "cannot be told" in compared(Measure(0.9), Measure(0.5), None)


@pytest.mark.parametrize(
    ("repair", "word"),
    [
        (Repair("f", "form.sentinel", before=0.80, after=0.83), "better"),
        (Repair("f", "form.sentinel", before=0.83, after=0.80), "lower"),
        (Repair("f", "leakage.target_copy", before=0.99, after=0.83), "honest"),
        (Repair("f", "form.spelling", before=0.83, after=0.83), "no change"),
        (Repair("f", "form.spelling"), ""),
    ],
)
def test_what_a_repair_did(repair: Repair, word: str) -> None:
    assert words.repair_change(repair, "roc_auc")[1] == word


def test_every_promised_plot_is_drawn() -> None:
    drawn = {name for make in evidences.EVERY.values() for name in make().evaluation.plots if name in plots.DRAW}
    assert drawn == set(plots.DRAW)


def test_answers_that_say_nothing_by_themselves_are_named_with_their_column() -> None:
    base = evidences.binary()
    problem = dataclasses.replace(base.problem, target="survived", positive="1")
    assert "“survived = 1”" in words.score_in_words(problem, "roc_auc", Measure(0.8, 0.7, 0.9))
    natural = {"of": 1000, "label": "1", "group": "have survived = 1", "have": 3, "flagged": 3, "right": 2, "missed": 1, "sentence": "So."}
    evaluation = dataclasses.replace(base.evaluation, sections={**base.evaluation.sections, "natural": natural})
    text = " ".join("".join(Page(render(dataclasses.replace(base, problem=problem, evaluation=evaluation))).text).split())
    assert "2 have survived = 1 and are found" in text
    assert "1 have survived = 1 and are missed" in text
    assert "996 are rightly left alone" in text


@pytest.mark.parametrize(("low", "high", "said"), [(1900, 2010, "1900 to 2010"), (1680, 33100, "1,680 to 33,100"), (1900.5, 2010, "1,900 to 2,010")])
def test_years_are_written_without_a_comma(low: float, high: float, said: str) -> None:
    assert words.reach(low, high).startswith(said[:5])
    assert ("," in words.reach(low, high)) == ("," in said)


def test_what_there_was_no_time_to_look_at_stands_beside_the_drivers() -> None:
    explanation = Explanation("permutation", (Driver("age", 0.2, 0.1, 0.3, above_noise=True),), left_out="there was time for the 1 of 9 groups")
    text = render(dataclasses.replace(evidences.binary(), explanation=explanation))
    assert "Not everything was looked at: there was time for the 1 of 9 groups." in text


def test_a_curve_with_its_band_shows_how_much_rows_differ() -> None:
    line = ((1900, -1.0), (1950, 0.0), (2000, 1.0))
    plain_ = plots.curve(Driver("built", 1.0, curve=line))
    banded = plots.curve(Driver("built", 1.0, curve=line, band=((-2.0, -0.5), (-0.4, 0.4), (0.5, 2.0))))
    assert plain_ is not None
    assert banded is not None
    assert "band" in banded.svg
    assert "band" not in plain_.svg
    assert banded.rows[0][2:] == ("-2", "-0.5")
    assert banded.rows[0][0] == "1900"


def test_weak_groups_are_drawn_with_their_range() -> None:
    weak = {"rule": "age is above 60", "columns": ["age"], "n": 90, "loss": 0.6, "rest": 0.3, "p": 0.01, "sentence": "."}
    weak["difference"] = {"value": 0.3, "low": 0.1, "high": 0.5, "n": 400, "method": "t"}
    base = evidences.binary()
    sections = {**base.evaluation.sections, "slices": {"confirmed": [weak], "sentence": "One."}}
    html = render(dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, sections=sections)))
    drawn = html[html.index("how much larger the loss is") :]
    assert "age is above 60" in drawn[:900]
    assert "reach" in drawn[:900]


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05)."""
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _palettes() -> dict[str, dict[str, str]]:
    css = files("emlyn.report").joinpath("templates/style.css").read_text("utf-8")
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", css[: css.index("@media")]))
    dark_css = css[css.index("prefers-color-scheme: dark") : css.index("* { box-sizing")]
    paper = css[css.index("@media print") :]
    dark = {**light, **dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", dark_css))}
    long = {k: v if len(v) > 4 else "#" + "".join(2 * c for c in v[1:]) for k, v in re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", paper)}
    return {"light": light, "dark": dark, "paper": {**light, **long}}


TEXT = [(ink, ground) for ink in ("ink", "soft") for ground in ("paper", "card", "wash")]
TEXT += [(tone, f"{tone}-wash") for tone in ("go", "care", "stop", "none")] + [("ink", f"{t}-wash") for t in ("go", "care", "stop", "none")]
TEXT += [("soft", f"{t}-wash") for t in ("go", "care", "stop", "none")] + [("care", "paper"), ("none", "none-wash")]
MARKS = [(mark, ground) for mark in ("s1", "s2", "s3", "rest") for ground in ("paper", "card")]


@pytest.mark.parametrize("mode", ["light", "dark", "paper"])
def test_contrast_reaches_wcag_aa(mode: str) -> None:
    """4.5 for text (1.4.3), 3 for what a chart is read by and for the ring of the focus (1.4.11)."""
    colours = _palettes()[mode]
    low = {f"{a} on {b}": round(_contrast(colours[a], colours[b]), 2) for a, b in TEXT if _contrast(colours[a], colours[b]) < 4.5}
    low |= {f"{a} on {b}": round(_contrast(colours[a], colours[b]), 2) for a, b in MARKS if _contrast(colours[a], colours[b]) < 3}
    assert not low


@pytest.mark.parametrize("name", evidences.EVERY)
def test_everything_that_scrolls_or_opens_is_reached_by_keyboard(name: str) -> None:
    page = Page(render(evidences.EVERY[name]()))
    for attrs in page.every("div"):
        if attrs.get("class") == "scroll":
            assert attrs.get("tabindex") == "0", "a region that scrolls takes the focus"
            assert attrs.get("aria-label")
    assert len(page.every("summary")) == len(page.every("details"))


def test_a_waterfall_leads_from_the_reference_to_the_sum_of_its_pushes() -> None:
    reasons = [{"column": "sex", "value": "female", "push": 1.5}, {"column": "age", "value": None, "push": -0.5}]
    reasons += [{"column": f"c{k}", "value": 0.25, "push": 0.01} for k in range(10)]
    drawn = waterfall.waterfall(reasons, "log-odds", "the average training row", "row 0: yes")
    assert drawn.rows[-1] == ("together", "+1.1")
    assert drawn.rows[1] == ("age = empty", "-0.5")
    assert drawn.rows[-2] == ("2 more columns", "+0.02")
    ends = [float(x) for x in re.findall(r'class="push s[12]" d="M[\d.]+ [\d.]+H([\d.]+)"', drawn.svg)]
    starts = [float(x) for x in re.findall(r'class="push s[12]" d="M([\d.]+) ', drawn.svg)]
    assert starts[1:] == ends[:-1], "each push starts where the one before it ended"
    rows = [{"row": 0, "prediction": "<b>", "probabilities": {"yes": 0.8}, "reasons": reasons}]
    html = waterfall.page({"model": "m:1", "target": "y", "toward": "yes", "unit": "log-odds", "reference": "r", "rows": rows})
    assert "<b>" not in html.split("<body")[1]
    assert all(attrs.get("aria-label") for attrs in Page(html).every("svg"))
    assert waterfall.waterfall([], "log-odds", "r", "row 1").rows == (("together", "0"),)


def test_the_limit_on_a_gap_and_the_glass_box_are_told() -> None:
    base = evidences.binary()
    ways = [
        {"name": "as it is", "share": 0, "value": 0.93, "gap": 0.12, "low": 0.08, "high": 0.16, "inside": False},
        {"name": "50% reweighed", "share": 0.5, "value": 0.92, "gap": 0.04, "low": 0.01, "high": 0.07, "inside": True},
        {"name": "reweighed", "share": 1, "value": 0.91, "gap": None, "low": None, "high": None, "inside": False},
    ]
    told = {"column": "sex", "difference": {"value": 0.04, "low": 0.0, "high": 0.08, "n": 99, "method": "t"}, "verdict": "cannot tell"}
    limit = {"metric": "tpr", "limit": 0.05, "met": True, "chosen": "50% reweighed", "ways": ways, "columns": [told], "sentence": "Inside the limit."}
    fairness = {**base.evaluation.sections["fairness"], "limit": limit}
    sections = {**base.evaluation.sections, "fairness": fairness, "glass_box": {"kind": "ebm", "sentence": "Reading it costs 0.01."}}
    html = render(dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, sections=sections)))
    assert html.count("Inside the limit.") == 2, "once on the one page, once in the details"
    assert "What the limit on the gap costs" in html
    assert "Reading it costs 0.01." in html
    drawn = plots.fair_limit(limit, base.problem)
    assert [row[-1] for row in drawn.rows] == ["no", "yes"], "a way whose gap is unknown cannot be drawn"
    assert ">chosen<" in drawn.svg


def test_columns_of_two_values_are_no_range_to_stay_inside() -> None:
    base = evidences.binary()
    two = dataclasses.replace(next(c for c in base.card.columns if c.role == "feature" and c.kind == "number"), name="flag", distinct=2, missing=0)
    card = dataclasses.replace(base.card, columns=(two,))
    assert "“flag”" not in render(dataclasses.replace(base, card=card, explanation=None))


@pytest.mark.parametrize(("naive", "said"), [(0.9921, "makes no difference"), (0.999, "matters here")])
def test_a_split_that_changes_nothing_is_not_called_a_matter(naive: float, said: str) -> None:
    page = render(dataclasses.replace(evidences.binary(), naive_score={"honest": 0.992, "naive split": naive}))
    assert said in page
