"""`sql`: one SELECT that scores a table, for models of linear scores and trees.

Compared with the model on the user's rows before it is handed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emlyn.core.exporter import Exportable, Exported, Exporter, cannot, write_all
from emlyn.core.features.design import KNOTS, REACH
from emlyn.core.judging.metrics import CLIP
from emlyn.core.models.outcome import FLOOR
from emlyn.core.tables.contract import conform
from emlyn.core.tables.frames import to_pandas
from emlyn.exporters._flat import Bag, Feature, Flat, Part, Scores, Tree, Trees, flatten, missing_forms, parity
from emlyn.exporters._image import quoted
from emlyn.plugins import hook
from emlyn.records.data_card import ColumnRule

MOST_LEAVES = 20_000
"""A larger statement is slower to plan than to run a container."""
SOURCE = "rows_to_score"
TRUE, FALSE = ("true", "t", "1", "1.0"), ("false", "f", "0", "0.0")


class SQL:
    """Standard SQL with double-quoted names, as DuckDB and PostgreSQL read it."""

    name = "sql"
    about = "one SELECT that scores a table (linear and small tree models)"

    def export(self, what: Exportable, out: Path) -> Exported:
        flat = flatten(what, "SQL")
        if flat.leaves > MOST_LEAVES:
            raise cannot(
                what, "SQL", f"its trees have {flat.leaves:,} leaves, at most {MOST_LEAVES:,} fit a statement", "export it as docker or mlflow"
            )
        text = statement(flat)
        checks = compared(what, text)
        return Exported(
            write_all(out, {"score.sql": text}),
            (f"psql -c 'CREATE VIEW {SOURCE} AS TABLE your_table' -f {quoted(out / 'score.sql')}",),
            (
                f"Reads the table or view {SOURCE}. Its answers come in no particular order: to keep a key of yours, name it in the last SELECT.",
                "Numbers must be numeric columns, categories text; texts that mean no value are read as the contract reads them.",
                "Features are rounded to single precision, as in the model.",
                *(() if checks else ("Not compared with the model: that needs rows of yours (--rows) and DuckDB (pip install duckdb).",)),
            ),
            checks,
        )


def compared(what: Exportable, text: str) -> dict[str, Any]:
    """Run the statement in DuckDB on the user's rows; nothing without rows or DuckDB. Raises ModelError when it answers otherwise than the model."""
    if what.rows is None or find_spec("duckdb") is None:
        return {}
    import duckdb

    frame = to_pandas(conform(what.rows, what.model.contract).table)
    connection = duckdb.connect(config={"threads": 1, "preserve_insertion_order": True})  # several threads hand rows back in any order
    connection.execute("SET enable_progress_bar = false")
    connection.register(SOURCE, frame)
    found = connection.execute(text).fetchnumpy()
    return parity(what, "SQL", found["prediction"].tolist(), answers_of(found, what.model.problem.classes))


def answers_of(found: Mapping[str, Any], classes: Sequence[str]) -> np.ndarray:
    """(n, k) from the columns of the answer."""
    names = [f"probability_{c}" for c in classes] or ["prediction"]
    return np.column_stack([np.asarray(found[name], dtype=np.float64) for name in names])


def statement(flat: Flat) -> str:
    """The whole SELECT: features, raw outputs, shares of each part and of each bag, answers."""
    features = [f"{feature(f)} AS emlyn_f{i}" for i, f in enumerate(flat.features)]
    raws, links = [], []
    for i, part in enumerate(flat.parts):
        width = len(part.body.intercept) if isinstance(part.body, Scores) else part.body.width  # type: ignore[union-attr]
        raws += [f"{raw} AS emlyn_r{i}_{k}" for k, raw in enumerate(raw_outputs(part, width))]
        answers = link(part, [f"emlyn_r{i}_{k}" for k in range(width)])
        links += [f"{answer} AS emlyn_a{i}_{k}" for k, answer in enumerate(answers)]
    bags, first = [], 0
    for b, bag in enumerate(flat.bags):
        shares = pooled(bag, [[f"emlyn_a{i}_{k}" for k in range(flat.width)] for i in range(first, first + len(bag.parts))])
        bags += [f"{share} AS emlyn_b{b}_{k}" for k, share in enumerate(shares)]
        first += len(bag.parts)
    names = [[f"emlyn_b{b}_{k}" for k in range(flat.width)] for b in range(len(flat.bags))]
    ready = [_normalised(row) for row in names] if flat.classes else names
    mixed = [_sum([f"{number(bag.weight)} * ({ready[b][k]})" for b, bag in enumerate(flat.bags)]) for k in range(flat.width)]
    steps = [
        ("emlyn_features", SOURCE, features),
        ("emlyn_raw", "emlyn_features", raws),
        ("emlyn_parts", "emlyn_raw", links),
        ("emlyn_bags", "emlyn_parts", bags),
        ("emlyn_mixed", "emlyn_bags", [f"{m} AS emlyn_m{k}" for k, m in enumerate(mixed)]),
        *_calibrated(flat),
    ]
    # every name is quoted by `identifier`, every text by `string`: nothing of the model is SQL
    with_ = ",\n".join(f"{name} AS MATERIALIZED (SELECT *, {', '.join(columns)} FROM {source})" for name, source, columns in steps)  # noqa: S608
    columns = ", ".join(dict.fromkeys(identifier(f.column) for f in flat.features))
    return f"WITH {with_}\nSELECT {columns}, {', '.join(_final(flat))} FROM {steps[-1][0]};\n"


def feature(f: Feature) -> str:
    """One encoded feature in single precision; NULL where there is no value."""
    column = identifier(f.column)
    if f.codes is None:
        value = f"CAST({column} AS DOUBLE PRECISION)"
        if f.rule.kind == "boolean":
            value = _boolean(column, f.rule)
        if f.rule.parse.clip is not None:
            value = f"GREATEST(LEAST({value}, {number(f.rule.parse.clip[1])}), {number(f.rule.parse.clip[0])})"
        if f.rule.parse.not_numbers:
            value = f"CASE WHEN {column} IN ({', '.join(number(v) for v in f.rule.parse.not_numbers)}) THEN NULL ELSE {value} END"
        moved = f"{value} - {number(f.shift)}" if f.shift else value
        return f"CAST(CAST({moved} AS REAL) AS DOUBLE PRECISION)"
    text = f"TRIM(CAST({column} AS VARCHAR))"
    forms = ", ".join(string(t) for t in missing_forms(f.rule))
    cases = [f"WHEN {column} IS NULL OR LOWER({text}) IN ({forms}) THEN {number(f.missing)}"]
    cases += [f"WHEN {text} = {string(written)} THEN {number(code)}" for written, code in f.codes.items()]
    return f"CASE {' '.join(cases)} ELSE {number(f.unseen)} END"


def _boolean(column: str, rule: ColumnRule) -> str:
    text = f"LOWER(TRIM(CAST({column} AS VARCHAR)))"
    true, false = ({*words, *(w.casefold() for w in own)} for words, own in ((TRUE, rule.parse.true), (FALSE, rule.parse.false)))
    yes, no = (", ".join(string(w) for w in sorted(words)) for words in (true, false - true))
    return f"CASE WHEN {text} IN ({yes}) THEN {number(1.0)} WHEN {text} IN ({no}) THEN {number(0.0)} END"


def raw_outputs(part: Part, width: int) -> list[str]:
    if isinstance(part.body, Scores):
        return [f"CAST({_linear(part.body, k)} AS DOUBLE PRECISION)" for k in range(width)]
    body = part.body
    assert isinstance(body, Trees)  # `flatten` refuses networks here
    found = []
    for k in range(width):
        terms = [tree_case(tree, body.fill, outputs.index(k)) for tree, outputs in zip(body.trees, body.outputs, strict=True) if k in outputs]
        bias = number(0.0 if body.bias is None else float(body.bias[k]))
        found.append(f"{bias} + {number(body.factor)} * CAST({_sum(terms)} AS DOUBLE PRECISION)" if terms else bias)
    return found


def _linear(body: Scores, k: int) -> str:
    """The score as a sum over squashed numbers, gaps, codes and hinges, in the order of the design."""
    design, weights = body.design, iter(body.coefficients[:, k].tolist())
    terms = [number(float(body.intercept[k]))]
    squashed = []
    for j, middle, scale in zip(design.numbers.tolist(), design.middle.tolist(), design.scale.tolist(), strict=True):
        z = f"((emlyn_f{j} - {number(middle)}) / {number(scale)})"
        squashed.append(f"COALESCE({z} / SQRT(1 + POWER({z} / {number(REACH)}, 2)), 0.0)")
    terms += [f"{number(w)} * {z}" for z, w in zip(squashed, weights, strict=False) if w]
    for gap, w in zip(design.gaps.tolist(), weights, strict=False):
        terms += [f"CASE WHEN emlyn_f{int(design.numbers[gap])} IS NULL THEN {number(w)} ELSE 0.0 END"] if w else []
    for j, size in design.codes:
        taken = [next(weights) for _ in range(size)]
        cases = " ".join(f"WHEN {code} THEN {number(w)}" for code, w in enumerate(taken) if w)
        terms += [f"CASE CAST(emlyn_f{j} AS INTEGER) {cases} ELSE 0.0 END"] if cases else []
    for place, knots in zip(design.splined.tolist(), design.knots.tolist(), strict=True):
        for knot in (*knots, *([math.nan] * (KNOTS - len(knots)))):
            w = next(weights)
            if w and knot == knot:
                terms.append(f"{number(w)} * GREATEST({squashed[place]} - {number(knot)}, 0.0)")
    return _sum(terms)


def tree_case(tree: Tree, fill: np.ndarray | None, output: int) -> str:
    """One tree as nested CASEs."""

    def visit(node: int) -> str:
        if node < 0:
            return number(float(tree.leaves[-1 - node, output]))
        j, threshold = int(tree.feature[node]), float(tree.threshold[node])
        if node in tree.sets:
            test = f"emlyn_f{j} IN ({', '.join(map(str, tree.sets[node]))})"
        else:
            test = f"emlyn_f{j} <= {number(threshold)}"
            if float(fill[j]) <= threshold if fill is not None else bool(tree.missing_left[node]):
                test = f"({test} OR emlyn_f{j} IS NULL)"
        return f"CASE WHEN {test} THEN {visit(int(tree.left[node]))} ELSE {visit(int(tree.right[node]))} END"

    return visit(0 if len(tree.feature) else -1)


def link(part: Part, raws: Sequence[str]) -> list[str]:
    """Raw outputs as numbers in range, or as shares before their floor and sum."""
    outcome = part.outcome
    if part.link == "number":
        value = f"{raws[0]} * {number(outcome.scale)} + {number(outcome.centre)}"
        value = f"EXP(LEAST({value}, 700.0)) - 1.0" if outcome.log else value
        value = f"GREATEST({value}, {number(outcome.low)})" if math.isfinite(outcome.low) else value
        return [f"LEAST({value}, {number(outcome.high)})" if math.isfinite(outcome.high) else value]
    if part.link == "sigmoid":
        positive = f"1.0 / (1.0 + EXP(-GREATEST(LEAST({raws[0]}, 500.0), -500.0)))"
        return [_floored(f"1.0 - {positive}"), _floored(positive)]
    if part.link == "softmax":
        most = f"GREATEST({', '.join(raws)})"
        total = _sum([f"EXP({r} - {most})" for r in raws])
        return [_floored(f"EXP({r} - {most}) / ({total})") for r in raws]
    return [_floored(r) for r in raws]


def pooled(bag: Bag, names: Sequence[Sequence[str]]) -> list[str]:
    """What the parts of a bag, their shares by these names, answer together: a number, or shares before their sum."""
    rows = [_normalised(row) for row in names] if len(names[0]) > 1 else names
    if bag.roots:
        return [f"POWER({_sum([f'SQRT({share})' for share in column])}, 2)" for column in zip(*rows, strict=True)]
    return [f"({_sum(column)}) / {number(len(rows))}" for column in zip(*rows, strict=True)]


def _floored(share: str) -> str:
    return f"LEAST(GREATEST({share}, {number(FLOOR)}), 1.0)"


def _normalised(shares: Sequence[str]) -> list[str]:
    return [f"{share} / ({' + '.join(shares)})" for share in shares]


def _calibrated(flat: Flat) -> list[tuple[str, str, list[str]]]:
    """Calibration of probabilities as one more step: exponentials first, then their shares in `_final`."""
    if not flat.classes or not flat.calibration.shifts:
        return []
    slope, shifts = number(flat.calibration.slope), map(number, flat.calibration.shifts)
    powers = [f"EXP({slope} * LN(LEAST(GREATEST(emlyn_m{k}, {number(CLIP)}), 1.0)) + {shift})" for k, shift in enumerate(shifts)]
    return [("emlyn_calibrated", "emlyn_mixed", [f"{power} AS emlyn_e{k}" for k, power in enumerate(powers)])]


def _final(flat: Flat) -> list[str]:
    if not flat.classes:
        value = "emlyn_m0"
        if flat.calibration.shifts:
            value = f"({number(flat.calibration.slope)} * {value} + {number(flat.calibration.shifts[0])})"
        if flat.bounds is not None:
            value = f"LEAST(GREATEST({value}, {number(flat.bounds[0])}), {number(flat.bounds[1])})"
        return [f"{value} AS prediction"]
    shares = [f"emlyn_m{k}" for k in range(flat.width)]
    if flat.calibration.shifts:
        shares = _normalised([f"emlyn_e{k}" for k in range(flat.width)])
    if flat.threshold is not None:
        decided = f"CASE WHEN {shares[-1]} >= {number(flat.threshold)} THEN {string(flat.classes[-1])} ELSE {string(flat.classes[0])} END"
    else:
        most = f"GREATEST({', '.join(shares)})"
        cases = " ".join(f"WHEN {share} = {most} THEN {string(label)}" for share, label in zip(shares, flat.classes, strict=True))
        decided = f"CASE {cases} END"
    return [f"{decided} AS prediction", *(f"{s} AS {identifier(f'probability_{c}')}" for s, c in zip(shares, flat.classes, strict=True))]


def _sum(terms: Sequence[str]) -> str:
    """A sum nested evenly: databases bound how deep an expression may be."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def identifier(name: str) -> str:
    """A name in double quotes; whatever it holds, it stays a name."""
    return '"' + name.replace("\0", "").replace('"', '""') + '"'


def string(text: str) -> str:
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def number(value: float) -> str:
    """A double with all its digits, written with an exponent so that it is none of SQL's decimals; NULL for no value."""
    if value != value:
        return "NULL"
    text = repr(float(value))
    text = text if "e" in text else f"{text}e0"
    return f"({text})" if text.startswith("-") else text


@hook
def emlyn_exporters() -> list[Exporter]:
    return [SQL()]
