"""What each command answers with `--json`, and Python callers as `.result`: plain dicts made from records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emlyn.engineer import Audited
from emlyn.records.codec import to_plain
from emlyn.records.evaluation import Evaluation, Measure
from emlyn.records.finding import Finding
from emlyn.records.journal import Trial
from emlyn.records.problem import Problem
from emlyn.records.run import Evidence, ModelVersion


def measures(found: dict[str, Measure]) -> dict[str, Any]:
    return {name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n, "method": m.method} for name, m in found.items()}


def finding(f: Finding) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(f)
    return plain


def findings(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Worst first."""
    order = {"fail": 0, "warn": 1, "info": 2}
    return [finding(f) for f in sorted(found, key=lambda f: order[f.severity])]


def leaderboard(trials: Iterable[Trial], direction: str) -> list[dict[str, Any]]:
    """Recipes best first; those that were stopped before all their folds, then those without a score, last."""
    rows = [
        {
            "recipe": t.recipe.name,
            "learner": t.recipe.learner,
            "score": t.score,
            "spread": t.spread,
            "fit_s": round(t.fit_s, 3),
            "weight": round(t.weight, 4),
            "status": t.status,
            "note": t.note,
        }
        for t in trials
    ]
    sign = -1 if direction == "maximize" else 1
    return sorted(rows, key=lambda r: (r["score"] is None, r["status"] != "done", sign * (r["score"] or 0.0)))


def split(problem: Problem) -> dict[str, Any]:
    rule = problem.split
    return {"kind": rule.kind, "by": rule.by, "why": rule.why, "sealed": rule.sealed}


def evaluation(found: Evaluation) -> dict[str, Any]:
    return measures(found.metrics)


def verdict(found: Evaluation) -> dict[str, Any] | None:
    return None if found.verdict is None else {"verdict": found.verdict.word, "why": found.verdict.why, "reasons": list(found.verdict.reasons)}


def train(version: ModelVersion, evidence: Evidence, times: dict[str, float | None]) -> dict[str, Any]:
    """The answer of `emlyn train --json`; `times` holds wall_s, budget_s and first_model_s."""
    problem, found = evidence.problem, evidence.evaluation
    return {
        "model": f"{version.name}:{version.version}",
        "aliases": list(version.aliases),
        "path": version.path,
        "report": version.report,
        "task": problem.task,
        "target": problem.target,
        "positive": problem.positive or None,
        "classes": list(problem.classes),
        "metric": problem.metric,
        "direction": problem.direction,
        "evaluation": measures(found.metrics),
        "baseline": measures(found.baseline),
        "method": found.method,
        "openings": found.openings,
        "parent": evidence.lineage.parent or None,
        **times,
        "leaderboard": leaderboard(evidence.trials, problem.direction),
        "findings": findings(evidence.findings),
        "questions": to_plain(evidence.questions),
        "split": split(problem),
        "excluded": dict(problem.excluded),
        "repairs": to_plain(evidence.repairs),
        "threshold": found.threshold,
        "fair": found.sections.get("fairness", {}).get("limit"),
        "verdict": found.verdict.word if found.verdict else None,
        "why": found.verdict.why if found.verdict else None,
        "rows": evidence.card.rows,
    }


def audit(done: Audited) -> dict[str, Any]:
    """The answer of `emlyn audit --json`."""
    found, problem = done.audit, done.audit.problem
    return {
        "source": found.card.source,
        "rows": found.card.rows,
        "digest": found.card.digest,
        "dialect": found.card.dialect,
        "notes": list(found.card.notes),
        "columns": to_plain(found.card.columns),
        "findings": findings(found.findings),
        "questions": to_plain(found.questions),
        "repairs": to_plain(found.repairs),
        "scores": found.scores,
        "left_out": list(found.left_out),
        "drift": findings(done.drift),
        "traps": to_plain(done.traps),
        "problem": {
            "task": problem.task,
            "target": problem.target,
            "metric": problem.metric,
            "direction": problem.direction,
            "classes": list(problem.classes),
            "positive": problem.positive or None,
            "split": split(problem),
            "features": list(problem.features),
            "excluded": dict(problem.excluded),
            "why": problem.why,
        }
        if problem.target
        else None,
    }


def version(found: ModelVersion) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(found)
    return plain
