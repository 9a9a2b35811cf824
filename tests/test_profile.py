"""The profile: what each column is taken for, and why."""

from __future__ import annotations

import json
import time
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emlyn.context import Budget, Context
from emlyn.core.reader import Read, read
from emlyn.core.tables.contract import conform, contract_of
from emlyn.core.tables.frames import to_table
from emlyn.errors import DataError, OptionError
from emlyn.records.codec import from_json, to_json
from emlyn.records.data_card import DataCard
from emlyn.records.options import TrainOptions
from emlyn.stages.profile import profile

CONTEXT = Context(Budget(60.0, time.monotonic()))
RNG = np.random.default_rng(0)


def card_of(cells, name="x", dialect=None, **options):
    table = to_table({name: list(cells), "other": list(range(5, 5 + len(cells)))})
    return profile(Read(table, "test", dialect or {}), TrainOptions(**options), CONTEXT).column(name)


def values_of(cells, name="x", **options):
    """The cells as the contract that follows from their own card reads them."""
    table = to_table({name: list(cells), "other": list(range(5, 5 + len(cells)))})
    card = profile(Read(table, "test"), TrainOptions(**options), CONTEXT)
    return conform(table, contract_of(card, [name])).table[name]


MONTHS = ["Jan-2018", "Feb-2018", "Mar-2018", "Dec-2017"]
KINDS = {
    # what the cells look like: (cells, kind, role)
    "floats": (RNG.normal(size=50).tolist(), "number", "feature"),
    "whole_numbers": ([3, 1, 2, 5, 3] * 10, "number", "feature"),
    "small_codes_stay_numbers": ([0, 1, 1, 0, 1] * 10, "number", "feature"),
    "number_in_text": ([f"{v:.2f}" for v in RNG.normal(size=50)], "number", "feature"),
    "currency": ([f"${v:,}" for v in RNG.integers(1, 99999, 50)], "number", "feature"),
    "euro_behind": ([f"{v},50 €" for v in RNG.integers(1, 999, 50)], "number", "feature"),
    "currency_code": ([f"CHF {v}" for v in RNG.integers(1, 999, 50)], "number", "feature"),
    "two_currencies": (["$5", "€5", "$7", "€9"] * 10, "category", "feature"),
    "percent": ([f"{v} %" for v in RNG.integers(0, 100, 50)], "number", "feature"),
    "unit": ([f"{v} months" for v in (36, 60, 36, 1)] + ["1 month"], "number", "feature"),
    "thousands": ([f"{v:,}" for v in RNG.integers(1000, 9_999_999, 50)], "number", "feature"),
    "swiss": ([f"{v:,}".replace(",", "'") for v in RNG.integers(1000, 9_999_999, 50)], "number", "feature"),
    "german": ([f"{v:,}".replace(",", ".") + ",50" for v in RNG.integers(1000, 9_999_999, 50)], "number", "feature"),
    "magnitudes": (["$1.2M", "$350K", "$4B", "$900K"] * 10, "number", "feature"),
    "accounting": ([f"({v})" if v % 3 else f"{v}" for v in range(100, 150)], "number", "feature"),
    "numbers_with_question_marks": (["12", "?", "15", "7", "?"] * 10, "number", "feature"),
    "numbers_and_unknown": (["12", "unknown", "15", "7"] * 10, "number", "feature"),
    "numbers_with_some_junk": ([str(v) for v in range(60, 110)] + ["12abc"], "number", "feature"),
    "half_numbers_half_words": (["12", "a lot", "15", "few"] * 10, "category", "feature"),
    "ranges": (["10-20", "20-30", "30-40"] * 10, "category", "feature"),
    "open_ranges": (["<10", "10+", "100+"] * 10, "category", "feature"),
    "versions": (["1.2.3", "1.2.4", "2.0.1"] * 10, "category", "feature"),
    "ip": ([f"10.0.{i}.{i * 3 % 250}" for i in range(50)], "category", "id"),
    "sizes": (["S", "M", "L", "XL"] * 10, "category", "feature"),
    "ordinal_words": (["1st", "2nd", "3rd"] * 10, "category", "feature"),
    "leading_zeros": (["00501", "10001", "02134", "94105"] * 10, "category", "feature"),
    "yes_no": (["Yes", "no", "NO", None] * 10, "boolean", "feature"),
    "true_false": (["TRUE", "false"] * 10, "boolean", "feature"),
    "t_f": (["t", "f", "f"] * 10, "boolean", "feature"),
    "ja_nein": (["ja", "nein"] * 10, "boolean", "feature"),
    "flagged_or_blank": (["Y", "", ""] * 10, "boolean", "feature"),
    "sex_is_no_boolean": (["male", "female"] * 10, "category", "feature"),
    "yes_no_maybe": (["yes", "no", "maybe"] * 10, "category", "feature"),
    "iso": ([f"2024-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 6)], "date", "feature"),
    "iso_time": ([f"2024-01-{d:02d}T10:{d:02d}:00Z" for d in range(1, 29)], "date", "feature"),
    "day_first": ([f"{d}/{m}/2024" for m in range(1, 13) for d in (3, 17, 28)], "date", "feature"),
    "month_first": ([f"{m}/{d}/2024" for m in range(1, 13) for d in (3, 17, 28)], "date", "feature"),
    "two_digit_year": ([f"{m}/{d}/98" for m in range(1, 13) for d in (3, 17, 28)], "date", "feature"),
    "dotted": ([f"{d}.{m}.2024 13:45" for m in range(1, 13) for d in (3, 17, 28)], "date", "feature"),
    "month_words": (MONTHS * 10, "date", "feature"),
    "long_words": (["March 5, 2024", "April 17, 2023", "May 1, 2020"] * 10, "date", "feature"),
    "am_pm": ([f"1/{d}/2024 {d % 12 + 1}:05 PM" for d in range(1, 29)], "date", "feature"),
    "times_of_day": ([f"{h}:{m:02d}" for h in range(24) for m in (5, 40)], "date", "feature"),
    "dates_with_gaps": (["2024-01-05", "", "N/A", "2024-02-06"] * 10, "date", "feature"),
    "german_months": (["27. März 2005", "3. Mai 2011", "1. Dezember 2010"] * 10, "date", "feature"),
    "french_months": (["27 août 2005", "3 mai 2011", "14 février 2010"] * 10, "date", "feature"),
    "month_and_year": ([f"{m:02d}/{y}" for m in range(1, 13) for y in (2001, 2013, 2020)], "date", "feature"),
    "web_log": ([f"{d}/Jan/2024:10:{d}:00 +0000" for d in range(10, 29)], "date", "feature"),
    "milliseconds": ((1_600_000_000_000 + RNG.integers(0, 10**11, 50)).tolist(), "date", "feature"),
    "blood_pressure": ([f"{s}/{d}" for s, d in zip(range(100, 150), range(60, 110), strict=True)], "category", "feature"),
    "coordinates": ([f"{a}.5, {a}.25" for a in range(50)], "category", "feature"),
    "phones": ([f"({200 + i}) 555-{1000 + i}" for i in range(50)], "category", "id"),
    "ibans": ([f"CH{10 + i} 0025 {7000 + i} 4024" for i in range(50)], "category", "id"),
    "yyyymmdd": ([20240100 + d for d in range(1, 29)], "date", "feature"),
    "eight_digits_no_dates": (RNG.integers(20_000_000, 29_999_999, 50).tolist(), "number", "feature"),
    "years": ([1990 + i % 30 for i in range(60)], "number", "feature"),
    "consecutive_years": ([1990 + i for i in range(30)], "number", "feature"),
    "row_numbers": (list(range(1, 41)), "number", "id"),
    "uuids": ([str(uuid.UUID(int=int(v))) for v in RNG.integers(1, 2**60, 50)], "category", "id"),
    "hashes": ([f"{v:016x}" for v in RNG.integers(1, 2**60, 50)], "category", "id"),
    "keys": ([f"CUST-{v:05d}" for v in range(50)], "category", "id"),
    "mails": ([f"ann{v}@example.org" for v in range(50)], "category", "id"),
    "surnames": ([f"{a}{b}" for a in ("Mül", "Hub", "Wag", "Bau", "Kel") for b in ("ler", "er", "ner", "mann", "hof")], "category", "feature"),
    "free_text": ([f"the quick brown fox jumps {w} over the lazy dog" for w in map(str, range(60))], "text", "feature"),
    "long_levels_are_levels": (["a rather long answer to the first question", "another long answer to that question"] * 30, "category", "feature"),
    "constant": (["same"] * 30, "category", "excluded"),
    "constant_number": ([7] * 30, "number", "excluded"),
    "one_level_and_gaps": (["seen", None] * 15, "category", "feature"),
    "nothing": ([None] * 30, "number", "excluded"),
    "blank_texts": (["", " ", "?"] * 10, "category", "excluded"),
    "none_is_a_level": (["none", "some", "many"] * 10, "category", "feature"),
    "infinite": ([1.0, float("inf"), 3.5, float("-inf")] * 10, "number", "feature"),
    "huge": (["1e308", "1e3", "5"] * 10, "category", "feature"),
}  # fmt: skip


@pytest.mark.parametrize("looks", KINDS)
def test_kind_and_role(looks):
    cells, kind, role = KINDS[looks]
    card = card_of(cells)
    assert (card.kind, card.role) == (kind, role), card.why
    assert card.why.endswith(".")
    assert card.why[0].isupper()


VALUES = {
    "currency": (["$1,200", "$35.50", "-$7", "($8)"], ["1200", "35.5", "-7", "-8"]),
    "german": (["1.234,50", "7,25", "12,00"], ["1234.5", "7.25", "12"]),
    "german_whole": (["1.234.567", "1.234", "12"], ["1234567", "1234", "12"]),
    "percent": (["12 %", "3%", "N/A", "7.5%"], ["12", "3", None, "7.5"]),
    "magnitudes": (["$1.2M", "$350K", "$4"], ["1200000", "350000", "4"]),
    "unit": (["36 months", "60 months", "1 month"], ["36", "60", "1"]),
    "blanks": (["12", " ", "15.5", "."], ["12", None, "15.5", None]),
    "boolean": (["Yes", "NO", "?", "yes"], ["1", "0", None, "1"]),
    "day_first": (["17/02/1970", "01/01/1970", "02/01/1970"], [str(47 * 86400), "0", "86400"]),
    "month_first": (["02/17/1970", "01/01/1970", "01/02/1970"], [str(47 * 86400), "0", "86400"]),
    "words": (["2 Jan 1970", "17 February 1970", "?"], ["86400", str(47 * 86400), None]),
    "zone": (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:10Z", "1970-01-02"], ["0", "10", "86400"]),
    "yyyymmdd": ([19700102, 19700103, 19700217], ["86400", "172800", str(47 * 86400)]),
    "category": ([" a", "a", "NA", "b "], ["a", "a", None, "b"]),
    "leading_zeros": (["007", "7", "010"], ["007", "7", "010"]),
}


@pytest.mark.parametrize("looks", VALUES)
def test_values(looks):
    cells, values = VALUES[looks]
    assert values_of(cells * 10).strings().tolist() == values * 10


def test_a_date_that_could_be_either_says_so():
    card = card_of([f"{d}/{m}/2024" for d in range(1, 12) for m in range(1, 12)])
    assert card.kind == "date"
    assert "cannot be told" in card.why


def test_epoch_seconds_need_a_name_that_says_time():
    cells = RNG.integers(1_500_000_000, 1_700_000_000, 60).tolist()
    assert card_of(cells, "created_at").kind == "date"
    assert card_of([c * 1000 for c in cells], "timestamp").parse.dates == ("epoch_ms",)
    assert card_of(cells, "amount").kind == "number"


@pytest.mark.parametrize(
    ("name", "role", "kind"), [("customer_id", "id", "number"), ("PassengerId", "id", "number"), ("amount", "feature", "number")]
)
def test_unique_whole_numbers_are_ids_by_name(name, role, kind):
    cells = RNG.permutation(np.arange(5000, 5060)).tolist()
    assert (card_of(cells, name).role, card_of(cells, name).kind) == (role, kind)


def test_repeated_keys_are_categories():
    card = card_of(RNG.integers(100, 120, 80).tolist(), "store_id")
    assert (card.kind, card.role) == ("category", "feature")
    assert card_of(RNG.integers(10000, 99999, 80).tolist(), "zip_code").kind == "category"


def test_namibia_and_north_america():
    assert card_of(["NA", "EU", "AS", "EU"] * 10).missing == 0
    assert card_of(["NA", "Bern", "Basel", "Genf"] * 10).missing == 10


def test_a_target_keeps_its_labels():
    card = card_of(["Yes", "No", "Yes"] * 10, target="x")
    assert (card.kind, card.role, [level for level, _ in card.levels]) == ("category", "target", ["Yes", "No"])
    assert card_of(["2", "1", "1"] * 10, target="x").kind == "number"
    assert card_of(list(range(40)), target="x").role == "target"
    assert card_of(["same"] * 30, target="x").role == "target"


def test_what_the_user_says_wins():
    cells = ["1", "2", "3", "4"] * 10
    assert card_of(cells, types={"x": "category"}).kind == "category"
    assert card_of(list(range(40)), types={"x": "number"}).role == "feature"
    assert card_of(cells, exclude=("x",)).role == "excluded"
    assert card_of(cells, id="x").role == "id"
    assert card_of(cells, group="x").role == "group"
    assert card_of(cells, weight="x").role == "weight"
    assert card_of(["03/04/2024", "05/06/2024"] * 20, types={"x": "date"}).kind == "date"
    assert card_of(["ok", "nok"] * 20, types={"x": "number"}).unreadable == 40
    assert card_of(["2", "1"] * 20, types={"x": "text"}).kind == "text"
    assert card_of([20240101, 20240203] * 20, types={"x": "date"}).parse.dates == ("yyyymmdd",)


def test_a_column_that_is_not_there_is_named_with_its_nearest():
    with pytest.raises(DataError, match="did you mean 'other'"):
        card_of([1, 2], target="othr")
    with pytest.raises(DataError, match="did you mean 'other'"):
        card_of([1, 2], exclude=("Other",))
    with pytest.raises(OptionError, match="number, boolean, date, category, text"):
        card_of([1, 2], types={"x": "integer"})


def test_a_decimal_comma_of_the_file_reaches_every_number(tmp_path):
    (tmp_path / "a.csv").write_text("a;b;c\n" + "".join(f"{i},5;{i}.000;{i}\n" for i in range(1, 40)))
    found = read(tmp_path / "a.csv")
    card = profile(found, TrainOptions(), CONTEXT)
    assert card.column("b").high == 39_000
    later = conform(to_table([{"a": "7,25", "b": "1.000", "c": "4"}]), contract_of(card, ["a", "b", "c"])).table
    assert [later[n].values[0] for n in "abc"] == [7.25, 1000, 4]


def test_facts_of_a_column():
    card = card_of([1, 2, 2, None, 10])
    assert (card.rows, card.missing, card.distinct, card.low, card.high, card.integral, card.stored) == (5, 1, 3, 1, 10, True, "number")
    assert card.mean == pytest.approx(3.75)
    assert card.quantiles == tuple(sorted(card.quantiles))
    words = card_of(["a", "b", "a", ""])
    assert (words.missing, words.distinct, words.levels) == (1, 2, (("a", 2), ("b", 1)))
    junk = card_of([str(i) for i in range(100, 150)] + ["12a", "??x"])
    assert (junk.kind, junk.unreadable, set(junk.examples)) == ("number", 2, {"12a", "??x"})


def test_large_tables_are_sampled_for_decisions_and_counted_exactly():
    n = 250_000
    cells = [f"{i % 1000}.5" for i in range(n)]
    cells[123_457] = "oops"
    cells[200_001] = None
    found = Read(to_table({"x": cells, "n": np.arange(n) % 977}), "test")
    card = profile(found, TrainOptions(), CONTEXT)
    assert card.sampled == 100_000
    assert (card.column("x").kind, card.column("x").unreadable, card.column("x").missing) == ("number", 1, 2)
    assert (card.column("n").low, card.column("n").high) == (0, 976)


def test_the_digest_follows_content_alone():
    def digest(frame):
        return profile(Read(to_table(frame), "test"), TrainOptions(), CONTEXT).digest

    assert digest({"a": [1, 2], "b": ["x", "y"]}) == digest({"a": [1.0, 2.0], "b": np.array(["x", "y"])})
    assert digest({"a": [1, 2], "b": ["x", "y"]}) != digest({"a": [2, 1], "b": ["x", "y"]})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["1", "1,5", "$5", "2024-01-01", "yes", "NA", "00"])), min_size=1, max_size=30)
)
def test_any_texts_get_a_card_whose_contract_reads_them(cells):
    table = to_table({"x": cells})
    card = profile(Read(table, "test"), TrainOptions(), CONTEXT)
    assert from_json(to_json(card), DataCard) == card
    found = conform(table, contract_of(card, ["x"], table))
    column = card.column("x")
    assert int(found.table["x"].missing.sum()) == column.missing
    assert sum(found.counts.get("x", {}).get(code, 0) for code in ("level", "range")) == 0


def test_real_tables(data_dir):
    """Kinds that a person would give the real tables' columns."""
    wanted = {
        "titanic": {"pclass": "number", "sex": "category", "age": "number", "deck": "category"},
        "adult": {"age": "number", "workclass": "category", "fnlwgt": "number"},
        "loans": {"issue_month": "date", "emp_title": "category", "state": "category", "interest_rate": "number"},
        "reviews_text": {"review": "text"},
        "telco_churn": {"contract": "category", "total_charges": "number"},
        "ames": {"Central_Air": "boolean", "Year_Built": "number", "Neighborhood": "category"},
        "mpg": {"horsepower": "number", "name": "category"},
    }
    manifest = json.loads((data_dir / "manifest.json").read_text())
    for name, one in manifest.items():
        card = profile(read(data_dir / one["file"]), TrainOptions(target=one["target"]), CONTEXT)
        kinds = {c.name: c.kind for c in card.columns}
        for column, kind in wanted.get(name, {}).items():
            assert kinds[column] == kind, (name, column)
        assert not card.names("id"), (name, card.names("id"))
        assert card.names("target") == (one["target"],)
    adult = profile(read(data_dir / "adult.csv.gz"), TrainOptions(), CONTEXT)
    assert adult.column("workclass").missing == 1836


def test_names_of_people_stay_out_of_card_and_contract():
    cells = [f"{a} {b}" for a in ("Ann", "Bob", "Cyn", "Dee", "Eve", "Flo") for b in ("Huber", "Wagner", "Keller", "Weiss", "Roth", "Baum")]
    table = to_table({"x": cells, "city": ["Bern", "Basel"] * 18})
    card = profile(Read(table, "test"), TrainOptions(), CONTEXT)
    contract = contract_of(card, ["x", "city"], table)
    assert b"Huber" not in to_json(card)
    assert b"Huber" not in to_json(contract)
    assert contract.columns[1].levels == ("Bern", "Basel")
