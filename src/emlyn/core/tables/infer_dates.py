"""Which date formats a column's texts are written in; day or month first is decided from the data."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emlyn.core.tables.parse import date_reader
from emlyn.records.data_card import Parse

_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", "T%H:%M:%S", "T%H:%M:%S%z", "T%H:%M", " %H:%M:%S%z", " %H:%M:%S %z")
_WORDS = (
    "%d %b %Y", "%d %b, %Y", "%b %d, %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y",
    "%b-%Y", "%b %Y", "%b-%y", "%Y-%b-%d", "%Y %b %d", "%b/%d/%Y",
    "%b. %d, %Y", "%d. %b %Y", "%a, %d %b %Y", "%a %d %b %Y", "%a, %b %d, %Y", "%a %b %d %Y", "%A, %d %B %Y",
    "%d%b%Y", "%d%b%y", "%d %b %y", "%Y%b%d", "%Y-%b",
)  # fmt: skip
_STAMPS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y %z", "%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S", "%d/%b/%Y:%H:%M:%S %z")
_SHAPE = re.compile(r"(\d{1,4})([-/. ])(\d{1,2})\2(\d{1,4})(.*)\Z", re.DOTALL)
_LOOK = re.compile(
    r"\d{1,4}\s?[-/. ]\s?\d{1,2}\s?[-/. ]\s?\d{1,4}|[A-Za-zÀ-ÿ]{3,10}\.?[-/ ,.]*\d|\d{1,2}(?:st|nd|rd|th)?[-/ ,.]*[A-Za-zÀ-ÿ]{3}"
    r"|\d{1,2}:\d{2}|\d{4}[-/]\d{1,2}\Z|\d{1,2}[-/.]\d{4}\Z|\d{8}\Z",
    re.ASCII,
)


def date_formats(texts: Sequence[str], *, enough: float = 0.95) -> tuple[tuple[str, ...], str]:
    """The formats that read at least `enough` of these (distinct, non-missing) texts, and why; empty when there are none."""
    texts = [t for t in texts if t]
    if not texts or sum(bool(_LOOK.match(t)) and len(t) < 45 for t in texts[:50]) < 0.8 * len(texts[:50]):
        return (), ""
    left: list[str] = list(texts)
    formats: list[str] = []
    reasons: list[str] = []
    for _ in range(4):
        form, why = _best(left)
        if not form:
            break
        read = date_reader(Parse(dates=(form,)))
        rest = [t for t in left if read(t) is None]
        if len(rest) == len(left) or (formats and len(left) - len(rest) < 0.01 * len(texts)):
            break
        formats.append(form)
        reasons += [why] if why else []
        left = rest
        if not left:
            break
    if len(left) > (1 - enough) * len(texts):
        return (), ""
    return tuple(formats), "; ".join(dict.fromkeys(reasons))


def _best(texts: Sequence[str]) -> tuple[str, str]:
    """The format that reads most of the texts, tried on those that look like the first one."""
    sample = texts[:400]
    best, most, why = "", 0, ""
    for form, reason in _candidates(sample):
        read = date_reader(Parse(dates=(form,)))
        count = sum(_plausible(read(t)) for t in sample)
        if count > most:
            best, most, why = form, count, reason
        if count == len(sample):
            break
    return best, why


def _plausible(seconds: float | None) -> bool:
    """Between the years 1800 and 2200 (a column of times of day stands at 1970)."""
    return seconds is not None and -5_364_662_400 <= seconds <= 7_258_118_400


def _candidates(texts: Sequence[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = [("iso", "")]
    shapes = [m for m in map(_SHAPE.match, texts) if m]
    if shapes:
        parts = shapes[0].group(2)
        orders = _orders(shapes)
        found += [(form.replace("-", parts) + tail, why) for form, why in orders for tail in _TIMES]
    if any(re.match(r"\d{1,2}:\d{2}", t) for t in texts):
        found += [(f, "a time of day") for f in ("%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")]
    if any(re.search(r"[A-Za-zÀ-ÿ]{3}", t) for t in texts):
        found += [(word + tail, "") for tail in _TIMES[:6] for word in _WORDS] + [(f, "") for f in _STAMPS]
    found += [
        ("yyyymmdd", "eight digits"),
        ("%Y-%m", ""),
        ("%Y/%m", ""),
        ("%m/%Y", ""),
        ("%m-%Y", ""),
        ("%m.%Y", ""),
        ("%Y%m%d%H%M%S", ""),
        ("%Y%m%dT%H%M%S", ""),
    ]
    return found


def _orders(shapes: Sequence[re.Match[str]]) -> list[tuple[str, str]]:
    """Year, month and day in the order that the numbers allow, the likelier first."""
    a, b = ([int(m.group(i)) for m in shapes] for i in (1, 3))
    mark = shapes[0].group(2)
    if max(len(m.group(1)) for m in shapes) == 4:
        return [("%Y-%m-%d", ""), ("%Y-%d-%m", "")] if max(b) <= 12 else [("%Y-%d-%m", "the second number exceeds 12")]
    year = "%Y" if max(len(m.group(4)) for m in shapes) == 4 else "%y"
    day_first, month_first = f"%d-%m-{year}", f"%m-%d-{year}"
    if max(a) > 12:
        if year == "%y" and max(a) > 31:
            return [("%y-%m-%d", "the first number exceeds 31")]
        return [(day_first, "the first number exceeds 12, so the day comes first")]
    if max(b) > 12:
        return [(month_first, "the second number exceeds 12, so the month comes first")]
    if len(set(a)) == 1 < len(set(b)) and a[0] == 1:
        return [(day_first, "the first number is always 1, so it is the day")]
    if len(set(b)) == 1 < len(set(a)) and b[0] == 1:
        return [(month_first, "the second number is always 1, so it is the day")]
    if mark == "/":
        return [(month_first, "day or month first cannot be told from the data: month first was taken"), (day_first, "")]
    return [(day_first, "day or month first cannot be told from the data: day first was taken"), (month_first, "")]
