"""Realistic evidence records for the tests of report and documents, in the shapes that the evaluation promises."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from emlyn.records.data_card import ColumnCard, DataCard
from emlyn.records.evaluation import Driver, Evaluation, Explanation, Measure, Verdict
from emlyn.records.finding import Effect, Finding, Question
from emlyn.records.journal import Entry, Trial
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem, SplitRule
from emlyn.records.repair import Repair
from emlyn.records.run import Evidence, Lineage

LINEAGE = Lineage(
    data="titanic.csv",
    data_digest="3f" * 32,
    rows=3200,
    code_version="0.1.0",
    packages={"lightgbm": "4.7.0", "scikit-learn": "1.9.1"},
    python="3.11.9",
    machine="2 cores, 8 GB",
    seed=0,
    budget_s=60.0,
    started="2026-11-20T09:00:00Z",
    by="ada",
)


def measure(value: float, half: float, n: int, method: str) -> Measure:
    return Measure(value, value - half, value + half, n, method)


def as_dict(m: Measure) -> dict[str, Any]:
    return dataclasses.asdict(m)


def number_column(name: str, values: np.ndarray, **extra: Any) -> ColumnCard:
    known = values[np.isfinite(values)]
    return ColumnCard(
        name,
        "number",
        rows=len(values),
        missing=len(values) - len(known),
        distinct=len(np.unique(known)),
        low=float(known.min()),
        high=float(known.max()),
        mean=float(known.mean()),
        std=float(known.std()),
        quantiles=tuple(float(q) for q in np.quantile(known, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])),
        **{"why": "every cell is a number", **extra},
    )


def trials() -> tuple[Trial, ...]:
    made = [
        ("lightgbm-tuned", "lightgbm", 0.862, 0.008, 0.62),
        ("catboost-default", "catboost", 0.858, 0.009, 0.28),
        ("linear", "linear", 0.851, 0.01, 0.10),
        ("extra-trees", "trees", 0.843, 0.012, 0.0),
        ("one column: sex", "baseline", 0.766, 0.011, 0.0),
        ("prior", "baseline", 0.5, None, 0.0),
    ]
    done = [
        Trial(Recipe(name, learner, why=f"{learner} is strong on mixed tables"), score, spread, (0, 1, 2, 3, 4), fit_s=0.4, weight=weight)
        for name, learner, score, spread, weight in made
    ]
    return (
        *done,
        Trial(
            Recipe("mlp", "mlp", why="smooth shapes"),
            0.79,
            None,
            (0,),
            2.1,
            status="dropped",
            note="worse than the leader beyond noise after one fold",
        ),
    )


def binary() -> Evidence:
    rng = np.random.default_rng(1)
    n = 650
    y = rng.random(n) < 0.382
    p = np.clip(1 / (1 + np.exp(-(rng.normal(0, 1.1, n) + np.where(y, 1.35, -1.5)))), 0.01, 0.99)
    age = np.where(rng.random(n) < 0.2, np.nan, rng.gamma(6, 5, n))
    problem = Problem(
        "binary",
        "survived",
        "roc_auc",
        "maximize",
        ("no", "yes"),
        "yes",
        SplitRule("stratified", "", "no key and no time column was found", 0.2),
        {"task": "two distinct values", "metric": "the default for two classes", "positive": "the rarer and later value"},
        ("sex", "age", "fare", "class", "family"),
        {"boat": "quarantined: knows the answer (lifeboats were numbered afterwards)", "name": "private: names of people"},
        sensitive=("sex",),
        rows=3200,
    )
    card = DataCard(
        "titanic.csv",
        3200,
        (
            ColumnCard("survived", "category", "target", "named as target", rows=3200, distinct=2, levels=(("no", 1978), ("yes", 1222))),
            ColumnCard("sex", "category", why="two distinct texts", rows=3200, distinct=2, levels=(("male", 2070), ("female", 1130))),
            number_column("age", age),
            number_column("fare", rng.lognormal(3, 1, n)),
            ColumnCard(
                "class",
                "category",
                why="few whole numbers without order of size",
                rows=3200,
                distinct=3,
                levels=(("3", 1700), ("1", 800), ("2", 700)),
            ),
            number_column("family", rng.poisson(1.1, n).astype(float), integral=True),
            ColumnCard(
                "boat",
                "category",
                "excluded",
                "quarantined",
                rows=3200,
                missing=2000,
                distinct=27,
                levels=(("13", 90), ("C", 85), ("15", 80), ("14", 70), ("4", 66), ("10", 60)),
            ),
            ColumnCard("name", "text", "excluded", "private", rows=3200, distinct=3190),
        ),
        "3f" * 32,
        {"delimiter": ",", "encoding": "utf-8"},
        ("2 lines had one cell too few",),
    )
    return Evidence(
        problem,
        card,
        findings(),
        questions(),
        trials(),
        binary_evaluation(y, p),
        explanation(),
        LINEAGE,
        {"random split": 0.893, "honest split": 0.862},
        "titanic:3",
        repairs(),
        {"with boat": 0.994, "without boat": 0.862},
        {"shuffled target": 0.503},
        ("privacy.membership: no time left",),
        (
            Entry(1.0, "plan", "boosting suits mixed tables", "6 recipes", {"rows": 2560}, "", 0.2),
            Entry(2.0, "trial", "lightgbm is strong", "lightgbm-tuned", {"score": 0.862}, "kept", 2.4),
        ),
    )


def findings() -> tuple[Finding, ...]:
    return (
        Finding(
            "leakage.target_copy:boat",
            "leakage.target_copy",
            "fail",
            "“boat” knows the answer: it is filled in for survivors only.",
            "AUC of this column alone 0.99",
            "A column written after the event is not there when a prediction is needed.",
            Effect("AUC", 0.99, 0.98, 0.995),
            3200,
            ("boat",),
            (1, 4),
            "quarantined",
            True,
            True,
            "--known boat",
        ),
        Finding(
            "form.sentinel:age",
            "form.sentinel",
            "warn",
            "“age” holds 41 times -999, which means no value.",
            n=41,
            columns=("age",),
            fix="read as missing",
            applied=True,
            undo="--without form.sentinel",
        ),
        Finding(
            "missing.informative:age", "missing.informative", "info", "Whether “age” is missing goes along with the outcome.", n=640, columns=("age",)
        ),
        Finding(
            "privacy.personal:name",
            "privacy.personal",
            "warn",
            "“name” holds names of people.",
            n=3200,
            columns=("name",),
            fix="left out",
            applied=True,
        ),
    )


def repairs() -> tuple[Repair, ...]:
    return (
        Repair(
            "leakage.target_copy:boat",
            "leakage.target_copy",
            "boat",
            role="excluded",
            says="“boat” was set aside: it is only known afterwards.",
            before=0.994,
            after=0.862,
        ),
        Repair("form.sentinel:age", "form.sentinel", "age", says="-999 in “age” is read as no value.", before=0.855, after=0.862),
        Repair("form.spelling:sex", "form.spelling", "sex", says="“Male”, “male ” and “M” are one spelling now.", before=0.861, after=0.862),
        Repair("form.numbers:fare", "form.numbers", "fare", says="£ signs in “fare” are removed."),
    )


def questions() -> tuple[Question, ...]:
    return (
        Question(
            "known:fare",
            "Is “fare” known when a prediction is needed?",
            "yes, it is used",
            "--exclude fare",
            ("fare",),
            {"with": 0.862, "without": 0.851},
        ),
    )


def explanation() -> Explanation:
    drivers = (
        Driver("sex", 0.142, 0.121, 0.163, "“female” raises the prediction", True, (), (("female", 1.2), ("male", -0.7))),
        Driver("class", 0.071, 0.055, 0.087, "“1” raises, “3” lowers the prediction", True, ("fare",), (("1", 0.8), ("2", 0.1), ("3", -0.5))),
        Driver(
            "age",
            0.038,
            0.024,
            0.052,
            "higher values lower the prediction",
            True,
            (),
            tuple((float(x), float(0.9 - 0.03 * x + 0.2 * np.sin(x / 8))) for x in range(1, 75, 3)),
        ),
        Driver(
            "fare",
            0.021,
            0.009,
            0.033,
            "higher values raise the prediction",
            True,
            (),
            tuple((float(x), float(np.log1p(x) / 5 - 0.6)) for x in range(1, 250, 12)),
        ),
        Driver("family", 0.004, -0.003, 0.011, "no clear direction", False, ()),
        Driver("deck", 0.002, -0.003, 0.007, "", False, ()),
    )
    return Explanation("permutation on sealed rows", drivers, 650, "all sealed rows", 0.006)


def calibration_bins(y: np.ndarray, p: np.ndarray) -> list[dict[str, Any]]:
    out = []
    for part in np.array_split(np.argsort(p), 10):
        m, rate = len(part), float(y[part].mean())
        half = 1.96 * np.sqrt(rate * (1 - rate) / m + 0.25 / m**2)
        out.append({"predicted": float(p[part].mean()), "observed": rate, "low": max(rate - half, 0.0), "high": min(rate + half, 1.0), "n": m})
    return out


def binary_evaluation(y: np.ndarray, p: np.ndarray) -> Evaluation:
    order = np.argsort(-p)
    hit = y[order]
    tpr, fpr, share = np.cumsum(hit) / hit.sum(), np.cumsum(~hit) / (~hit).sum(), np.arange(1, len(y) + 1) / len(y)
    precision = np.cumsum(hit) / np.arange(1, len(y) + 1)
    pick = np.linspace(0, len(y) - 1, 80).astype(int)
    flag = p >= 0.45
    tp, fp, fn, tn = int((flag & y).sum()), int((flag & ~y).sum()), int((~flag & y).sum()), int((~flag & ~y).sum())
    per = [[round(1000 * c / len(y)) for c in line] for line in ((tn, fp), (fn, tp))]
    have, flagged, right, missed = per[1][0] + per[1][1], per[0][1] + per[1][1], per[1][1], per[1][0]
    said = f"Of 1,000 rows like these, {have} are yes; the model flags {flagged}, {right} of them rightly; it misses {missed}."
    thresholds = np.linspace(0.05, 0.75, 40)
    benefit = [float(((p >= t) & y).mean() - ((p >= t) & ~y).mean() * t / (1 - t)) for t in thresholds]
    edges = np.linspace(0, 1, 21)
    plots = {
        "scores": {
            "edges": edges.tolist(),
            "series": {"no": np.histogram(p[~y], edges)[0].tolist(), "yes": np.histogram(p[y], edges)[0].tolist()},
            "of": "yes",
        },
        "calibration": {"of": "yes", "bins": calibration_bins(y, p)},
        "roc": {"of": "yes", "points": [[0, 0], *np.c_[fpr, tpr][pick].tolist()], "chosen": [fp / (fp + tn), tp / (tp + fn)]},
        "precision_recall": {
            "of": "yes",
            "points": np.c_[tpr, precision][pick].tolist(),
            "prevalence": float(y.mean()),
            "chosen": [tp / (tp + fn), tp / (tp + fp)],
        },
        "gains": {"of": "yes", "points": np.c_[share, tpr][pick].tolist(), "chosen": None},
        "decision_curve": {
            "thresholds": thresholds.tolist(),
            "model": benefit,
            "all": [float(y.mean() - (1 - y.mean()) * t / (1 - t)) for t in thresholds],
            "none": [0.0] * 40,
        },
        "confusion": {"labels": ["no", "yes"], "counts": [[tn, fp], [fn, tp]], "per_1000": per, "threshold": 0.45, "sentence": said, "of": 1000},
        "recall_by_class": [
            {"label": "yes", "value": 0.75, "low": 0.69, "high": 0.8, "n": 240},
            {"label": "no", "value": 0.87, "low": 0.83, "high": 0.9, "n": 410},
        ],
    }
    metrics = {
        "roc_auc": Measure(0.862, 0.832, 0.888, 650, "DeLong on the logit scale"),
        "average_precision": measure(0.82, 0.04, 650, "bootstrap, BCa, 2,000 draws"),
        "log_loss": measure(0.452, 0.035, 650, "bootstrap, BCa, 2,000 draws"),
        "brier": measure(0.141, 0.012, 650, "bootstrap, BCa, 2,000 draws"),
        "d2_brier": measure(0.4, 0.05, 650, "bootstrap"),
        "accuracy": measure(0.807, 0.03, 650, "Wilson"),
        "sensitivity": measure(0.75, 0.055, 240, "Wilson"),
        "specificity": measure(0.87, 0.035, 410, "Wilson"),
        "precision": measure(0.78, 0.05, 230, "Wilson"),
        "calibration_slope": measure(1.06, 0.15, 650, "logistic regression"),
        "net_benefit": measure(0.21, 0.03, 650, "bootstrap"),
    }
    baseline = {
        "roc_auc": Measure(0.5, None, None, 650, "prior"),
        "log_loss": measure(0.665, 0.01, 650, "bootstrap"),
        "brier": measure(0.236, 0.006, 650, "bootstrap"),
        "accuracy": measure(0.618, 0.037, 650, "Wilson"),
    }
    gap = {
        "metric": "tpr",
        "worst": "male",
        "best": "female",
        "difference": as_dict(measure(0.41, 0.1, 240, "Newcombe")),
        "ratio": None,
        "verdict": "gap shown",
        "sentence": "Of the true “yes”, 92 % of “female” are found and 51 % of “male”: the gap is between 0.31 and 0.51.",
    }
    unclear = {**gap, "metric": "fpr", "verdict": "cannot tell", "sentence": "False flags by sex: cannot tell, only 37 “female” without “yes”."}
    group = {
        "selection": as_dict(measure(0.4, 0.05, 300, "Wilson")),
        "precision": as_dict(measure(0.7, 0.05, 300, "Wilson")),
        "calibration": as_dict(measure(0.02, 0.03, 300, "bootstrap")),
        "error": as_dict(measure(0.2, 0.04, 300, "Wilson")),
    }
    sections = {
        "domains": {
            "discrimination": ["roc_auc", "average_precision"],
            "calibration": ["calibration_slope"],
            "overall": ["log_loss", "brier", "d2_brier"],
            "threshold": ["sensitivity", "specificity", "precision", "accuracy"],
            "utility": ["net_benefit"],
        },
        "natural": {"of": 1000, "label": "yes", "have": have, "flagged": flagged, "right": right, "missed": missed, "sentence": said},
        "comparison": {
            "against": "baseline",
            "metric": "roc_auc",
            "difference": as_dict(measure(0.362, 0.028, 650, "DeLong, paired")),
            "p": 0.0,
            "test": "DeLong",
            "sentence": "Better than no model: ROC AUC is higher by between 0.33 and 0.39.",
        },
        "decision": {
            "threshold": 0.45,
            "why": "no costs were named, so the threshold finds as many as it can without more false flags than right ones",
            "sentence": "A case is flagged from a probability of 0.45.",
            "costs": None,
            "capacity": None,
            "points": [
                {
                    "name": "balanced",
                    "threshold": 0.45,
                    "why": "highest Youden index",
                    "flagged": 0.36,
                    "sensitivity": 0.75,
                    "specificity": 0.87,
                    "precision": 0.78,
                    "net_benefit": 0.21,
                },
                {
                    "name": "careful",
                    "threshold": 0.2,
                    "why": "finds 9 of 10",
                    "flagged": 0.55,
                    "sensitivity": 0.9,
                    "specificity": 0.66,
                    "precision": 0.62,
                    "net_benefit": 0.29,
                },
            ],
        },
        "slices": {
            "confirmed": [
                {
                    "rule": "class = 3 and age missing",
                    "columns": ["class", "age"],
                    "n": 88,
                    "loss": 0.61,
                    "rest": 0.43,
                    "difference": as_dict(measure(0.18, 0.08, 88, "bootstrap")),
                    "p": 0.002,
                    "sentence": "It does worse where class = 3 and age is missing (88 rows): log loss 0.61 against 0.43 elsewhere.",
                }
            ],
            "tested": 64,
            "sentence": "1 of 64 groups looked at is served worse, beyond chance.",
        },
        "fairness": {
            "columns": [
                {
                    "column": "sex",
                    "groups": [
                        {
                            "group": "female",
                            "n": 230,
                            "tpr": as_dict(measure(0.92, 0.04, 150, "Wilson")),
                            "fpr": as_dict(Measure(0.3, None, None, 37, "too few for a range")),
                            **group,
                        },
                        {
                            "group": "male",
                            "n": 420,
                            "tpr": as_dict(measure(0.51, 0.09, 90, "Wilson")),
                            "fpr": as_dict(measure(0.06, 0.03, 330, "Wilson")),
                            **group,
                        },
                    ],
                    "gaps": [gap, unclear],
                }
            ],
            "chosen": "tpr: being missed is the harm",
            "sentence": "Between the sexes a gap is shown.",
            "pareto": {
                "column": "sex",
                "metric": "roc_auc",
                "gap": "tpr",
                "points": [
                    {"name": "as it is", "value": 0.862, "accuracy": 0.81, "gap": 0.41, "low": 0.31, "high": 0.51},
                    {"name": "reweighing", "value": 0.851, "accuracy": 0.8, "gap": 0.22, "low": 0.11, "high": 0.33},
                    {"name": "a threshold per group", "value": 0.862, "accuracy": 0.77, "gap": 0.03, "low": None, "high": None},
                ],
            },
            "left_out": "Mitigation was not tried for want of time.",
        },
        "conformal": {
            "kind": "set",
            "levels": [{"level": 0.9, "coverage": as_dict(measure(0.905, 0.02, 650, "Wilson")), "size": 1.22, "quantile": 0.7, "groups": []}],
            "sentence": "Asked to be right 9 times in 10, it answers with one label for 78 % of cases and says “either” for the rest.",
        },
        "abstention": {
            "points": [{"answered": a, "value": 0.862 + 0.1 * (1 - a), "threshold": 0.1} for a in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
            "metric": "roc_auc",
            "sentence": "If it may pass on the least certain fifth, the ROC AUC of the rest rises to 0.88.",
        },
        "learning_curve": {
            "points": [
                {"rows": r, "value": 0.87 - 2 / r**0.7, "low": 0.85 - 3 / r**0.7, "high": 0.885 - 1 / r**0.7} for r in (160, 320, 640, 1280, 2560)
            ],
            "metric": "roc_auc",
            "doubling": 0.004,
            "sentence": "Twice the data is worth about 0.004 ROC AUC: more rows hardly help, better columns might.",
        },
        "robustness": {
            "tests": [
                {"test": "10 % of cells empty", "column": "", "value": 0.84, "change": -0.02, "flips": 0.06, "sentence": "…"},
                {"test": "without the strongest column", "column": "sex", "value": 0.74, "change": -0.12, "flips": 0.21, "sentence": "…"},
            ],
            "metric": "roc_auc",
            "sentence": "It leans on “sex”: without it the ROC AUC falls by 0.12.",
        },
        "membership": {
            "auc": as_dict(measure(0.51, 0.02, 650, "DeLong")),
            "tpr_at_1_fpr": 0.012,
            "sentence": "From an answer one cannot tell who was in the training table.",
        },
    }
    verdict = Verdict(
        "use with care",
        "It finds survivors well, but misses half of the men who survived.",
        (
            "It finds survivors well, but misses half of the men who survived.",
            "One column was set aside because it knows the answer.",
            "Age is missing for one person in five.",
        ),
    )
    return Evaluation(
        metrics, baseline, 650, "sealed rows", 1, measure(0.362, 0.028, 650, "DeLong, paired"), 0.45, "Youden", verdict, (), plots, sections
    )


def multiclass(classes: int = 8) -> Evidence:
    base = binary()
    rng = np.random.default_rng(2)
    labels = [f"quality {k}" for k in range(classes)]
    shown = [*labels[:11], "(other)"] if classes > 12 else labels
    k = len(shown)
    counts = (np.eye(k) * rng.integers(40, 120, k) + rng.integers(0, 14, (k, k))).astype(int)
    per = (1000 * counts / counts.sum()).round().astype(int)
    right = int(np.trace(per))
    plots = {
        "confusion": {
            "labels": shown,
            "counts": counts.tolist(),
            "per_1000": per.tolist(),
            "threshold": None,
            "sentence": f"Of 1,000 rows like these, {right} are named rightly.",
            "of": 1000,
        },
        "recall_by_class": [
            {"label": label, "value": 0.3 + 0.6 * i / classes, "low": 0.2 + 0.6 * i / classes, "high": 0.4 + 0.6 * i / classes, "n": 60 + i}
            for i, label in enumerate(labels[:50])
        ],
        "scores": {
            "edges": np.linspace(0, 1, 11).tolist(),
            "series": {"right": [1, 4, 9, 15, 30, 44, 60, 80, 90, 99], "wrong": [5, 12, 22, 30, 33, 30, 22, 15, 6, 2]},
            "of": "predicted class",
        },
        "calibration": {"of": "predicted class", "bins": calibration_bins(rng.random(400) < 0.6, rng.random(400))},
    }
    metrics = {
        "log_loss": measure(0.812, 0.05, 980, "bootstrap, BCa"),
        "roc_auc": measure(0.91, 0.012, 980, "bootstrap, BCa"),
        "accuracy": measure(0.71, 0.028, 980, "Wilson"),
        "min_recall": Measure(0.31, None, None, 9, "too few for a range"),
    }
    evaluation = Evaluation(
        metrics,
        {"log_loss": measure(1.61, 0.02, 980, "bootstrap"), "accuracy": measure(0.22, 0.03, 980, "Wilson")},
        980,
        "sealed rows",
        2,
        measure(-0.798, 0.05, 980, "paired bootstrap"),
        verdict=Verdict("use", "Far better than guessing, and its probabilities can be believed."),
        plots=plots,
    )
    problem = dataclasses.replace(
        base.problem, task="multiclass", target="quality", metric="log_loss", direction="minimize", classes=tuple(labels), positive="", sensitive=()
    )
    return dataclasses.replace(base, problem=problem, evaluation=evaluation, repairs=(), naive_score={}, model="wine:1")


def regression() -> Evidence:
    base = binary()
    rng = np.random.default_rng(3)
    truth = np.exp(rng.normal(12, 0.35, 586))
    predicted = truth * np.exp(rng.normal(0, 0.11, 586))
    order = np.argsort(predicted)
    bands = []
    for part in np.array_split(order, 10):
        low, middle, high = np.quantile((truth - predicted)[part], [0.05, 0.5, 0.95])
        bands.append({"predicted": float(predicted[part].mean()), "low": float(low), "middle": float(middle), "high": float(high), "n": len(part)})
    edges = np.linspace(truth.min(), truth.max(), 21)
    pick = rng.choice(586, 100, replace=False)
    plots = {
        "scores": {
            "edges": edges.tolist(),
            "series": {"truth": np.histogram(truth, edges)[0].tolist(), "predicted": np.histogram(predicted, edges)[0].tolist()},
            "of": "Sale_Price",
        },
        "calibration": {
            "of": "Sale_Price",
            "bins": [
                {
                    "predicted": float(predicted[c].mean()),
                    "observed": float(truth[c].mean()),
                    "low": float(truth[c].mean() - 6000),
                    "high": float(truth[c].mean() + 6000),
                    "n": len(c),
                }
                for c in np.array_split(order, 10)
            ],
        },
        "residuals": {"points": np.c_[predicted, truth - predicted][pick].tolist(), "bands": bands},
        "predicted_vs_actual": {"points": np.c_[predicted, truth][pick].tolist(), "low": float(truth.min()), "high": float(truth.max())},
    }
    metrics = {
        "rmse": measure(22_350.0, 2_400, 586, "bootstrap, BCa"),
        "mae": measure(14_810.0, 1_020, 586, "bootstrap, BCa"),
        "r2": measure(0.912, 0.02, 586, "bootstrap, BCa"),
        "coverage_90": measure(0.896, 0.025, 586, "Wilson"),
        "width_90": Measure(61_000.0, None, None, 586, "mean"),
    }
    evaluation = Evaluation(
        metrics,
        {"rmse": measure(79_870.0, 5_000, 586, "bootstrap"), "mae": measure(58_190.0, 3_900, 586, "bootstrap")},
        586,
        "sealed rows",
        1,
        measure(-57_520.0, 4_800, 586, "paired bootstrap"),
        verdict=Verdict("use", "Prices are off by about a tenth; without it by a third."),
        plots=plots,
        sections={
            "domains": {"error": ["rmse", "mae", "r2"], "intervals": ["coverage_90", "width_90"]},
            "conformal": {
                "kind": "interval",
                "levels": [
                    {"level": 0.9, "coverage": as_dict(measure(0.896, 0.025, 586, "Wilson")), "size": 61_000.0, "quantile": 30_500.0, "groups": []}
                ],
                "sentence": "9 of 10 true prices lie within 30,500 of the prediction.",
            },
        },
    )
    problem = dataclasses.replace(
        base.problem, task="regression", target="Sale_Price", metric="rmse", direction="minimize", classes=(), positive="", sensitive=()
    )
    return dataclasses.replace(base, problem=problem, evaluation=evaluation, naive_score={}, model="ames:1", repairs=repairs()[3:])


def failing() -> Evidence:
    """40 rows, 6 events: no interval, no model better than none, hardly a section."""
    base = binary()
    metrics = {
        "roc_auc": Measure(0.58, None, None, 40, "too few events for an interval (6 of at least 20)"),
        "accuracy": measure(0.8, 0.12, 40, "Wilson"),
    }
    verdict = Verdict("do not use yet", "With 6 events nobody can tell whether it is better than guessing.")
    evaluation = Evaluation(
        metrics,
        {"roc_auc": Measure(0.5, None, None, 40, "prior")},
        40,
        "cross-validation corrected for selection",
        verdict=verdict,
        comparison=Measure(0.08, None, None, 40, "too few events"),
    )
    return dataclasses.replace(
        base,
        evaluation=evaluation,
        explanation=None,
        repairs=(),
        findings=(),
        questions=(),
        naive_score={},
        trials=base.trials[-2:],
        journal=(),
        model="",
    )


HOSTILE = '<script>alert("x")</script>'


def hostile() -> Evidence:
    """Every text that comes from data is an attack on the page, is 300 characters long, or an emoji; 5,000 columns."""
    base = binary()
    names = (HOSTILE, "x" * 300, "🚀" * 40, "a b\n\tc'\"&;", *(f"column {k}" for k in range(5000)))
    columns = tuple(ColumnCard(n, "category", rows=3200, distinct=900, levels=((HOSTILE, 20), ("y" * 300, 3)), why=HOSTILE) for n in names)
    drivers = tuple(Driver(n, 0.1, 0.05, 0.15, HOSTILE, True, (HOSTILE,), ((HOSTILE, 1.0), ("z" * 300, -1.0))) for n in names[:40])
    problem = dataclasses.replace(
        base.problem,
        target=HOSTILE,
        positive=HOSTILE,
        classes=("no", HOSTILE),
        features=names,
        excluded=dict.fromkeys(names, HOSTILE),
        why={HOSTILE: HOSTILE},
    )
    plots = {k: ({**v, "of": HOSTILE} if isinstance(v, dict) and "of" in v else v) for k, v in base.evaluation.plots.items()}
    plots["confusion"] = {**plots["confusion"], "labels": ["no", HOSTILE], "sentence": HOSTILE}
    natural = {**base.evaluation.sections["natural"], "label": HOSTILE, "sentence": HOSTILE}
    evaluation = dataclasses.replace(
        base.evaluation,
        plots=plots,
        sections={**base.evaluation.sections, "natural": natural},
        verdict=Verdict("use", HOSTILE, (HOSTILE, HOSTILE * 5)),
    )
    found = tuple(Finding(f"form.x:{k}", "form.x", "warn", HOSTILE, HOSTILE, HOSTILE, columns=names[:200]) for k in range(500))
    return dataclasses.replace(
        base,
        problem=problem,
        card=dataclasses.replace(base.card, source=HOSTILE, columns=columns, notes=(HOSTILE,), dialect={HOSTILE: HOSTILE}),
        explanation=Explanation(HOSTILE, drivers, 9, HOSTILE),
        evaluation=evaluation,
        findings=found,
        lineage=dataclasses.replace(LINEAGE, data=HOSTILE, by=HOSTILE),
        questions=(Question("q", HOSTILE, HOSTILE, HOSTILE),),
        model=HOSTILE,
    )


EVERY = {"binary": binary, "multiclass": multiclass, "regression": regression, "failing": failing, "hostile": hostile}
