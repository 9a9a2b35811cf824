"""Reading: every dialect gives the same table, every broken file a clear error or a note."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import zipfile

import numpy as np
import pytest
import zstandard

from emlyn.core.reader import read
from emlyn.core.tables.frames import to_pandas, to_table
from emlyn.errors import DataError, Unavailable, UserError

HEADER = ["name", "age", "city"]
ROWS = [["Ann", "41.5", "Bern"], ["Böb", "38", "Zürich"], ["Cy", "", "Genève"], ["Dee", "7", ""]]


def cells(table):
    return {name: column.strings().tolist() for name, column in table.items()}


EXPECTED = {"name": ["Ann", "Böb", "Cy", "Dee"], "age": ["41.5", "38", None, "7"], "city": ["Bern", "Zürich", "Genève", None]}


def text(delimiter=",", end="\n", quote="", decimal=".", header=True):
    rows = ([HEADER] if header else []) + [[c.replace(".", decimal) if i == 1 else c for i, c in enumerate(r)] for r in ROWS]
    return end.join(delimiter.join(f"{quote}{c}{quote}" for c in r) for r in rows) + end


DIALECTS = {
    "comma": text().encode(),
    "semicolon": text(";").encode(),
    "tab": text("\t").encode(),
    "pipe": text("|").encode(),
    "caret": text("^").encode(),
    "quoted": text(quote='"').encode(),
    "single_quotes": text(";", quote="'").encode(),
    "crlf": text(end="\r\n").encode(),
    "old_mac": text(end="\r").encode(),
    "no_last_newline": text().encode().rstrip(b"\n"),
    "bom": b"\xef\xbb\xbf" + text().encode(),
    "utf16": text().encode("utf-16"),
    "utf16_no_bom": text().encode("utf-16-le"),
    "utf32": text().encode("utf-32"),
    "latin1": text().encode("latin-1"),
    "cp1252": text().encode("cp1252"),
    "decimal_comma": text(";", decimal=",").encode(),
    "gz": gzip.compress(text().encode()),
    "gz_two_members": gzip.compress(text().encode()[:20]) + gzip.compress(text().encode()[20:]),
    "zst": zstandard.compress(text().encode()),
    "bz2": bz2.compress(text().encode()),
    "xz": lzma.compress(text().encode()),
    "comments": b"# made by hand\n#\n" + text().encode(),
    "title": b"Report of the year\n\n" + text().encode(),
    "sep_line": b"sep=;\n" + text(";").encode(),
    "blank_lines": text(end="\n\n").encode(),
    "hash_header": b"#" + text().encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_table(tmp_path, dialect):
    path = tmp_path / "people.csv"
    path.write_bytes(DIALECTS[dialect])
    found = read(str(path))
    assert cells(found.table) == EXPECTED
    assert found.table["age"].kind == "number"


def test_no_header_is_noticed_and_said(tmp_path):
    (tmp_path / "a.csv").write_text("5.1,3.5,setosa\n4.9,3.0,setosa\n6.2,2.9,virginica\n")
    found = read(tmp_path / "a.csv")
    assert list(found.table) == ["column_1", "column_2", "column_3"]
    assert found.table.rows == 3
    assert any("no header" in note for note in found.notes)


def test_blanks_part_the_cells_of_old_scientific_files(tmp_path):
    (tmp_path / "a.data").write_text("  18.0   8   307.0\n  15.0   8   350.0\n   9.0   4    97.0\n")
    assert cells(read(tmp_path / "a.data").table)["column_3"] == ["307", "350", "97"]


def test_codes_keep_their_leading_zeros_and_digits(tmp_path):
    lines = "\n".join(f"{i:05d},{10**17 + i},{i}" for i in range(20_000))
    (tmp_path / "a.csv").write_text("zip,account,n\n" + lines + "\n")
    table = read(tmp_path / "a.csv").table
    assert table["zip"].strings()[7] == "00007"
    assert table["account"].strings()[7] == str(10**17 + 7)
    assert table["n"].kind == "number"


def test_leading_zeros_far_down_in_a_file_are_found(tmp_path):
    lines = [f"{20_000 + i},{i}" for i in range(60_000)]
    lines[50_000:55_000] = [f"{i:05d},{i}" for i in range(5_000)]
    (tmp_path / "a.csv").write_text("zip,n\n" + "\n".join(lines) + "\n")
    assert "00042" in read(tmp_path / "a.csv").table["zip"].levels


def test_a_column_that_turns_to_text_late_is_text_as_written(tmp_path):
    lines = [f"{i}.50" for i in range(300_000)] + ["n.d. (see notes)"]
    (tmp_path / "a.csv").write_text("x,y\n" + "\n".join(f"{v},1" for v in lines) + "\n")
    column = read(tmp_path / "a.csv").table["x"]
    assert column.strings()[[0, 299_999, 300_000]].tolist() == ["0.50", "299999.50", "n.d. (see notes)"]


def test_labels_keep_their_spelling(tmp_path):
    (tmp_path / "a.csv").write_text("flag,y\nTrue,a\nFALSE,b\ntrue,a\n")
    assert cells(read(tmp_path / "a.csv").table)["flag"] == ["True", "FALSE", "true"]


def test_quoted_cells_may_hold_delimiters_quotes_and_line_ends(tmp_path):
    (tmp_path / "a.csv").write_text('id,"te,xt\nhead",n\n1,"a ""quoted"", cell",5\n2,"two\nlines",6\n')
    table = read(tmp_path / "a.csv").table
    assert list(table) == ["id", "te,xt\nhead", "n"]
    assert table["te,xt\nhead"].strings().tolist() == ['a "quoted", cell', "two\nlines"]


def test_a_comma_list_in_a_semicolon_file_stays_one_cell(tmp_path):
    (tmp_path / "a.csv").write_text("id;tags\n" + "\n".join(f"{i};a,b,c" for i in range(30)) + "\n")
    assert read(tmp_path / "a.csv").table["tags"].strings()[0] == "a,b,c"


def test_a_single_column_of_sentences_is_one_column(tmp_path):
    (tmp_path / "a.csv").write_text("review\n" + "\n".join(f"Good, but dear; number {i}" + ", really" * (i % 3) for i in range(30)) + "\n")
    table = read(tmp_path / "a.csv").table
    assert list(table) == ["review"]
    assert table["review"].strings()[0] == "Good, but dear; number 0"


def test_a_blank_line_in_a_single_column_is_a_row(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n\n3\n")
    assert cells(read(tmp_path / "a.csv").table)["x"] == ["1", None, "3"]


def test_row_names_without_a_heading(tmp_path):
    (tmp_path / "a.csv").write_text('"mpg","cyl"\n"Mazda",21,6\n"Fiat",32.4,4\n')
    table = read(tmp_path / "a.csv").table
    assert list(table) == ["row_name", "mpg", "cyl"]


BAD = {
    # name: (bytes, what must be said)
    "empty": (b"", "empty"),
    "blank": (b"\n  \n\n", "empty"),
    "header_only": (b"a,b,c\n", "no rows"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "PNG"),
    "pdf": (b"%PDF-1.7 \x00\x01" * 50, "PDF"),
    "random": (np.random.default_rng(0).bytes(5000), "binary"),
    "program": (b"\x7fELF" + b"\0" * 500, "program"),
    "truncated_gzip": (gzip.compress(text().encode() * 500)[:-40], "gzip"),
    "damaged_gzip": (gzip.compress(text().encode() * 500)[:30] + b"garbage" * 30, "gzip"),
    "truncated_zst": (zstandard.compress(np.random.default_rng(0).bytes(9000))[:-500], "zstd"),
    "truncated_zip": (b"PK\x03\x04" + b"\x00" * 80, "zip"),
    "html": (b"<!DOCTYPE html>\n<html><body>Please log in</body></html>", "web page"),
    "xml": (b'<?xml version="1.0"?><a><b>1</b></a>', "web page or XML"),
    "bad_json": (b'{"a": 1}\n{"a": 2', "line 2"),
    "json_scalars": (b"[1, 2, 3]", "no objects"),
    "json_document": (b'{"a": {"b": 1}, "rows": [1, 2]}', "not one table"),
    "broken_parquet": (b"PAR1" + b"\x00" * 60, "damaged"),
    "old_excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "old Excel"),
    "bad_utf16": (b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le") + b"\x00\xd8\n", "utf-16"),
    "mostly_ragged": (b"a,b,c\n1,2,3\n" + b"1,2\n1\n4,5,6,7\n" * 40, "cells"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_plain_words(tmp_path, name):
    raw, said = BAD[name]
    path = tmp_path / "data.csv"
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read(str(path))
    assert said in str(caught.value)
    assert str(path) in caught.value.where
    assert caught.value.next_step or caught.value.allowed


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "churn.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"did you mean 'churn\.csv'"):
        read(str(tmp_path / "chrun.csv"))
    with pytest.raises(DataError, match="no such folder"):
        read(str(tmp_path / "nowhere" / "churn.csv"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        read(path)


def test_permission_errors_are_told_for_any_user(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="may not be read"):
        read(path)


REPAIRED = {
    # name: (bytes, note, columns)
    "short_and_long_rows": (
        b"a,b\n1,x\n2\n3,y,z\n4,w\n5,v\n",
        "another number of cells",
        {"a": ["1", "2", "3", "4", "5"], "b": ["x", None, "y,z", "w", "v"]},
    ),
    "comment_inside": (b"a,b\n1,x\n# half way\n2,y\n", "comment", {"a": ["1", "2"], "b": ["x", "y"]}),
    "duplicate_names": (b"a,a,a_2\n1,2,3\n", "second time", {"a": ["1"], "a_3": ["2"], "a_2": ["3"]}),
    "empty_name": (b"a,,c\n1,2,x\n", "no name", {"a": ["1"], "column_2": ["2"], "c": ["x"]}),
    "nul_bytes": (b"a,b\n1,x\0y\n2,\0\n", "NUL", {"a": ["1", "2"], "b": ["xy", None]}),
    "windows": ("a,b\n1,né\n2,“q”\n".encode("cp1252"), "Windows-1252", {"a": ["1", "2"], "b": ["né", "“q”"]}),
    "trailing_delimiters": (b"a,b\n1,x,\n2,y,\n", "", {"a": ["1", "2"], "b": ["x", "y"]}),
    "unclosed_quote": (b'a,b\n1,"x\n2,y\n3,z\n', "never closed", {"a": ["1", "2", "3"], "b": ["x", "y", "z"]}),
    "two_unclosed_quotes": (b'a,b\n1,"x\n2,y\n3,"z\n4,w\n5,v\n', "never closed", {"a": list("12345"), "b": list("xyzwv")}),
    "inches": (b'a,b\n1,5" pipe\n2,y\n', "", {"a": ["1", "2"], "b": ['5" pipe', "y"]}),
    "ragged_quoted": (b'a,b\n1,"x\ny"\n2,"p,q",r\n3,z\n', "another number", {"a": ["1", "2", "3"], "b": ["x\ny", "p,q,r", "z"]}),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_what_can_be_repaired_is_repaired_and_noted(tmp_path, name):
    raw, note, expected = REPAIRED[name]
    (tmp_path / "a.csv").write_bytes(raw)
    found = read(tmp_path / "a.csv")
    assert note in " ".join(found.notes)
    if expected is not None:
        assert {k: v for k, v in cells(found.table).items() if any(v)} == expected


ODD_NAMES = ["class", "select", "a.b", "🚀", "x" * 300, "with space", 'quo"te', "=cmd|' /C calc'!A0", "__init__", "None", "0", "ümläut"]


def test_odd_column_names_are_only_names(tmp_path):
    quoted = ",".join('"' + n.replace('"', '""') + '"' for n in ODD_NAMES)
    (tmp_path / "a.csv").write_text(quoted + "\n" + ",".join("1" * len(ODD_NAMES)) + "\n" + ",".join("2" * len(ODD_NAMES)) + "\n")
    assert list(read(tmp_path / "a.csv").table) == ODD_NAMES


def test_infinite_and_huge_values_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1e308,a\ninf,b\n-Inf,c\n5,d\n")
    values = read(tmp_path / "a.csv").table["x"].values
    assert values[0] == 1e308
    assert np.isinf(values[1])


def test_fifty_thousand_columns(tmp_path):
    names = ",".join(f"c{i}" for i in range(50_000))
    row = ",".join(str(i % 7) for i in range(50_000))
    (tmp_path / "a.csv").write_text(f"{names}\n{row}\n{row}\n{row}\n")
    table = read(tmp_path / "a.csv").table
    assert len(table) == 50_000
    assert table.rows == 3


def test_cells_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("emlyn.readers.delimited.BLOCK", 1 << 16)
    long = "word " * 40_000
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{long}"\n2,"short"\n')
    assert read(tmp_path / "a.csv").table["text"].strings()[0] == long


def table_in_memory():
    return to_table({"age": [41.5, 38.0, None], "city": ["Bern", "Zürich", None], "n": [1, 2, 3]})


@pytest.mark.parametrize("ending", ["parquet", "feather", "jsonl", "json", "xlsx", "csv.zip"])
def test_other_files_give_the_same_table(tmp_path, ending):
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    path = tmp_path / f"a.{ending}"
    records = [{"age": 41.5, "city": "Bern", "n": 1}, {"age": 38.0, "city": "Zürich", "n": 2}, {"age": None, "city": None, "n": 3}]
    if ending == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(records), path)
    elif ending == "feather":
        pa.feather.write_feather(pa.Table.from_pylist(records), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif ending == "json":
        path.write_text(json.dumps(records, indent=1))
    elif ending == "csv.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", "age,city,n\n41.5,Bern,1\n38,Zürich,2\n,,3\n")
    else:
        import openpyxl

        book = openpyxl.Workbook()
        for row in [["age", "city", "n"], *([r["age"], r["city"], r["n"]] for r in records)]:
            book.active.append(row)
        book.save(path)
    assert cells(read(str(path)).table) == cells(table_in_memory())


def test_nested_json_becomes_dotted_columns_and_says_so(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": {"b": 1, "c": {"d": "x"}}, "tags": ["p", "q"]}, {"a": {"b": 2}}]')
    found = read(tmp_path / "a.json")
    assert cells(found.table) == {"a.b": ["1", "2"], "a.c.d": ["x", None], "tags": ['["p", "q"]', None]}
    assert "dotted" in " ".join(found.notes)


def test_json_that_wraps_its_rows(tmp_path):
    (tmp_path / "a.json").write_text('{"count": 2, "data": [{"a": 1}, {"a": 2}]}')
    assert cells(read(tmp_path / "a.json").table) == {"a": ["1", "2"]}


def test_excel_sheet_by_name_dates_and_titles(tmp_path):
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "notes"
    sheet = book.create_sheet("data")
    for row in [["Sales 2024"], ["day", "amount"], [datetime.date(2024, 1, 2), 5], [datetime.datetime(2024, 1, 3), 6.5]]:
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    for source in (tmp_path / "a.xlsx", f"{tmp_path}/a.xlsx::data"):
        table = read(source).table
        assert table["day"].kind == "date"
        assert table["amount"].values.tolist() == [5, 6.5]
    with pytest.raises(DataError, match="no sheet is called"):
        read(f"{tmp_path}/a.xlsx::sums")


def test_folders_globs_and_partitions(tmp_path):
    for year in (2023, 2024):
        folder = tmp_path / "parts" / f"year={year}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(f"x,y\n{year},a\n")
    (tmp_path / "parts" / "_SUCCESS").write_text("")
    table = read(tmp_path / "parts").table
    assert cells(table) == {"x": ["2023", "2024"], "y": ["a", "a"], "year": ["2023", "2024"]}
    assert read(f"{tmp_path}/parts/*/*.csv").table.rows == 2
    (tmp_path / "parts" / "year=2024" / "b.csv").write_text("y,x,z\nb,1,2\n")
    with pytest.raises(DataError, match="has also z"):
        read(tmp_path / "parts")
    with pytest.raises(DataError, match="no file matches"):
        read(f"{tmp_path}/*.parquet")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        read(tmp_path / "hollow")


def test_parts_that_differ_in_type_become_text(tmp_path):
    (tmp_path / "a.csv").write_text("x,d\n1,2024-01-01\n")
    (tmp_path / "b.csv").write_text("x,d\none,soon\n")
    assert cells(read(f"{tmp_path}/*.csv").table) == {"x": ["1", "one"], "d": ["2024-01-01", "soon"]}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table orders (id integer, amount real, city text)")
        connection.executemany("insert into orders values (?, ?, ?)", [(1, 9.5, "Bern"), (2, None, "it's :odd")])
        connection.execute('create table "select" (a integer)')
    return path


def test_sqlite_tables_and_queries(database):
    for source in (f"{database}::orders", f"sqlite:///{database}::orders", f"sqlite:///{database}::SELECT * FROM orders"):
        assert cells(read(source).table) == {"id": ["1", "2"], "amount": ["9.5", None], "city": ["Bern", "it's :odd"]}
    assert cells(read(f"{database}::select city from orders where city like '%:odd'").table) == {"city": ["it's :odd"]}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "holds 2 tables"),
        ("::ordres", "did you mean 'orders'"),
        ("::select nope from orders", "nope"),
        ("::select", "no rows"),
        ("::select * from orders where id > 9", "no rows"),
    ],
)
def test_databases_refuse_in_plain_words(database, named, said):
    with pytest.raises(DataError, match=said):
        read(f"{database}{named}")


def test_database_addresses(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(f"sqlite:///{tmp_path}/none.db::t")
    with pytest.raises(DataError, match="no such database"):
        read("nosuchdb://host/db::t")
    with pytest.raises((DataError, Unavailable)) as caught:
        read("postgresql+psycopg://ann:secret@127.0.0.1:1/db::t")
    assert "secret" not in str(caught.value)


def test_object_stores(monkeypatch):
    import importlib.util

    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/bucket/a.csv", b"x,y\n1,a\n2,b\n")
    files.pipe("/bucket/b.csv", b"x,y\n3,c\n4,d\n")
    assert cells(read("memory://bucket/a.csv").table) == {"x": ["1", "2"], "y": ["a", "b"]}
    assert read("memory://bucket/*.csv").table.rows == 4
    with pytest.raises(DataError, match="cannot be opened"):
        read("memory://bucket/none.csv")
    if importlib.util.find_spec("s3fs") is None:
        with pytest.raises(Unavailable, match=r"emlyn\[aws\]"):
            read("s3://bucket/a.csv")


@pytest.mark.parametrize(
    "source", [None, 5, object(), {1, 2}, "", "a\nb", "x" * 5000, "x" * 300 + ".csv", "foo://bar", "::", "a::b", "/dev/null", b"a,b"]
)
def test_what_is_no_source_at_all(source):
    with pytest.raises(UserError):
        read(source)


def test_dataframe_round_trip():
    frame = to_pandas(table_in_memory())
    assert cells(to_table(frame)) == cells(table_in_memory())


def test_real_tables_are_read_whole(data_dir):
    manifest = json.loads((data_dir / "manifest.json").read_text())
    for name, one in manifest.items():
        table = read(data_dir / one["file"]).table
        assert table.rows == one["rows"], name
        assert len(table) == one["columns"] + 1, name
        assert one["target"] in table, name


def test_reading_bytes_never_fails_otherwise_than_by_a_data_error(tmp_path):
    """Ten thousand ways of damaging a file, a fixed sample of them: an answer or a DataError, never another exception."""
    rng = np.random.default_rng(0)
    base = text(quote='"').encode() * 3
    path = tmp_path / "a.csv"
    for _ in range(300):
        raw = bytearray(base)
        for _ in range(int(rng.integers(1, 6))):
            raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
        cut = bytes(raw[: int(rng.integers(1, len(raw)))])
        path.write_bytes(cut)
        try:
            assert len(read(path).table) > 0
        except DataError as error:
            assert error.what  # noqa: PT017


def test_excel_bytes_renamed_to_csv_are_read_for_what_they_are(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.active.append([1, "x"])
    raw = io.BytesIO()
    book.save(raw)
    (tmp_path / "a.csv").write_bytes(raw.getvalue())
    assert cells(read(tmp_path / "a.csv").table) == {"a": ["1"], "b": ["x"]}


WORDS = [
    "Ann",
    "x-y",
    "it's",
    "Zürich",
    "New York, NY",
    "a;b",
    "p|q",
    'say "hi"',
    "two\nlines",
    "tab\there",
    "10:30",
    "http://a.b/c?d=1,2",
    "3 kg",
    "",
    "#1",
    "C++",
]
NAMES = ["id", "name", "age", "price (EUR)", "a.b", "first name", "x1", "Größe", "Date"]


@pytest.mark.parametrize("seed", range(150))
def test_what_a_csv_writer_wrote_is_read_back(tmp_path, seed):
    import csv
    import random

    chance = random.Random(seed)
    rows, width = chance.choice([1, 2, 3, 10, 100]), chance.randint(1, 8)
    makers = [
        lambda: str(chance.randint(0, 999)),
        lambda: f"{chance.uniform(-5, 500):.2f}",
        lambda: chance.choice(WORDS),
        lambda: f"Good, but; {chance.random()} dear",
    ]
    columns = [[make() for _ in range(rows)] for make in chance.choices(makers, k=width)]
    names = chance.sample(NAMES, width)
    with open(tmp_path / "a.csv", "w", newline="", encoding=chance.choice(["utf-8", "utf-8-sig", "utf-16"])) as file:
        style = {
            "delimiter": chance.choice(",;\t|"),
            "quoting": chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
            "lineterminator": chance.choice(["\n", "\r\n"]),
        }
        writer = csv.writer(file, **style)
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))
    table = read(tmp_path / "a.csv").table
    assert list(table) == names
    for name, cells_written in zip(names, columns, strict=True):
        found = table[name].strings().tolist()
        assert [None if c == "" else float(c) if table[name].kind == "number" else c for c in cells_written] == [
            f if f is None or table[name].coded else float(f) for f in found
        ]
