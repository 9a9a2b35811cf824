"""Missing values: placeholders, sentinels, zeros that mean "not measured", and gaps that carry a message of their own."""

from __future__ import annotations

import numpy as np

from emlyn.checks._codes import sentinel_of, top_coded
from emlyn.checks._say import (
    Looked,
    answer_share,
    difference_p,
    found,
    given,
    listed,
    looked_at,
    newcombe,
    number,
    parse_with,
    percent,
    repair,
    sample_of,
    two_sided,
    words,
    words_of,
)
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.judging.ranks import rank_correlation
from emlyn.plugins import hook
from emlyn.records.finding import Effect

PLACEHOLDERS = frozenset({"none given", "not available", "not known", "not reported", "not recorded", "no data"}) | words(
    "? ?? na n/a n.a. nan null nil unknown unk missing - -- . .. #n/a #na <na> (blank) blank tbd tba undefined"
)
SURE = words("? ?? na n/a n.a. nan null - -- . .. #n/a #na <na> (blank)")
NEVER_ZERO = words(
    "glucose bmi mass insulin pressure bp systolic diastolic cholesterol chol weight height triceps skin bloodpressure heartrate pulse "
    "temperature hemoglobin haemoglobin hematocrit platelets creatinine albumin sodium potassium skinthickness sqft"
)


def placeholders(m: Material) -> Outcome:
    """Texts such as `?` that stand for "no value"."""
    findings, repairs = [], []
    for name, column in m.raw.items():
        card = m.card.column(name)
        if column.levels is None or card.role == "target" or name not in given(m.problem).features:
            continue
        counts = column.counts()
        own = {t.strip().casefold() for t in card.parse.missing}
        texts = PLACEHOLDERS | own | {""}
        seen = {str(v): int(c) for v, c in zip(column.levels, counts, strict=True) if c and str(v).strip().casefold() in texts}
        if not seen or (card.kind == "text" and len(column.levels) > 0.5 * len(column)):
            continue
        rows = sum(seen.values())
        shown = listed([repr(t) if t.strip() else "blank cells" for t in seen])
        read = {t for t in seen if t.strip().casefold() in own or not t.strip() or card.kind not in ("category", "text")}
        new = sorted(t.strip() for t in seen if t not in read)
        safe = all(t.casefold() in SURE for t in new)
        f = found(
            "missing.placeholder",
            "info",
            (name,),
            f"{name} writes {shown} where a value is missing ({percent(rows / len(column))} of the rows).",
            detail=f"Cells: {', '.join(f'{t!r} {c:,}' for t, c in list(seen.items())[:5])}.",
            why="Read as a value, such a text would be learned as if it meant something.",
            n=rows,
            rows=example_rows(np.isin(column.values, [i for i, v in enumerate(column.levels) if str(v) in seen])),
            effect=Effect("share of rows", rows / len(column)),
            fix="read as missing" if not new or safe else "may be a value of its own here: kept (--repairs all reads it as missing)",
            applied=not new,
        )
        findings.append(f)
        if new:
            repairs.append(repair(f, name, f"reads {listed(new)} as missing", parse=parse_with(card, missing=tuple(new)), safe=safe))
    return outcome(findings, repairs)


def zeros(m: Material) -> Outcome:
    """Zeros apart from all other values: 0.2 to 60 % of the rows, everything else above 0, and a gap up to the smallest of them."""
    findings, repairs = [], []
    for one in looked_at(m, "number"):
        known = one.known[np.isfinite(one.known)]
        code = sentinel_of(*np.unique(known, return_counts=True)) if len(known) else None
        known = known if code is None else known[known != code[0]]
        share = float((known == 0).mean()) if len(known) else 0.0
        rest = known[known != 0]
        if not 0 < share <= 0.6 or len(rest) < 50 or (rest < 0).any() or not np.isfinite(rest).all():
            continue
        values = np.unique(rest)
        named = bool(NEVER_ZERO & set(words_of(one.name)))
        if len(values) < 10 or not _zeros_apart(rest, values, share, named):
            continue
        zero = one.column.values == 0
        sure = named or (share <= 0.1 and values[0] > 0.5 * np.median(rest))
        means = "where 0 seems to mean" if sure else "apart from all other values: it may mean none or"
        f = found(
            "missing.zero",
            "warn" if named else "info",
            (one.name,),
            f'{one.name} is 0 in {percent(share)} of the rows, {means} "not measured".',
            detail=f"{int(zero.sum()):,} zeros; the smallest other value is {number(values[0])}, the median {number(float(np.median(rest)))}.",
            why="Taken as a number, such a zero pulls every average and every threshold.",
            n=len(known),
            rows=example_rows(zero),
            effect=Effect("share of rows", share),
            fix="zeros read as missing" if sure else "kept as 0 (--repairs all reads them as missing)",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, "reads 0 as missing", parse=parse_with(one.card, not_numbers=(0.0,)), safe=sure))
    return outcome(findings, repairs)


def _zeros_apart(rest: np.ndarray, values: np.ndarray, share: float, named: bool) -> bool:
    """The gap between 0 and the smallest other value is large for this column (or the name says that 0 cannot be)."""
    median, least = float(np.median(rest)), float(values[0])
    spacing = float(np.median(np.diff(values)))
    apart = least > 0.25 * (median - least) and least > 5 * spacing
    if named:
        return apart or (least > 2 * spacing and least > 0.05 * median)
    return apart and (share >= 0.002 or least > 0.5 * median) and share <= 0.4


def sentinels(m: Material) -> Outcome:
    """An extreme number from the usual list (-999, 9999, …) that comes back and stands far outside the rest; also repeated 666, 777, … inside it.

    Where the answers of its rows go on as those of the largest values do, it is a limit and not a code: `form.capped` names it.
    """
    findings, repairs = [], []
    for one in looked_at(m, "number"):
        known = one.known[np.isfinite(one.known)]
        values, counts = np.unique(known, return_counts=True)
        hit = sentinel_of(values, counts)
        if hit is None or top_coded(m, one.column, hit[0]):
            continue
        value, copies, safe, why = hit
        at = one.column.values == value
        f = found(
            "missing.sentinel",
            "warn",
            (one.name,),
            f'{one.name} is exactly {value:g} in {copies:,} rows, which looks like a code for "no value".',
            detail=f"{why} {percent(copies / len(known))} of the known cells.",
            why="Taken as a number, the code distorts averages, scales and thresholds.",
            n=len(known),
            rows=example_rows(at),
            effect=Effect("share of rows", copies / len(known)),
            fix=f"{value:g} read as missing" if safe else f"kept (--repairs all reads {value:g} as missing)",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, f"reads {value:g} as missing", parse=parse_with(one.card, not_numbers=(value,)), safe=safe))
    return outcome(findings, repairs)


def rate(m: Material) -> Outcome:
    names = {one.name: float(one.column.missing.mean()) for one in looked_at(m)}
    many = sorted((n for n, share in names.items() if share > 0.4), key=lambda n: -names[n])
    findings = []
    if many:
        verb = "has" if len(many) == 1 else "have"
        findings.append(
            found(
                "missing.rate",
                "info",
                many,
                f"{listed(many)} {verb} no value in more than 40 % of the rows.",
                detail="; ".join(f"{n} {percent(names[n])}" for n in many[:8]),
                n=m.raw.rows,
                effect=Effect("share of rows", names[many[0]]),
                fix="kept: gaps are handled inside the folds and may themselves tell something",
            )
        )
    return outcome(findings)


def informative(m: Material) -> Outcome:
    """Does the answer differ where the value is missing? Two shares, or ranks (Mann, Whitney 1947), per column; a floor of 5 points."""
    share, findings, p_values = answer_share(m), [], {}
    for one in looked_at(m):
        gap = one.column.missing
        k, n = int(gap.sum()), len(gap)
        if k < 10 or n - k < 10:
            continue
        name = f"missing.informative:{one.name}"
        if given(m.data).classes:
            hits = (float(share[gap].sum()), float(share[~gap].sum()))
            d, low, high = newcombe(hits, (k, n - k))
            p = difference_p(hits, (k, n - k))
            large, unit = abs(d) > 0.05, "difference of rates"
        else:
            d = float(share[gap].mean() - share[~gap].mean()) / max(float(share.std()), 1e-300)
            low, high = d - 1.96 * np.sqrt(1 / k + 1 / (n - k)), d + 1.96 * np.sqrt(1 / k + 1 / (n - k))
            p = two_sided(rank_correlation(gap.astype(float), share) * np.sqrt(n - 1))
            large, unit = abs(d) > 0.2, "difference in standard deviations"
        p_values[name] = p
        if large:
            findings.append(
                found(
                    "missing.informative",
                    "info",
                    (one.name,),
                    f"Whether {one.name} is missing says something about the answer.",
                    n=n,
                    detail=f"{unit} {d:+.3g} (95 % {low:.3g} to {high:.3g}), p = {p:.2g}, missing in {k:,} rows.",
                    effect=Effect(unit, d, float(low), float(high)),
                    why="Make sure that it is missing for the same reason when the model is used.",
                    fix="the gap is kept as information",
                )
            )
    found_ = outcome(findings)
    return Outcome(found_.findings, p_values=p_values)


def blocks(m: Material) -> Outcome:
    """Columns that are missing in exactly the same rows."""
    groups: dict[bytes, list[Looked]] = {}
    for one in looked_at(m):
        if 0 < one.column.missing.sum() < len(one.column):
            groups.setdefault(np.packbits(one.column.missing).tobytes(), []).append(one)
    findings = []
    for group in sorted(groups.values(), key=len, reverse=True):
        k = int(group[0].column.missing.sum())
        if len(group) < 3 or k < 5:
            continue
        names = [one.name for one in group]
        findings.append(
            found(
                "missing.block",
                "info",
                names,
                f"{listed(names)} are missing together, in the same {percent(k / m.raw.rows)} of the rows.",
                detail=f"{len(names)} columns share one pattern of gaps ({k:,} rows).",
                why="Such rows are often of another kind (not asked, not applicable).",
                n=m.raw.rows,
                rows=example_rows(group[0].column.missing),
                effect=Effect("share of rows", k / m.raw.rows),
                fix="kept: one gap pattern",
            )
        )
    return outcome(findings[:5])


def mechanism(m: Material) -> Outcome:
    """Can the other columns tell where a value is missing? Then it is not missing at random (a test of MCAR; MNAR cannot be tested)."""
    from emlyn.core.auditing.probe import column_strengths
    from emlyn.core.dataset import rows_dataset

    told_by, strongest = {}, 0.0
    columns = [one for one in looked_at(m) if 30 <= one.column.missing.sum() <= len(one.column) - 30 and one.column.missing.mean() > 0.01]
    columns = sorted(columns, key=lambda one: -one.column.missing.sum())[:10]
    rows = sample_of(m, 4_000)
    table = given(m.table).take(rows)
    for one in columns:
        others = [o.name for o in looked_at(m) if o.name != one.name and not _same_gaps(o, one)]
        if not others:
            continue
        told = column_strengths(rows_dataset(table, one.column.missing[rows].astype(np.int64), classes=2), others[:30], m.seed)
        best = max(told, key=lambda n: told[n].score)
        if told[best].score > 0.7:
            told_by[one.name], strongest = best, max(strongest, told[best].score)
    if not told_by:
        return outcome()
    names = list(told_by)
    return outcome(
        [
            found(
                "missing.mechanism",
                "info",
                names,
                f"Where {listed(names)} {'is' if len(names) == 1 else 'are'} missing depends on other columns: it is not by chance.",
                detail=f"Told by {listed([f'{n} <- {b}' for n, b in told_by.items()], 8)} (AUC up to {strongest:.2f}).",
                n=m.raw.rows,
                effect=Effect("auc", strongest),
                why="Filling such gaps with an average would bias the column. Whether gaps depend on the missing value itself cannot be tested.",
                fix="the gap is kept as information",
            )
        ]
    )


def _same_gaps(a: Looked, b: Looked) -> bool:
    """Mostly the same rows lack both, so that one gap tells the other trivially."""
    both = (a.column.missing & b.column.missing).sum()
    return bool(both > 0.5 * b.column.missing.sum())


def shift(m: Material) -> Outcome:
    """Does the share of missing cells change along the table (first half against second, by time where known)?"""
    table = given(m.table)
    n = table.rows
    order = np.argsort(m.data.time, kind="stable") if m.data is not None and m.data.time is not None else np.arange(n)
    early = np.zeros(n, dtype=bool)
    early[order[: n // 2]] = True
    findings, p_values = [], {}
    for one in looked_at(m):
        gap = one.column.missing
        if gap.sum() < 10 or n < 100:
            continue
        a, b = int((gap & early).sum()), int((gap & ~early).sum())
        d, low, high = newcombe((a, b), (float(early.sum()), float((~early).sum())))
        name = f"missing.shift:{one.name}"
        p_values[name] = difference_p((a, b), (float(early.sum()), float((~early).sum())))
        if abs(d) > 0.15:
            findings.append(
                found(
                    "missing.shift",
                    "info",
                    (one.name,),
                    f"{one.name} is missing {'more' if d > 0 else 'less'} often in the first half of the table than in the second.",
                    detail=f"{percent(a / early.sum())} against {percent(b / (~early).sum())}; difference {d:+.3f} (95 % {low:.3f} to {high:.3f}).",
                    n=n,
                    effect=Effect("difference of shares", d, low, high),
                    why="The way the data are collected may have changed.",
                )
            )
    return Outcome(tuple(findings), p_values=p_values)


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check("missing.placeholder", "texts that mean no value", ("raw", "problem"), placeholders),
        Check("missing.zero", "zeros that mean not measured", ("table", "problem"), zeros),
        Check("missing.sentinel", "numbers that mean no value", ("table", "problem"), sentinels),
        Check("missing.rate", "columns with many gaps", ("table", "problem"), rate),
        Check("missing.block", "columns missing together", ("table", "problem"), blocks),
        Check(
            "missing.informative",
            "gaps that tell the answer",
            ("table", "problem", "data"),
            informative,
            source="two-proportion z-test; Mann, Whitney 1947; Benjamini-Hochberg",
        ),
        Check("missing.shift", "gaps that change along the table", ("table", "problem"), shift, source="Newcombe 1998; Benjamini-Hochberg"),
        Check(
            "missing.mechanism",
            "gaps that other columns predict",
            ("table", "problem"),
            mechanism,
            slow=True,
            source="test against missing completely at random",
        ),
    ]
