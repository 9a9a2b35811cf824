"""A contract for other systems: JSON Schema, a pandera schema as source text, and the changes between two contracts in words."""

from __future__ import annotations

from typing import Any

from emlyn.core.table import number_text
from emlyn.core.tables.parse import date_text
from emlyn.records.data_card import ColumnRule, Contract

_JSON_TYPES = {"number": ["number", "string"], "boolean": ["boolean", "number", "string"], "date": ["string", "number"]}


def to_json_schema(contract: Contract) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one record.

    Says what is accepted, not what was usual: ranges and levels seen in training stand under `x-training` as information, because
    values beyond them are answered and reported, not refused. Numbers may be written as text, as the contract reads them.
    """
    properties = {rule.name: _json_property(rule) for rule in contract.columns}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": [rule.name for rule in contract.columns if rule.required],
        "additionalProperties": True,
        **({"x-rules": [f"{r.left} {r.relation} {r.right}" for r in contract.rules]} if contract.rules else {}),
    }


def _json_property(rule: ColumnRule) -> dict[str, Any]:
    training: dict[str, Any] = {}
    if rule.low is not None and rule.high is not None:
        dates = rule.kind == "date"
        training = {"minimum": date_text(rule.low) if dates else rule.low, "maximum": date_text(rule.high) if dates else rule.high}
    if rule.levels:
        training["levels"] = list(rule.levels)
    types = _JSON_TYPES.get(rule.kind, ["string", "number", "boolean"])
    found: dict[str, Any] = {"type": [*types, "null"], "x-kind": rule.kind}
    if rule.description:
        found["description"] = rule.description
    return found | ({"x-training": training} if training else {})


def to_pandera(contract: Contract) -> str:
    """Source text of a pandera schema for the table that the contract produces (`core.frames.to_pandas` of a conformed table).

    Ranges and levels of training are checks that warn (`raise_warning=True`).
    """
    lines = ["import pandera.pandas as pa", "", "schema = pa.DataFrameSchema(", "    {"]
    for rule in contract.columns:
        dtype = {"date": '"datetime64[us]"', "number": "float", "boolean": "float"}.get(rule.kind, "None")
        checks = _pandera_checks(rule)
        lines.append(f"        {rule.name!r}: pa.Column({dtype}, [{', '.join(checks)}], nullable={rule.nullable}, required={rule.required}),")
    lines.append("    },")
    if contract.rules:
        lines.append("    checks=[")
        for cross in contract.rules:
            test = f"~(df[{cross.left!r}] > df[{cross.right!r}])"
            lines.append(f"        pa.Check(lambda df: {test}, name={f'{cross.left} {cross.relation} {cross.right}'!r}, raise_warning=True),")
        lines.append("    ],")
    return "\n".join([*lines, "    strict=False,", ")", ""])


def _pandera_checks(rule: ColumnRule) -> list[str]:
    checks = []
    if rule.kind == "boolean":
        checks.append("pa.Check.isin([0.0, 1.0])")
    if rule.kind == "number" and rule.low is not None and rule.high is not None:
        checks.append(f"pa.Check.in_range({rule.low!r}, {rule.high!r}, raise_warning=True)")
    if rule.levels:
        checks.append(f"pa.Check.isin({list(rule.levels)!r}, raise_warning=True)")
    return checks


def contract_diff(old: Contract, new: Contract) -> list[str]:
    """What changed from one contract to another, one plain sentence each; empty when nothing did."""
    before, after = {r.name: r for r in old.columns}, {r.name: r for r in new.columns}
    changes = [f"{name}: the column is gone" for name in before if name not in after]
    changes += [f"{name}: a new column ({after[name].kind}{', required' * after[name].required})" for name in after if name not in before]
    for name in before:
        if name in after:
            changes += [f"{name}: {change}" for change in _rule_changes(before[name], after[name])]
    was, now = {(r.left, r.relation, r.right) for r in old.rules}, {(r.left, r.relation, r.right) for r in new.rules}
    changes += [f"the rule {' '.join(rule)} is gone" for rule in sorted(was - now)] + [f"a new rule: {' '.join(rule)}" for rule in sorted(now - was)]
    return changes


def _rule_changes(old: ColumnRule, new: ColumnRule) -> list[str]:
    changes = []
    if old.kind != new.kind:
        return [f"was read as {old.kind}, is read as {new.kind}"]
    if old.required != new.required:
        changes.append("became required" if new.required else "became optional")
    if old.nullable != new.nullable:
        changes.append("may now be missing" if new.nullable else "is never missing any more")
    if old.parse != new.parse:
        fields = [f for f in old.parse.__dataclass_fields__ if getattr(old.parse, f) != getattr(new.parse, f)]
        changes.append(f"cells are read differently ({', '.join(fields)})")
    if (old.low, old.high) != (new.low, new.high):
        changes.append(f"range {_span(old)} became {_span(new)}")
    if old.integral != new.integral:
        changes.append("is always a whole number now" if new.integral else "is not always a whole number any more")
    more, less = [v for v in new.levels if v not in set(old.levels)], [v for v in old.levels if v not in set(new.levels)]
    if more and old.levels:
        changes.append(f"{len(more)} new level{'s' * (len(more) > 1)}: {', '.join(more[:5])}{' …' * (len(more) > 5)}")
    if less and new.levels:
        changes.append(f"{len(less)} level{'s' * (len(less) > 1)} not seen any more: {', '.join(less[:5])}{' …' * (len(less) > 5)}")
    return changes


def _span(rule: ColumnRule) -> str:
    if rule.low is None or rule.high is None:
        return "unknown"
    show = date_text if rule.kind == "date" else number_text
    return f"{show(rule.low)} to {show(rule.high)}"
