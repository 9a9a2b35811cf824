"""What every store must do, whatever database it stands on. Subclass, give `store`, run pytest.

class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path): ...
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from emlyn.core.storing.store import Conflict, Link, Store
from emlyn.errors import ModelError
from emlyn.records.plan import Recipe


class StoreContract:
    """The contract tests; `store` is a pytest fixture of the subclass that gives an empty store."""

    def test_a_record_comes_back_as_it_was(self, store: Store) -> None:
        recipe = Recipe("lightgbm-extra", "lightgbm", {"rate": 0.1, "nested": {"a": [1, None]}}, why='quotes " \' % _ ü 🙂 \\ \x00')
        digest = store.put("recipe", "a", recipe)
        assert store.get("recipe", "a", Recipe) == recipe
        assert store.list("recipe")[0].digest == digest
        assert store.get("recipe", "b", Recipe) is None
        assert store.get("other", "a", Recipe) is None

    def test_the_same_body_again_is_no_change_and_another_one_a_conflict(self, store: Store) -> None:
        assert store.put("note", "a", {"x": 1}) == store.put("note", "a", {"x": 1})
        with pytest.raises(Conflict):
            store.put("note", "a", {"x": 2})
        assert store.get("note", "a", dict) == {"x": 1}
        store.put("note", "a", {"x": 2}, replace=True)
        assert store.get("note", "a", dict) == {"x": 2}

    def test_list_takes_the_prefix_literally(self, store: Store) -> None:
        for key in ("a_1", "ab1", "a%1", "b"):
            store.put("note", key, {})
        assert [record.key for record in store.list("note", "a_")] == ["a_1"]
        assert [record.key for record in store.list("note", "a%")] == ["a%1"]
        assert sorted(record.key for record in store.list("note")) == ["a%1", "a_1", "ab1", "b"]

    def test_links_are_found_from_both_ends_and_said_once(self, store: Store) -> None:
        for _ in range(2):
            store.link(("run", "1"), "made", ("version", "churn:1"))
        store.link(("run", "1"), "read", ("data", "d"))
        made = Link(("run", "1"), "made", ("version", "churn:1"))
        assert store.links(target=("version", "churn:1")) == (made,)
        assert store.links(source=("run", "1"), relation="made") == (made,)
        assert len(store.links(source=("run", "1"))) == 2

    def test_events_are_numbered_from_one_without_gaps_in_every_stream(self, store: Store) -> None:
        assert [store.append("a", "x", {"i": i}) for i in range(3)] == [1, 2, 3]
        assert store.append("b", "y") == 1
        assert [event.body["i"] for event in store.events("a", after=1)] == [1, 2]
        assert [event.seq for event in store.events("a", kind="y")] == []

    def test_a_transaction_happens_whole_or_not_at_all(self, store: Store) -> None:
        def half_a_transaction() -> None:
            with store.transaction() as t:
                t.put("note", "a", {})
                t.append("s", "x")
                t.link(("a", "b"), "c", ("d", "e"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half_a_transaction()
        assert store.list("note") == () == store.events("s")
        assert store.links() == ()

    def test_writers_take_turns(self, store: Store) -> None:
        def count(_: int) -> int:
            with store.transaction() as t:
                found: dict[str, Any] = t.get("counter", "c", dict) or {"n": 0}
                t.put("counter", "c", {"n": found["n"] + 1}, replace=True)
                return t.append("counted", "one")

        with ThreadPoolExecutor(8) as pool:
            numbers = sorted(pool.map(count, range(40)))
        assert numbers == list(range(1, 41))
        assert store.get("counter", "c", dict) == {"n": 40}

    def test_a_reader_sees_one_moment_and_does_not_wait_for_a_writer(self, store: Store) -> None:
        store.put("note", "a", {"x": 1})
        writing, read = threading.Event(), threading.Event()

        def write() -> None:
            with store.transaction() as t:
                t.put("note", "a", {"x": 2}, replace=True)
                writing.set()
                assert read.wait(20)

        writer = threading.Thread(target=write)
        writer.start()
        assert writing.wait(20)
        seen = store.get("note", "a", dict)
        read.set()
        writer.join()
        assert seen == {"x": 1}
        assert store.get("note", "a", dict) == {"x": 2}

    def test_artifacts_are_kept_by_content_and_checked_when_read(self, store: Store) -> None:
        key = store.artifacts.put(b"model", ".emlyn")
        assert store.artifacts.put(b"model", ".emlyn") == key
        assert key.endswith(".emlyn")
        assert store.artifacts.read(key) == b"model" == store.artifacts.path(key).read_bytes()
        with pytest.raises(ModelError):
            store.artifacts.read(key, digest="0" * 64)
        with pytest.raises(ModelError):
            store.artifacts.read("no/such")

    def test_scratch_files_are_removed_together(self, store: Store) -> None:
        store.artifacts.write("runs/1/a", b"1")
        store.artifacts.write("runs/2/a", b"2")
        store.artifacts.remove("runs/1")
        store.artifacts.remove("runs/1")
        assert store.artifacts.read("runs/2/a") == b"2"
        with pytest.raises(ModelError):
            store.artifacts.read("runs/1/a")
