"""Tables that nobody looked at while emlyn was made: a folder for `compare.py` and `main_job.py` from a clone of Rdatasets.

    git clone --depth 1 https://github.com/vincentarelbundock/Rdatasets
    python benchmarks/rdatasets.py Rdatasets OUT

The list, targets and what is left out were written down before the first run: a column goes only where it is the target in other words (said behind
it). Rows without a target go. Of the tables that the other folder holds (as `modeldata::ames`), none is here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "modeldata/mlc_churn": ("churn", "binary", ()),
    "modeldata/credit_data": ("Status", "binary", ()),
    "DAAG/spam7": ("yesno", "binary", ()),
    "modeldata/taxi": ("tip", "binary", ()),
    "modeldata/stackoverflow": ("Remote", "binary", ()),
    "modeldata/grants_test": ("class", "binary", ()),
    "modeldata/pd_speech": ("class", "binary", ()),
    "openintro/email": ("spam", "binary", ()),
    "ISLR/OJ": ("Purchase", "binary", ()),
    "AER/HealthInsurance": ("insurance", "binary", ()),
    "DAAG/nassCDS": ("dead", "binary", ("injSeverity",)),  # 4 is dead
    "bayesrules/weather_perth": ("raintomorrow", "binary", ("risk_mm",)),  # the rain of tomorrow
    "modeldata/cat_adoption": ("event", "binary", ("time",)),  # days until the event
    "modeldata/steroidogenic_toxicity": ("class", "binary", ()),
    "modeldata/ischemic_stroke": ("stroke", "binary", ()),
    "modeldata/hpc_data": ("class", "multiclass", ()),
    "dslabs/tissue_gene_expression": ("y", "multiclass", ()),
    "modeldata/hepatic_injury_qsar": ("class", "multiclass", ()),
    "modeldata/scat": ("Species", "multiclass", ()),
    "dplyr/storms": ("status", "multiclass", ("category",)),  # hurricanes have one
    "modeldata/penguins": ("species", "multiclass", ()),
    "bayesrules/spotify": ("genre", "multiclass", ("subgenre",)),  # a part of the genre
    "modeldata/car_prices": ("Price", "regression", ()),
    "modeldata/Sacramento": ("price", "regression", ()),
    "bayesrules/airbnb": ("price", "regression", ()),
    "modeldata/hotel_rates": ("avg_price_per_room", "regression", ()),
    "modeldata/check_times": ("check_time", "regression", ("status",)),  # whether the check ended
    "modeldata/Chicago": ("ridership", "regression", ()),
    "modeldata/biomass": ("HHV", "regression", ()),
    "modeldata/meats": ("protein", "regression", ("water", "fat")),  # the other targets
    "modeldata/permeability_qsar": ("permeability", "regression", ()),
    "modeldata/chem_proc_yield": ("yield", "regression", ()),
    "openintro/loans_full_schema": ("interest_rate", "regression", ("grade", "sub_grade")),  # the rate's steps
    "bayesrules/coffee_ratings": ("total_cup_points", "regression", ()),
    "ISLR/Hitters": ("Salary", "regression", ()),
    "ISLR/College": ("Grad.Rate", "regression", ()),
    "AER/CPS1988": ("wage", "regression", ()),
    "ISLR/Wage": ("wage", "regression", ("logwage",)),  # its logarithm
    "modeldata/tate_text": ("year", "regression", ()),
    "causaldata/restaurant_inspections": ("inspection_score", "regression", ()),
    "openintro/yrbss": ("weight", "regression", ()),
    "causaldata/nhefs": ("wt82_71", "regression", ("wt82",)),  # with wt71, the target
}
"""Package and name -> target, task, columns that are the target in other words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("out", type=Path)
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for path, (target, task, left_out) in TABLES.items():
        name = path.split("/")[1]
        table = pd.read_csv(said.clone / "csv" / f"{path}.csv", low_memory=False)
        table = table.drop(columns=["rownames", *left_out]).dropna(subset=[target])
        if task != "regression":
            table[target] = "c" + table[target].astype(str)  # a class is a word, also where it is written as a number
        table.to_csv(said.out / f"{name}.csv.gz", index=False)
        manifest[name] = {"target": target, "task": task, "rows": len(table), "columns": table.shape[1] - 1, "use": "benchmark"}
        print(f"{name}: {len(table)} rows, {table.shape[1] - 1} columns")
    (said.out / "manifest.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main()
