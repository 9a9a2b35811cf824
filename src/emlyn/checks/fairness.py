"""Fairness in the data: groups that differ in the answer, groups too thin to judge, columns that stand in for a sensitive one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emlyn.checks._say import Looked, answer_share, found, given, listed, looked_at, newcombe, number, percent, sample_of, words, words_of
from emlyn.core.auditing.probe import column_strengths
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.dataset import rows_dataset
from emlyn.plugins import hook
from emlyn.records.finding import Effect

SENSITIVE = words(
    "sex gender female male race ethnicity ethnic nationality nation citizenship foreign religion age birth dob disability disabled pregnant "
    "orientation marital immigrant caste native"
)
PEOPLE = words(
    "income salary job occupation education employment housing household customer patient person student employee bmi dependents children "
    "partner smoker diagnosis loan credit zip postcode"
)
GROUP_ROWS, GROUP_EVENTS = 100, 20


def sensitive_columns(m: Material) -> Iterator[Looked]:
    """Columns that the user called sensitive, or whose name says so."""
    named = set(given(m.problem).sensitive)
    hints = {one.name: (SENSITIVE | PEOPLE) & set(words_of(one.name)) for one in looked_at(m, features_only=False) if one.column.kind != "text"}
    people = len([name for name, words in hints.items() if words]) >= 2  # things have an age too
    for one in looked_at(m, features_only=False):
        if one.name in named or (not named and people and SENSITIVE & hints.get(one.name, frozenset())):
            yield one


def _groups(one: Looked) -> dict[str, np.ndarray]:
    """Masks of the groups of a column: its levels, or younger and older than two cuts for numbers."""
    if one.column.kind in ("number", "date") and len(np.unique(one.known)) > 10:
        low, high = np.quantile(one.known, [0.25, 0.75])
        values = one.column.values
        return {f"up to {number(float(low))}": values <= low, f"over {number(float(high))}": values > high}
    coded = one.column.as_coded()
    assert coded.levels is not None
    return {str(level): coded.values == k for k, level in enumerate(coded.levels) if (coded.values == k).any()}


def base_rates(m: Material) -> Outcome:
    """How much the answer differs between the groups of a sensitive column, with its interval."""
    data, problem = given(m.data), given(m.problem)
    share, findings = answer_share(m), []
    for one in sensitive_columns(m):
        groups = {name: mask for name, mask in _groups(one).items() if mask.sum() >= GROUP_ROWS}
        if len(groups) < 2:
            continue
        means = {name: float(share[mask].mean()) for name, mask in groups.items()}
        top, bottom = max(means, key=lambda g: means[g]), min(means, key=lambda g: means[g])
        a, b = groups[top], groups[bottom]
        if data.classes:
            d, low, high = newcombe((float(share[a].sum()), float(share[b].sum())), (float(a.sum()), float(b.sum())))
            says, unit = f"{percent(means[top])} against {percent(means[bottom])}", "difference of rates"
            large = low > 0 and d > 0.05
        else:
            d = means[top] - means[bottom]
            half = 1.96 * np.sqrt(share[a].var() / a.sum() + share[b].var() / b.sum())
            low, high = d - half, d + half
            says, unit = f"{number(means[top])} against {number(means[bottom])} on average", "difference of means"
            large = low > 0 and d > 0.2 * share.std()
        if not large:
            continue
        what = f"{problem.positive!r}" if problem.positive else problem.target
        findings.append(
            found(
                "fairness.base_rates",
                "info",
                (one.name,),
                f"The answer differs between groups of {one.name}: {what} is {says} ({top} / {bottom}).",
                n=len(share),
                detail=f"{unit} {d:.3g} (95 % {low:.3g} to {high:.3g}).",
                effect=Effect(unit, d, float(low), float(high)),
                why="A model will repeat this difference; whether that is right is for people to decide.",
                fix=f"--exclude {one.name} leaves it out; --sensitive {one.name} reports on it",
            )
        )
    return outcome(findings)


def thin_groups(m: Material) -> Outcome:
    """Groups of a sensitive column that are too small to say how well the model serves them."""
    data = given(m.data)
    share, findings = answer_share(m), []
    for one in sensitive_columns(m):
        groups = _groups(one)
        if len(groups) > 30:
            continue
        thin = [
            f"{name} ({int(mask.sum())} rows)"
            for name, mask in groups.items()
            if mask.sum() < GROUP_ROWS or (data.classes == 2 and min(share[mask].sum(), (1 - share[mask]).sum()) < GROUP_EVENTS)
        ]
        if thin and len(share) >= 2 * GROUP_ROWS:
            findings.append(
                found(
                    "fairness.thin_groups",
                    "info",
                    (one.name,),
                    f"Too few rows to judge some groups of {one.name}: {listed(thin)}.",
                    n=len(share),
                    detail=f"Fewer than {GROUP_ROWS} rows, or {GROUP_EVENTS} of one answer.",
                    why="For these, nothing can be shown, neither fair nor unfair.",
                    fix="collect more rows of them",
                )
            )
    return outcome(findings)


def proxies(m: Material) -> Outcome:
    """Columns that tell a sensitive one: leaving the sensitive column out does not hide it."""
    table, problem = given(m.table), given(m.problem)
    findings = []
    for one in list(sensitive_columns(m))[:4]:
        groups = _groups(one)
        if one.column.kind in ("number", "date") and len(np.unique(one.known)) > 10:
            continue
        largest = sorted(groups.values(), key=lambda mask: -mask.sum())
        if len(largest) < 2 or largest[1].sum() < 50:
            continue
        others = [n for n in problem.features if n != one.name and not (SENSITIVE & set(words_of(n)) & set(words_of(one.name)))]
        if not others:
            continue
        rows = sample_of(m, 5_000)
        told = column_strengths(rows_dataset(table.take(rows), largest[0][rows].astype(np.int64), classes=2), others[:60], m.seed)
        strong = sorted((n for n in others[:60] if told[n].score > 0.65), key=lambda n: -told[n].score)
        if strong:
            findings.append(
                found(
                    "fairness.proxies",
                    "info",
                    (one.name, *strong[:4]),
                    f"{listed(strong, 3)} {'tells' if len(strong) == 1 else 'tell'} {one.name}: leaving {one.name} out would not hide it.",
                    detail="; ".join(f"{n} AUC {told[n].score:.2f}" for n in strong[:5]),
                    n=table.rows,
                    effect=Effect("auc", told[strong[0]].score),
                    why="A model can treat groups differently without seeing the group.",
                    fix="judge the decisions by group (--sensitive), not only the columns",
                )
            )
    return outcome(findings)


@hook
def emlyn_checks() -> list[Check]:
    need = ("table", "problem", "data")
    return [
        Check("fairness.base_rates", "groups that differ in the answer", need, base_rates, source="Newcombe 1998, method 10"),
        Check("fairness.thin_groups", "groups too thin to judge", need, thin_groups),
        Check("fairness.proxies", "columns that tell a sensitive one", ("table", "problem"), proxies, slow=True),
    ]
