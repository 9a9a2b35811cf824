"""How often the audit raises an alarm on tables that nobody chose, per check and severity. Every failing finding is printed, to be judged by eye.

    python benchmarks/false_alarms.py --tables FOLDER_OF_CSV [--manifest manifest.json] [--count 60] [--out false_alarms.json]

With a manifest (name -> file, target) its targets are used; otherwise a column is drawn at random among those that could be one
(2 to 10 labels that repeat, or more than 20 different numbers). `--scikit-learn` adds the tables that scikit-learn brings along.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emlyn.context import Budget, Context
from emlyn.core.reader import Read, read
from emlyn.core.table import Table
from emlyn.core.tables.frames import to_table
from emlyn.errors import UserError
from emlyn.records.audit import Audit
from emlyn.records.options import TrainOptions
from emlyn.stages.audit import audit
from emlyn.stages.frame import frame, target_rows
from emlyn.stages.profile import profile


def drawn_target(table: Table, rng: np.random.Generator) -> str | None:
    """A column that could be a target."""
    likely = []
    for name, column in table.items():
        values, counts = np.unique(column.values[~column.missing], return_counts=True)
        labels = 2 <= len(values) <= 10 and counts.min() >= 5
        if labels or (column.levels is None and len(values) > 20):
            likely.append(name)
    return str(rng.choice(likely)) if likely else None


def tables(args: argparse.Namespace, rng: np.random.Generator) -> Iterator[tuple[str, Read, str | None]]:
    """Name, table and target."""
    if args.scikit_learn:
        from sklearn import datasets

        for name in ("iris", "wine", "breast_cancer", "diabetes", "digits"):
            bunch = getattr(datasets, f"load_{name}")(as_frame=True)
            yield f"scikit-learn/{name}", Read(to_table(bunch.frame), name), "target"
    if args.manifest:
        listed = json.loads(Path(args.manifest).read_text())
        for name, entry in listed.items():
            if entry.get("use") != "audit":
                yield name, read(Path(args.tables) / entry["file"]), entry["target"]
    elif args.tables:
        paths = sorted(Path(args.tables).glob("**/*.csv*"))
        for i in rng.permutation(len(paths))[: args.count]:
            try:
                found = read(paths[i])
            except UserError:
                continue
            table = found.table.drop(["rownames"])
            yield paths[i].relative_to(args.tables).as_posix(), Read(table, str(paths[i])), drawn_target(table, rng)


def audited(found: Read, target: str) -> Audit:
    options = TrainOptions(target=target)
    context = Context(Budget(math.inf, time.monotonic()))
    card = profile(found, options, context)
    problem = frame(found.table, card, options, context)
    return audit(found.table.take(target_rows(found.table, card, problem)), card, problem, options, context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables")
    parser.add_argument("--manifest")
    parser.add_argument("--scikit-learn", action="store_true")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    args = parser.parse_args()
    results: list[dict[str, Any]] = []
    refused = Counter[str]()
    for name, found, target in tables(args, np.random.default_rng(args.seed)):
        if target is None:
            refused["no column could be a target"] += 1
            continue
        began = time.perf_counter()
        try:
            said = audited(found, target)
        except UserError as error:
            refused[str(error).splitlines()[0][:80]] += 1
            continue
        seconds = time.perf_counter() - began
        flagged = [{"code": f.code, "severity": f.severity, "columns": f.columns, "message": f.message, "detail": f.detail} for f in said.findings]
        results.append(
            {"table": name, "target": target, "rows": found.table.rows, "split": said.problem.split.kind, "seconds": seconds, "findings": flagged}
        )
        broken = [one for one in said.left_out if "could not look" in one]
        for line in [f"FAIL {name} [{target}] {f['code']}: {f['message']} {f['detail']}" for f in flagged if f["severity"] == "fail"] + broken:
            print(line, flush=True)
    count = max(1, len(results))
    print(f"\n{len(results)} tables, {sum(refused.values())} refused: {dict(refused)}")
    hit = {s: Counter(code for r in results for code in {f["code"] for f in r["findings"] if f["severity"] == s}) for s in ("fail", "warn", "info")}
    for severity, codes in hit.items():
        print(f"{severity}: tables hit, of {count}: " + ", ".join(f"{code} {n}" for code, n in codes.most_common()))
    print("splits:", dict(Counter(r["split"] for r in results)), f"median seconds {np.median([r['seconds'] for r in results]):.2f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
