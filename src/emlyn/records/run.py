"""A run, and the model versions that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emlyn.records.data_card import DataCard
from emlyn.records.evaluation import Evaluation, Explanation
from emlyn.records.finding import Finding, Question
from emlyn.records.journal import Entry, Trial
from emlyn.records.options import TrainOptions
from emlyn.records.problem import Problem
from emlyn.records.repair import Repair


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from: enough to make it again and to answer an auditor."""

    data: str
    """The source as the user named it (passwords removed)."""
    data_digest: str
    rows: int
    code_version: str
    packages: dict[str, str] = field(default_factory=dict)
    python: str = ""
    machine: str = ""
    seed: int = 0
    budget_s: float = 0.0
    started: str = ""
    """ISO 8601, UTC."""
    by: str = ""
    parent: str = ""
    """`name:version` this one was continued or retrained from."""
    room: int = 0
    """Bytes that the raw table was allowed to take, which says which of its rows were read; 0 = all of them."""
    options: TrainOptions = field(default_factory=TrainOptions)
    replay: dict[str, Any] = field(default_factory=dict)
    """Recipes, folds and steps of a time-bounded run: what is needed to repeat it by `--trials`."""


@dataclass(frozen=True)
class Evidence:
    """All that is known about one model version, in one record: the report, the documents and the terminal all read this."""

    problem: Problem
    card: DataCard
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    trials: tuple[Trial, ...]
    evaluation: Evaluation
    explanation: Explanation | None
    lineage: Lineage
    naive_score: dict[str, float] = field(default_factory=dict)
    """The score under the naive split beside the honest one, where they differ."""
    model: str = ""
    """`name:version`, once it is registered."""
    repairs: tuple[Repair, ...] = ()
    """Those applied, each with its own score before and after where it was measured."""
    audit_scores: dict[str, float] = field(default_factory=dict)
    """`Audit.scores`: probe scores by situation (`with COLUMN`, `without COLUMN`), for the quarantined columns."""
    canary: dict[str, float] = field(default_factory=dict)
    """`Audit.canary`: negative controls."""
    left_out: tuple[str, ...] = ()
    """What was skipped for time or want of material, with the reason."""
    journal: tuple[Entry, ...] = ()
    """The run's journal, in the order written."""


@dataclass(frozen=True)
class ModelVersion:
    """One registered model."""

    name: str
    version: int
    digest: str
    """SHA-256 of the `.emlyn` file."""
    artifact: str
    """Key of the file in the artifact store."""
    task: str
    target: str
    metric: str
    created: str
    aliases: tuple[str, ...] = ()
    evaluation: dict[str, Any] = field(default_factory=dict)
    lineage: Lineage | None = None
    report: str = ""
    path: str = ""
