"""Placeholder until written."""

from __future__ import annotations

from emlyn.core.check import Check
from emlyn.plugins import hook


@hook
def emlyn_checks() -> list[Check]:
    return []
