"""From one written cell to one value: what counts as missing, how numbers, dates and booleans are written.

Standard library only. Each `*_reader` compiles a `Parse` record into a function of one stripped text that answers a float,
NaN for "no value", or None for "this cannot mean anything here".
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from emlyn.core.table import number_text
from emlyn.records.data_card import Parse
from emlyn.types import Kind

NAN = math.nan
EXACT = 2**53
"""Whole numbers beyond this lose digits as float64."""
BEYOND = 3.4e38
"""Numbers beyond this do not fit the 32-bit floats that learners compute with; they count as unreadable."""

NO_VALUE = frozenset(
    (
        "", "na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "#null!", "\\n", "?", "??", ".", "..", "-", "--",
        "—", "–", "#value!", "#div/0!", "#ref!", "#num!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
    )
)  # fmt: skip
"""Texts that mean "no value" in any column."""

NO_NUMBER = NO_VALUE | frozenset(
    (
        "none", "nil", "unknown", "unk", "missing", "not available", "not applicable", "not known", "not reported", "no data", "undefined", "blank",
        "empty", "(blank)", "(null)", "nd", "n.d.", "tbd", "tba", "pending", "inapplicable",
    )
)  # fmt: skip
"""Texts that mean "no value" where a number, a date or a yes/no stands; in a column of words they may be a level of their own."""

YES_NO: tuple[tuple[str, str], ...] = (
    ("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("on", "off"), ("ja", "nein"), ("oui", "non"), ("si", "no"), ("sí", "no"),
    ("sim", "não"), ("sim", "nao"), ("da", "net"), ("enabled", "disabled"), ("wahr", "falsch"), ("vrai", "faux"),
)  # fmt: skip

Reader = Callable[[str], "float | None"]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_WHOLE_AS_FLOAT = re.compile(r"-?(?:0|[1-9]\d*)\.0+\Z", re.ASCII)
_UNIT_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµμ%°²³/"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def missing_tokens(parse: Parse, kind: Kind) -> frozenset[str]:
    """Every text (lower case) that means "no value" under this parse."""
    own = frozenset(t.strip().casefold() for t in parse.missing)
    return own | {""} if kind in ("category", "text") else own | NO_NUMBER


def cell_text(value: Any) -> str | None:
    """Any cell as the text a person would write, None for "no value"; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return None
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return date_text(seconds_of(value))
    if isinstance(value, bytes):
        return decode(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def decode(raw: bytes) -> str:
    """Bytes as text: UTF-8 where they are that, else Windows-1252, else Latin-1."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def seconds_of(value: datetime.datetime | datetime.date) -> float:
    """Seconds since 1970 in UTC; a time without a zone is taken as UTC."""
    if isinstance(value, datetime.datetime):
        return ((value if value.tzinfo else value.replace(tzinfo=datetime.UTC)) - _EPOCH).total_seconds()
    return (value.toordinal() - _EPOCH_DAY) * 86400.0


def date_text(seconds: float) -> str:
    """Seconds since 1970 as ISO text: the day alone at midnight."""
    try:
        moment = _EPOCH + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return number_text(seconds)
    return moment.date().isoformat() if seconds % 86400 == 0 else moment.replace(tzinfo=None).isoformat()


def number_reader(parse: Parse) -> Reader:
    """Reads a number as this parse says. Infinite and unbelievably large numbers are unreadable; `not_numbers` are no value."""
    tokens = missing_tokens(parse, "number")
    affixes = sorted((a.strip() for a in parse.affixes if a.strip()), key=len, reverse=True)
    units = {k.casefold(): v for k, v in parse.scale.items()}
    mark, decimal, sentinels = parse.thousands, parse.decimal, frozenset(parse.not_numbers)
    groups = re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}(?!\d)", re.ASCII) if mark else None

    def plain(text: str) -> float | None:
        if groups is not None and mark in text:
            match = groups.match(text)
            if match is None or mark in text[match.end() :]:
                return None
            text = text.replace(mark, "")
        if decimal != ".":
            text = text.replace(decimal, ".")
        return float(text) if _NUMBER.match(text) else None

    def bare(text: str) -> tuple[str, float]:
        """The digits alone, and the factor of the unit that stood behind them."""
        text = text.replace("\u2212", "-").replace("\u202f", " ").replace("\xa0", " ")
        sign, factor = "", 1.0
        if text[:1] == "(" and text[-1:] == ")":
            sign, text = "-", text[1:-1].strip()
        elif text[:1] in ("+", "-"):
            sign, text = text[0], text[1:].lstrip()
        for affix in affixes:
            lowered, low = text.casefold(), affix.casefold()
            if lowered.startswith(low):
                text = text[len(affix) :].strip()
            elif lowered.endswith(low):
                text = text[: -len(affix)].strip()
        if units:
            digits = len(text.rstrip(_UNIT_LETTERS))
            if text[digits:].casefold() in units:
                factor, text = units[text[digits:].casefold()], text[:digits].strip()
        return (sign + text) if text[:1] not in ("+", "-") else text if not sign else "", factor

    def read(text: str) -> float | None:
        value = plain(text)
        if value is None:
            low = text.casefold()
            if low in tokens:
                return NAN
            if low in ("true", "false"):
                value = float(low == "true")
            else:
                digits, factor = bare(text)
                value = plain(digits)
                if value is None:
                    return None
                value *= factor
        if value in sentinels:
            return NAN
        return value if -BEYOND < value < BEYOND else None

    return read


def boolean_reader(parse: Parse) -> Reader:
    """Reads yes or no as this parse says; 1/0 and true/false are understood everywhere."""
    tokens = missing_tokens(parse, "boolean")
    known = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
    known |= {t.casefold(): 1.0 for t in parse.true} | {t.casefold(): 0.0 for t in parse.false}
    known = dict.fromkeys(tokens - known.keys(), NAN) | known
    return lambda text: known.get(text.casefold())


def date_reader(parse: Parse) -> Reader:
    """Reads a date by the formats of this parse in their order, ISO 8601 last; answers seconds since 1970 in UTC."""
    tokens = missing_tokens(parse, "date")
    formats = [_format_reader(f) for f in dict.fromkeys([*parse.dates, "iso"])]

    def read(text: str) -> float | None:
        for one in formats:
            found = one(text)
            if found is not None:
                return found
        return NAN if text.casefold() in tokens else None

    return read


def date_number_reader(parse: Parse) -> Callable[[float], float | None]:
    """Reads a date that stands as a number: `epoch_s`, `epoch_ms`, `yyyymmdd`, whichever the parse names first."""
    named = [f for f in parse.dates if f in ("epoch_s", "epoch_ms", "yyyymmdd", "%Y")]
    if not named:
        return lambda value: None
    if named[0] == "epoch_s":
        return lambda value: value if abs(value) < 1e11 else None
    if named[0] == "epoch_ms":
        return lambda value: value / 1000.0 if abs(value) < 1e14 else None
    if named[0] == "%Y":
        return lambda value: _seconds(int(value), 1, 1) if value == int(value) else None
    return lambda value: (
        _seconds(int(value) // 10000, int(value) // 100 % 100, int(value) % 100) if 1e7 <= value < 1e8 and value == int(value) else None
    )


def text_cleaner(parse: Parse, kind: Kind = "category") -> Callable[[str], str | None]:
    """Cleans a word: strip, `missing`, `merge`; whole numbers lose `.0` so that 3 and 3.0 are one level.

    Cleaning twice changes nothing: chains of `merge` are followed to their end.
    """
    tokens = missing_tokens(parse, kind)
    merge = {_canonical(k): _canonical(v) for k, v in parse.merge.items()}

    def clean(text: str) -> str | None:
        text = _canonical(text)
        for _ in range(len(merge)):
            if text.casefold() in tokens or text not in merge or merge[text] == text:
                break
            text = merge[text]
        return None if text.casefold() in tokens else text

    return clean


def _canonical(text: str) -> str:
    text = text.strip()
    return text[: text.index(".")] if _WHOLE_AS_FLOAT.match(text) else text


def reader_for(kind: Kind, parse: Parse) -> Reader:
    """The reader of a kind that is stored as numbers."""
    return {"number": number_reader, "boolean": boolean_reader, "date": date_reader}[kind](parse)


def _seconds(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: float = 0.0) -> float | None:
    try:
        days = datetime.date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * 86400.0 + hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 61 else None


_MONTHS = (
    "january february march april may june july august september october november december",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "jän fév mrz avr mai juin juil aoû sept okt nov dez",
    "ene fev mär abr mayo jun jul ago set oct nov déc",
)
_MONTH = {name: number for names in _MONTHS for number, name in enumerate(names.split(), 1)}
_NAME = r"[a-zà-ÿ]{3,10}"
_DIRECTIVES = {
    "%Y": r"(?P<Y>\d{4})", "%y": r"(?P<y>\d{2})", "%m": r"(?P<m>\d{1,2})", "%d": r"(?P<d>\d{1,2})(?:st|nd|rd|th)?", "%H": r"(?P<H>\d{1,2})",
    "%I": r"(?P<I>\d{1,2})", "%M": r"(?P<M>\d{2})", "%S": r"(?P<S>\d{2}(?:\.\d{1,9})?)", "%p": r"(?P<p>[ap]\.?m\.?)",
    "%z": r"(?P<z>z|utc|gmt|[+-]\d{2}:?\d{2})",
    "%b": rf"(?P<b>{_NAME})\.?", "%B": rf"(?P<b>{_NAME})\.?", "%a": r"[a-zà-ÿ]{2,10}\.?", "%A": r"[a-zà-ÿ]{2,10}\.?",
}  # fmt: skip


def _format_reader(form: str) -> Reader:
    if form == "iso":
        return _iso
    if form in ("epoch_s", "epoch_ms", "yyyymmdd"):
        number = date_number_reader(Parse(dates=(form,)))
        return lambda text: number(float(text)) if _NUMBER.match(text) else None
    parts = re.split(r"(%[a-zA-Z])", form)
    pattern = "".join(_DIRECTIVES.get(p, r"\s+" if p.isspace() else re.escape(p).replace(r"\ ", r"\s+")) for p in parts)
    match_of = re.compile(pattern + r"\Z", re.ASCII | re.IGNORECASE).match

    def read(text: str) -> float | None:
        match = match_of(text)
        return None if match is None else _from_groups(match.groupdict())

    return read


def _from_groups(g: dict[str, str | None]) -> float | None:
    name = g.get("b")
    month = _MONTH.get(name.lower()) if name else int(g.get("m") or 1)
    if month is None:
        return None
    if g.get("y"):
        year = int(g["y"] or 0)
        year += 2000 if year < 69 else 1900
    else:
        year = int(g.get("Y") or 1970)
    hour = int(g.get("H") or 0)
    if g.get("I"):
        hour = int(g["I"] or 0) % 12 + (12 if (g.get("p") or "a").lower().startswith("p") else 0)
    found = _seconds(year, month, int(g.get("d") or 1), hour, int(g.get("M") or 0), float(g.get("S") or 0))
    zone = g.get("z")
    if found is not None and zone and zone[0] in "+-":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        found -= offset if zone[0] == "+" else -offset
    return found


def _iso(text: str) -> float | None:
    if len(text) < 10 or text[4] != "-":
        return None
    try:
        return seconds_of(datetime.datetime.fromisoformat(text))
    except ValueError:
        return None


def shortened(value: Any, most: int = 60) -> str:
    """A cell as it may be shown in a message."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "·" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def unique_names(names: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Names as non-empty unique texts, and a note for each that had to be changed."""
    given = ["" if n is None else str(n).strip() for n in names]
    taken, used, notes, out = set(given), set(), [], []
    for position, name in enumerate(given, 1):
        new = name or f"column_{position}"
        count = 2
        while new in used or (new != name and new in taken):
            new, count = f"{name or f'column_{position}'}_{count}", count + 1
        if new != name:
            notes.append(
                f"column {position} had {'the name ' + shortened(name) + ' a second time' if name else 'no name'}; it is called {shortened(new)} here"
            )
        used.add(new)
        out.append(new)
    return out, notes
