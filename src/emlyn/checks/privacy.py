"""Privacy: columns that name people, and rows that a few columns single out."""

from __future__ import annotations

import re

import numpy as np

from emlyn.checks._say import found, given, listed, looked_at, percent, repair, words_of
from emlyn.core.check import Check, Material, Outcome, outcome
from emlyn.core.splits import twin_codes
from emlyn.plugins import hook
from emlyn.records.finding import Effect

CELLS = 500
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}$")
PHONE = re.compile(r"^\+?\d[\d\s().-]{7,18}\d$")
IBAN = re.compile(r"^[A-Z]{2}\d{2}[A-Z0-9 ]{11,34}$")
CARD = re.compile(r"^\d(?:[ -]?\d){12,18}$")
ADDRESS = re.compile(r"^(?:\d{1,3}\.){3}\d{1,3}$")
SSN = re.compile(r"^\d{3}-\d{2}-\d{4}$")
PERSON = frozenset(
    [
        "firstname",
        "lastname",
        "surname",
        "fullname",
        "forename",
        "maidenname",
        "givenname",
        "familyname",
        "username",
        "passport",
        "ssn",
        "email",
        "phone",
        "iban",
        "mail",
    ]
)
QUASI = frozenset(
    [
        "age",
        "sex",
        "gender",
        "race",
        "zip",
        "zipcode",
        "postcode",
        "postal",
        "birth",
        "dob",
        "birthdate",
        "city",
        "occupation",
        "job",
        "marital",
        "education",
        "ethnicity",
    ]
)


def iban_holds(text: str) -> bool:
    """ISO 7064 mod 97-10 over the account number."""
    plain = text.replace(" ", "").upper()
    return bool(IBAN.match(plain)) and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def luhn_holds(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    digits = [int(c) for c in text if c.isdigit()]
    return bool(CARD.match(text)) and sum(d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))) % 10 == 0


KINDS = (
    ("e-mail addresses", lambda t: bool(EMAIL.match(t))),
    ("bank account numbers", iban_holds),
    ("payment card numbers", luhn_holds),
    ("social security numbers", lambda t: bool(SSN.match(t))),
    ("internet addresses", lambda t: bool(ADDRESS.match(t))),
)


def personal(m: Material) -> Outcome:
    """Columns of names, mail addresses, phones, accounts: by the form of their cells (with check digits) or by a name that leaves no doubt."""
    findings, repairs = [], []
    for name, column in m.raw.items():
        if name == given(m.problem).target or column.levels is None or len(column.levels) < 10:
            continue
        cells = [str(v).strip() for v in column.levels[:CELLS] if str(v).strip()]
        kind = next((says for says, test in KINDS if cells and np.mean([test(c) for c in cells]) > 0.8), "")
        if not kind and _phone(name, cells):
            kind = "phone numbers"
        if not kind and _named(name) and len(column.levels) > 0.3 * len(column):
            kind = "names of people"
        if not kind:
            continue
        f = found(
            "privacy.personal",
            "warn",
            (name,),
            f"{name} holds {kind}.",
            detail=f"{len(cells)} different cells were looked at; none is shown in any report.",
            n=len(column),
            why="Personal data should not be in a model, and need not be.",
            fix="left out of the features; its cells are never shown",
        )
        findings.append(f)
        repairs.append(repair(f, name, "left out: personal data", role="excluded"))
    return outcome(findings, repairs)


def _named(name: str) -> bool:
    words = words_of(name)
    return (
        bool(PERSON & set(words))
        or "".join(words) in PERSON
        or (len(words) >= 2 and words[-1] == "name" and words[-2] in ("first", "last", "full", "family", "given", "maiden", "sur"))
    )


def _phone(name: str, cells: list[str]) -> bool:
    likely = {"phone", "mobile", "tel", "telephone", "fax", "cell"} & set(words_of(name))
    return bool(likely) and len(cells) > 0 and float(np.mean([bool(PHONE.match(c)) for c in cells])) > 0.8


def reidentification(m: Material) -> Outcome:
    """The share of rows that sex, age, place and the like single out (k = 1)."""
    names = [one.name for one in looked_at(m, features_only=False) if QUASI & set(words_of(one.name)) and one.column.kind != "text"]
    if len(names) < 3 or m.whole is None:
        return outcome()
    codes = twin_codes(m.whole, names)
    alone = float((np.bincount(codes)[codes] == 1).mean())
    if alone < 0.05:
        return outcome()
    return outcome(
        [
            found(
                "privacy.reidentification",
                "info",
                names,
                f"{percent(alone)} of the rows are the only one with their combination of {listed(names)}.",
                detail="k-anonymity with k = 1 over these columns.",
                n=m.whole.rows,
                effect=Effect("share of rows", alone),
                why="Who knows these facts about a person finds the row.",
                fix="do not share rows; the model and report hold none",
            )
        ]
    )


@hook
def emlyn_checks() -> list[Check]:
    return [
        Check("privacy.personal", "columns that name people", ("raw", "problem"), personal, source="check digits: ISO 7064, ISO/IEC 7812-1"),
        Check("privacy.reidentification", "rows that a few columns single out", ("table", "problem", "whole"), reidentification),
    ]
