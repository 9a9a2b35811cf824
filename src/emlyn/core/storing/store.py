"""The store: records, links and append-only events in SQL, files beside them. It knows no noun: a new one is a new `kind`.

>>> from emlyn.core.storing.workspace import Workspace
>>> with Workspace.find().open_store() as store:          # doctest: +SKIP
...     store.put("note", "first", {"text": "hello"})     # the same body again is no change, another body is a Conflict
...     store.get("note", "first", dict)
...     store.append("notes", "written", {"by": "me"})    # committed, and flushed to the disk, before it returns
...     with store.transaction() as t:                    # several changes or none
...         t.put("alias", "churn@champion", {"version": 2}, replace=True)
...         t.append("model:churn", "promote", {"version": 2})

SQLite writes through one lock (`BEGIN IMMEDIATE`), PostgreSQL through one advisory lock: one writer at a time, any number of readers.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from emlyn.core.storing import durable, schema
from emlyn.core.storing.artifacts import Artifacts
from emlyn.errors import EmlynError, WorkspaceError
from emlyn.records import codec

T = TypeVar("T")

PATIENCE_S = 30
"""How long a writer waits for another one."""
LOCK = 0x656D6C796E
"""The advisory lock that writers on PostgreSQL take: `emlyn` in ASCII."""


class Conflict(EmlynError):
    """Another record already stands under this kind and key."""


@dataclass(frozen=True)
class Record:
    """One stored record."""

    kind: str
    key: str
    digest: str
    created: str
    body: str
    """JSON."""

    def read(self, kind: type[T]) -> T:
        return codec.from_json(self.body, kind)


@dataclass(frozen=True)
class Happening:
    """One event of a stream."""

    seq: int
    """1, 2, 3, … within its stream, without gaps."""
    kind: str
    created: str
    """ISO 8601, UTC, by the wall clock: for people, never for arithmetic."""
    body: dict[str, Any]


@dataclass(frozen=True)
class Link:
    """`source` `relation` `target`; each end is a kind and a key."""

    source: tuple[str, str]
    relation: str
    target: tuple[str, str]


class Transaction:
    """What may be done with the store between a beginning and a commit."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def put(self, kind: str, key: str, body: Any, *, replace: bool = False) -> str:
        """Store a record or plain values and return the digest of its JSON. The same body again is no change.

        Raises Conflict when another body stands there and `replace` does not allow to write over it.
        """
        raw = codec.to_json(body)
        digest = hashlib.sha256(raw).hexdigest()
        row = {"digest": digest, "created": now(), "body": raw.decode()}
        here = (schema.record.c.kind == kind) & (schema.record.c.key == key)
        known = self._connection.scalar(sa.select(schema.record.c.digest).where(here))
        if known is None:
            self._connection.execute(schema.record.insert().values(kind=kind, key=key, **row))
        elif known != digest:
            if not replace:
                raise Conflict(f"another {kind} is already stored as {key!r}")
            self._connection.execute(schema.record.update().where(here).values(**row))
        return digest

    def get(self, kind: str, key: str, type_: type[T]) -> T | None:
        """The record as `type_`, or None when there is none."""
        table = schema.record.c
        body = self._connection.scalar(sa.select(table.body).where((table.kind == kind) & (table.key == key)))
        return None if body is None else codec.from_json(body, type_)

    def list(self, kind: str, prefix: str = "") -> tuple[Record, ...]:
        """Every record of a kind whose key begins with `prefix`, by key."""
        table = schema.record
        query = sa.select(table).where((table.c.kind == kind) & table.c.key.startswith(prefix, autoescape=True)).order_by(table.c.key)
        return tuple(Record(row.kind, row.key, row.digest, row.created, row.body) for row in self._connection.execute(query))

    def link(self, source: tuple[str, str], relation: str, target: tuple[str, str]) -> None:
        """Say once that source and target belong together; saying it again is no change."""
        row = {"source_kind": source[0], "source_key": source[1], "relation": relation, "target_kind": target[0], "target_key": target[1]}
        table = schema.link
        if self._connection.scalar(sa.select(sa.literal(1)).where(*(table.c[name] == value for name, value in row.items()))) is None:
            self._connection.execute(table.insert().values(**row))

    def links(self, source: tuple[str, str] | None = None, relation: str = "", target: tuple[str, str] | None = None) -> tuple[Link, ...]:
        """Links that match what is given."""
        table = schema.link
        query = sa.select(table).order_by(table.c.source_key, table.c.target_key)
        if source:
            query = query.where(table.c.source_kind == source[0], table.c.source_key == source[1])
        if relation:
            query = query.where(table.c.relation == relation)
        if target:
            query = query.where(table.c.target_kind == target[0], table.c.target_key == target[1])
        rows = self._connection.execute(query)
        return tuple(Link((row.source_kind, row.source_key), row.relation, (row.target_kind, row.target_key)) for row in rows)

    def append(self, stream: str, kind: str, body: Any = None) -> int:
        """Add one event at the end of a stream and return its number; events are never changed or removed."""
        last = self._connection.scalar(sa.select(sa.func.max(schema.event.c.seq)).where(schema.event.c.stream == stream)) or 0
        row = {"stream": stream, "seq": last + 1, "kind": kind, "created": now(), "body": codec.to_json(body or {}).decode()}
        self._connection.execute(schema.event.insert().values(**row))
        return int(last) + 1

    def events(self, stream: str, after: int = 0, kind: str = "") -> tuple[Happening, ...]:
        """The events of a stream with a number above `after`, in order; only one kind of them where it is given."""
        table = schema.event
        query = sa.select(table).where((table.c.stream == stream) & (table.c.seq > after)).order_by(table.c.seq)
        if kind:
            query = query.where(table.c.kind == kind)
        return tuple(Happening(row.seq, row.kind, row.created, codec.from_json(row.body, dict[str, Any])) for row in self._connection.execute(query))


class Store:
    """One database and one artifact store. Safe to share between threads; every process opens its own."""

    def __init__(self, url: str, root: Path, artifacts: str) -> None:
        """Opens, and makes or migrates where needed. Raises WorkspaceError."""
        self.root = root
        """The local folder: locks of runs, cached artifacts."""
        self.artifacts = Artifacts(artifacts, root / "cache")
        parsed = _parsed(url)
        self._where = parsed.render_as_string(hide_password=True)
        with self._explained(), contextlib.ExitStack() as undo:
            self._engine = _engine(parsed)
            undo.callback(self._engine.dispose)
            self._prepare()
            undo.pop_all()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections; the store can still be used afterwards."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several reads and writes that happen together or not at all. Raises WorkspaceError, and whatever its body raises."""
        with self._explained(), self._engine.connect().execution_options(write=True) as connection, connection.begin():
            yield Transaction(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Several reads of one moment; never waits for a writer."""
        with self._explained(), self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    def put(self, kind: str, key: str, body: Any, *, replace: bool = False) -> str:
        with self.transaction() as t:
            return t.put(kind, key, body, replace=replace)

    def get(self, kind: str, key: str, type_: type[T]) -> T | None:
        with self.reading() as t:
            return t.get(kind, key, type_)

    def list(self, kind: str, prefix: str = "") -> tuple[Record, ...]:
        with self.reading() as t:
            return t.list(kind, prefix)

    def link(self, source: tuple[str, str], relation: str, target: tuple[str, str]) -> None:
        with self.transaction() as t:
            t.link(source, relation, target)

    def links(self, source: tuple[str, str] | None = None, relation: str = "", target: tuple[str, str] | None = None) -> tuple[Link, ...]:
        with self.reading() as t:
            return t.links(source, relation, target)

    def append(self, stream: str, kind: str, body: Any = None) -> int:
        with self.transaction() as t:
            return t.append(stream, kind, body)

    def events(self, stream: str, after: int = 0, kind: str = "") -> tuple[Happening, ...]:
        with self.reading() as t:
            return t.events(stream, after, kind)

    def _prepare(self) -> None:
        """Bring the database to our revision: made in one go when it is new, by Alembic when it is older, refused when it is newer."""
        with self._engine.connect() as connection:
            if _revision(connection) == schema.HEAD:
                return
        if self._engine.dialect.name == "sqlite" and not durable.on_network(self.root):
            _use_write_ahead_log(self._engine)
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            found = _revision(connection)  # another process may have been here while we waited for the lock
            if found is None:
                schema.metadata.create_all(connection)
                schema.stamp.create(connection)
                connection.execute(schema.stamp.insert().values(version_num=schema.HEAD))
            elif found != schema.HEAD:
                _migrate(connection, found, self._where)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise _refusal(error, self._where, self.root) from error
        except (exc.NoSuchModuleError, ImportError) as error:
            raise WorkspaceError(
                f"no driver for this database: {error}",
                where=self._where,
                allowed="sqlite:///FILE, or postgresql+psycopg://USER@HOST/NAME with emlyn[postgresql]",
                next_step="pip install 'emlyn[postgresql]', or correct EMLYN_DATABASE",
            ) from error


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise WorkspaceError(
            "the database's URL cannot be read",
            where="EMLYN_DATABASE",
            allowed="a SQLAlchemy URL: sqlite:///FILE, postgresql+psycopg://USER:PASSWORD@HOST/NAME",
            next_step="correct EMLYN_DATABASE, or remove it to use the workspace's own database",
        ) from error


def _engine(parsed: sa.URL) -> sa.Engine:
    if parsed.get_backend_name() != "sqlite":
        engine = sa.create_engine(parsed, pool_pre_ping=True)
        sa.event.listen(engine, "begin", _lock_on_server)
        return engine
    file = Path(parsed.database or "")
    if file.exists() and not durable.may_write(file):
        engine = sa.create_engine("sqlite://", creator=_read_only_connection(file), poolclass=sa.NullPool)
    else:
        engine = sa.create_engine(parsed, connect_args={"timeout": PATIENCE_S})
    sa.event.listen(engine, "connect", _tune)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _tune(connection: Any, _: object) -> None:
    """sqlite3's own transaction habits off (SQLAlchemy's documented recipe), every commit flushed to the disk."""
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")


def _lock_on_server(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("write"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def _read_only_connection(file: Path) -> Callable[[], Any]:
    """A database that may be read but not written: `immutable` only where no log waits to be merged, so that nothing committed is overlooked."""
    pending = file.with_name(file.name + "-wal")
    mode = "mode=ro" if pending.exists() and pending.stat().st_size else "mode=ro&immutable=1"
    return lambda: sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True, timeout=PATIENCE_S, check_same_thread=False)


def _use_write_ahead_log(engine: sa.Engine) -> None:
    """Readers then never wait for the writer. It needs memory that processes share: disks of several machines keep the slower rollback journal.

    SQLite answers "locked" at once, without its own waiting, where another process changes the mode at the same moment: so the waiting is ours.
    """
    until = time.monotonic() + PATIENCE_S
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise exc.OperationalError("PRAGMA journal_mode=WAL", None, error) from error
            time.sleep(0.02)
    finally:
        raw.close()


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(schema.stamp.name):
        return None
    return connection.scalar(sa.select(schema.stamp.c.version_num))


def _migrate(connection: sa.Connection, found: str, where: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise WorkspaceError(
            f"the workspace was made by a newer emlyn (revision {found})",
            where=where,
            allowed=f"revisions up to {schema.HEAD}",
            next_step="pip install --upgrade emlyn, or set EMLYN_HOME to another folder",
        ) from error


def _refusal(error: exc.DBAPIError, where: str, root: Path) -> WorkspaceError:
    """What the database refused, in four parts."""
    said = str(error.orig)
    if "full" in said:
        return durable.full(where)
    if "readonly" in said or "read-only" in said or ("unable to open" in said and not durable.may_write(root)):
        return durable.read_only(where)
    if "locked" in said:
        return WorkspaceError(
            f"another process has been writing to the workspace for more than {PATIENCE_S} s",
            where=where,
            allowed="writers that take turns",
            next_step="end the process that holds it, and run the same command again",
        )
    if "not a database" in said or "malformed" in said:
        return WorkspaceError(
            f"the workspace's database is damaged: {said}",
            where=where,
            allowed="a database that emlyn made",
            next_step="restore it from a backup, or move it away: model files (.emlyn) still open by their path",
        )
    return WorkspaceError(
        f"the workspace's database refused: {said.splitlines()[0] if said else type(error.orig).__name__}",
        where=where,
        allowed="a database that can be reached, with a user that may write",
        next_step="check EMLYN_DATABASE, EMLYN_HOME and the disk",
    )
