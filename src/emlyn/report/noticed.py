"""Everything that was noticed, by group: serious things first, many of one kind folded into one line that opens."""

from __future__ import annotations

from collections.abc import Sequence

from emlyn.records.finding import Finding
from emlyn.records.run import Evidence
from emlyn.report import words
from emlyn.report.blocks import Block, Fold, Heading, Item, Items, Note, Section

TONES = {"fail": "stop", "warn": "care", "info": "none"}
GROUPS = {
    "leakage": "Columns that know the answer",
    "structure": "Rows that belong together",
    "target": "The target",
    "missing": "Gaps",
    "form": "How the table is written",
    "enough": "Enough data",
    "fairness": "Fairness",
    "privacy": "Privacy",
    "model": "The model",
}
"""Known groups in the order shown; others follow under their own name."""
ALIKE = 3
"""So many findings of one code are shown in full."""


def findings_section(evidence: Evidence) -> Section:
    """Findings of data and evaluation by group, negative controls, and what was not looked at."""
    every = words.findings_of(evidence)
    groups: dict[str, list[Finding]] = {name: [] for name in GROUPS}
    for finding in every:
        groups.setdefault(finding.code.split(".")[0], []).append(finding)
    blocks: list[Block] = []
    for group, found in groups.items():
        blocks += [Heading(GROUPS.get(group, group)), *_group(found)] if found else []
    if evidence.canary and blocks:
        checked = ", ".join(f"{k} {words.number(v)}" for k, v in evidence.canary.items())
        blocks.append(Note(f"Negative controls (these must show nothing): {checked}.", "quiet"))
    if evidence.left_out:
        blocks += [Heading("Not looked at"), Items(_by_reason(evidence.left_out))]
    return Section("findings", "Everything that was noticed", blocks=blocks, count=words.counted(every))


def _group(found: Sequence[Finding]) -> list[Block]:
    ranked = sorted(found, key=lambda f: ("fail", "warn", "info").index(f.severity))
    codes: dict[str, list[Finding]] = {}
    for finding in ranked:
        codes.setdefault(finding.code, []).append(finding)
    shown = [f for f in ranked if f in codes[f.code][:ALIKE] or len(codes[f.code]) == ALIKE + 1]
    blocks: list[Block] = [Items([_item(f) for f in shown], most=60)]
    for code, alike in codes.items():
        if len(alike) > ALIKE + 1:
            rest = alike[ALIKE:]
            columns = [words.short(c, 40) for f in rest for c in f.columns]
            title = f"{len(rest):,} more of the kind {code}" + (f": {words.listed(columns, 6)}" if columns else "")
            blocks.append(Fold(title, Items([_item(f) for f in rest], most=60)))
    return blocks


def _item(f: Finding) -> Item:
    done = f"{'Done' if f.applied else 'Proposed'}: {f.fix}" if f.fix else ""
    undo = f"Undo with {f.undo}." if f.applied and f.undo else ""
    where = f"Columns: {words.listed([words.short(c, 40) for c in f.columns], 5)}." if f.columns else ""
    n = f"Rests on {words.plural(f.n, 'row')}." if f.n else ""
    more = " ".join(words.sentence(t) for t in (f.why, f.detail or words.effect(f), where, n, done, undo) if t)
    return Item(f.message, more, badge=words.SEVERITIES[f.severity], tone=TONES[f.severity], code=f.code)


def _by_reason(left_out: Sequence[str]) -> list[Item]:
    """`check: reason` lines, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for line in left_out:
        name, _, why = line.partition(": ")
        reasons.setdefault(why, []).append(name)
    return [Item(words.sentence(why or words.listed(names, 60), ()), words.listed(names, 60) if why else "") for why, names in reasons.items()]
