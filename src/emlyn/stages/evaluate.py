"""Evaluate: what the model is worth on rows never used for choosing.

`evaluate_sealed` opens the sealed rows in one pass; `evaluate_oof` corrects the stored out-of-fold predictions for selection;
`evaluate_answers` is their shared core, also used for `--test FILE` and `emlyn evaluate`.

What the report may rely on
---------------------------
Every value is plain JSON; every list of a plot has at most 100 entries; a plot or section that does not apply is absent. Shares are 0..1.
"MEASURE" below is the dict of a `Measure` (`value, low, high, n, method`); `low`/`high` are null where no honest interval exists.

`Evaluation.metrics` holds the problem's metric first. Names beyond those of `core.metrics`: `d2_log_loss`, `d2_brier` (skill against the
prior), `calibration_slope`, `calibration_intercept`, `observed_expected`, `ici`, `spiegelhalter_z`, `sensitivity`, `specificity`,
`precision`, `npv`, `net_benefit`, `flagged`; multiclass: `min_recall`; regression: `pinball_10`, `pinball_90`, `coverage_90`,
`width_90`, `bias`. `sections["domains"]` says which belongs where.

`Evaluation.plots`
  scores               {"edges": [k+1 numbers], "series": {label: [k counts]}, "of": label}   classification: the probability of `of` (binary:
                       the positive class; multiclass: the predicted class, series "right" and "wrong"); regression: series "truth", "predicted"
  calibration          {"of": label, "bins": [{"predicted", "observed", "low", "high", "n"}]}   Wilson 95 % per bin; regression: of = target,
                       "observed" is the mean truth of the bin with its t interval
  roc                  {"of": label, "points": [[false positive rate, true positive rate], ...], "chosen": [x, y] or null}
  precision_recall     {"of": label, "points": [[recall, precision], ...], "prevalence": share, "chosen": [x, y] or null}
  confusion            {"labels": [...], "counts": [[row = truth, column = decided]], "per_1000": [[...]], "threshold": t or null,
                       "sentence": "Of 1,000 rows like these, 120 are ...", "of": 1000}   at most 12 labels, the rest as "(other)"
  recall_by_class      [{"label", "value", "low", "high", "n"}]   worst first, at most 50
  gains                {"of": label, "points": [[share of rows taken, share of positives found], ...], "chosen": [x, y] or null}
  decision_curve       {"thresholds": [...], "model": [...], "all": [...], "none": [...]}   net benefit per row
  residuals            {"points": [[predicted, truth - predicted], ...], "bands": [{"predicted", "low", "middle", "high", "n"}]}   5, 50, 95 %
  predicted_vs_actual  {"points": [[predicted, truth], ...], "low": x, "high": x}   low, high: common range of the axes

`Evaluation.sections` (each may hold "left_out": a sentence; each that has a plain-words summary holds "sentence")
  domains         {"discrimination": [names], "calibration": [names], "overall": [names], "threshold": [names], "utility": [names],
                  "error": [names], "intervals": [names]}   the order to show metrics in; only names present in `metrics`
  decision        {"threshold", "why", "sentence", "costs": {"fp", "fn"} or null, "capacity": n or null,
                  "points": [{"name", "threshold", "why", "flagged", "sensitivity", "specificity", "precision", "net_benefit"}]}
  natural         {"of": 1000, "label", "have", "flagged", "right", "missed", "sentence"}   binary: counts per 1,000 rows
  comparison      {"against": "baseline", "metric", "difference": MEASURE, "p", "test", "sentence"}
  selection       {"candidates", "naive": value before the correction, "corrected": value, "sentence"}   cross-validation only
  slices          {"confirmed": [{"rule", "columns", "n", "loss", "rest", "difference": MEASURE, "p", "sentence"}], "tested", "sentence"}
  fairness        {"columns": [{"column", "groups": [{"group", "n", "selection": MEASURE, "tpr": MEASURE, "fpr": MEASURE,
                  "precision": MEASURE, "calibration": MEASURE, "error": MEASURE}], "gaps": [{"metric", "worst", "best",
                  "difference": MEASURE, "ratio": MEASURE or null, "verdict": "gap shown|no gap shown|cannot tell", "sentence"}]}],
                  "chosen": metric name and why, "sentence"}   regression groups hold "error" and "bias" only
  conformal       {"kind": "set|interval", "levels": [{"level", "coverage": MEASURE, "size", "quantile",
                  "groups": [{"column", "group", "coverage": MEASURE}]}], "sentence"}   size: mean labels in a set, or mean width
  abstention      {"points": [{"answered": share, "value": metric, "threshold"}], "metric", "sentence"}
  learning_curve  {"points": [{"rows", "value", "low", "high"}], "metric", "doubling": gain of twice the data, "sentence"}
  label_noise     {"share": MEASURE, "ceiling": accuracy, "sentence"}
  robustness      {"tests": [{"test", "column", "value", "change", "flips", "sentence"}], "metric", "sentence"}
  prior_shift     {"trained": share, "points": [{"prior", "precision", "npv", "threshold"}], "sentence"}
  multiplicity    {"models", "flips": share, "agreement": rank correlation, "sentence"}
  membership      {"auc": MEASURE, "tpr_at_1_fpr": share, "sentence"}
"""
