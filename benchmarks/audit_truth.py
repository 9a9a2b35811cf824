"""Planted truth: defects of known strength in tables of known honesty; how often the audit finds them.

    python benchmarks/audit_truth.py [--sizes 300,2000,10000] [--seeds 10] [--only leakage] [--out audit_truth.json]

The grid of strengths (0.25, 0.5, 0.75, 1) and what full strength means (each planter's docstring) were written before any threshold was tuned.
A defect counts as found when one of the codes meant for it names the planted column (or, for rows and targets, when the code appears).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emlyn.context import Budget, Context
from emlyn.core.auditing.inspection import inspect, material, view
from emlyn.core.auditing.structure import with_answer_kind
from emlyn.core.reader import Read
from emlyn.core.tables.frames import to_table
from emlyn.records.options import TrainOptions
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.profile import profile

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
Columns = dict[str, Any]
Planter = Callable[[Columns, float, np.random.Generator], Columns]


def honest(n: int, rng: np.random.Generator, task: str) -> Columns:
    """Seven columns, four of which tell the answer a little."""
    size, speed, age = rng.normal(50, 9, n), rng.gamma(4.0, 3.0, n), rng.integers(18, 90, n).astype(float)
    kind = rng.choice(["oak", "ash", "elm", "fir"], n)
    town = rng.choice([f"town {i}" for i in range(12)], n)
    wide = rng.normal(900, 60, n)
    signal = 0.07 * (size - 50) + 0.06 * (speed - 12) + 0.5 * (kind == "oak") + 0.01 * (age - 54) + rng.normal(0, 1, n)
    y: Any = 100 + 10 * signal if task == "regression" else np.where(signal > 0.1, "yes", "no")
    return {"size": size, "speed": speed, "age": age, "kind": kind, "town": town, "wide": wide, "count": rng.poisson(6, n).astype(float), "y": y}


def hit(t: Columns) -> np.ndarray:
    return np.asarray(t["y"] == "yes") if t["y"].dtype.kind in "UO" else np.asarray(t["y"] > np.median(t["y"]))


def some(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, max(2, round(share * n)), replace=False)] = True
    return mask


def target_copy(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: every row restates the answer; else a share of 0.1 (1 - s) of the rows is wrong."""
    wrong = rng.random(len(t["y"])) < 0.1 * (1 - s)
    return {**t, "planted": np.where(hit(t) ^ wrong, "A", "B")}


def single_column(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the answer with noise of a quarter of its step."""
    return {**t, "planted": hit(t) + rng.normal(0, 0.25 / s, len(t["y"]))}


def number_copy(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the number rescaled; else with noise of 0.1 (1 - s) standard deviations."""
    return {**t, "planted": 3 * t["y"] - 7 + rng.normal(0, 0.3 * (1 - s) * t["y"].std() + 1e-12, len(t["y"]))}


def missing_indicator(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: filled in for 97 % of one answer and 1 % of the other."""
    filled = rng.random(len(t["y"])) < np.where(hit(t), 0.5 + 0.47 * s, 0.5 - 0.49 * s)
    return {**t, "planted": np.where(filled, rng.normal(size=len(filled)), np.nan)}


def circular(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the planted column is the target times another, to three digits; else with noise of 0.05 (1 - s)."""
    return {**t, "planted": np.round(t["y"] * t["wide"] * (1 + rng.normal(0, 0.05 * (1 - s), len(t["y"]))), 3)}


def row_counter(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: rows sorted by the answer, with a counter beside them; else a share 1 - s of the rows stays unsorted."""
    key = np.where(rng.random(len(t["y"])) < s, hit(t) + rng.random(len(t["y"])), rng.random(len(t["y"])) * 2)
    order = np.argsort(key)
    return {**{k: np.asarray(v)[order] for k, v in t.items()}, "planted": 5_000.0 + 3 * np.arange(len(order))}


def after_outcome(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: named like a consequence (of four names); else not named so."""
    name = rng.choice(["paid_total", "refund_amount", "settlement", "cancelled_late"]) if s == 1 else "planted"
    return {**t, str(name): hit(t) * s + rng.normal(0, 1, len(t["y"]))}


def twins(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 20 % of the rows are copies of others."""
    n = len(t["y"])
    order = rng.permutation(np.r_[np.arange(n), rng.choice(n, max(2, round(0.25 * s * n)))])
    return {k: np.asarray(v)[order] for k, v in t.items()}


def edited_copies(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: a tenth of the rows written again with one cell taken from another row."""
    n = len(t["y"])
    again = rng.choice(n, max(2, round(0.1 * s * n)), replace=False)
    more = {k: np.asarray(v)[again].copy() for k, v in t.items()}
    names = [k for k in t if k != "y"]
    for i, column in enumerate(rng.choice(names, len(again))):
        more[column][i] = np.asarray(t[column])[rng.integers(n)]
    mixed = rng.permutation(n + len(again))
    return {k: np.r_[np.asarray(v), more[k]][mixed] for k, v in t.items()}


def drawn(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: as many rows of one answer as of the other, exactly (of the size of the rarer); else a share 1 - s more of one."""
    yes, no = np.flatnonzero(hit(t)), np.flatnonzero(~hit(t))
    least = min(len(yes), len(no)) // 2
    kept = rng.permutation(np.r_[yes[: 2 * least], no[: round(2 * least * (1 - 0.3 * (1 - s)))]])
    return {k: np.asarray(v)[kept] for k, v in t.items()}


def unanswered(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 40 % of the rows have no answer."""
    gone = some(len(t["y"]), 0.4 * s, rng)
    return {**t, "y": np.where(gone, "", t["y"])}


def unripe(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: a date per row, and no event in the newest 6 %; else a share s of those events is gone."""
    n = len(t["y"])
    days = np.datetime64("2021-01-01") + np.arange(n).astype("timedelta64[h]")
    late = (np.arange(n) > 0.94 * n) & (rng.random(n) < s)
    return {**t, "when": days, "y": np.where(late, "no", t["y"])}


def two_halves(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: a date per row, and two columns that move by one and a half standard deviations in the second half."""
    n = len(t["y"])
    days = np.datetime64("2021-01-01") + np.arange(n).astype("timedelta64[h]")
    late = np.arange(n) >= n / 2
    return {**t, "when": days, "size": t["size"] + 13.5 * s * late, "wide": t["wide"] - 90 * s * late}


def cut_off(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the largest 4 % of a column that drives the answer written as 99999."""
    n = len(t["y"])
    gain = np.round(rng.lognormal(7, 1, n))
    limit = np.quantile(gain, 1 - 0.04 * s)
    yes = rng.random(n) < 0.2 + 0.7 * np.clip(gain / limit, 0, 1) ** 2
    return {**t, "planted": np.where(gain > limit, 99_999.0, gain), "y": np.where(yes, "yes", "no")}


def entities(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: five rows per entity, three columns constant within; else fewer rows per entity."""
    n = len(t["y"])
    who = rng.integers(0, max(40, round(n / (1 + 4 * s))), n)
    more = {f"fixed{i}": rng.integers(0, 9, who.max() + 1)[who].astype(float) for i in range(3)}
    return {**t, **more, "patient_id": 1000 + who}


def zero(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 10 % zeros in a column that is far from 0 otherwise and named so that 0 cannot be."""
    return {**t, "glucose": np.where(some(len(t["y"]), 0.1 * s, rng), 0.0, np.round(rng.normal(120, 18, len(t["y"]))))}


def nameless_zero(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 8 % zeros in a column that is far from 0 otherwise, without a telling name."""
    return {**t, "planted": np.where(some(len(t["y"]), 0.08 * s, rng), 0.0, rng.normal(500, 60, len(t["y"])))}


def sentinel(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 4 % of the cells are -999 or 9999."""
    return {**t, "planted": np.where(some(len(t["y"]), 0.04 * s, rng), rng.choice([-999.0, 9999.0]), rng.normal(50, 9, len(t["y"])))}


def placeholder(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 10 % of the words are `?`."""
    return {**t, "planted": np.where(some(len(t["y"]), 0.1 * s, rng), "?", rng.choice(["a b", "c d", "e f"], len(t["y"])))}


def informative(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: missing in 40 % of one answer and 10 % of the other."""
    gone = rng.random(len(t["y"])) < np.where(hit(t), 0.25 + 0.15 * s, 0.25 - 0.15 * s)
    return {**t, "planted": np.where(gone, np.nan, rng.normal(size=len(gone)))}


def shifted_gaps(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: missing in 60 % of the first half and 10 % of the second."""
    early = np.arange(len(t["y"])) < len(t["y"]) / 2
    return {**t, "planted": np.where(rng.random(len(early)) < np.where(early, 0.1 + 0.5 * s, 0.1), np.nan, rng.normal(size=len(early)))}


def block(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: four columns missing in the same 20 % of the rows."""
    gone = some(len(t["y"]), 0.2 * s, rng)
    return {**t, **{f"planted{i}": np.where(gone, np.nan, rng.normal(size=len(gone))) for i in range(4)}}


def spelling(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 8 % of the words in capitals."""
    return {**t, "kind": np.where(some(len(t["y"]), 0.08 * s, rng), np.char.upper(t["kind"]), t["kind"])}


def unit_error(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 5 % of a narrow column a thousand times too large."""
    return {**t, "wide": np.where(some(len(t["y"]), 0.05 * s, rng), t["wide"] * 1000, t["wide"])}


def swapped(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: two columns swapped in 4 % of the rows."""
    at = some(len(t["y"]), 0.04 * s, rng)
    return {**t, "size": np.where(at, t["wide"], t["size"]), "wide": np.where(at, t["size"], t["wide"])}


def money(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: every number written as $1,234."""
    return {**t, "planted": np.array([f"${v:,.0f}" for v in rng.gamma(3, 900, len(t["y"]))])}


def constant(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: one value throughout."""
    return {**t, "planted": np.where(rng.random(len(t["y"])) < 1 - s, "b", "a")}


def copied_column(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: another column in another unit; else with noise of 0.2 (1 - s) standard deviations."""
    return {**t, "planted": 2.54 * t["size"] + rng.normal(0, 0.2 * (1 - s) * 9 + 1e-9, len(t["y"]))}


def identifier(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: a counter named row_id; else a share of 1 - s of its values repeats."""
    ids = np.arange(len(t["y"]))
    return {**t, "row_id": np.where(rng.random(len(ids)) < 1 - s, ids // 7, ids)}


def dates(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: days written as yyyymmdd."""
    days = np.datetime64("2012-01-01") + rng.integers(0, 3000, len(t["y"])).astype("timedelta64[D]")
    return {**t, "planted": np.array([float(str(d).replace("-", "")) for d in days])}


def impossible(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: ages of 200 in 1 % of the rows."""
    return {**t, "age": np.where(some(len(t["y"]), 0.01 * s, rng), 200.0, t["age"])}


def far(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: two values a hundred standard deviations away."""
    at = np.zeros(len(t["y"]), dtype=bool)
    at[rng.choice(len(at), 2, replace=False)] = True
    return {**t, "planted": np.where(at, 100 * s, 0) + rng.normal(0, 1, len(at))}


def order(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: start <= end broken in 0.3 % of the rows."""
    start = rng.gamma(5, 4, len(t["y"]))
    end = start + rng.gamma(2, 1, len(start))
    at = some(len(start), 0.003 * s, rng)
    return {**t, "start": np.where(at, end + 1, start), "end": end}


def formula(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: total = fare + tip in every row; else in a share s."""
    fare, tip = rng.gamma(5, 4, len(t["y"])), rng.gamma(2, 1, len(t["y"]))
    return {**t, "fare": fare, "tip": tip, "total": np.where(rng.random(len(fare)) <= s, fare + tip, fare + tip + rng.normal(0, 1, len(fare)))}


def contradictory(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 10 % of the rows repeated with the other answer."""
    n = len(t["y"])
    again = rng.choice(n, max(4, round(0.1 * s * n)), replace=False)
    more = {k: np.asarray(v)[again] for k, v in t.items()}
    more["y"] = np.where(more["y"] == "yes", "no", "yes")
    mixed = rng.permutation(n + len(again))
    return {k: np.r_[np.asarray(v), more[k]][mixed] for k, v in t.items()}


def flipped(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 10 % of the answers turned round, where the rest could be told almost perfectly."""
    clear = t["size"] + 0.2 * rng.normal(size=len(t["y"])) > 50
    wrong = some(len(clear), 0.1 * s, rng)
    return {**t, "y": np.where(clear ^ wrong, "yes", "no")}


def rare_class(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: four rows of a third answer."""
    y = t["y"].astype("U8").copy()
    y[rng.choice(len(y), round(10 - 6 * s), replace=False)] = "perhaps"
    return {**t, "y": y}


def imbalance(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 5 % of one answer."""
    keep = hit(t) & (rng.random(len(t["y"])) < 0.1 / s)
    return {**t, "y": np.where(keep, "yes", "no")}


def capped(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the largest 6 % of the answers cut off."""
    return {**t, "y": np.minimum(t["y"], np.quantile(t["y"], 1 - 0.06 * s))}


def extreme(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: three answers a thousand standard deviations away."""
    y = t["y"].copy()
    y[rng.choice(len(y), 3, replace=False)] += 1_000 * s * y.std()
    return {**t, "y": y}


def no_signal(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: the answers of a share s of the rows are shuffled."""
    y = t["y"].copy()
    at = np.flatnonzero(rng.random(len(y)) < s) if s < 1 else np.arange(len(y))
    y[at] = y[rng.permutation(at)]
    return {**t, "y": y}


def sites(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: answers differ by 40 points between five hospitals."""
    where = rng.integers(0, 5, len(t["y"]))
    yes = rng.random(len(where)) < 0.5 + s * 0.2 * (where - 2) / 2
    return {**t, "hospital": np.array(list("ABCDE"))[where], "y": np.where(yes, "yes", "no")}


def base_rates(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: 60 % of one sex, 40 % of the other."""
    sex = rng.integers(0, 2, len(t["y"]))
    return {**t, "sex": np.array(["f", "m"])[sex], "y": np.where(rng.random(len(sex)) < 0.5 + 0.1 * s * (2 * sex - 1), "yes", "no")}


def proxy(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: another column tells the sex with AUC 0.9."""
    sex = rng.integers(0, 2, len(t["y"]))
    return {**t, "sex": np.array(["f", "m"])[sex], "planted": 1.8 * s * sex + rng.normal(size=len(sex))}


def mails(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: every cell a mail address; else a share 1 - s are other words."""
    address = [f"user{i}@mail{i % 9}.example" if rng.random() < s else f"word {i}" for i in range(len(t["y"]))]
    return {**t, "planted": np.array(address)}


def drifting(t: Columns, s: float, rng: np.random.Generator) -> Columns:
    """Full: a date per row, and answers that go from 30 to 70 % over it."""
    n = len(t["y"])
    days = np.datetime64("2021-01-01") + np.arange(n).astype("timedelta64[h]")
    return {**t, "when": days, "y": np.where(rng.random(n) < 0.5 + s * 0.4 * (np.arange(n) / n - 0.5), "yes", "no")}


SEVERE = "severe"
DEFECTS: dict[str, tuple[Planter, str, tuple[str, ...], str, str]] = {
    # name: planter, task, codes meant for it, column to be named ("" = any), severe or not
    "target copy": (target_copy, "binary", ("leakage.target_copy", "leakage.single_column"), "planted", SEVERE),
    "number copy": (number_copy, "regression", ("leakage.target_copy", "leakage.single_column"), "planted", SEVERE),
    "single column": (single_column, "binary", ("leakage.single_column", "leakage.target_copy"), "planted", SEVERE),
    "missing indicator": (missing_indicator, "binary", ("leakage.missing_indicator", "leakage.single_column"), "planted", SEVERE),
    "circular pair": (circular, "regression", ("leakage.circular",), "planted", SEVERE),
    "sorted with counter": (row_counter, "binary", ("leakage.row_order", "form.identifier", "leakage.single_column"), "planted", SEVERE),
    "after the outcome": (after_outcome, "binary", ("leakage.after_outcome",), "", SEVERE),
    "twins": (twins, "binary", ("structure.twins", "form.duplicate_rows"), "", SEVERE),
    "edited copies": (edited_copies, "binary", ("structure.near_twins",), "", ""),
    "drawn by answer": (drawn, "binary", ("structure.sampling",), "y", ""),
    "no answer": (unanswered, "binary", ("target.unanswered",), "y", ""),
    "outcome not yet known": (unripe, "binary", ("structure.unripe",), "when", ""),
    "halves that differ": (two_halves, "binary", ("structure.parts",), "size", ""),
    "limit written as code": (cut_off, "binary", ("form.capped",), "planted", ""),
    "entities": (entities, "binary", ("structure.entities",), "patient_id", SEVERE),
    "drift in time": (drifting, "binary", ("structure.time",), "when", SEVERE),
    "no signal": (no_signal, "binary", ("target.no_signal",), "", SEVERE),
    "zero, named": (zero, "binary", ("missing.zero",), "glucose", ""),
    "zero, nameless": (nameless_zero, "binary", ("missing.zero",), "planted", ""),
    "sentinel": (sentinel, "binary", ("missing.sentinel",), "planted", ""),
    "placeholder": (placeholder, "binary", ("missing.placeholder",), "planted", ""),
    "informative gaps": (informative, "binary", ("missing.informative", "leakage.missing_indicator"), "planted", ""),
    "shifted gaps": (shifted_gaps, "binary", ("missing.shift",), "planted", ""),
    "block of gaps": (block, "binary", ("missing.block",), "planted0", ""),
    "spelling": (spelling, "binary", ("form.spelling",), "kind", ""),
    "unit error": (unit_error, "binary", ("form.unit_error", "form.far_values"), "wide", ""),
    "swapped cells": (swapped, "binary", ("form.swapped",), "wide", ""),
    "numbers in text": (money, "binary", ("form.number_text",), "planted", ""),
    "constant": (constant, "binary", ("form.constant",), "planted", ""),
    "copied column": (copied_column, "binary", ("form.duplicate_columns",), "planted", ""),
    "identifier": (identifier, "binary", ("form.identifier",), "row_id", ""),
    "dates as numbers": (dates, "binary", ("form.date_number",), "planted", ""),
    "impossible": (impossible, "binary", ("form.impossible", "form.far_values"), "age", ""),
    "far values": (far, "binary", ("form.far_values",), "planted", ""),
    "broken order": (order, "binary", ("form.order",), "start", ""),
    "formula": (formula, "binary", ("form.formula",), "total", ""),
    "contradictory": (contradictory, "binary", ("target.contradictory",), "", ""),
    "flipped labels": (flipped, "binary", ("target.label_errors",), "", ""),
    "rare class": (rare_class, "multiclass", ("target.classes",), "", ""),
    "imbalance": (imbalance, "binary", ("target.imbalance",), "", ""),
    "capped target": (capped, "regression", ("target.capped",), "", ""),
    "extreme answers": (extreme, "regression", ("target.extreme",), "", ""),
    "sites": (sites, "binary", ("structure.sites",), "hospital", ""),
    "base rates": (base_rates, "binary", ("fairness.base_rates",), "sex", ""),
    "proxy": (proxy, "binary", ("fairness.proxies",), "planted", ""),
    "mail addresses": (mails, "binary", ("privacy.personal",), "planted", ""),
}


def caught(columns: Columns, codes: tuple[str, ...], column: str) -> bool:
    options, context = TrainOptions(target="y"), Context(Budget(1e9, time.monotonic()))
    raw = to_table(columns)
    card = profile(Read(raw, "planted"), options, context)
    problem = frame(raw, card, options, context)
    raw = raw.take(target_rows(raw, card, problem))
    card = with_answer_kind(card, "y", problem.task)
    seen = view(raw, card, problem)
    said = inspect(material(raw, card, problem, seen), seen.positions, lambda: 1e9, lambda check: check.name in codes)
    return any(f.code in codes and (not column or column in f.columns) for f in said.findings.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="300,2000,10000")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--out")
    args = parser.parse_args()
    sizes = [int(s) for s in args.sizes.split(",")]
    recall: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    print(" " * 22 + "".join(f"  n={n} at {STRENGTHS}".ljust(34) for n in sizes))
    for name, (planter, task, codes, column, _) in DEFECTS.items():
        if args.only not in name:
            continue
        for n in sizes:
            for s in STRENGTHS:
                for seed in range(args.seeds):
                    rng = np.random.default_rng([seed, n, round(100 * s)])
                    table = planter(honest(n, rng, task if task == "regression" else "binary"), s, rng)
                    recall[name][f"{n}/{s}"].append(caught(table, codes, column))
        line = "".join("  " + " ".join(f"{np.mean(recall[name][f'{n}/{s}']):7.2f}" for s in STRENGTHS) for n in sizes)
        print(f"{name:22s}{line}", flush=True)
    full = [np.mean(recall[name][f"{n}/1.0"]) for name, d in DEFECTS.items() if d[4] == SEVERE and name in recall for n in sizes]
    if full:
        found = f"{100 * np.mean(full):.1f} % found ({len(full)} cells of {args.seeds} tables, worst cell {100 * min(full):.0f} %)"
        print(f"\nsevere defects at full strength: {found}")
    if args.out:
        Path(args.out).write_text(json.dumps({k: {c: float(np.mean(v)) for c, v in cells.items()} for k, cells in recall.items()}, indent=1))


if __name__ == "__main__":
    main()
