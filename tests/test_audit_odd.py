"""The audit of odd tables: no check may stumble, whatever the cells hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emlyn.errors import UserError
from tables import audited, framed

NAMES = ["select", "class", "a.b", "😀", "x" * 300, " padded ", "paid_total", "id", "age", "date", "Sex", "lat", "0", "note", "NaN", "y2"]
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "numbers": st.floats(allow_nan=True, allow_infinity=True, width=64),
    "few numbers": st.sampled_from([0.0, 1.0, -999.0, 1e308, -1e308, float("nan"), float("inf")]),
    "codes": st.integers(-3, 40).map(float),
    "words": st.sampled_from(["a", "A ", "a ", "?", "", None, "$1,200", "12 kg", "2024-01-31", "x" * 50]),
    "texts": st.text(max_size=12) | st.none(),
    "booleans": st.booleans(),
}


@st.composite
def odd_tables(draw: st.DrawFn) -> dict[str, Any]:
    rows = draw(st.integers(5, 60))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    table: dict[str, Any] = {}
    for name in names:
        kind = draw(st.sampled_from(list(CELLS)))
        few = draw(st.lists(CELLS[kind], min_size=1, max_size=12))
        picks = np.random.default_rng(draw(st.integers(0, 9))).integers(0, len(few), rows)
        cells = [few[i] for i in picks]
        table[name] = np.array(cells, dtype=float if kind in ("numbers", "few numbers", "codes") else object)
    answers = draw(st.sampled_from(["labels", "three", "numbers", "booleans"]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    table["y"] = {
        "labels": rng.choice(["no", "yes"], rows),
        "three": rng.choice(["a", "b", "c"], rows),
        "numbers": rng.normal(size=rows),
        "booleans": rng.random(rows) > 0.5,
    }[answers]
    return table


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd_tables(), st.sampled_from(["y", None]), st.sampled_from(["safe", "all"]))
def test_no_check_stumbles(table: dict[str, Any], target: str | None, repairs: str) -> None:
    try:
        found = audited(table, target=target, repairs=repairs)
    except UserError:
        return
    assert not [one for one in found.left_out if "could not look" in one]
    assert found.problem.features or target is None
    for one in found.findings:
        assert one.message
        assert "\n" not in one.message


@pytest.mark.parametrize("rows", [5, 9, 21, 60])
def test_short_tables_are_audited(rows: int) -> None:
    rng = np.random.default_rng(rows)
    table = {"a": rng.normal(size=rows), "b": rng.choice(["u", "v"], rows), "y": np.arange(rows) % 2 == 0}
    found = audited(table, target="y")
    assert not [one for one in found.left_out if "could not look" in one]
    assert found.problem.features


def test_a_boolean_target_has_labels() -> None:
    rng = np.random.default_rng(0)
    _, _, problem = framed({"a": rng.normal(size=80), "y": rng.random(80) > 0.5}, target="y")
    assert problem.task == "binary"
    assert [label.casefold() for label in problem.classes] in (["false", "true"], ["0", "1"])
