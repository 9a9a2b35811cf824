"""A run is watched, cancelled, killed and continued; clocks jump and nothing is lost or counted twice."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from emlyn.core.storing import registry, run_journal
from emlyn.core.storing import store as store_module
from emlyn.core.storing.run_journal import KEPT_RUNS, RunJournal, find_resumable, fingerprint, request_cancel, run_of, runs, state_of
from emlyn.core.storing.store import Store
from emlyn.core.storing.workspace import Workspace
from emlyn.errors import ModelError, WorkspaceError
from emlyn.events import Event
from emlyn.records.journal import Entry
from emlyn.records.options import TrainOptions
from postgresql import postgresql_server


def open_at(root: Path) -> Store:
    return Workspace.find(root, {}).open_store()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_at(tmp_path) as store:
        yield store


class Clock:
    """A monotonic clock that goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_done_before_a_kill_is_there_when_it_continues(store: Store) -> None:
    clock = Clock()
    with RunJournal.begin(store, "mark", {"data": "churn.csv"}, clock=clock) as first:
        clock.now += 7
        first.keep("recipe/0", {"state.json": b"{}", "fitted/arrays.npz": b"\x00\x01"})
        first.keep("recipe/1", {"state.json": b"old"})
        first.keep("recipe/1", {"state.json": b"new"})
        first.entry(Entry(1.0, "hypothesis", "trees like this table"))
        clock.now += 3
        first.sink(Event("stage.end", "search", {"seconds": 3}, 3.0))
        first.sink(Event("progress.trial", "nothing to keep"))
    assert find_resumable(store, "mark") == first.run_id
    with RunJournal.begin(store, "mark", {"data": "churn.csv"}, clock=clock) as second:
        assert (second.run_id, second.attempt, second.resumed) == (first.run_id, 2, True)
        assert second.spent_before == 10
        assert second.kept() == {"recipe/0": {"state.json": b"{}", "fitted/arrays.npz": b"\x00\x01"}, "recipe/1": {"state.json": b"new"}}
        clock.now += 5
        second.finish({"model": "churn:1"})
    kinds = [event.kind for event in store.events(f"run:{first.run_id}")]
    assert kinds == ["run.attempt", "trial.kept", "trial.kept", "trial.kept", "journal.entry", "stage.end", "run.attempt", "run.end"]
    (run,) = runs(store)
    assert (run.state, run.spent_s, run.result, run.facts["data"]) == ("done", 15, {"model": "churn:1"}, "churn.csv")
    assert run_of(store, "churn:1") == first.run_id, "what it learned stays, so that it can be gone on from"
    with RunJournal.begin(store, "mark", {}) as third:
        assert third.run_id != first.run_id


def test_another_question_does_not_continue_it(store: Store) -> None:
    with RunJournal.begin(store, "mark", {}) as first:
        pass
    with RunJournal.begin(store, "other", {}) as second:
        assert second.run_id != first.run_id


def test_the_fingerprint_follows_data_options_and_code_but_not_the_budget() -> None:
    options = TrainOptions(target="y")
    mark = fingerprint("data", options, "1")
    assert fingerprint("data", replace(options, budget=5.0, out="report.html"), "1") == mark
    for other in (
        fingerprint("data2", options, "1"),
        fingerprint("data", options, "2"),
        fingerprint("data", replace(options, seed=1), "1"),
        fingerprint("data", replace(options, exclude=("a",)), "1"),
    ):
        assert other != mark


def test_a_run_that_is_alive_is_left_alone(store: Store) -> None:
    with RunJournal.begin(store, "mark", {}) as first:
        first.keep("a", {"x": b"1"})
        assert state_of(store, first.run_id) == "running"
        with RunJournal.begin(store, "mark", {}) as second:
            assert second.run_id != first.run_id
            assert second.kept() == {}
            second.keep("a", {"x": b"1"})
            second.finish()
        assert first.kept() == {"a": {"x": b"1"}}
    assert [run.state for run in runs(store)] == ["done", "interrupted"]


def begin_and_hold(root: Path, begun: object, hold: object) -> None:
    with open_at(root) as store, RunJournal.begin(store, "mark", {}) as journal:
        begun.put((journal.run_id, journal.resumed))  # type: ignore[attr-defined]
        hold.wait(60)  # type: ignore[attr-defined]


def test_of_two_that_want_to_continue_one_run_only_one_does(tmp_path: Path, store: Store) -> None:
    with RunJournal.begin(store, "mark", {}) as first:
        pass
    context = multiprocessing.get_context("spawn")
    begun, hold = context.Queue(), context.Event()
    processes = [context.Process(target=begin_and_hold, args=(tmp_path, begun, hold)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [begun.get(timeout=60) for _ in processes]
    states = {run.id: run.state for run in runs(store)}
    hold.set()
    for process in processes:
        process.join(30)
    assert sorted(resumed for _, resumed in found) == [False, False, True]
    assert len({run_id for run_id, _ in found}) == 3
    assert dict(found)[first.run_id] is True
    assert set(states.values()) == {"running"}


def test_a_child_that_outlives_its_driver_does_not_keep_the_run_alive(tmp_path: Path, store: Store) -> None:
    code = f"""
import os, time
from emlyn.core.storing.workspace import Workspace
from emlyn.core.storing.run_journal import RunJournal
journal = RunJournal.begin(Workspace.find({str(tmp_path)!r}, {{}}).open_store(), "mark", {{}})
if os.fork() == 0:
    time.sleep(60)
print(journal.run_id, flush=True)
time.sleep(60)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stdout is not None
    try:
        run_id = driver.stdout.readline().strip()
        assert state_of(store, run_id) == "running"
        driver.kill()
        driver.wait()
        assert find_resumable(store, "mark") == run_id
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.stdout.close()


def test_cancel_is_seen_by_the_process_that_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_journal, "BEAT_S", 0.01)
    with RunJournal.begin(store, "mark", {}) as journal:
        assert not journal.cancel.is_set()
        request_cancel(store, journal.run_id, by="ada")
        assert journal.cancel.wait(20)


def test_time_counts_between_events_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies long after its last event has spent what its heartbeat said."""
    monkeypatch.setattr(run_journal, "BEAT_S", 0.01)
    clock = Clock()
    with RunJournal.begin(store, "mark", {}, clock=clock) as journal:
        clock.now += 40
        while not any(record.read(dict)["spent"] == 40 for record in store.list("beat")):
            time.sleep(0.01)
    with RunJournal.begin(store, "mark", {}, clock=clock) as again:
        assert again.run_id == journal.run_id
        assert again.spent_before == 40


def test_each_run_that_opens_the_seal_is_counted_once(store: Store) -> None:
    with RunJournal.begin(store, "a", {}) as journal:
        assert [journal.open_seal("data") for _ in range(2)] == [1, 1]
    with RunJournal.begin(store, "a", {}) as again:
        assert again.open_seal("data") == 1
        again.finish()
    with RunJournal.begin(store, "a", {}) as second:
        assert second.open_seal("data") == 2
        assert second.open_seal("other data") == 1


@pytest.mark.parametrize("jump", [-3 * 365 * 86_400.0, -3600.0, 3600.0, 3 * 365 * 86_400.0])
def test_a_wall_clock_that_jumps_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    clock = Clock()
    real = time.time
    with RunJournal.begin(store, "mark", {}, clock=clock) as first:
        clock.now += 4
        first.append("before")
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        monkeypatch.setattr(store_module, "now", lambda: "1999-12-31T00:00:00.000+00:00" if jump < 0 else "2093-01-01T00:00:00.000+00:00")
        clock.now += 2
        first.append("after")
        assert state_of(store, first.run_id) == "running"
        with RunJournal.begin(store, "mark", {}, clock=clock) as other:
            assert other.run_id != first.run_id
            other.finish()
    assert [event.kind for event in store.events(f"run:{first.run_id}")][1:] == ["before", "after"]
    with RunJournal.begin(store, "mark", {}, clock=clock) as again:
        assert (again.run_id, again.spent_before) == (first.run_id, 6)


def test_a_run_of_another_machine_is_judged_by_its_heartbeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunJournal.begin(store, "mark", {}) as journal:
        pass
    (store.root / "locks" / journal.run_id).unlink()
    store.put("beat", f"{journal.run_id}/1", {"attempt": 1, "spent": 1.0, "wall": time.time()}, replace=True)
    assert state_of(store, journal.run_id) == "running"
    store.put("beat", f"{journal.run_id}/1", {"attempt": 1, "spent": 1.0, "wall": time.time() - 600}, replace=True)
    assert state_of(store, journal.run_id) == "interrupted"


def test_a_damaged_result_is_left_out_and_said(store: Store) -> None:
    with RunJournal.begin(store, "mark", {}) as journal:
        journal.keep("a", {"x": b"1"})
        journal.keep("b", {"x": b"2"})
        next(iter(store.root.glob("artifacts/runs/*/*.zip"))).write_bytes(b"damaged")
        assert len(journal.kept()) == 1
        assert [event.kind for event in store.events(f"run:{journal.run_id}")].count("trial.lost") == 1


def test_a_full_disk_is_heard_of_at_the_next_append(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_journal, "BEAT_S", 0.01)

    def full(*_: object, **__: object) -> str:
        raise WorkspaceError("the disk is full")

    with RunJournal.begin(store, "mark", {}) as journal:
        monkeypatch.setattr(store, "put", full)
        journal._pulse.join(20)
        with pytest.raises(WorkspaceError, match="full"):
            journal.append("anything")


def test_results_of_runs_interrupted_long_ago_are_swept_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "now", lambda: "2001-01-01T00:00:00.000+00:00")
    with RunJournal.begin(store, "old", {}) as old:
        old.keep("a", {"x": b"1"})
    monkeypatch.undo()
    with RunJournal.begin(store, "new", {}) as new:
        new.keep("a", {"x": b"1"})
        assert state_of(store, old.run_id) == "stopped"
        assert [path.name for path in store.root.glob("artifacts/runs/*")] == [new.run_id]
        with pytest.raises(ModelError):
            store.artifacts.read(store.events(f"run:{old.run_id}", kind="trial.kept")[0].body["file"])


def test_results_of_the_last_runs_stay_and_go_down_a_lineage(store: Store) -> None:
    def ended(number: int, continues: str = "") -> str:
        with RunJournal.begin(store, f"mark {number}", {"continues": continues}) as journal:
            journal.keep(f"recipe/{number}", {"x": b"1"})
            journal.finish({"model": f"churn:{number}"})
        return journal.run_id

    first = ended(1)
    second = ended(2, continues=first)
    with RunJournal.begin(store, "mark 3", {"continues": second}) as third:
        assert third.lineage == (first, second, third.run_id)
        assert sorted(third.kept()) == ["recipe/1", "recipe/2"]
        third.finish({}, "failed")
    for number in range(4, 4 + KEPT_RUNS - 1):
        ended(number)
    with RunJournal.begin(store, "look", {}):
        assert run_of(store, "churn:1") == first, "the second of the last runs went on from it"
    ended(4 + KEPT_RUNS)
    with RunJournal.begin(store, "look again", {}):
        assert run_of(store, "churn:1") is None
        assert run_of(store, "churn:2") is None
        assert not (store.root / "artifacts" / "runs" / first).exists()


# ---- kill -9 at any moment

WRITER = """
import hashlib, sys
from emlyn.core.storing import archive, registry
from emlyn.core.storing.run_journal import RunJournal
from emlyn.core.storing.workspace import Workspace
from emlyn.records.manifest import Manifest
from emlyn.records.run import ModelVersion

store = Workspace.find(sys.argv[1], {"EMLYN_DATABASE": sys.argv[2]}).open_store()
with RunJournal.begin(store, "mark", {}) as journal:
    print("run", journal.run_id, journal.attempt, flush=True)
    for i in range(10_000):
        key = f"{journal.attempt}/{i}"
        journal.keep(key, {"data.bin": key.encode() * 2_000})
        print("kept", key, flush=True)
        number = registry.reserve(store, "churn")
        print("reserved", number, flush=True)
        data = archive.pack({"a.txt": b"x" * 20_000}, Manifest({}, "churn", number))
        artifact = store.artifacts.put(data, ".emlyn")
        digest = hashlib.sha256(data).hexdigest()
        registry.register(store, ModelVersion("churn", number, digest, artifact, "binary", "y", "auc", ""), by=key)
        print("registered", number, flush=True)
        registry.promote(store, f"churn:{number}", by=key)
        print("promoted", number, flush=True)
"""


def kill_writers(home: Path, database: str, times: int) -> dict[str, list[str]]:
    """Start the writer, kill it at a random moment, again and again; what it acknowledged before it died, by kind."""
    rng = random.Random(7)
    said: dict[str, list[str]] = {"kept": [], "reserved": [], "registered": [], "promoted": [], "run": []}
    for _ in range(times):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(home), database], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first.endswith("\n"), "every writer begins"
        time.sleep(rng.random() ** 2 * 0.4)
        writer.kill()
        for line in (first + writer.stdout.read()).splitlines(keepends=True):
            if line.endswith("\n"):  # the kill may also cut a line short: what was not said to its end was not acknowledged
                words = line.split()
                assert len(words) > 1, line
                said[words[0]].append(words[1])
        writer.wait()
        writer.stdout.close()
    return said


def assert_nothing_acknowledged_is_lost(store: Store, said: dict[str, list[str]], times: int) -> None:
    assert len(set(said["run"])) == 1, "every attempt continued the same run"
    assert len(set(said["reserved"])) == len(said["reserved"]), "no number was given twice"
    assert len(said["kept"]) >= times
    with RunJournal.begin(store, "mark", {}) as journal:
        kept = journal.kept()
        assert journal.attempt == times + 1
    assert set(said["kept"]) <= set(kept)
    assert all(parts == {"data.bin": key.encode() * 2_000} for key, parts in kept.items())
    numbers = [event.seq for event in store.events(f"run:{journal.run_id}")]
    assert numbers == list(range(1, len(numbers) + 1))
    versions = {version.version: version for version in registry.versions(store, "churn")}
    assert {int(number) for number in said["registered"]} <= set(versions)
    for version in versions.values():
        assert hashlib.sha256(Path(version.path).read_bytes()).hexdigest() == version.digest
    promotions = [decision.version for decision in registry.history(store, "churn") if decision.action == "promote"]
    assert set(map(int, said["promoted"])) <= set(promotions)
    champions = [decision.version for decision in registry.history(store, "churn") if decision.alias == "champion"]
    assert registry.resolve(store, "churn").version == champions[-1], "the alias and the last decision were written together"


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    said = kill_writers(tmp_path, "", 20)
    raw = sqlite3.connect(tmp_path / "emlyn.db")
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    with open_at(tmp_path) as store:
        assert_nothing_acknowledged_is_lost(store, said, 20)


def test_kill_9_with_the_database_on_a_server(tmp_path: Path) -> None:
    with postgresql_server() as url:
        said = kill_writers(tmp_path, url, 5)
        with Workspace.find(tmp_path, {"EMLYN_DATABASE": url}).open_store() as store:
            assert_nothing_acknowledged_is_lost(store, said, 5)
