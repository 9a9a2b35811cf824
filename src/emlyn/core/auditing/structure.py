"""How rows hang together: answers as labels or numbers, repeated entities, event times. Evidence for the split, shared by frame and audit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emlyn.core.table import Column, Table
from emlyn.core.tables.contract import conform, contract_of
from emlyn.records.data_card import ColumnCard, DataCard
from emlyn.records.problem import Problem
from emlyn.types import Kind

KEY_NAME = re.compile(
    r"(^|[_\W])(id|ids|key|guid|uuid|code|patient|subject|customer|client|user|person|member|household|account|device|machine|store|"
    r"shop|hospital|school|student|employee|company|firm|vehicle|vin|card|session|case|participant|respondent)s?($|[_\W])|[a-z](Id|ID|Key|Uuid)$",
    re.IGNORECASE,
)
EVENT_NAME = re.compile(
    r"(^|[_\W])(date|datetime|time|timestamp|stamp|ts|dt|day|month|year|quarter|week|period|issued?|created|opened|ordered|booked|visit|seq|at)($|[_\W\d])"
    r"|[a-z](Date|Time|Day|At)$|(date|timestamp|datetime)$",
    re.IGNORECASE,
)
BIRTH_NAME = re.compile(
    r"birth|born|dob|founded|built|hire|joined|earliest|since|first|expir|due|valid|last|updated|modified|closed|(^|[_\W])end", re.IGNORECASE
)


def answers_column(raw: Table, card: DataCard, target: str, task: str) -> Column:
    """The target as its task reads it: numbers for regression, labels otherwise. This is what `Task.encode` is given."""
    return typed(raw.select([target]), with_answer_kind(card, target, task), [target])[target]


def with_answer_kind(card: DataCard, target: str, task: str) -> DataCard:
    """The card with its target read as labels (spellings that differ in case or spaces alone are one), or as numbers for regression."""
    kind: Kind = "number" if task == "regression" else "category"
    found = card if task == "regression" else with_label_spellings(card, target)
    return replace(found, columns=tuple(replace(c, kind=kind) if c.name == target else c for c in found.columns))


def with_label_spellings(card: DataCard, target: str) -> DataCard:
    """The card with spellings of the target's labels merged, where its cells are words."""

    def merged(column: ColumnCard) -> ColumnCard:
        words = column.name == target and column.kind in ("category", "text")
        return replace(column, parse=replace(column.parse, merge={**label_spellings(column), **column.parse.merge})) if words else column

    return replace(card, columns=tuple(map(merged, card.columns)))


def label_spellings(column: ColumnCard) -> dict[str, str]:
    """Spellings of a label that differ from its commonest one in case or spaces alone: written -> kept. From the levels on the card."""
    kept: dict[str, str] = {}
    for level, _ in sorted(column.levels, key=lambda pair: -pair[1]):
        kept.setdefault(" ".join(level.split()).casefold(), level.strip())
    merged = {level: kept[" ".join(level.split()).casefold()] for level, _ in column.levels}
    return {written: to for written, to in merged.items() if written.strip() != to}


def typed(raw: Table, card: DataCard, names: Sequence[str]) -> Table:
    """The named columns as the contract made from `card` reads them."""
    return conform(raw, contract_of(card, tuple(names))).table


def time_seconds(raw: Table, card: DataCard, problem: Problem) -> np.ndarray | None:
    """Seconds since 1970 (or the number that orders the rows) of each row (n,) where a time is known, else None. No value counts as earliest."""
    if not problem.time:
        return None
    column = typed(raw, card, [problem.time])[problem.time]
    seconds = np.asarray(column.values, dtype=np.float64) if column.levels is None else _sorted_codes(column)
    known = seconds[np.isfinite(seconds)]
    return np.where(np.isfinite(seconds), seconds, known.min() if len(known) else 0.0)


def _sorted_codes(column: Column) -> np.ndarray:
    assert column.levels is not None
    rank = np.argsort(np.argsort(column.levels.astype(str))).astype(np.float64)
    placed: np.ndarray = np.append(rank, np.nan)[column.values]
    return placed


@dataclass(frozen=True)
class Entity:
    """A column whose equal values mark rows of one person, thing or place."""

    name: str
    entities: int
    share: float
    """Share of the other columns on which rows of one entity agree."""
    agree: tuple[str, ...]


def find_entities(table: Table, target: str, seed: int = 0, most_pairs: int = 4_000) -> list[Entity]:
    """Columns that name repeated entities, best first.

    A key is found where rows that share its value agree on more than 90 % of what two random rows disagree on (lift = (P same - P random) /
    (1 - P random)), for more than 15 % of the other columns (30 % where the name says nothing), at least two of them. The target takes no part.
    """
    rng = np.random.default_rng(seed)
    cells = {n: _cells(c) for n, c in table.items() if n != target}
    n = table.rows
    left, right = rng.integers(0, n, most_pairs), rng.integers(0, n, most_pairs)
    apart = left != right
    random_agreement = {name: float((v[left] == v[right])[apart].mean()) for name, v in cells.items()}
    found = []
    for name, column in table.items():
        if name == target or EVENT_NAME.search(name) or not _may_be_key(column):
            continue
        pairs = _pairs_within(cells[name], rng, most_pairs)
        if len(pairs) < 50:
            continue
        entity = _entity(name, cells, random_agreement, pairs)
        if entity is not None:
            found.append(entity)
    return sorted(found, key=lambda e: (-e.share, -e.entities))


def _cells(column: Column) -> np.ndarray:
    """Cells that compare equal when both are missing."""
    return column.values if column.levels is not None else np.nan_to_num(column.values, nan=-1.7e308, posinf=1.7e308, neginf=-1.6e308)


def _may_be_key(column: Column) -> bool:
    """Coded or whole-numbered, with many values that come back, none of them common."""
    known = column.values[~column.missing]
    if len(known) < 0.5 * len(column) or column.kind in ("date", "boolean"):
        return False
    if column.levels is None and not np.array_equal(known, np.round(known)):
        return False
    sizes = np.unique(known, return_counts=True)[1]
    return len(sizes) >= 30 and int(sizes.max()) <= max(20, 0.1 * len(known)) and len(sizes) <= 0.95 * len(known)


def _pairs_within(values: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Pairs of positions (m, 2) that share a value; one pair per neighbouring couple, each value at most a few times."""
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order][1:] == values[order][:-1])
    if len(same) > most:
        same = rng.choice(same, most, replace=False)
    return np.column_stack([order[same], order[same + 1]])


def _entity(name: str, cells: dict[str, np.ndarray], random_agreement: dict[str, float], pairs: np.ndarray) -> Entity | None:
    agree, judged = [], 0
    for other, values in cells.items():
        if other == name or random_agreement[other] > 0.98:
            continue
        judged += 1
        same = float((values[pairs[:, 0]] == values[pairs[:, 1]]).mean())
        if (same - random_agreement[other]) / (1 - random_agreement[other]) > 0.9:
            agree.append(other)
    needed = 0.15 if KEY_NAME.search(name) else 0.3
    if judged == 0 or len(agree) < 2 or len(agree) / judged <= needed:
        return None
    return Entity(name, len(np.unique(cells[name])), len(agree) / judged, tuple(agree))


def is_event_time(name: str, kind: Kind, seconds: np.ndarray) -> tuple[bool, str]:
    """Does a date column say when a row happened (and not when somebody was born, hired or will expire)? With the evidence in words."""
    known = seconds[np.isfinite(seconds)]
    if kind != "date" or len(known) < 0.95 * len(seconds) or len(np.unique(known)) < 20:
        return False, ""
    step = np.diff(known)
    forward = max(float((step >= 0).mean()), float((step <= 0).mean())) if len(step) else 0.0
    if forward > 0.95:
        return True, "the rows stand in its order"
    if BIRTH_NAME.search(name):
        return False, ""
    if EVENT_NAME.search(name):
        return True, "its name says when a row happened"
    return False, ""
