"""Form: rows that repeat, columns that say nothing or the same twice, identifiers, spellings, numbers and dates written as something else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from emlyn.checks._say import Looked, found, given, has_twins, listed, looked_at, parse_with, percent, repair
from emlyn.core.check import Check, Material, Outcome, example_rows, outcome
from emlyn.core.splits import count_twins, twin_codes
from emlyn.core.tables.parse import NO_VALUE
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Finding
from emlyn.records.repair import Repair

SPACES = re.compile(r"[\s_]+")
NUMBER_CORE = re.compile(r"^[^\d+\-.(]{0,4}\(?([+-]?\d[\d.,' ]*)\)?\s*[^\d]{0,6}$")
ID_NAME = re.compile(r"(^|[_\W])(id|ids|uuid|guid|key|index|idx|row|rownum|rowid|serial|record)($|[_\W])|[a-z](Id|ID)$|^unnamed", re.IGNORECASE)
HEX = re.compile(r"^[0-9a-f]{8,}$|^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$", re.IGNORECASE)


def duplicate_rows(m: Material) -> Outcome:
    whole = given(m.whole)
    n, names = whole.rows, list(whole)
    codes = twin_codes(whole, names)
    sizes = np.bincount(codes)
    distinct = int(np.count_nonzero(sizes))
    extra = n - distinct
    if extra == 0 or n < 2:
        return outcome()
    _, first = np.unique(codes, return_index=True)
    repeats = np.ones(n, dtype=bool)
    repeats[first] = False
    copied = extra > 0.005 * n and count_twins(whole, names)[1]
    if copied and m.problem is not None and m.problem.target and has_twins(whole, m.problem.features):
        return outcome()  # structure.twins tells it
    says = "they look like copies of one row" if copied else "with so few different values that happens by chance"
    return outcome(
        [
            found(
                "form.duplicate_rows",
                "warn" if copied else "info",
                (),
                f"{extra:,} of {n:,} rows repeat an earlier row exactly; {says}.",
                detail=f"{distinct:,} distinct rows; the commonest stands {int(sizes.max()):,} times. Hash over all {len(names)} columns.",
                why="A copy in the part that judges makes the model look better than it is.",
                effect=Effect("share of rows", extra / n),
                n=n,
                rows=example_rows(repeats),
                fix="copies are kept on one side of every split" if copied else "nothing: such rows are kept as they are",
            )
        ]
    )


def constant(m: Material) -> Outcome:
    findings, repairs = [], []
    for one in looked_at(m):
        known = one.known
        if len(known) and (known == known[0]).all() and len(known) == len(one.column) and _same_in_all_rows(m, one):
            what = f"{one.name} has the same value in every row ({_cell(one, 0)})."
            f = found(
                "form.constant",
                "info",
                (one.name,),
                what,
                detail="One distinct value, no missing cell.",
                n=len(known),
                fix="left out of the features",
            )
        elif len(known) == 0:
            f = found("form.constant", "info", (one.name,), f"{one.name} holds no value.", n=len(one.column), fix="left out of the features")
        else:
            continue
        findings.append(f)
        repairs.append(repair(f, one.name, "left out: it tells nothing", role="excluded"))
    for card in m.card.columns:
        if card.role == "excluded" and card.distinct <= 1 and card.rows > 1:
            what = f"{card.name} has the same value in every row." if card.distinct else f"{card.name} holds no value."
            findings.append(
                found("form.constant", "info", (card.name,), what, detail=card.why, n=card.rows, fix="left out of the features", applied=True)
            )
    return outcome(findings, repairs)


def _same_in_all_rows(m: Material, one: Looked) -> bool:
    """The sample may hold one value where the whole column holds more."""
    if m.whole is None or m.whole.rows == m.raw.rows:
        return True
    values = m.whole[one.name].values
    return bool((values == values[0]).all())


def _cell(one: Looked, position: int) -> str:
    return str(one.column.take(np.array([position])).strings()[0])[:40]


def near_constant(m: Material) -> Outcome:
    names, least = [], 1.0
    for one in looked_at(m):
        known = one.known
        if len(known) < 50:
            continue
        top = np.unique(known, return_counts=True)[1].max() / len(known)
        if 0.99 < top < 1:
            names.append(one.name)
            least = min(least, float(top))
    if not names:
        return outcome()
    verb = "has" if len(names) == 1 else "have"
    return outcome(
        [
            found(
                "form.near_constant",
                "info",
                names,
                f"{listed(names)} {verb} one value in more than 99 % of the rows.",
                detail=f"Smallest top share {least:.3f}; kept, since the rare value may matter.",
                n=m.raw.rows,
                effect=Effect("top share", least),
            )
        ]
    )


def duplicate_columns(m: Material) -> Outcome:
    """Equal or affine numbers (|r| > 0.9999 with the same gaps), and labels that map one to one."""
    findings: list[Finding] = []
    repairs: list[Repair] = []
    for left, right, kind in (*_affine(m), *_bijections(m)):
        if any(right in f.columns for f in findings):
            continue
        word = {"equal": "is a copy of", "affine": "is a rescaled copy of", "bijection": "says the same in other words as"}[kind]
        f = found(
            "form.duplicate_columns",
            "info",
            (left, right),
            f"{right} {word} {left}.",
            detail={
                "equal": "Every cell is equal.",
                "affine": "|Pearson r| > 0.9999, same missing cells.",
                "bijection": "Each level of one meets exactly one level of the other.",
            }[kind],
            why="The second column adds nothing and blurs which column drives the model.",
            n=m.raw.rows,
            fix=f"{right} left out" if kind != "bijection" else f"{right} may be left out (--repairs all)",
        )
        findings.append(f)
        repairs.append(repair(f, right, f"left out: {left} says the same", role="excluded", safe=kind != "bijection"))
    return outcome(findings, repairs)


def _affine(m: Material) -> Iterator[tuple[str, str, str]]:
    numbers = [one for one in looked_at(m, "number") if len(one.known) > 10 and np.isfinite(one.known).all() and np.ptp(one.known) > 0]
    if len(numbers) < 2:
        return
    numbers = numbers[:1_000]
    raw = np.column_stack([one.column.values for one in numbers])[:5_000]
    gaps = np.isnan(raw)
    cells = np.where(gaps | ~np.isfinite(raw), np.nanmedian(np.where(np.isfinite(raw), raw, np.nan), axis=0), raw)
    cells = np.clip(cells, -1e150, 1e150)
    spread = cells.std(axis=0)
    z = (cells - cells.mean(axis=0)) / np.where(spread > 0, spread, 1)
    r = z.T @ z / len(z)
    for i, j in zip(*np.nonzero(np.triu(np.abs(r) > 0.9999, 1)), strict=True):
        a, b = numbers[i], numbers[j]
        if spread[i] > 0 and spread[j] > 0 and (gaps[:, i] == gaps[:, j]).all():
            both = a.column.values, b.column.values
            yield a.name, b.name, "equal" if np.array_equal(*both, equal_nan=True) else "affine"


def _bijections(m: Material) -> Iterator[tuple[str, str, str]]:
    """Columns whose levels, numbered by first appearance, are the same sequence."""
    seen: dict[bytes, str] = {}
    for one in looked_at(m, "category", "number", "boolean"):
        values = np.where(one.column.missing, -1e308, one.column.values.astype(np.float64))
        _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
        if not 2 < len(first) <= len(values) / 5:
            continue
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first)] = np.arange(len(first))
        key = order[inverse].tobytes()
        if key in seen:
            yield seen[key], one.name, "bijection"
        else:
            seen[key] = one.name


def identifier(m: Material) -> Outcome:
    """More than 95 % different values, and counting up or down, hexadecimal, or named like a key; and columns the profile already called ids."""
    findings, repairs = [], []
    for one in looked_at(m, "number", "category", "text"):
        known = one.known
        unique = len(np.unique(known)) / max(1, len(known))
        if len(known) < 20 or unique <= 0.95 or not _reads_like_key(one, known):
            continue
        f = found(
            "form.identifier",
            "info",
            (one.name,),
            f"{one.name} numbers the rows: nearly every row has its own value.",
            detail=f"{percent(unique)} of the values are different.",
            why="A model can only learn such a column by heart.",
            n=len(known),
            effect=Effect("share of different values", unique),
            fix="left out of the features",
        )
        findings.append(f)
        repairs.append(repair(f, one.name, "left out: it names the row", role="id"))
    findings += [
        found("form.identifier", "info", (c.name,), f"{c.name} identifies the row and is not learned from.", detail=c.why, n=c.rows, applied=True)
        for c in m.card.columns
        if c.role == "id"
    ]
    return outcome(findings, repairs)


def _reads_like_key(one: Looked, known: np.ndarray) -> bool:
    if one.column.levels is None:
        whole = np.isfinite(known).all() and np.array_equal(known, np.round(known))
        steps = np.diff(known)
        return bool(whole and ((steps > 0).mean() > 0.98 or (steps < 0).mean() > 0.98 or ID_NAME.search(one.name)))
    levels = [str(v) for v in one.column.levels[:500]]
    return bool(np.mean([bool(HEX.match(v)) for v in levels]) > 0.95 or (ID_NAME.search(one.name) and np.mean([" " not in v for v in levels]) > 0.95))


def spelling(m: Material) -> Outcome:
    """Levels that differ only in case, surrounding or repeated spaces and underscores; signs such as + - < > are kept apart."""
    findings, repairs = [], []
    for one in looked_at(m, "category"):
        assert one.column.levels is not None
        if len(one.column.levels) > 5_000:
            continue
        counts = one.column.counts()
        groups: dict[str, list[int]] = {}
        for i, level in enumerate(one.column.levels):
            if counts[i]:
                groups.setdefault(SPACES.sub(" ", str(level)).strip().casefold(), []).append(i)
        merge: dict[str, str] = {}
        for variants in groups.values():
            best = max(variants, key=lambda i: counts[i])
            merge |= {str(one.column.levels[i]): str(one.column.levels[best]) for i in variants if i != best}
        if not merge or len(merge) > 0.5 * len(groups) + 20:
            continue
        odd = np.isin(one.column.values, [i for i, level in enumerate(one.column.levels) if str(level) in merge])
        pairs = [f"{a!r} = {b!r}" for a, b in list(merge.items())[:3]]
        f = found(
            "form.spelling",
            "warn" if odd.mean() > 0.005 else "info",
            (one.name,),
            f"{one.name} spells the same thing in several ways: {'; '.join(pairs)}.",
            detail=f"{len(merge)} variant(s) in {int(odd.sum()):,} rows differ only in case, spaces or underscores.",
            why="Each spelling would be learned as a thing of its own.",
            n=int(odd.sum()),
            rows=example_rows(odd),
            effect=Effect("share of rows", float(odd.mean())),
            fix="variants read as the commonest spelling",
            evidence={"merge": dict(list(merge.items())[:50])},
        )
        findings.append(f)
        repairs.append(
            repair(
                f,
                one.name,
                f"reads {len(merge)} spelling(s) as their commonest form",
                parse=parse_with(one.card, merge={**one.card.parse.merge, **merge}),
            )
        )
    return outcome(findings, repairs)


def rare_levels(m: Material) -> Outcome:
    names, most = [], 0
    for one in looked_at(m, "category"):
        counts = one.column.counts()
        rare = int(((counts > 0) & (counts < 5)).sum())
        if rare and (counts > 0).sum() <= 200 and len(one.known) >= 100:
            names.append(one.name)
            most = max(most, rare)
    if not names:
        return outcome()
    return outcome(
        [
            found(
                "form.rare_levels",
                "info",
                names,
                f"{listed(names)} {'has' if len(names) == 1 else 'have'} values that occur in fewer than five rows.",
                detail=f"Up to {most} such level{'' if most == 1 else 's'} in one column.",
                why="What is said about them rests on almost nothing.",
                n=m.raw.rows,
                fix="the learners pool or smooth them inside each fold",
            )
        ]
    )


def numbers_in_text(m: Material) -> Outcome:
    """Columns written as text that were read as numbers: currency signs, units, thousands, a decimal comma."""
    findings = []
    for card in m.card.columns:
        rules = card.parse
        marks = [*rules.affixes, *rules.scale]
        marks += [f"decimal {rules.decimal!r}"] if rules.decimal != "." else []
        marks += [f"thousands {rules.thousands!r}"] if rules.thousands else []
        if card.kind == "number" and marks and card.role != "target":
            findings.append(
                found(
                    "form.number_text",
                    "info",
                    (card.name,),
                    f"{card.name} writes numbers as text; they were read as numbers.",
                    detail=f"Removed or converted: {listed(marks)}.",
                    n=card.rows,
                    fix="read as numbers",
                    applied=True,
                )
            )
    return outcome(findings)


def unreadable(m: Material) -> Outcome:
    """Cells that do not fit what the rest of their column is."""
    return outcome(
        [
            found(
                "form.unreadable",
                "warn" if card.unreadable > 0.01 * card.rows else "info",
                (card.name,),
                f"{card.unreadable:,} cell(s) of {card.name} cannot be read as {card.kind}.",
                detail=f"Examples: {listed([repr(e) for e in card.examples])}." if card.examples else "",
                n=card.rows,
                effect=Effect("share of rows", card.unreadable / max(1, card.rows)),
                fix="they count as missing",
                applied=True,
            )
            for card in m.card.columns
            if card.unreadable and card.role != "target"
        ]
    )


def mixed_types(m: Material) -> Outcome:
    """Columns of words that are mostly numbers."""
    pairs = [
        pair
        for name, column in m.raw.items()
        if column.levels is not None
        and name in given(m.problem).features
        and m.card.column(name).kind in ("category", "text")
        and (pair := _mostly_numbers(m, name))
    ]
    return outcome([f for f, _ in pairs], [r for _, r in pairs])


def _mostly_numbers(m: Material, name: str) -> tuple[Finding, Repair] | None:
    column, card = m.raw[name], m.card.column(name)
    assert column.levels is not None
    counts, own = column.counts(), {t.casefold() for t in card.parse.missing} | NO_VALUE
    words = [str(level).strip() for level in column.levels]
    numeric = np.array([bool(NUMBER_CORE.match(w)) and _is_float(w) for w in words], dtype=bool)
    blank = np.array([w.casefold() in own for w in words], dtype=bool)
    whole, known = int(counts[numeric].sum()), int(counts[~blank].sum())
    if known < 20 or whole < 0.9 * known or int((numeric & (counts > 0)).sum()) < 15 or whole == known:
        return None
    rest = [w for w, ok, gap in zip(words, numeric, blank, strict=True) if not ok and not gap][:5]
    f = found(
        "form.mixed_types",
        "warn",
        (name,),
        f"{name} is mostly numbers, with words in between: {listed([repr(w) for w in rest])}.",
        detail=f"{whole:,} of {known:,} cells are numbers.",
        n=known,
        effect=Effect("share of numbers", whole / known),
        fix="read as numbers, the words as missing (--repairs all)",
    )
    return f, repair(f, name, "reads the column as numbers", kind="number", safe=False)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check(
            "form.duplicate_rows",
            "rows that repeat exactly",
            ("whole",),
            duplicate_rows,
            source="row hashes; copies told from coincidences by leaving columns out",
        ),
        Check("form.constant", "columns with one value or none", ("table", "problem"), constant),
        Check("form.near_constant", "columns with one value in nearly all rows", ("table", "problem"), near_constant),
        Check(
            "form.duplicate_columns",
            "columns that say the same",
            ("table", "problem"),
            duplicate_columns,
            source="Pearson |r| > 0.9999; bijection of codes",
        ),
        Check("form.identifier", "columns that name the row", ("table", "problem"), identifier),
        Check("form.spelling", "one thing spelled in several ways", ("table", "problem"), spelling),
        Check("form.rare_levels", "values with almost no rows", ("table", "problem"), rare_levels),
        Check("form.number_text", "numbers written as text", ("raw", "problem"), numbers_in_text),
        Check("form.mixed_types", "numbers with words in between", ("raw", "problem"), mixed_types),
        Check("form.unreadable", "cells that cannot be read", ("raw", "problem"), unreadable),
    ]
