"""Write the bundled samples: scikit-learn's breast-cancer table untouched, and with the kinds of dirt that real files have.

usage: python scripts/make_samples.py        (needs scikit-learn; the same files every time)
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

HERE = Path(__file__).resolve().parent.parent / "src" / "emlyn" / "samples"
SPELLINGS = {"malignant": ("malignant", "Malignant", "MALIGNANT", "malignant "), "benign": ("benign", "benign", "Benign", " benign")}


def german(value: float, thousands: bool = False) -> str:
    """A number as a German-language export writes it: decimal comma, point for thousands."""
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace(",", "_").replace(".", ",").replace("_", "." if thousands else "")


def main() -> None:
    found = load_breast_cancer()
    names = [str(n).replace(" ", "_") for n in found.feature_names]
    labels = [str(found.target_names[t]) for t in found.target]
    with (HERE / "breast_cancer.csv").open("w", newline="", encoding="utf-8") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow([*names, "diagnosis"])
        out.writerows([*map(repr, row.tolist()), label] for row, label in zip(found.data, labels, strict=True))

    rng = np.random.default_rng(7)
    rows = []
    for i, (values, label) in enumerate(zip(found.data, labels, strict=True)):
        cells = {"patient_id": f"P-{10_000 + i}", "scanner": "unit A"}
        cells |= {name: german(value, thousands="area" in name) for name, value in zip(names, values, strict=True)}
        for name, value in zip(names, values, strict=True):
            if name == "mean_smoothness":
                cells[name] = german(100 * value) + " %"
            if name == "mean_perimeter":
                cells[name] += " mm"
        for name, mark, share in (
            ("mean_texture", "n/a", 0.03),
            ("worst_concavity", "", 0.02),
            ("area_error", "?", 0.02),
            ("worst_texture", "-999", 0.02),
        ):
            if rng.random() < share:
                cells[name] = mark
        cells["diagnosis"] = str(rng.choice(SPELLINGS[label]))
        rows.append(cells)
    for i in rng.choice(len(rows), 9, replace=False):
        rows.insert(int(rng.integers(len(rows))), dict(rows[i]))
    with (HERE / "breast_cancer_dirty.csv").open("w", newline="", encoding="utf-8-sig") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]), delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
