"""Tables and queries of SQLite files and of any database that SQLAlchemy knows: `DBURL::table-or-query`."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from emlyn.core.reader import Read
from emlyn.core.table import Table, text_column
from emlyn.core.tables import sources
from emlyn.core.tables.parse import unique_names
from emlyn.core.tables.stack import stack
from emlyn.errors import DataError, Unavailable
from emlyn.plugins import hook

BLOCK = 50_000
"""Rows fetched at a time."""
_EXTRAS = {"postgresql": "postgresql", "postgres": "postgresql"}


class DatabaseReader:
    """Reads one table or the answer of one query; never writes."""

    name = "database"

    def accepts(self, source: Any) -> bool:
        return sources.sort_of(source) in ("database", "sqlite")

    def read(self, source: Any) -> Read:
        with _asked(source) as asked:
            tables, notes = list(asked.tables()), asked.notes
        table = stack(tables)
        if not table.rows:
            raise DataError("this query answers no rows", where=asked.named[:200], allowed="at least one row")
        return Read(table, asked.named, {"format": "database", "dialect": asked.dialect}, tuple(notes))

    def blocks(self, source: Any) -> Iterator[Table]:
        """The same rows as they arrive, in tables of at most `BLOCK` rows; one table without rows where there are none. Raises DataError."""
        with _asked(source) as asked:
            yield from asked.tables()


@dataclass(frozen=True, eq=False)
class _Asked:
    """A query that the database is answering."""

    answer: Any
    named: str
    dialect: str
    names: list[str]
    notes: list[str]

    def tables(self) -> Iterator[Table]:
        from emlyn.core.tables.frames import column_from_cells

        rows = self.answer.fetchmany(BLOCK)
        if not rows:
            yield Table({name: text_column([]) for name in self.names}, rows=0)
        while rows:
            yield Table({name: column_from_cells(list(cells)) for name, cells in zip(self.names, zip(*rows, strict=True), strict=True)})
            rows = self.answer.fetchmany(BLOCK)


@contextlib.contextmanager
def _asked(source: Any) -> Iterator[_Asked]:
    """The source's query, sent. Raises DataError for what the database refuses, while it is asked and while its rows are fetched."""
    import sqlalchemy as sql

    address, _, wanted = os.fspath(source).partition("::")
    if sources.sort_of(source) == "sqlite":
        address = f"sqlite:///{os.path.abspath(sources.local(address))}"
    where = sources.shown(address)
    engine = _engine(address)
    try:
        with engine.connect() as connection:
            query = _query(engine, wanted.strip(), where)
            found = connection.execution_options(stream_results=True).execute(sql.text(query))
            if not found.returns_rows:
                raise DataError("this query answers no rows", where=where, allowed="a table's name or a SELECT")
            names, notes = unique_names(found.keys())
            yield _Asked(found, f"{where}::{wanted}" if wanted else where, engine.dialect.name, names, notes)
    except sql.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0][:300]
        raise DataError(
            f"the database refused: {reason}",
            where=where,
            allowed="DBURL::table or DBURL::SELECT …",
            next_step="check the address, the rights and the query",
        ) from None
    finally:
        engine.dispose()


def _engine(address: str) -> Any:
    import sqlalchemy as sql

    try:
        url = sql.make_url(address)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:" and not os.path.exists(url.database):
            raise sources.missing(url.database)
        return sql.create_engine(url)
    except sql.exc.NoSuchModuleError:
        raise DataError(
            "SQLAlchemy knows no such database",
            where=sources.shown(address),
            allowed="sqlite:///…, postgresql+psycopg://…, mysql+pymysql://… and others",
        ) from None
    except ImportError as error:
        scheme = address.partition("://")[0].partition("+")[0]
        if scheme in _EXTRAS:
            raise Unavailable(f"reading {scheme} needs a driver that is not installed ({error})", _EXTRAS[scheme]) from None
        raise DataError(
            f"the driver for this database is not installed: {error}", where=sources.shown(address), next_step="install it with pip"
        ) from None
    except sql.exc.ArgumentError:
        raise DataError("this is not a database address", where=sources.shown(address), allowed="for example sqlite:///sales.db::orders") from None


def _query(engine: Any, wanted: str, where: str) -> str:
    """The query for a table's name, or the query itself; the only table when nothing was named."""
    import sqlalchemy as sql

    if re.match(r"(?is)\s*(select|with|values|table|show|from)\s", wanted):
        return wanted.rstrip(";").replace(":", r"\:")
    schema, _, table = wanted.rpartition(".")
    looked = sql.inspect(engine)
    names = [*looked.get_table_names(schema or None), *looked.get_view_names(schema or None)]
    if not wanted and len(names) == 1:
        table = names[0]
    if table not in names and wanted in names:
        schema, table = "", wanted
    if table not in names:
        near = difflib.get_close_matches(table, names, n=1)
        what = f"no table is called {wanted!r}" if wanted else f"this database holds {len(names)} tables; name one after ::"
        step = f"did you mean {near[0]!r}?" if near else "name a table, or give a SELECT"
        raise DataError(what, where=where, allowed=", ".join(names[:20]) or "a table's name", next_step=step)
    quote = engine.dialect.identifier_preparer.quote
    named = (f"{quote(schema)}." if schema else "") + quote(table).replace(":", r"\:")
    return f"SELECT * FROM {named}"  # noqa: S608 - quoted, and found by the inspector


@hook
def emlyn_readers() -> list[Any]:
    return [DatabaseReader()]
