"""How the rows came to be here: each hint on a table that shows it, and silence on one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tables import audited, codes, honest

N = 1_200


def _days(n: int = N) -> np.ndarray:
    return np.datetime64("2021-01-01") + (np.arange(n) * 6).astype("timedelta64[h]")


def test_answers_in_equal_numbers_were_drawn() -> None:
    table = honest(N)
    assert "structure.sampling" not in codes(audited(table, target="y"))
    table["y"] = np.where(np.argsort(np.argsort(table["size"])) < N / 2, "no", "yes")
    assert codes(audited(table, target="y"), "info")["structure.sampling"] == ("y",)


@pytest.mark.parametrize("sizes", ["equal", "mixed"])
def test_entities_of_one_size_are_the_complete_cases(sizes: str) -> None:
    table = honest(N)
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(N // 4), 4) if sizes == "equal" else np.sort(rng.integers(0, N // 4, N))
    for i in range(3):
        table[f"fixed{i}"] = rng.normal(size=N)[who]
    table["patient_id"] = who + 100
    found = audited(table, target="y")
    assert found.problem.split.by == "patient_id"
    assert ("structure.sampling" in codes(found)) == (sizes == "equal")


@pytest.mark.parametrize(("gone", "severity"), [(0.4, "warn"), (0.05, "info"), (0.0, "")])
def test_rows_without_an_answer_are_told(gone: float, severity: str) -> None:
    table = honest(N)
    table["y"] = [None if i < gone * N else v for i, v in enumerate(table["y"].tolist())]
    found = audited(table, target="y")
    assert ("target.unanswered" in codes(found, severity)) == bool(severity)


@pytest.mark.parametrize("ripe", [True, False])
def test_newest_rows_without_the_event_are_told(ripe: bool) -> None:
    table: dict[str, Any] = {**honest(N), "date": _days()}
    if not ripe:
        table["y"] = np.where(np.arange(N) > 0.94 * N, "no", table["y"])
    found = codes(audited(table, target="y"))
    assert ("structure.unripe" in found) is not ripe


@pytest.mark.parametrize("drifts", [True, False])
def test_halves_that_differ_in_time_are_told(drifts: bool) -> None:
    table: dict[str, Any] = {**honest(N), "date": _days()}
    if drifts:
        table["speed"] = table["speed"] + 6 * (np.arange(N) > N / 2)
    found = audited(table, target="y")
    assert ("structure.parts" in codes(found, "warn")) is drifts
    if drifts:
        (said,) = [f for f in found.findings if f.code == "structure.parts"]
        assert said.columns[0] == "speed"
        assert said.effect is not None
        assert said.effect.low is not None


def test_rare_words_do_not_betray_the_order_of_the_rows() -> None:
    """Levels are coded by first appearance: read as numbers they would tell the first half from the second in any table."""
    table = honest(N)
    table["title"] = np.array([f"job {i // 2}" for i in range(N)])[np.random.default_rng(0).permutation(N)]
    assert "structure.parts" not in codes(audited(table, target="y"))


def test_new_places_are_judged_beside_the_split() -> None:
    rng = np.random.default_rng(0)
    where = rng.integers(0, 8, 2_000)
    base = rng.normal(0, 2, 8)[where]
    table = {
        "hospital": np.array(list("ABCDEFGH"))[where],
        "device": base + rng.normal(0, 0.1, 2_000),
        "size": rng.normal(size=2_000),
        "y": np.where(base * rng.choice([-1, 1], 8)[where] + rng.normal(0, 1, 2_000) > 0, "yes", "no"),
    }
    (said,) = [f for f in audited(table, target="y").findings if f.code == "structure.sites"]
    assert said.evidence["score at new places"] < said.evidence["score"] - 0.1
    assert "it has not seen" in said.detail


def test_copies_with_one_edited_cell_are_told_and_a_design_is_not() -> None:
    rng = np.random.default_rng(0)
    table = {**honest(N), **{f"x{i}": rng.normal(size=N).round(2) for i in range(4)}}
    assert "structure.near_twins" not in codes(audited(table, target="y"))
    again = {k: np.asarray(v)[:150].copy() for k, v in table.items()}
    for i in range(150):
        again[f"x{i % 4}"][i] += 1
    copies = {k: np.r_[np.asarray(v), again[k]] for k, v in table.items()}
    assert "structure.near_twins" in codes(audited(copies, target="y"), "info")
    design = {k: np.repeat(np.asarray(v)[:300], 4) for k, v in table.items()}
    design["rank"] = np.tile(np.arange(4) * 7, 300)
    assert "structure.near_twins" not in codes(audited(design, target="y"))
