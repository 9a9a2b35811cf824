"""What a column is: its kind, how its cells are read, and why. Works on distinct texts with their counts, never on rows.

Cautious on purpose: trees and linear models do well with numbers, so whole numbers stay numbers unless their name or their form
(leading zeros) says that they are codes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emlyn.core.table import Column
from emlyn.core.tables.infer_dates import date_formats
from emlyn.core.tables.parse import NO_NUMBER, NO_VALUE, YES_NO, date_number_reader, number_reader
from emlyn.records.data_card import Parse
from emlyn.types import Kind, Role

ENOUGH = 0.9
"""Share of the filled cells that must read as numbers for a text column to be one of numbers."""
RARE_UNIT = 0.05
"""Letters behind fewer than this share of the numbers are no unit: those cells are unreadable."""
CODE_NAME = re.compile(
    r"(^|[_\s.\-])(zip|zip_?code|post_?code|postal(_?code)?|plz|area_?code|fips|naics|sic(_?code)?|icd\d*|ean|upc|sku|isbn|iban|ssn|phone|tel|fax|mobile)($|[_\s.\-])|zipcode$|postcode$",
    re.IGNORECASE,
)
ID_NAME = re.compile(
    r"(^|[_\s.\-])(id|uid|uuid|guid|key|pk|index|idx|row_?(no|num|number|name|id)?|record(_?(no|num|number|id))?|serial(_?(no|num|number))?|no|nr)$"
    r"|unnamed: ?\d+$|[a-z]I[dD]$|^ID|^column_1$",
    re.ASCII,
)
ENTITY_NAME = re.compile(r"(^|[_\s.\-])(id|uid|uuid|guid|key)$|[a-z]I[dD]$|[a-z]ID$")
TIME_NAME = re.compile(
    r"(^|[_\s.\-])(date|time|timestamp|ts|datetime|epoch|created|updated|modified|at|when|on|dt|day)($|[_\s.\-])|(time|date|Time|Date|_at|_ts)$",
    re.IGNORECASE,
)
CURRENCY = "$€£¥₹₽₩₪₺₫฿₴₦₱¢"
CURRENCY_CODES = (
    "USD",
    "EUR",
    "GBP",
    "CHF",
    "JPY",
    "CNY",
    "INR",
    "AUD",
    "CAD",
    "SEK",
    "NOK",
    "DKK",
    "PLN",
    "BRL",
    "ZAR",
    "US$",
    "Rs.",
    "Rs",
    "R$",
    "kr",
)
_BODY = re.compile(
    r"(?P<sign>[+\-\u2212(]?)\s*(?P<before>[^\d+\-.,()\s]{0,4}\s*?)\s*(?P<sign2>[+-]?)"
    r"(?P<digits>(?:\d[\d.,'\u2019 \xa0\u202f]*\d|\d|\.\d+|\d\.)(?:[eE][+-]?\d+)?)\s*(?P<after>[^\d\s(),.][^\d()]{0,11}|)\)?\Z"
)
_MAGNITUDES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9, "T": 1e12}
_MULTIPLE = {"k", "K", "M", "B", "bn", "T"}


_HEXADECIMAL = re.compile(r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?|(?=.*\d)[0-9a-fA-F]{6,}")
_ADDRESS = re.compile(r"[^@]+@[^@]+\.\w+\Z|[a-zA-Z]+://|\d{1,3}(?:\.\d{1,3}){3}\Z")


@dataclass(frozen=True)
class Guess:
    """A kind, how to read it, and one sentence that says why."""

    kind: Kind
    parse: Parse
    why: str
    role: Role = "feature"


@dataclass(frozen=True, eq=False)
class Texts:
    """Distinct stripped texts of a column with their counts, most frequent first; `missing` are those that mean "no value"."""

    texts: list[str]
    counts: np.ndarray
    missing: tuple[str, ...]
    rows: int
    """Cells with a value."""
    distinct: int


def texts_of(column: Column, *, most: int = 10_000) -> Texts:
    """The distinct texts of a coded column; of more than `most` levels, the thousand most frequent and a fixed sample of the others."""
    assert column.levels is not None
    counts = column.counts()
    order = np.flatnonzero(counts)
    distinct = len(order)
    if distinct > most:
        top = order[np.argpartition(-counts[order], 1000)[:1000]]
        rest = np.setdiff1d(order, top, assume_unique=True)
        order = np.concatenate([top, np.random.default_rng(0).choice(rest, most - len(top), replace=False)])
    order = order[np.argsort(-counts[order], kind="stable")]
    pairs: dict[str, int] = {}
    for level, count in zip(column.levels[order].tolist(), counts[order].tolist(), strict=True):
        text = level.strip()
        pairs[text] = pairs.get(text, 0) + count
    words = {t for t in pairs if len(t) < 14 and t.casefold() in NO_VALUE and not _is_level(t, pairs)}
    kept = [t for t in pairs if t not in words]
    rows = int(counts.sum()) - sum(pairs[t] for t in words)
    return Texts(kept, np.array([pairs[t] for t in kept], dtype=np.int64), tuple(sorted(words)), rows, distinct if distinct > most else len(kept))


def _is_level(mark: str, others: Mapping[str, int]) -> bool:
    """Whether a text that usually means "no value" is a level here: NA among continents or countries, ? + - as marks of their own."""
    if mark == "NA":
        two = [t for t in others if len(t) == 2 and t.isalpha() and t.isupper() and t != "NA"]
        continents = {"AF", "AN", "AS", "EU", "OC", "SA"}
        return len(two) > 60 or (len(two) > 1 and {t for t in others if t not in ("NA", "")} <= continents)
    if mark in ("-", "+", "--"):
        return any(t in ("+", "++", "+-", "+/-", "+++") for t in others)
    return False


def infer_texts(column: Column, name: str, *, decimal: str = ".", words_only: bool = False) -> Guess:
    """The kind of a coded column. `decimal` is the mark that the file uses elsewhere; `words_only` for a target, whose labels stay."""
    found = texts_of(column)
    if not found.texts:
        return Guess("category", Parse(missing=found.missing), "it holds no value at all", "excluded")
    if not words_only:
        yes_no = _boolean(found)
        if yes_no is not None:
            return yes_no
    if column.kind != "category":
        number = _number(found, name, decimal)
        if number is not None:
            return number
        formats, reason = date_formats(found.texts[:2000])
        if formats and not (words_only and found.distinct < 20):
            told = f"its cells are dates written as {' or '.join(formats)}" + (f" ({reason})" if reason else "")
            return Guess("date", Parse(missing=found.missing, dates=formats), told)
    return _words(found, name, column.kind == "category" or words_only)


def _boolean(found: Texts) -> Guess | None:
    soft = {t for t in found.texts if t.casefold() in NO_NUMBER}
    words = {t.casefold() for t in found.texts if t not in soft}
    if not 1 <= len(words) <= 2:
        return None
    for yes, no in YES_NO:
        if words == {yes, no} or (len(words) == 1 and words <= {yes, no} and yes not in ("on", "da") and found.missing):
            parse = Parse(missing=tuple(sorted({*found.missing, *soft})), true=(yes,), false=(no,))
            written = ", ".join(repr(t) for t in [t for t in found.texts if t not in soft][:4])
            return Guess("boolean", parse, f"its cells say yes or no ({written})")
    return None


def _number(found: Texts, name: str, decimal: str) -> Guess | None:
    """Numbers written as text: grouped, with a decimal comma, a currency, a unit, a percent sign."""
    soft = [t for t in found.texts if len(t) < 16 and t.casefold() in NO_NUMBER]
    pairs = (
        [(t, c) for t, c in zip(found.texts, found.counts.tolist(), strict=True) if t not in set(soft)]
        if soft
        else list(zip(found.texts, found.counts.tolist(), strict=True))
    )
    total = sum(c for _, c in pairs)
    if not total:
        return None
    matches = [(t, c, m) for t, c, m in ((t, c, _BODY.match(t)) for t, c in pairs[:5000]) if m]
    if sum(c for _, c, _ in matches) < 0.8 * sum(c for _, c in pairs[:5000]):
        return None
    zeros = sum(c for t, c, _ in matches if re.fullmatch(r"0\d+", t))
    if zeros:
        return (
            Guess("category", Parse(missing=found.missing), "its digits are codes: some begin with a zero that a number would lose")
            if zeros > 0.002 * total
            else None
        )
    long_ones = sum(c for t, c, _ in matches if re.fullmatch(r"[+-]?\d{16,}", t))
    if long_ones > 0.5 * total:
        return None
    if CODE_NAME.search(name) and all(m["digits"].isdigit() for _, _, m in matches):
        return Guess("category", Parse(missing=found.missing), "its name says that the digits are codes, not amounts")
    parse = _number_parse([m for _, _, m in matches], decimal)
    if parse is None:
        return None
    parse = replace(parse, missing=tuple(sorted({*found.missing, *soft})))
    read = number_reader(parse)
    bad = [(t, c) for t, c in pairs if read(t) is None]
    share = 1 - sum(c for _, c in bad) / total
    return Guess("number", parse, _number_why(parse, [t for t, _ in bad], soft, share)) if share >= ENOUGH else None


def _number_why(parse: Parse, bad: Sequence[str], soft: Sequence[str], share: float) -> str:
    written = [f"with {', '.join(repr(a) for a in parse.affixes)}"] if parse.affixes else []
    written += [f"{parse.thousands!r} between thousands"] if parse.thousands else []
    written += [f"{parse.decimal!r} as decimal mark"] if parse.decimal != "." else []
    written += [f"units {', '.join(parse.scale)}"] if parse.scale else []
    text = "its cells are numbers in text" + (", " + ", ".join(written) if written else "")
    if soft or parse.missing:
        text += f"; {', '.join(repr(t) for t in [*dict.fromkeys([*parse.missing, *soft])][:4])} means no value"
    if bad:
        text += f"; {100 * (1 - share):.2g} % cannot be read, such as {bad[0][:30]!r}"
    return text


def _number_parse(matches: Sequence[re.Match[str]], decimal: str) -> Parse | None:
    """Marks and affixes on which the numbers agree; None where they disagree (several currencies, several units)."""
    digits = [m["digits"].strip() for m in matches]
    decimal, thousands = _marks(digits, decimal)
    before = Counter(m["before"].strip() for m in matches if m["before"].strip())
    after = Counter(m["after"].strip().rstrip(".") for m in matches if m["after"].strip())
    after = Counter({unit: n for unit, n in after.items() if n >= RARE_UNIT * len(matches) or unit in CURRENCY or unit == "%"})
    symbols = {b for b in before if b in CURRENCY or b in CURRENCY_CODES}
    if set(before) - symbols or len(symbols) > 1:
        return None
    scale: dict[str, float] = {}
    if after and set(after) <= _MULTIPLE and (symbols or len(after) > 1 or set(after) <= {"M", "B", "bn"}):
        scale = {unit: _MAGNITUDES[unit] for unit in after}
        after = Counter()
    folded = Counter(dict.fromkeys(dict.fromkeys(a.casefold().rstrip("s") or a for a in after), 0))
    if len(folded) > 1:
        most, _ = after.most_common(1)[0]
        share = sum(c for a, c in after.items() if (a.casefold().rstrip("s") or a) == (most.casefold().rstrip("s") or most)) / sum(after.values())
        if share < ENOUGH:
            return None
        after = Counter({a: c for a, c in after.items() if (a.casefold().rstrip("s") or a) == (most.casefold().rstrip("s") or most)})
    if symbols and any(a in CURRENCY or a in CURRENCY_CODES for a in after) and not set(after) <= symbols:
        return None
    if any(re.search(r"[+\-<>=/:]", a) and a not in ("%",) and not re.fullmatch(r"[A-Za-zµ°]+/[A-Za-z]+\d?", a) for a in after):
        return None
    return Parse(decimal=decimal, thousands=thousands, affixes=(*sorted(symbols), *after), scale=scale)


def _marks(digits: Sequence[str], decimal: str) -> tuple[str, str]:
    """The decimal mark and the mark between thousands."""
    both = [d for d in digits if "," in d and "." in d]
    if both:
        comma_last = sum(d.rfind(",") > d.rfind(".") for d in both)
        return (",", ".") if comma_last > len(both) / 2 else (".", ",")
    space = next((s for s in (" ", "\xa0", "\u202f", "'", "\u2019") if any(re.search(rf"\d{s}\d{{3}}(?!\d)", d) for d in digits)), "")
    commas, points = [d for d in digits if "," in d], [d for d in digits if "." in d]
    if commas:
        grouped = all(re.fullmatch(r"\d{1,3}(,\d{2,3})*,\d{3}", d) for d in commas)
        several = any(d.count(",") > 1 for d in commas)
        if grouped and (several or points or decimal != ",") and not space:
            return ".", ","
        return ",", space
    if points and all(re.fullmatch(r"\d{1,3}(\.\d{3})+", d) for d in points) and (decimal == "," or any(d.count(".") > 1 for d in points)):
        return ",", "."
    return (decimal if not points else "."), space


def _words(found: Texts, name: str, stays: bool) -> Guess:
    """A category, free text or an identifier."""
    parse = Parse(missing=found.missing)
    sample = found.texts[:2000]
    words = float(np.mean([len(t.split()) for t in sample]))
    length = float(np.mean([len(t) for t in sample]))
    unique = found.distinct / max(1, found.rows)
    if stays:
        return Guess("category", parse, f"it has {found.distinct} levels")
    if unique > 0.99 and found.rows >= 20 and (_looks_like_key(sample, words) or (words < 1.5 and ID_NAME.search(name))):
        return Guess("category", parse, "every cell is different and looks like a key: it tells rows apart and nothing about them", "id")
    long_ones = words >= 5 or length >= 60
    if (long_ones and unique > 0.1 and found.distinct > 10) or (words >= 3 and unique > 0.5 and found.distinct > 50):
        return Guess("text", parse, f"it is free text: {words:.1f} words on average, {100 * unique:.0f} % of them different")
    told = f"it has {found.distinct} levels" + (", nearly one per row" if unique > 0.9 and found.rows >= 20 else "")
    return Guess("category", parse, told)


def _looks_like_key(texts: Sequence[str], words: float) -> bool:
    """Keys: hexadecimal, UUIDs, addresses, letters with digits of one shape, eight digits and more; not names, not measurements."""
    some = [t.replace(" ", "") for t in texts[:500]]
    most = 0.9 * len(some)
    if sum(bool(_HEXADECIMAL.fullmatch(t)) for t in some) > most or sum(bool(_ADDRESS.match(t)) for t in some) > most:
        return True
    shapes = Counter(re.sub(r"[A-Z]+", "A", re.sub(r"[a-z]+", "a", re.sub(r"\d+", "9", t))) for t in some)
    shape, count = shapes.most_common(1)[0]
    digits = float(np.median([sum(c.isdigit() for c in t) for t in some]))
    if words >= 1.5 and digits < 0.4 * np.median([len(t) for t in some]):
        return False
    mixed = any(c in shape for c in "Aa") and "9" in shape
    return count > 0.8 * len(some) and not any(c in shape for c in ".,:/") and ((mixed and digits >= 2) or digits >= 8)


def infer_numbers(values: np.ndarray, name: str, *, is_target: bool = False) -> Guess:
    """The kind of a column that its source stores as numbers; `values` (n,) are those with a value."""
    whole = len(values) > 0 and bool(np.all(values == np.floor(values)) and np.all(np.abs(values) < 2**53))
    if not whole or is_target:
        return Guess("number", Parse(), "its cells are numbers")
    dates = _numeric_dates(values, name)
    if dates is not None:
        return dates
    unique = len(np.unique(values))
    if unique == len(values) >= 20 and (_counts_rows(values) or (ID_NAME.search(name) and values.min() >= 0)):
        why = "it counts the rows" if _counts_rows(values) else "every cell is different and its name says that it tells rows apart"
        return Guess("number", Parse(), why, "id")
    if CODE_NAME.search(name):
        return Guess("category", Parse(), "its name says that the digits are codes, not amounts")
    if ENTITY_NAME.search(name) and unique > 2 and values.min() >= 0:
        return Guess("category", Parse(), f"its name says that the numbers are keys ({unique} of them), not amounts")
    return Guess("number", Parse(), "its cells are whole numbers")


def _counts_rows(values: np.ndarray) -> bool:
    return bool(values[0] in (0, 1) and np.all(np.diff(values) == 1))


def told_date(values: np.ndarray) -> Parse:
    """How whole numbers are dates, when the user says that they are: yyyymmdd, years, seconds or milliseconds since 1970."""
    if not len(values):
        return Parse()
    eight = date_number_reader(Parse(dates=("yyyymmdd",)))
    if all(eight(v) is not None for v in values[:1000].tolist()):
        return Parse(dates=("yyyymmdd",))
    if values.min() >= 1000 and values.max() <= 2999:
        return Parse(dates=("%Y",))
    return Parse(dates=("epoch_ms" if np.median(np.abs(values)) > 1e11 else "epoch_s",))


def _numeric_dates(values: np.ndarray, name: str) -> Guess | None:
    low, high = float(values.min()), float(values.max())
    if low >= 18_000_101 and high <= 22_001_231 and len(np.unique(values[:1000])) > 2:
        read = date_number_reader(Parse(dates=("yyyymmdd",)))
        if all(read(v) is not None for v in np.unique(values[:20_000]).tolist()):
            return Guess("date", Parse(dates=("yyyymmdd",)), "its whole numbers are dates written as yyyymmdd")
    for form, unit, words in (("epoch_s", 1.0, "seconds"), ("epoch_ms", 1e3, "milliseconds")):
        span = low >= 4e8 * unit and high <= 2.6e9 * unit
        if span and form == "epoch_ms" and high - low < 6.4e8 * unit and low > 9e8 * unit:
            return Guess("date", Parse(dates=(form,)), "its whole numbers lie within twenty years, in milliseconds since 1970")
        if span and TIME_NAME.search(name) and (high - low) < 2e9 * unit:
            return Guess("date", Parse(dates=(form,)), f"its name and its range say {words} since 1970")
    return None
