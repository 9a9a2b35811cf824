"""The store and the workspace: the contract on every database, and what happens when the disk, the lock or another version is in the way."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from emlyn.core.storing import durable, schema
from emlyn.core.storing import store as store_module
from emlyn.core.storing.durable import write_durably
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace
from emlyn.errors import WorkspaceError
from emlyn.testing.stores import StoreContract
from postgresql import postgresql_server


def open_at(root: Path) -> Store:
    return Workspace.find(root, {}).open_store()


class TestSQLite(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with open_at(tmp_path / "home") as store:
            yield store


class TestSQLiteOnANetworkDisk(StoreContract):
    """Without the write-ahead log, which needs memory that several machines do not share."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        mounts = tmp_path / "mounts"
        mounts.write_text(f"overlay / overlay rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\ntmpfs {tmp_path}/other tmpfs rw 0 0\n")
        monkeypatch.setattr(durable, "MOUNTS", mounts)
        assert not durable.on_network(tmp_path / "other")
        with open_at(tmp_path / "home") as store:
            yield store
        assert sqlite3.connect(tmp_path / "home" / "emlyn.db").execute("PRAGMA journal_mode").fetchone() == ("delete",)


class TestSQLiteWithAnObjectStore(StoreContract):
    """Artifacts through fsspec, in its in-memory file system."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        environ = {"EMLYN_ARTIFACTS": f"memory://{tmp_path.name}"}
        with Workspace.find(tmp_path / "home", environ).open_store() as store:
            yield store


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


def empty_database(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def store(self, server: str, tmp_path: Path) -> Iterator[Store]:
        empty_database(server)
        with Workspace.find(tmp_path / "home", {"EMLYN_DATABASE": server}).open_store() as store:
            yield store

    def test_opening_it_again_finds_what_is_there(self, store: Store, server: str, tmp_path: Path) -> None:
        store.put("note", "a", {"x": 1})
        with Workspace.find(tmp_path / "other", {"EMLYN_DATABASE": server}).open_store() as again:
            assert again.get("note", "a", dict) == {"x": 1}

    def test_its_migrated_schema_is_the_direct_one(self, store: Store, server: str) -> None:
        direct = shape(sa.create_engine(server, poolclass=sa.NullPool))
        empty_database(server)
        engine = sa.create_engine(server, poolclass=sa.NullPool)
        with engine.begin() as connection:
            store_module._migrate(connection, "none", server)
        assert shape(engine) == direct


def shape(engine: sa.Engine) -> dict[str, object]:
    """Tables, columns with type and nullability, keys and indexes."""
    look = sa.inspect(engine)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(name)],
            look.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"])) for i in look.get_indexes(name)),
        )
        for name in sorted(look.get_table_names())
    }


def test_the_schema_made_directly_equals_the_migrated_one(tmp_path: Path) -> None:
    open_at(tmp_path / "direct").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        store_module._migrate(connection, "none", "")
    direct = sa.create_engine(f"sqlite:///{tmp_path / 'direct' / 'emlyn.db'}", poolclass=sa.NullPool)
    assert shape(engine) == shape(direct)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(schema.stamp.c.version_num)) == schema.HEAD


def test_a_database_of_a_newer_emlyn_is_refused_untouched(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        store.put("note", "a", {})
    raw = sqlite3.connect(tmp_path / "emlyn.db")
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    with pytest.raises(WorkspaceError, match="newer emlyn") as error:
        open_at(tmp_path)
    assert all((error.value.where, error.value.allowed, error.value.next_step))
    assert sqlite3.connect(tmp_path / "emlyn.db").execute("SELECT count(*) FROM record").fetchone() == (1,)


def open_and_count(root: Path, start: object, numbers: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    with open_at(root) as store:
        numbers.put([store.append("s", "x") for _ in range(5)])  # type: ignore[attr-defined]


def test_processes_that_open_a_new_workspace_at_the_same_moment_all_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, numbers = context.Event(), context.Queue()
    processes = [context.Process(target=open_and_count, args=(tmp_path / "home", start, numbers)) for _ in range(6)]
    for process in processes:
        process.start()
    start.set()
    found = sorted(n for _ in processes for n in numbers.get(timeout=60))
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    assert found == list(range(1, 31))


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "emlyn.db").write_bytes(b"this is no database, only a text that is long enough to look at" * 100)
    with pytest.raises(WorkspaceError, match="damaged"):
        open_at(tmp_path)
    assert (tmp_path / "emlyn.db").read_bytes().startswith(b"this is no database")


def test_a_writer_that_never_ends_is_reported_and_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)
    with open_at(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "emlyn.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WorkspaceError, match="another process"):
            store.put("note", "a", {})
        other.execute("ROLLBACK")
        store.put("note", "a", {})


@pytest.mark.parametrize(
    ("url", "says"),
    [("nosuch://x", "driver"), ("postgresql+psycopg://nobody@127.0.0.1:1/x", "refused|driver"), ("not a url", "URL")],
)
def test_a_database_that_cannot_be_reached_is_a_users_mistake(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(WorkspaceError, match=says) as error:
        Workspace.find(tmp_path, {"EMLYN_DATABASE": url}).open_store()
    assert error.value.next_step


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as error:
        Workspace.find(tmp_path, {"EMLYN_DATABASE": "postgresql+psycopg://u:topsecret@127.0.0.1:1/x?connect_timeout=1"}).open_store()
    assert "topsecret" not in str(error.value)


# ---- the workspace


def test_where_the_workspace_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.find(environ={}).root == tmp_path / ".emlyn"
    assert Workspace.find(environ={"EMLYN_HOME": str(tmp_path / "x")}).root == tmp_path / "x"
    assert Workspace.find("y", {"EMLYN_HOME": "x"}).root == tmp_path / "y"
    assert not list(tmp_path.iterdir())
    odd = tmp_path / "a b%41 ü#?"
    with open_at(odd) as store:
        store.put("note", "a", {})
    assert (odd / "emlyn.db").exists()
    assert (odd / ".gitignore").read_text() == "*\n"


def test_a_file_in_the_place_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(WorkspaceError, match="folder"):
        open_at(tmp_path / "home")


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int) -> None:
    says = {errno.EROFS: "read-only", errno.EIO: "cannot be written"}.get(code, "full")
    target = tmp_path / "model.emlyn"
    write_durably(target, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    class Broken:
        """A file whose disk fills up after the first bytes."""

        def __init__(self, handle: int, mode: str) -> None:
            self.handle = handle

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self.handle)

        def write(self, data: bytes) -> None:
            os.write(self.handle, data[:2])
            fail()

    monkeypatch.setattr(durable.os, *(("fdopen", Broken) if step == "write" else (step, fail)))
    with pytest.raises(WorkspaceError, match=says) as error:
        write_durably(target, b"new and longer")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.emlyn"]
    assert all((error.value.what, error.value.where, error.value.allowed, error.value.next_step))


def test_a_database_on_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    def one_page_more(connection: sqlite3.Connection, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    with open_at(tmp_path) as store:
        store.put("note", "a", {})
    sa.event.listen(sa.Engine, "connect", one_page_more)
    try:
        with open_at(tmp_path) as store, pytest.raises(WorkspaceError, match="disk is full"):
            store.put("note", "large", {"x": "x" * 100_000})
    finally:
        sa.event.remove(sa.Engine, "connect", one_page_more)
    with open_at(tmp_path) as store:
        assert [record.key for record in store.list("note")] == ["a"]
        store.put("note", "large", {"x": "x" * 100_000})


@contextlib.contextmanager
def mounted(folder: Path, *how: str | Path) -> Iterator[Path]:
    """A folder with something mounted on it, where that is allowed."""
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", *how, folder], capture_output=True).returncode:
        pytest.skip("only root can mount a small or read-only disk, where mounting is allowed at all")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MiB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        yield folder


def test_a_real_full_disk(small_disk: Path) -> None:
    with open_at(small_disk / "home") as store:
        store.put("note", "a", {})
        with pytest.raises(WorkspaceError, match="disk is full"):
            store.artifacts.put(os.urandom(2_000_000))
        filler = (small_disk / "filler").open("wb", buffering=0)
        while filler.write(b"x" * 4096) == 4096 and shutil.disk_usage(small_disk).free:
            pass
        filler.close()
        with pytest.raises(WorkspaceError, match="disk is full"):
            store.put("note", "large", {"x": "y" * 100_000})
        (small_disk / "filler").unlink()
        assert store.get("note", "a", dict) == {}
        store.put("note", "c", {})
    assert not list(small_disk.rglob("*.part"))
    assert sqlite3.connect(small_disk / "home" / "emlyn.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("log_pending", [False, True])
def test_a_read_only_workspace_is_read_and_says_so_when_written(tmp_path: Path, small_disk: Path, log_pending: bool) -> None:
    """Also when the last records still lie in the write-ahead log of a process that is gone or at work."""
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(open_at(small_disk / "home"))
        writer.put("note", "a", {"x": 1})
        if not log_pending:
            writer.close()
        view = stack.enter_context(mounted(tmp_path / "view", "-o", "ro,bind", small_disk))
        assert (view / "home" / "emlyn.db-wal").exists() == log_pending
        with open_at(view / "home") as store:
            assert store.get("note", "a", dict) == {"x": 1}
            with pytest.raises(WorkspaceError, match="read-only"):
                store.put("note", "b", {})
            with pytest.raises(WorkspaceError, match="read-only"):
                store.artifacts.put(b"x")
        with pytest.raises(WorkspaceError, match="read-only"):
            open_at(view / "other")


def test_what_opening_a_workspace_loads() -> None:
    """SQLAlchemy only with the store, Alembic only to migrate, cryptography only to sign: the rest stays quick to start."""
    code = """
import sys, tempfile
import emlyn.core.storing.workspace, emlyn.core.storing.archive, emlyn.core.storing.registry, emlyn.core.storing.run_journal
assert not {'sqlalchemy', 'alembic', 'cryptography', 'fsspec', 'pandas', 'sklearn'} & set(sys.modules)
emlyn.core.storing.workspace.Workspace.find(tempfile.mkdtemp(), {}).open_store()
assert not {'alembic', 'fsspec', 'cryptography', 'pandas', 'sklearn'} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
