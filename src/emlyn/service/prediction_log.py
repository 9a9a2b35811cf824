"""The prediction log: every answer, its row and later its true label, in SQLite (WAL) or any database SQLAlchemy knows.

One writer thread commits whatever has gathered since its last commit (group commit), so that a commit costs the same for one record
as for a hundred. `write` returns a future that resolves after the commit. In SQLite a commit without fsync takes less time than waking
that thread: `commit_now` does it where the caller is, unless another writer has the file just then.
"""

from __future__ import annotations

import contextlib
import operator
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from emlyn.errors import WorkspaceError
from emlyn.service.limits import LogSettings

schema = sa.MetaData()
predictions = sa.Table(
    "predictions",
    schema,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("prediction_id", sa.String(128), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("key", sa.String(512), index=True),
    sa.Column("cells", sa.Text),
    sa.Column("answer", sa.Text, nullable=False),
)
feedback = sa.Table(
    "feedback",
    schema,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("prediction_id", sa.String(128), index=True),
    sa.Column("model", sa.String(200)),
    sa.Column("key", sa.String(512), index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("by", sa.String(64)),
)
replies = sa.Table(
    "replies",
    schema,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(300), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("reply", sa.LargeBinary, nullable=False),
)

DAY = 86_400.0
REPLY_DAYS = 1.0
"""How long an Idempotency-Key is remembered."""
LARGEST_GROUP = 5_000


@dataclass(frozen=True, slots=True)
class Record:
    """One answer. `cells` and `answer` are JSON text; `role` is live, canary or shadow."""

    prediction_id: str
    at: float
    model: str
    version: str
    role: str
    key: str | None
    cells: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Label:
    """A true answer that came later, for a prediction id or for a key of the caller's own."""

    label: str
    """JSON text."""
    prediction_id: str | None = None
    model: str | None = None
    key: str | None = None
    at: float = 0.0
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The whole reply to a request that carried an Idempotency-Key, so that a repeated request gets the same one."""

    key: str
    at: float
    request: str
    """SHA-256 of the request's body: the same key with another body is the caller's mistake."""
    reply: bytes


Entry = Record | Label | Reply
CHECKPOINT_EVERY, TIDY_S = 500, 60.0
"""Commits on the caller's thread, or seconds, after which the writer thread moves them from SQLite's log into its file and forgets what is old."""
_TABLES: dict[Any, sa.Table] = {Record: predictions, Label: feedback, Reply: replies}


class PredictionLog:
    """Opened by URL. Close it to write what is queued."""

    def __init__(self, url: str, settings: LogSettings | None = None) -> None:
        """Raises WorkspaceError when the database cannot be opened or written."""
        self.settings = settings or LogSettings()
        self._engine = sa.create_engine(url, **_engine_options(url))
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _sqlite_pragmas("FULL" if self.settings.durable else "NORMAL"))
        self._queue: queue.SimpleQueue[tuple[Sequence[Entry], Future[None]] | None] = queue.SimpleQueue()
        self.failed: str = ""
        """The last write's error; empty while writing works."""
        try:
            schema.create_all(self._engine)
            self._connection = self._engine.connect()
        except sa.exc.SQLAlchemyError as error:
            raise WorkspaceError(
                "the prediction log cannot be opened", where=_without_password(url), next_step=f"check that it can be written ({_first_line(error)})"
            ) from error
        self._here = None if self.settings.durable or self._engine.dialect.name != "sqlite" else _quick_connection(self._engine.url.database or "")
        self._commits, self._tidied = 0, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def commit_now(self, entries: Sequence[Entry]) -> bool:
        """Commit on the caller's thread, which must always be the same one; False where that would mean waiting: then use `write`."""
        if self._here is None or self.failed:
            return False
        try:
            self._here.execute("BEGIN IMMEDIATE")
            for kind, rows in _by_kind(entries):
                self._here.executemany(_SQL[kind], rows)
            self._here.execute("COMMIT")
        except sqlite3.Error:  # another writer, or a full disk: the writer thread waits, or says what is wrong
            if self._here.in_transaction:
                self._here.execute("ROLLBACK")
            return False
        self._commits += 1
        if self._commits >= CHECKPOINT_EVERY or time.monotonic() - self._tidied > TIDY_S:
            self._commits, self._tidied = 0, time.monotonic()
            self._queue.put(((), Future()))
        return True

    def write(self, entries: Sequence[Entry]) -> Future[None]:
        """Queue entries; the future resolves once they are committed, or holds the error that kept them from it."""
        done: Future[None] = Future()
        self._queue.put((entries, done))
        return done

    def works(self) -> bool:
        """Did the last write succeed? After a failure each call also tries again, so that a disk with room again is noticed without traffic."""
        if self.failed:
            self.write([Reply("", time.time(), "", b"")])
        return not self.failed

    def close(self, timeout: float = 10.0) -> None:
        """Commit what is queued and stop."""
        self._queue.put(None)
        self._thread.join(timeout)
        if self._here is not None:
            self._here.close()
        self._connection.close()
        self._engine.dispose()

    def reply(self, key: str) -> Reply | None:
        """The stored reply for an Idempotency-Key, while it is remembered."""
        kept = replies.c.at > time.time() - REPLY_DAYS * DAY
        found = self._select(
            sa.select(*(replies.c[name] for name in Reply.__dataclass_fields__)).where(replies.c.key == key, kept).order_by(replies.c.n)
        )
        return Reply(**found[0]) if found else None

    def records(self, model: str, *, version: str = "", role: str = "", since: float = 0.0, most: int = 100_000) -> list[dict[str, Any]]:
        """The newest records of a model, oldest first, as dicts of the table's columns."""
        query = sa.select(predictions).where(predictions.c.model == model, predictions.c.at >= since)
        query = query.where(predictions.c.version == version) if version else query
        query = query.where(predictions.c.role == role) if role else query
        return self._select(query.order_by(predictions.c.n.desc()).limit(most))[::-1]

    def labelled(self, model: str, *, since: float = 0.0, most: int = 100_000) -> list[dict[str, Any]]:
        """Records (not shadows) joined with their latest true label, by prediction id or by key; `label` is JSON text."""
        matches = sa.or_(
            feedback.c.prediction_id == predictions.c.prediction_id,
            sa.and_(
                feedback.c.prediction_id.is_(None), feedback.c.key == predictions.c.key, sa.or_(feedback.c.model.is_(None), feedback.c.model == model)
            ),
        )
        query = (
            sa.select(predictions, feedback.c.label, feedback.c.n.label("label_n"))
            .join(feedback, matches)
            .where(predictions.c.model == model, predictions.c.role != "shadow", predictions.c.at >= since)
            .order_by(predictions.c.n.desc(), feedback.c.n)
            .limit(most)
        )
        latest = {row["n"]: row for row in self._select(query)}
        return [latest[n] for n in sorted(latest)]

    def known(self, prediction_ids: Iterable[str]) -> set[str]:
        """Which of these prediction ids are in the log."""
        wanted = list(prediction_ids)
        return {row["prediction_id"] for row in self._select(sa.select(predictions.c.prediction_id).where(predictions.c.prediction_id.in_(wanted)))}

    def forget(self, *, key: str) -> int:
        """Delete every record and label of one key (a person's request to be forgotten); returns how many rows went."""
        with self._engine.begin() as connection:
            return sum(connection.execute(sa.delete(t).where(t.c.key == key)).rowcount for t in (predictions, feedback))

    def _select(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _run(self) -> None:
        cleaned = float("-inf")  # a machine's clock may have started a moment ago
        while True:
            first = self._queue.get()
            if first is None:
                return
            if self.settings.linger:
                time.sleep(self.settings.linger)
            group, stop = [first], False
            with contextlib.suppress(queue.Empty):
                while len(group) < LARGEST_GROUP:
                    more = self._queue.get_nowait()
                    if more is None:
                        stop = True
                        break
                    group.append(more)
            self._commit(group)
            if time.monotonic() - cleaned > 600:
                cleaned = time.monotonic()
                self._clean()
            if stop:
                return

    def _commit(self, group: list[tuple[Sequence[Entry], Future[None]]]) -> None:
        """One transaction for the group; when it fails, one for each of its parts, so that a bad record harms nobody else's."""
        try:
            self._insert([entry for entries, _ in group for entry in entries])
        except sa.exc.SQLAlchemyError as error:
            if len(group) > 1:
                for part in group:
                    self._commit([part])
                return
            self.failed = _first_line(error)
            group[0][1].set_exception(WorkspaceError("the record could not be written", next_step="check the prediction log's disk or database"))
            return
        self.failed = ""
        for _, done in group:
            done.set_result(None)

    def _insert(self, entries: list[Entry]) -> None:
        if not entries and self._here is not None:  # only asked to tidy up after commits made elsewhere
            with self._connection.begin():
                self._connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        with self._connection.begin():
            for kind, rows in _by_kind(entries):
                names = kind.__dataclass_fields__
                self._connection.execute(sa.insert(_TABLES[kind]), [dict(zip(names, row, strict=True)) for row in rows])

    def _clean(self) -> None:
        """Retention: forget what is older than the operator wants to keep."""
        oldest = {replies: REPLY_DAYS}
        if self.settings.keep_days is not None:
            oldest |= {predictions: self.settings.keep_days, feedback: self.settings.keep_days}
        try:
            with self._connection.begin():
                for table, days in oldest.items():
                    self._connection.execute(sa.delete(table).where(table.c.at < time.time() - days * DAY))
        except sa.exc.SQLAlchemyError as error:
            self.failed = _first_line(error)


def _by_kind(entries: Sequence[Entry]) -> Iterator[tuple[Any, list[tuple[Any, ...]]]]:
    """The entries of each kind as rows of values, in the order of their fields."""
    for kind, read in _READ.items():
        rows = [read(entry) for entry in entries if type(entry) is kind]
        if rows:
            yield kind, rows


_READ = {kind: operator.attrgetter(*kind.__dataclass_fields__) for kind in _TABLES}
_SQL = {
    kind: f"INSERT INTO {table.name} ({', '.join(kind.__dataclass_fields__)}) VALUES ({', '.join('?' * len(kind.__dataclass_fields__))})"  # noqa: S608
    for kind, table in _TABLES.items()
}


def _quick_connection(path: str) -> sqlite3.Connection | None:
    """A connection that never waits for another writer and leaves checkpoints to the writer thread; None where the path names no file."""
    if not path or path.startswith((":memory:", "file:")):
        return None
    made = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0"):
        made.execute(f"PRAGMA {pragma}")
    return made


def _engine_options(url: str) -> dict[str, Any]:
    return {"connect_args": {"timeout": 10, "check_same_thread": False}} if url.startswith("sqlite") else {"pool_pre_ping": True}


def _sqlite_pragmas(synchronous: str) -> Callable[[Any, Any], None]:
    def set_up(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=10000", "journal_size_limit=67108864"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return set_up


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
