"""Seconds and bytes as people write them: `60s`, `1h30m`, `8GB`. The only place that reads them."""

from __future__ import annotations

import math
import re

from emlyn.errors import OptionError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")


def seconds(value: str | float, what: str = "budget") -> float:
    """A duration in seconds: a number, or text such as `500ms`, `60s`, `5m`, `1h30m`. Raises OptionError unless it is above zero and finite."""
    number = _as_number(value)
    if number is None and isinstance(value, str):
        text = value.strip().lower().replace(" ", "")
        if _DURATION.fullmatch(text):
            number = sum(float(n) * _SECONDS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text))
    if number is None or not math.isfinite(number) or number <= 0:
        raise OptionError(
            f"{value!r} is no {what}", where=what, allowed="seconds above zero: 60, 60s, 5m, 1h30m, 500ms", next_step=f"give {what} as 60s"
        )
    return number


def bytes(value: str | float, what: str = "memory") -> int:
    """An amount of memory in bytes: a number, or text such as `512MB`, `8GB`, `1.5GiB`. Raises OptionError unless it is above zero and finite."""
    number = _as_number(value)
    if number is None and isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b)", value.strip().lower())
        number = float(found[1]) * _BYTES[found[2]] if found and found[2] in _BYTES else None
    if number is None or not math.isfinite(number) or number < 1:
        raise OptionError(
            f"{value!r} is no amount of {what}", where=what, allowed="bytes above zero: 8GB, 512MB, 1.5GiB", next_step=f"give {what} as 8GB"
        )
    return int(number)


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
