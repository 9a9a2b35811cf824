"""Leakage through company: columns that give the answer away together, columns named like consequences, and columns tied to those by a sum."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from emlyn.checks._say import Looked, found, given, listed, looked_at, repair, words, words_of
from emlyn.core.auditing.probe import column_strengths
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.judging.ranks import average_ranks
from emlyn.plugins import hook
from emlyn.records.finding import Effect, Finding, Question
from emlyn.records.repair import Repair

AFTERWARDS = re.compile(
    r"^(paid|repaid|recover(y|ies|ed)|settle(d|ment)?|settlement|charge_?off|chargedoff|discharged?|cancel(led|ed|lation|ation)?|refund(ed|s)?|outcome|resolution|resolved|"
    r"terminat(ed|ion)|death|died|deceased|after|afterwards|follow_?up|returned|chargeback|verdict|diagnosed|readmitted|survival)$"
)
MAYBE = re.compile(
    r"^(status|balance|closed|closing|end|ended|result|final|actual|total|remaining|outstanding|duration|settle|installments?|invoice|arrival|delay)$"
)
BEFOREHAND = words(
    "prev previous prior past history historical last ever since before ago months years days num number count avg plan planned expected "
    "estimated estimate scheduled policy type method option allowed 12m 24m 2y 2yrs"
)
CONSEQUENCES = frozenset(
    [
        "charged off",
        "fully paid",
        "late (31-120 days)",
        "in grace period",
        "cancelled",
        "canceled",
        "refunded",
        "settled",
        "check-out",
        "no-show",
        "deceased",
    ]
)
FORMULA_R2, RANK_R2 = 0.99, 0.98
ROWS, BINS = 1_000, 32


def consequence_names(m: Material) -> Outcome:
    """Columns whose name (or whose values) speak of what happens after the answer; and columns tied to one of them by an exact sum.

    The data cannot tell when a column was filled in, so each group becomes a question and the safe answer, "not known yet", is taken.
    """
    data, problem = given(m.data), given(m.problem)
    target = set(words_of(problem.target))
    suspects = {one.name: word for one in looked_at(m) if (word := _consequence(one, target))}
    if not suspects:
        return outcome()
    for one in looked_at(m, "number"):
        if one.name not in suspects and any(MAYBE.match(w) for w in words_of(one.name)) and _tied(m, one, suspects):
            suspects[one.name] = next(iter(suspects.values()))
    told = column_strengths(data, list(suspects), m.seed)
    findings: list[Finding] = []
    questions: list[Question] = []
    for word in dict.fromkeys(suspects.values()):
        names = tuple(n for n, w in suspects.items() if w == word)
        best = max(told[n].score for n in names)
        f = found(
            "leakage.after_outcome",
            "warn",
            names,
            f"{listed(names)} sound{'s' if len(names) == 1 else ''} like something recorded after {problem.target} was known.",
            detail=f"Named or valued like a consequence ({word!r}); the strongest alone scores {best:.3f} ({'AUC' if data.classes else 'R2'}).",
            why="A column that is not yet known when the model is used makes the score a lie.",
            n=len(data),
            effect=Effect("auc" if data.classes else "r2", best),
            fix="left out until you say otherwise; both scores are shown",
        )
        findings.append(f)
        flags = " ".join(f"--known {n if n.replace('_', '').isalnum() else repr(n)}" for n in names)
        questions.append(
            Question(f.id, f"{'Is' if len(names) == 1 else 'Are'} {listed(names)} known at the moment of prediction?", "no", flags, names)
        )
    return outcome(findings, [repair(f, n, "left out: perhaps not known yet", role="excluded") for f in findings for n in f.columns], questions)


def _consequence(one: Looked, target: set[str]) -> str:
    """The word that gives it away; empty when nothing does."""
    words = words_of(one.name)
    if not set(words) & BEFOREHAND:
        for word in words:
            if (AFTERWARDS.match(word) or (word == "post" and word == words[-1])) and word not in target:
                return word
    if one.column.levels is not None and len(one.column.levels) <= 50:
        for level in one.column.levels:
            if str(level).strip().casefold() in CONSEQUENCES and not target & set(words):
                return str(level)
    return ""


def _tied(m: Material, one: Looked, suspects: dict[str, str]) -> bool:
    """Is this column a suspect plus or minus another column, in nearly every row?"""
    table = given(m.table)
    others = [o for o in looked_at(m, "number") if o.name != one.name]
    x = one.column.values[:ROWS]
    for s in suspects:
        if table[s].levels is not None:
            continue
        y = table[s].values[:ROWS]
        for other in others:
            z = other.column.values[:ROWS]
            near = 1e-6 * (np.nanmean(np.abs(x)) + 1e-12) + 0.02
            if (
                other.name != s
                and any(np.nanmean(np.abs(miss) <= near) > 0.9 for miss in (x + y - z, x - y - z, y - x - z))
                and np.nanstd(y) > near
                and np.nanstd(z) > near
            ):
                return True
    return False


@dataclass(frozen=True)
class _Pair:
    left: str
    right: str
    sign: str
    within: str
    r2: float

    @property
    def words(self) -> str:
        return f"{self.left} {self.sign} {self.right}" + (f" within each {self.within}" if self.within else "")


def circular(m: Material) -> Outcome:
    """Two numbers whose ratio, product, sum or difference gives the target (within each level of a third), though neither does alone."""
    data, problem = given(m.data), given(m.problem)
    if problem.classes or len(data) < 200:
        return outcome()
    findings: list[Finding] = []
    repairs: list[Repair] = []
    questions: list[Question] = []
    gone: set[str] = set()
    for pair in _pairs(m):
        if {pair.left, pair.right} & gone:
            continue
        culprit = _culprit(m, pair)
        gone.add(culprit)
        f = found(
            "leakage.circular",
            "fail",
            (culprit, *(n for n in (pair.left, pair.right) if n != culprit)),
            f"{problem.target} can be computed from {pair.words}: {culprit} was made from it.",
            detail=f"Out-of-sample R2 {pair.r2:.4f} of {pair.words}; neither column alone comes close.",
            n=len(data),
            effect=Effect("r2", pair.r2),
            why="Who knows both columns already knows the answer; when the model is needed, one of them is not there yet.",
            fix=f"{culprit} left out; both scores are shown",
        )
        findings.append(f)
        repairs.append(
            repair(f, culprit, f"left out: with {pair.left if culprit == pair.right else pair.right} it gives the answer", role="excluded")
        )
        questions.append(Question(f.id, f"Is {culprit} known at the moment of prediction?", "no", f"--known {culprit}", (culprit,)))
    return outcome(findings, repairs, questions)


def _culprit(m: Material, pair: _Pair) -> str:
    """The column that more likely came after the answer: named so, else standing behind the target in the table, else the second."""
    order = list(m.raw)
    late = order.index(given(m.problem).target)

    def guilt(name: str) -> tuple[bool, bool, int]:
        words = words_of(name)
        return any(AFTERWARDS.match(w) or MAYBE.match(w) for w in words), order.index(name) > late, order.index(name)

    return max((pair.left, pair.right), key=guilt)


def _pairs(m: Material) -> Iterator[_Pair]:
    """Pairs that give the target, best first. Screened on 1,000 rows, confirmed on all by the means of every other row."""
    data, table = given(m.data), given(m.table)
    y = np.asarray(data.answers, dtype=np.float64)
    names = [one.name for one in looked_at(m, "number") if np.isfinite(one.column.values).mean() > 0.9 and len(np.unique(one.known)) > 20][:40]
    few = [one for one in looked_at(m, "category", "number", "boolean") if 2 <= len(np.unique(one.known)) <= 8][:8]
    cells = {n: table[n].values for n in names}
    rows = slice(0, ROWS)
    screened = []
    for left, right in combinations(names, 2):
        for sign, z in _combined(cells[left][rows], cells[right][rows]):
            screened.append((_explained(z, y[rows]), left, right, sign))
    screened.sort(key=lambda s: -s[0])
    found_ = []
    for _, left, right, sign in screened[:40]:
        z = dict(_combined(cells[left], cells[right]))[sign]
        for within in ["", *(one.name for one in few)]:
            levels = np.unique(table[within].values, return_inverse=True)[1] if within else np.zeros(len(y), dtype=np.int64)
            r2 = _held_out(z, levels, y)
            if r2 >= FORMULA_R2 and _beyond_either(r2, (cells[left], cells[right], z), levels, y):
                found_.append(_Pair(left, right, sign, within, r2))
                break
    return iter(sorted(found_, key=lambda p: -p.r2))


def _beyond_either(r2: float, columns: tuple[np.ndarray, np.ndarray, np.ndarray], levels: np.ndarray, y: np.ndarray) -> bool:
    """Does the pair leave at most a fifth of what either column alone leaves open, and tell the ranks too (so that no few huge answers decide)?"""
    left, right, z = columns
    alone = max(_held_out(left, levels, y), _held_out(right, levels, y), 0.0)
    return 1 - r2 <= 0.2 * (1 - alone) and _held_out(z, levels, average_ranks(y)) >= RANK_R2


def _combined(a: np.ndarray, b: np.ndarray) -> Sequence[tuple[str, np.ndarray]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return [("/", a / b), ("x", a * b), ("+", a + b), ("-", a - b)]


def _explained(z: np.ndarray, y: np.ndarray) -> float:
    """Share of the variance of y within 32 quantile bins of z, corrected for the number of bins."""
    ok = np.isfinite(z)
    n = int(ok.sum())
    if n < 0.8 * len(z) or n < 4 * BINS:
        return 0.0
    bins = np.empty(n, dtype=np.int64)
    bins[np.argsort(z[ok], kind="stable")] = np.arange(n) * BINS // n
    values = y[ok]
    sums, counts = np.bincount(bins, values), np.bincount(bins)
    total = float(((values - values.mean()) ** 2).sum())
    inside = total - float((sums**2 / counts).sum() - n * values.mean() ** 2)
    return 1 - (inside / (n - BINS)) / (total / (n - 1)) if total > 0 else 0.0


def _held_out(z: np.ndarray, levels: np.ndarray, y: np.ndarray) -> float:
    """R2 on every other row of the mean answer of fine bins (within each level) learned on the rest."""
    ok = np.isfinite(z)
    z, levels, y = z[ok], levels[ok], y[ok]
    if len(y) < 200:
        return 0.0
    order = np.lexsort((z, levels))
    y = y[order]
    told = (np.r_[y[0], y[:-1]] + np.r_[y[1:], y[-1]]) / 2
    same = np.r_[False, levels[order][1:] == levels[order][:-1]] & np.r_[levels[order][1:] == levels[order][:-1], False]
    error, total = ((y - told)[same] ** 2).mean(), y.var()
    return float(1 - error / (1.5 * total)) if total > 0 else 0.0


@hook
def emlyn_checks() -> list[Check]:
    need = ("table", "problem", "data")
    return [
        Check("leakage.after_outcome", "columns named like consequences", need, consequence_names, source="lexicon; exact sums with such columns"),
        Check("leakage.circular", "two columns that give the answer together", need, circular, slow=True),
    ]
