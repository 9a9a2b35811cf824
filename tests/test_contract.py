"""The contract: one reading of cells, whether they come as a table, as records, at training or at the door."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emlyn.core.table import Table
from emlyn.core.tables.contract import conform, conform_records, contract_diff, contract_of, to_json_schema, to_pandera
from emlyn.core.tables.frames import to_table
from emlyn.core.tables.parse import NO_NUMBER, number_reader
from emlyn.errors import DataError
from emlyn.records.codec import from_json, to_json
from emlyn.records.data_card import ColumnCard, ColumnRule, Contract, CrossRule, DataCard, Parse

WORDS = [
    "",
    " ",
    "a",
    "A",
    "b ",
    "yes",
    "No",
    "true",
    "False",
    "NA",
    "?",
    "-999",
    "3",
    "3.0",
    "3.50",
    "007",
    "1,234.5",
    "$5",
    "12 %",
    "(7)",
    "5 kg",
    "250 g",
]
WORDS += [
    "1e400",
    "inf",
    "nan",
    "1_000",
    "2024-02-29",
    "2024-02-30",
    "31/12/2020",
    "20240229",
    "12 Mar 2018",
    "1700000000",
    "−4",
    "9" * 30,
    "\ud800",
    "🚀",
    "x" * 200,
]
CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-5, 5), st.floats(), st.text(max_size=8), st.sampled_from(WORDS),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.datetimes(min_value=datetime.datetime(1900, 1, 1)), st.dates(),
)  # fmt: skip

PARSES = [
    Parse(),
    Parse(missing=("?", "-999", "a"), merge={"A": "b", "b": "c", "yes": "3.0"}, not_numbers=(-999.0, 0.0)),
    Parse(decimal=",", thousands="'", affixes=("€", "%"), clip=(-10.0, 1e6), true=("yes",), false=("no",), dates=("%d/%m/%Y", "%d %b %Y")),
    Parse(thousands=",", affixes=("$",), scale={"kg": 1.0, "g": 0.001}, dates=("yyyymmdd",), true=("a",), false=("b",)),
    Parse(dates=("epoch_s",), merge={"a": "b", "b": "a"}),
]
RULES = st.builds(
    lambda kind, parse, required, nullable, bounds, levels: ColumnRule(
        "x", kind, parse, required, nullable, bounds[0], bounds[1], levels=levels if kind == "category" else ()
    ),
    st.sampled_from(["number", "boolean", "date", "category", "text"]), st.sampled_from(PARSES), st.booleans(), st.booleans(),
    st.sampled_from([(None, None), (-3.0, 3.0)]), st.sampled_from([(), ("a", "b"), ("3", "yes")]),
)  # fmt: skip
FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def cells_of(table: Table, name: str = "x") -> list[object]:
    return [None if c is None else c for c in table[name].strings().tolist()]


@FEW
@given(st.lists(CELLS, max_size=6), RULES)
def test_conforming_twice_changes_nothing(cells, rule):
    contract = Contract((rule,))
    once = conform(to_table({"x": cells}), contract).table
    assert cells_of(conform(once, contract).table) == cells_of(once)
    assert once["x"].kind == rule.kind


@FEW
@given(st.lists(CELLS, min_size=1, max_size=6), RULES)
def test_records_are_read_as_tables_are(cells, rule):
    contract = Contract((rule,))
    records = [{"x": cell} for cell in cells]
    table, direct = conform(to_table(records), contract), conform_records(records, contract)
    assert cells_of(direct.table) == cells_of(table.table)
    assert direct.counts == table.counts
    assert [(i.row, i.code) for i in direct.issues] == sorted((i.row, i.code) for i in table.issues)
    one_by_one = [cells_of(conform_records([record], contract).table)[0] for record in records]
    assert one_by_one == cells_of(table.table)


@FEW
@given(st.lists(st.one_of(CELLS, st.dictionaries(st.sampled_from(["x", "y"]), CELLS)), max_size=4), RULES)
def test_no_request_can_make_it_fail(records, rule):
    found = conform_records(records, Contract((rule, ColumnRule("y", "number", required=False))))
    assert found.table.rows == len(records) == len(found.refused)


@FEW
@given(st.text(alphabet="0123456789.,+-eE$€%() k'g\xa0_", max_size=14), st.sampled_from(PARSES))
def test_a_number_is_read_or_refused_never_guessed(text, parse):
    value = number_reader(parse)(text.strip())
    assert value is None or isinstance(value, float)
    assert value is None or not math.isinf(value)
    if "_" in text:
        assert value is None


@pytest.mark.parametrize(
    ("text", "parse", "value"),
    [
        ("1,234.50", Parse(thousands=","), 1234.5),
        ("1.234,50", Parse(decimal=",", thousands="."), 1234.5),
        ("1,2,3", Parse(thousands=","), None),
        ("1,00,000", Parse(thousands=","), 100000),
        ("1 234", Parse(thousands=" "), 1234),
        ("1\u202f234", Parse(thousands=" "), 1234),
        ("1'234", Parse(thousands="'"), 1234),
        ("1,5", Parse(decimal=","), 1.5),
        ("1.5", Parse(decimal=","), 1.5),
        ("$ 1,200", Parse(thousands=",", affixes=("$",)), 1200),
        ("-$5", Parse(affixes=("$",)), -5),
        ("$-5", Parse(affixes=("$",)), -5),
        ("($5)", Parse(affixes=("$",)), -5),
        ("12 %", Parse(affixes=("%",)), 12),
        ("250 g", Parse(scale={"kg": 1, "g": 0.001}), 0.25),
        ("3M", Parse(affixes=("$",), scale={"M": 1e6, "K": 1e3}), 3e6),
        ("−4", Parse(), -4),
        ("--4", Parse(), None),
        ("1e5", Parse(), 1e5),
        ("1e308", Parse(), None),
        ("inf", Parse(), None),
        ("0x10", Parse(), None),
        ("१२", Parse(), None),
    ],
)
def test_numbers_as_people_write_them(text, parse, value):
    assert number_reader(parse)(text) == value


@pytest.mark.parametrize("token", sorted(NO_NUMBER))
def test_placeholders_are_no_value_where_a_number_stands(token):
    found = conform(to_table({"x": [token.upper(), "5"]}), Contract((ColumnRule("x", "number"),)))
    assert cells_of(found.table) == [None, "5"]
    assert found.counts == {}


def test_order_dtypes_extra_and_missing_columns():
    contract = Contract(
        (
            ColumnRule("n", "number"),
            ColumnRule("c", "category"),
            ColumnRule("o", "category", required=False),
            ColumnRule("m", "number", required=False),
        )
    )
    table = to_table({"extra": [1, 2], "c": [3, 4], "n": ["1.5", "x"]})
    found = conform(table, contract)
    assert list(found.table) == ["n", "c", "o", "m"]
    assert cells_of(found.table, "n") == ["1.5", None]
    assert cells_of(found.table, "c") == ["3", "4"]
    assert found.table["o"].missing.all()
    assert found.table["m"].missing.all()
    assert [(i.row, i.column, i.value, i.code) for i in found.issues] == [(1, "n", "x", "unreadable")]


def test_an_absent_required_column_is_named_with_its_nearest():
    contract = Contract((ColumnRule("monthly_charges", "number"),))
    with pytest.raises(DataError, match="monthly_charges") as caught:
        conform(to_table({"monthly_charge": [1.0]}), contract)
    assert "'monthly_charge' looks like" in caught.value.next_step


def test_an_absent_required_column_refuses_that_record_alone():
    contract = Contract((ColumnRule("a", "number"), ColumnRule("b", "number", required=False)))
    found = conform_records([{"a": 1}, {"b": 2}, 7], contract)
    assert found.refused.tolist() == [False, True, True]
    assert {i.code for i in found.issues} == {"absent", "row"}


def test_unseen_levels_and_ranges_are_kept_and_reported():
    contract = Contract((ColumnRule("c", "category", levels=("a", "b")), ColumnRule("n", "number", low=0.0, high=10.0)))
    found = conform(to_table({"c": ["a", "zz"], "n": [5, 11]}), contract)
    assert cells_of(found.table, "c") == ["a", "zz"]
    assert cells_of(found.table, "n") == ["5", "11"]
    assert {(i.column, i.code, i.value) for i in found.issues} == {("c", "level", "zz"), ("n", "range", "11")}
    assert "0 to 10" in next(i.allowed for i in found.issues if i.column == "n")


def test_cross_rules_are_enforced():
    contract = Contract((ColumnRule("start", "date"), ColumnRule("end", "date")), (CrossRule("start", "<=", "end"),))
    records = [{"start": "2024-01-01", "end": "2024-02-01"}, {"start": "2024-03-01", "end": "2024-02-01"}]
    for found in (conform(to_table(records), contract), conform_records(records, contract)):
        assert [(i.row, i.code) for i in found.issues] == [(1, "rule")]


def test_issues_are_listed_up_to_a_hundred_and_counted_to_the_last():
    found = conform(to_table({"x": ["bad"] * 5000}), Contract((ColumnRule("x", "number"),)))
    assert len(found.issues) == 100
    assert found.counts["x"]["unreadable"] == 5000


def test_empty_tables_and_one_row():
    contract = Contract((ColumnRule("n", "number"), ColumnRule("c", "category")))
    assert conform(to_table({"n": [], "c": []}), contract).table.rows == 0
    assert conform_records([], contract).table.rows == 0
    assert conform_records([{"n": 1, "c": "a"}], contract).table.rows == 1


def card() -> DataCard:
    return DataCard(
        "t", 4,
        (
            ColumnCard("n", "number", rows=4, low=1.0, high=5.0, distinct=4, integral=True),
            ColumnCard("c", "category", rows=4, missing=1, distinct=2, levels=(("a", 2), ("b", 1))),
            ColumnCard("y", "category", "target", rows=4, distinct=2),
        ),
    )  # fmt: skip


def test_the_contract_of_a_card():
    contract = contract_of(card())
    assert [(r.name, r.required, r.nullable, r.levels) for r in contract.columns] == [("n", True, False, ()), ("c", False, True, ("a", "b"))]
    assert [r.name for r in contract_of(card(), ["c"]).columns] == ["c"]
    with_table = contract_of(card(), table=to_table({"n": [1, 2], "c": ["a", "new"]}))
    assert with_table.columns[1].levels == ("a", "new")
    assert from_json(to_json(contract), Contract) == contract


def test_json_schema_accepts_what_the_contract_accepts():
    schema = to_json_schema(contract_of(card()))
    assert schema["required"] == ["n"]
    assert schema["properties"]["n"]["x-training"] == {"minimum": 1.0, "maximum": 5.0}
    assert "null" in schema["properties"]["c"]["type"]
    assert json.loads(json.dumps(schema)) == schema


def test_pandera_source_is_python_that_builds_a_schema():
    contract = Contract(
        (ColumnRule('odd "name"', "number", low=0.0, high=1.0), ColumnRule("d", "date"), ColumnRule("c", "category", levels=("it's", "b"))),
        (CrossRule("d", "<=", "d"),),
    )
    source = to_pandera(contract)
    compile(source, "schema", "exec")
    assert source.count("pa.Column(") == 3
    assert "'odd \"name\"': pa.Column(float" in source
    assert """~(df['d'] > df['d'])""" in source


def test_differences_between_contracts_in_words():
    old = Contract((ColumnRule("a", "number", low=0.0, high=5.0), ColumnRule("b", "category", levels=("x", "y")), ColumnRule("gone", "text")))
    new = Contract(
        (ColumnRule("a", "number", low=0.0, high=9.0), ColumnRule("b", "category", levels=("x", "z"), required=False), ColumnRule("fresh", "date"))
    )
    assert contract_diff(old, old) == []
    assert contract_diff(old, new) == [
        "gone: the column is gone", "fresh: a new column (date, required)", "a: range 0 to 5 became 0 to 9", "b: became optional",
        "b: 1 new level: z", "b: 1 level not seen any more: y",
    ]  # fmt: skip


def plain_frame(**changes):
    import pandas as pd

    days = pd.to_datetime(["2024-01-01", None])
    return pd.DataFrame({"n": [1.5, None], "i": [1, 2], "s": ["a", None], "b": [True, False], "d": days} | changes)


def coded_frame():
    import pandas as pd

    return plain_frame(s=pd.Categorical(["a", None], categories=["z", "a"]), d=pd.to_datetime(["2024-01-01", None], utc=True))


STRUCTURE = [("n", "f8"), ("i", "i4"), ("s", "U3"), ("b", "?"), ("d", "M8[D]")]
FRAMES = {
    "pandas": plain_frame,
    "nullable": lambda: plain_frame().convert_dtypes(),
    "object": lambda: plain_frame().astype(object),
    "category": coded_frame,
    "structured": lambda: np.array([(1.5, 1, "a", True, "2024-01-01"), (np.nan, 2, "", False, "NaT")], dtype=STRUCTURE),
    "records": lambda: [{"n": 1.5, "i": 1, "s": "a", "b": True, "d": datetime.date(2024, 1, 1)}, {"i": 2, "b": False}],
}


@pytest.mark.parametrize("kind", [*FRAMES, "arrow", "polars", "lazy"])
def test_every_frame_gives_the_same_table(kind):
    if kind in ("arrow", "polars", "lazy"):
        import pyarrow as pa

        frame = pa.Table.from_pandas(plain_frame())
        if kind != "arrow":
            polars = pytest.importorskip("polars")
            frame = polars.from_arrow(frame)
            frame = frame.lazy() if kind == "lazy" else frame
    else:
        frame = FRAMES[kind]()
    table = to_table(frame)
    contract = Contract(tuple(ColumnRule(n, k) for n, k in [("n", "number"), ("i", "number"), ("s", "category"), ("b", "boolean"), ("d", "date")]))
    typed = conform(table, contract).table
    assert {n: c.strings().tolist() for n, c in typed.items()} == {
        "n": ["1.5", None], "i": ["1", "2"], "s": ["a", None], "b": ["1", "0"], "d": ["1704067200", None],
    }  # fmt: skip


def test_large_identifiers_keep_their_digits():
    import pandas as pd

    big = 2**60 + 1
    for frame in (
        pd.DataFrame({"x": [big, 1]}),
        pd.DataFrame({"x": [big, None]}, dtype="Int64"),
        {"x": [big, 1]},
        np.array([[big], [1]]),
        pd.DataFrame({"x": [10**30, 1]}, dtype=object),
    ):
        assert to_table(frame)[next(iter(to_table(frame)))].strings()[0] in (str(big), str(10**30))


def test_mixed_types_become_text_as_written():
    import pandas as pd

    table = to_table(pd.DataFrame({"x": [1, "a", 2.5, None, True, b"raw", [1, 2]]}, dtype=object))
    assert table["x"].strings().tolist() == ["1", "a", "2.5", None, "True", "raw", "[1, 2]"]


def test_duplicate_and_odd_column_names_of_frames():
    import pandas as pd

    assert list(to_table(pd.DataFrame([[1, 2, 3]], columns=["a", "a", 5]))) == ["a", "a_2", "5"]
    assert list(to_table(pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])))) == ["a.x", "a.y"]


def test_what_is_no_table_is_refused():
    with pytest.raises(DataError, match="dimensions"):
        to_table(np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match="Complex data not supported"):
        to_table(np.zeros((2, 2), dtype=complex))
    with pytest.raises(DataError, match="different lengths"):
        to_table({"a": [1], "b": [1, 2]})
    with pytest.raises(DataError, match="not a list"):
        to_table({"a": 5})
