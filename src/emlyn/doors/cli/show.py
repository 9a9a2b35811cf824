"""What commands print for people. Everything here has a JSON twin in `doors/results.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from emlyn.core import wording

COLORS = {"fail": 31, "warn": 33, "info": 36, "use": 32, "use with care": 33, "do not use yet": 31}
MARKS = {"fail": "✗", "warn": "!", "info": "·"}
SHOWN = 10
"""Codes of one severity, and columns without use, shown on a terminal; the report holds them all."""


def out(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def as_json(result: Any) -> None:
    """One JSON object on stdout and nothing else there."""
    sys.stdout.write(json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n")


def paint(text: str, color: str) -> str:
    """Colour on a terminal, plain text elsewhere."""
    return f"\x1b[1;{COLORS[color]}m{text}\x1b[0m" if sys.stdout.isatty() and color in COLORS else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if sys.stdout.isatty() else text


def number(value: float | None) -> str:
    return "-" if value is None else wording.number(value, 4)


def measure(name: str, m: dict[str, Any]) -> str:
    """`roc_auc 0.912 (0.894 to 0.928)`."""
    if m.get("value") is None:
        return f"{name} - ({m.get('method', '')})"
    interval = f" ({number(m['low'])} to {number(m['high'])})" if m.get("low") is not None else ""
    return f"{name} {number(m['value'])}{interval}"


def findings(found: list[dict[str, Any]]) -> None:
    """Up to ten codes of each severity, the first finding of each code in full; its others by their columns."""
    for severity in ("fail", "warn", "info"):
        codes: dict[str, list[dict[str, Any]]] = {}
        for f in found:
            if f["severity"] == severity:
                codes.setdefault(f["code"], []).append(f)
        for code, (first, *others) in list(codes.items())[:SHOWN]:
            out(f"  {paint(MARKS[severity], severity)} {first['message']}")
            if first.get("detail"):
                out(dim(f"      {code}: {first['detail']}" + (f" [undo: {first['undo']}]" if first.get("applied") and first.get("undo") else "")))
            if others:
                names = [", ".join(f["columns"]) for f in others if f["columns"]]
                out(dim(f"      the same of {'; '.join(names[:6])}" + (f" and {len(names) - 6} more" if len(names) > 6 else "")))
        if len(codes) > SHOWN:
            out(dim(f"    and, of severity {severity}: {', '.join(list(codes)[SHOWN:])} (--json tells all)"))


def questions(found: Iterable[dict[str, Any]], metric: str) -> None:
    for q in found:
        out(f"  ? {q['text']}")
        other, scores = "no" if q["taken"] == "yes" else "yes", q.get("scores") or {}
        told = {k: f" ({metric} {number(scores[k])})" if k in scores else "" for k in (q["taken"], other)}
        out(dim(f"      taken: {q['taken']}{told[q['taken']]}; if {other}{told[other]}: {q['flag']}"))


def repairs(found: list[dict[str, Any]], metric: str) -> None:
    """What was changed, by code: columns, and the score before and after on the same folds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for r in found:
        groups.setdefault((r["code"], r["says"]), []).append(r)
    for (code, says), group in groups.items():
        columns = list(dict.fromkeys(r["column"] for r in group if r["column"]))
        shown = ", ".join(columns[:4]) + (f" and {len(columns) - 4} more" if len(columns) > 4 else "")
        out(f"  {shown + ': ' if shown else ''}{says}")
        first = group[0]
        told = first["measured"]
        if first["before"] is not None:
            told = f"{metric} {number(first['before'])} -> {number(first['after'])} ({told})"
        out(dim(f"      {told}; undo: --without {code}"))


def table(rows: list[dict[str, Any]], columns: list[str], right: Iterable[str] = ()) -> None:
    """A plain aligned table."""
    right = set(right)
    cells = [[_cell(r.get(c)) for c in columns] for r in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) if cells else len(c) for i, c in enumerate(columns)]
    out("  " + "  ".join(c.rjust(w) if c in right else c.ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip())
    for row in cells:
        out("  " + "  ".join(v.rjust(w) if c in right else v.ljust(w) for c, v, w in zip(columns, row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number(value)
    text = str(value).replace("\n", " ")
    return text if len(text) <= 48 else text[:45] + "..."


def trained(result: dict[str, Any], sentence: str) -> None:
    """The end of `emlyn train`."""
    out()
    word = result["verdict"] or "no verdict"
    out(f"{paint(word.upper(), word)}: {result['why'] or ''}")
    if sentence:
        out(sentence)
    if result["fair"]:
        out(result["fair"]["sentence"])
    out()
    metric = result["metric"]
    out(f"  {measure(metric, result['evaluation'].get(metric, {}))}   [{result['method']}, n = {result['evaluation'].get(metric, {}).get('n', 0):,}]")
    if result["openings"] > 1:
        out(f"  the sealed rows have been opened {result['openings']:,} times: each further look makes the number a little too kind")
    out(f"  {measure('baseline ' + metric, result['baseline'].get(metric, {}))}")
    out(
        dim(
            f"  rows parted: {result['split']['kind']}"
            + (f" by {result['split']['by']}" if result["split"]["by"] else "")
            + f"; {result['split']['why']}"
        )
    )
    if result["findings"]:
        out("\nWhat the audit found")
        findings(result["findings"])
    gone = [(name, why) for name, why in result["excluded"].items() if name != result["target"]]
    if gone:
        out("\nColumns not used")
        for name, why in gone[:SHOWN]:
            out(f"  {name}: {why}")
        if len(gone) > SHOWN:
            out(dim(f"    and {len(gone) - SHOWN} more"))
    if result["questions"]:
        out("\nOnly you can answer (the safe answer was taken)")
        questions(result["questions"], metric)
    out("\nLeaderboard (on rows not learned from)")
    table(result["leaderboard"][:12], ["recipe", "score", "spread", "fit_s", "weight", "note"], ["score", "spread", "fit_s", "weight"])
    out(f"\nModel   {result['model']}" + (f" ({', '.join(result['aliases'])})" if result["aliases"] else ""))
    if "champion" not in result["aliases"]:
        out(dim(f'        not the champion of its name; to make it so: emlyn promote {result["model"]} --why "REASON"'))
    out(f"File    {result['path']}")
    out(f"Report  {result['report']}")
    out(dim(f"Next    emlyn predict {result['model']} NEW_ROWS.csv   |   emlyn explain {result['model']}   |   emlyn models"))
    out(
        dim(
            f"{result['wall_s']:.1f} s of {result['budget_s']:.0f} s"
            + (f", first model after {result['first_model_s']:.1f} s" if result.get("first_model_s") else "")
        )
    )


def changes(result: dict[str, Any]) -> None:
    """`emlyn report MODEL --against OLDER`: what changed, most important first."""
    out(f"From {result['against']} to {result['model']}")
    for heading, lines in result["changes"].items():
        out(f"\n{heading}")
        for line in lines:
            out(f"  {line}")
    if not result["changes"]:
        out("Nothing that a reader would care about.")


def drivers(result: dict[str, Any]) -> None:
    """`emlyn explain MODEL`: the columns that stand out from noise, and how many do not."""
    clear = [d for d in result["drivers"] if d["above_noise"] is not False]
    out(f"What drives {result['model']} ({result['method']})\n")
    if clear:
        table(clear, ["column", "importance", "low", "high", "direction"], ["importance", "low", "high"])
    rest = [d["column"] for d in result["drivers"] if d["above_noise"] is False]
    if rest:
        out(dim(f"  {len(rest)} more cannot be told from noise: {', '.join(rest[:5])}" + (", ..." if len(rest) > 5 else "")))


def reasons(result: dict[str, Any]) -> None:
    """`emlyn explain MODEL DATA`: what pushed each row, strongest first."""
    toward = (
        f"toward “{result['toward']}” (+) or away from it (-), in log-odds" if result["toward"] else f"up or down, in the unit of {result['target']}"
    )
    out(dim(f"What each column pushes {toward}, compared with {result['reference']}"))
    for found in result["rows"][:20]:
        chance = (found.get("probabilities") or {}).get(result["toward"])
        out(
            f"row {found['row']}: {_cell(found['prediction'])}"
            + (f" (probability of {result['toward']}: {number(chance)})" if chance is not None else "")
        )
        for reason in found["reasons"][:5]:
            out(f"    {wording.signed(reason['push']):>10}  {reason['column']} = {_cell(reason['value'])}")
    if len(result["rows"]) > 20:
        out(dim(f"and {len(result['rows']) - 20} more rows: see --json"))


def counterfactuals(result: dict[str, Any]) -> None:
    """`emlyn explain MODEL DATA --counterfactual`."""
    kept = f"; {', '.join(result['immutable'])} stay as they are" if result["immutable"] else ""
    out(dim(f"Changes to values of {result['among']:,} existing rows; each was put through the whole model again and turns the answer{kept}"))
    for found in result["rows"]:
        out(f"row {found['row']}: {_cell(found['prediction'])}")
        for line in [c["sentence"] for c in found["counterfactuals"]] or [found["sentence"]]:
            out(f"    {line}")
        if found["contrast"]:
            out(dim(f"    {found['contrast']['sentence']}"))
    if result["left_out"]:
        out(dim(f"{result['left_out']}: name one with --row"))


def audited(result: dict[str, Any]) -> None:
    """`emlyn audit`."""
    out(f"{result['source']}: {result['rows']:,} rows, {len(result['columns']):,} columns")
    for note in result["notes"]:
        out(dim(f"  note: {note}"))
    out()
    rows = [
        {
            "column": c["name"],
            "kind": c["kind"],
            "role": c["role"],
            "missing": f"{100 * c['missing'] / max(1, c['rows']):.1f} %",
            "distinct": c["distinct"],
            "why": c["why"],
        }
        for c in result["columns"][:60]
    ]
    table(rows, ["column", "kind", "role", "missing", "distinct", "why"], ["missing", "distinct"])
    if len(result["columns"]) > 60:
        out(dim(f"    and {len(result['columns']) - 60} more columns: see --json"))
    if result["problem"]:
        p = result["problem"]
        out(f"\nThe question: {p['task']} of {p['target']!r}, judged by {p['metric']}" + (f", positive = {p['positive']!r}" if p["positive"] else ""))
        for said in (why for decision, why in p["why"].items() if decision != "split"):
            out(dim(f"  {said}"))
        out(dim(f"  rows parted: {p['split']['kind']}" + (f" by {p['split']['by']}" if p["split"]["by"] else "") + f"; {p['split']['why']}"))
    out("\nFindings" if result["findings"] else "\nNothing found that needs you.")
    findings(result["findings"])
    if result["repairs"]:
        out("\nWhat was changed before learning, and what it did to the score")
        repairs(result["repairs"], (result["problem"] or {}).get("metric", ""))
    scores(result)
    if result["questions"]:
        out("\nOnly you can answer (the safe answer was taken)")
        questions(result["questions"], result["problem"]["metric"])
    if result["drift"]:
        out("\nWhat is different in the other table")
        findings(result["drift"])
    if result["contract"]:
        contract(result["contract"])
    if result["traps"]:
        planted = [t for t in result["traps"] if t["planted"]]
        out(f"\nDefects planted into copies of this table: {sum(t['caught'] for t in planted)} of {len(planted)} caught")
        for t in result["traps"]:
            word = "caught by " + ", ".join(t["by"][:3]) if t["caught"] else "missed" if t["planted"] else "no place for it here"
            out(f"  {paint('✓', 'use') if t['caught'] else paint('✗', 'fail') if t['planted'] else '·'} {t['trap']}: {word}")
            out(dim(f"      {t['detail']}"))


def scores(result: dict[str, Any]) -> None:
    """The honest score of a quick model, beside the one that a careless split would have shown."""
    told = result["scores"]
    if "honest" not in told:
        return
    metric, split = result["problem"]["metric"], result["problem"]["split"]
    parted = f"{split['kind']} by {split['by']}" if split["by"] else split["kind"]
    careless = f"; parted at random it would have looked like {number(told['naive split'])}" if "naive split" in told else ""
    out(f"\nA quick model scores {metric} {number(told['honest'])} (rows parted: {parted}){careless}.")


def contract(held: dict[str, Any]) -> None:
    """`emlyn audit NEW --against MODEL`: what changed for the model, and what an approval does about it."""
    open_ = [c for c in held["changes"] if c["code"] != "new"]
    if held["approved_now"]:
        out(f"\nApproved for {held['model']} by {held['approved']['by']}: {held['approved']['why']}")
    else:
        out(f"\nThe contract of {held['model']}" + ("" if open_ else ": this table keeps it"))
    for c in held["changes"]:
        severity = "info" if c["approvable"] and (held["approved_now"] or c["code"] == "new") else "warn" if c["approvable"] else "fail"
        out(f"  {paint(MARKS[severity], severity)} {c['says']}")
        if c["code"] != "new":
            out(dim(f"      {c['effect']}" if held["approved_now"] or not c["approvable"] else f"      when approved: {c['effect']}"))
    if held["approved_now"]:
        out(dim("  used by predict, serve and the next audit; the model file stays as it is"))
        out(dim(f"  who approved what: emlyn models {held['model'].split(':')[0]}"))
    elif open_ and all(c["approvable"] for c in open_):
        out(dim('  accept these changes for this model: --approve "reason"'))
    elif open_:
        out(dim("  what needs a new model cannot be approved: mend the columns, or train again on the new table"))
    if held["approved"] and not held["approved_now"]:
        out(dim(f"  approved before, {held['approved']['at'][:10]} by {held['approved']['by']}: {held['approved']['why']}"))
