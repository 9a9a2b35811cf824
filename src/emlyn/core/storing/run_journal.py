"""A run as others see it: a record, appended events, a heartbeat, a cancel flag, and the results that let it continue after a kill.

>>> mark = fingerprint(card.digest, options, code_version())                     # doctest: +SKIP
>>> with RunJournal.begin(store, mark, {"data": "churn.csv"}) as journal:        # doctest: +SKIP
...     budget = Budget(options.budget - journal.spent_before, started)          # what was left, when it continues an interrupted run
...     context = Context(budget, sink=fan_out(screen, journal.sink), cancel=journal.cancel, store=store)
...     trials = search(plan, data, problem, context, past=journal.past())       # results of the interrupted run; new ones are kept
...     journal.finish({"model": "churn:3"})

The state of a run is derived: `done`, `failed` or `stopped` when its last event says so; `running` while its process holds the run's lock (the
kernel lets go of it when the process dies, whatever the clocks say), or, on another machine, while its heartbeat is fresh; else `interrupted`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import emlyn
from emlyn.core.storing.durable import make_folder, writing
from emlyn.errors import EmlynError, ModelError, UserError
from emlyn.events import Event
from emlyn.records import codec
from emlyn.records.audit import Audit
from emlyn.records.journal import Entry
from emlyn.records.options import TrainOptions
from emlyn.types import Clock

if TYPE_CHECKING:
    from emlyn.core.searching.trials import FoldResult, Past
    from emlyn.core.storing.store import Happening, Record, Store

State = Literal["running", "interrupted", "done", "failed", "stopped"]
BEAT_S = 2.0
"""Seconds between heartbeats; also how soon a cancel flag is seen."""
STALE_S = 60.0
"""A heartbeat older than this, seen from another machine, is a dead run."""
KEPT_DAYS = 30
"""Results of a run that ended or was interrupted longer ago are swept away."""
KEPT_RUNS = 5
"""Ended runs whose results are kept, the newest first, so that `--continue` can go on from them; with those that they went on from."""


ATTEMPT, KEPT, AUDITED, ENTRY, END = "run.attempt", "trial.kept", "audit.kept", "journal.entry", "run.end"


@dataclass(frozen=True)
class Run:
    """One run as listed."""

    id: str
    state: State
    created: str
    facts: dict[str, Any]
    spent_s: float
    result: dict[str, Any]
    """What `finish` was given."""


@cache
def code_version() -> str:
    """Version and a digest of the installed source: two versions that behave differently never share a name."""
    found = hashlib.sha256()
    root = Path(emlyn.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{emlyn.__version__}+{found.hexdigest()[:12]}"


def fingerprint(data_digest: str, options: TrainOptions, version: str) -> str:
    """Runs with one fingerprint would try the same things on the same rows: data, options but for budget and output, code."""
    same = replace(options, budget=0.0, out=None, continue_=None)
    return codec.digest([data_digest, codec.to_plain(same), version])


class RunJournal:
    """The writing side of one run, held by its driver. Everything appended is on the disk before the call returns."""

    def __init__(self, store: Store, run_id: str, lock: _Lock, clock: Clock) -> None:
        """Use `RunJournal.begin`."""
        self.store, self.run_id, self._lock, self._clock = store, run_id, lock, clock
        self.cancel = threading.Event()
        """Set when someone asked the run to stop (`request_cancel`)."""
        before = store.events(_stream(run_id))
        self.attempt = 1 + sum(1 for happening in before if happening.kind == ATTEMPT)
        self.lineage = _lineage(store, run_id)
        """The runs whose results are this run's to take over: the one it continues, and so on, oldest first; itself last."""
        self.spent_before = _spent(store, run_id, before)
        """Seconds that earlier attempts used of the budget, each by its own monotonic clock."""
        self._started = clock()
        self._over = threading.Event()
        self._trouble: EmlynError | None = None
        self._pulse = threading.Thread(target=self._beat, name="emlyn-heartbeat", daemon=True)

    @classmethod
    def begin(cls, store: Store, mark: str, facts: Mapping[str, Any], *, started: float | None = None, clock: Clock = time.monotonic) -> RunJournal:
        """Continue the interrupted run with this fingerprint, or begin a new one. A run that is alive elsewhere is left alone.

        `facts["continues"]` is the id of an ended run that this one goes on from. `started` is when the command began on `clock`, which must be
        monotonic. Raises WorkspaceError.
        """
        run_id, lock = _claim_resumable(store, mark)
        if lock is None:
            run_id, lock = _new_run(store, mark, facts)
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            journal = cls(store, run_id, lock, clock)
            if started is not None:
                journal._started = started
            journal.append(ATTEMPT, {"host": socket.gethostname(), "pid": os.getpid()})
            _sweep(store)
            undo.pop_all()
        return journal

    def __enter__(self) -> RunJournal:
        self._pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._pulse.is_alive():
            self._pulse.join()
        self._lock.release()

    @property
    def resumed(self) -> bool:
        return self.attempt > 1

    @property
    def spent(self) -> float:
        """Seconds of this attempt."""
        return max(0.0, self._clock() - self._started)

    def append(self, kind: str, body: Mapping[str, Any] | None = None) -> int:
        """Add one event and return its number. Raises WorkspaceError, also for a heartbeat that could not be written."""
        if self._trouble is not None:
            raise self._trouble
        return self.store.append(_stream(self.run_id), kind, {**(body or {}), "attempt": self.attempt, "spent": round(self.spent, 3)})

    def sink(self, event: Event) -> None:
        """Store an event of the run (a sink for `Context`); mere progress is for the screen and is not kept."""
        if not event.kind.startswith("progress"):
            self.append(event.kind, {"message": event.message, "at": event.at, "data": dict(event.data)})

    def entry(self, entry: Entry) -> int:
        """Store one line of the journal."""
        return self.append(ENTRY, {"entry": codec.to_plain(entry)})

    def keep(self, key: str, parts: Mapping[str, bytes], kind: str = KEPT) -> None:
        """Store a finished trial's result (or another `kind` of thing) under a key; a later one with the same key takes its place."""
        from emlyn.core.storing.archive import zip_bytes

        data = zip_bytes(dict(sorted(parts.items())))
        name = f"{_scratch(self.run_id)}/{hashlib.sha256(key.encode()).hexdigest()[:24]}-{secrets.token_hex(4)}.zip"
        self.store.artifacts.write(name, data)
        self.append(kind, {"key": key, "file": name, "sha256": hashlib.sha256(data).hexdigest()})

    def kept(self, kind: str = KEPT) -> dict[str, dict[str, bytes]]:
        """What this run's attempts and the runs before it stored: key -> parts. What cannot be read any more is left out, and said so in an event."""
        found: dict[str, dict[str, bytes]] = {}
        latest = {happening.body["key"]: happening.body for run in self.lineage for happening in self.store.events(_stream(run), kind=kind)}
        for key, body in latest.items():
            try:
                found[key] = _unzip(self.store.artifacts.read(body["file"], body["sha256"]))
            except ModelError as error:
                self.append("trial.lost", {"key": key, "why": error.what})
        return found

    def audited(self, make: Callable[[], Audit]) -> Audit:
        """The audit of this run or of the one it goes on from, where there is one; else the one made now, which is stored.

        An audit stops at its share of a budget: made again with another one it might leave out another column, and no stored result would fit.
        """
        if stored := self.kept(AUDITED).get("audit"):
            return codec.from_json(stored["audit.json"], Audit)
        made = make()
        self.keep("audit", {"audit.json": codec.to_json(made)}, AUDITED)
        return made

    def past(self) -> Past:
        """What the search begins with and where its results go. Results of learners that are gone are tried again."""
        from emlyn.core.searching.trials import FoldResult, Past

        results = []
        for key, parts in self.kept().items():
            try:
                results.append(FoldResult.from_parts(parts))
            except (ModelError, KeyError) as error:
                self.append("trial.lost", {"key": key, "why": str(error)})
        planned = [happening.body for run in self.lineage for happening in self.store.events(_stream(run), kind="plan")]
        last = planned[-1]["data"] if planned else {}
        folds, sample = int(last.get("folds", 0)), int(last.get("sample", 0))
        return Past(results=results, keep=self._keep_result, folds=folds, sample=sample, further=len(self.lineage) > 1)

    def open_seal(self, data_digest: str) -> int:
        """Say that this run looks at the sealed rows of these data, and return how many runs have by now, this one included.

        Sealed rows follow from content, so every run on the same data looks at the same ones; a run that continues counts once.
        """
        stream = f"sealed:{data_digest}"
        with self.store.transaction() as t:
            looked = {happening.body["run"] for happening in t.events(stream)}
            if self.run_id not in looked:
                t.append(stream, "opened", {"run": self.run_id})
        return len(looked | {self.run_id})

    def finish(self, result: Mapping[str, Any] | None = None, state: State = "done") -> None:
        """Say how the run ended. The results of one that made a model (`result["model"]`) stay for a while: see `run_of`, KEPT_RUNS, KEPT_DAYS."""
        result = dict(result or {})
        self.append(END, {"state": state, "result": result})
        if result.get("model"):
            with self.store.transaction() as t:
                t.link(("version", result["model"]), "run", ("run", self.run_id))
                t.put("results", self.run_id, {"kept": True})
        else:
            self.store.artifacts.remove(_scratch(self.run_id))
        self._lock.remove()

    def _keep_result(self, result: FoldResult) -> None:
        self.keep("/".join(map(str, result.key)), result.to_parts())

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                beat = {"attempt": self.attempt, "spent": round(self.spent, 3), "wall": time.time()}
                self.store.put("beat", f"{self.run_id}/{self.attempt}", beat, replace=True)
                if self.store.get("cancel", self.run_id, dict):
                    self.cancel.set()
            except UserError as error:
                self._trouble = error  # the driver hears of it at its next append
                return


def request_cancel(store: Store, run_id: str, by: str = "") -> None:
    """Ask a run, in whatever process, to end with the best model so far."""
    store.put("cancel", run_id, {"by": by}, replace=True)


def runs(store: Store) -> tuple[Run, ...]:
    """Every run, newest first."""
    return tuple(_run(store, record.key, record.created, record.read(dict)) for record in reversed(store.list("run")))


def run_of(store: Store, model: str) -> str | None:
    """The id of the run that made `name:version`, None when its results are not stored any more (or never were)."""
    for link in store.links(source=("version", model), relation="run"):
        if (store.get("results", link.target[1], dict) or {}).get("kept"):
            return link.target[1]
    return None


def find_resumable(store: Store, mark: str) -> str | None:
    """The id of the newest interrupted run with this fingerprint."""
    for link in reversed(store.links(source=("fingerprint", mark))):
        if state_of(store, link.target[1]) == "interrupted":
            return link.target[1]
    return None


def state_of(store: Store, run_id: str) -> State:
    """Where a run stands, derived from its events, its lock and its heartbeat."""
    if ended := store.events(_stream(run_id), kind=END):
        state: State = ended[-1].body["state"]
        return state
    lock = _Lock(store, run_id)
    if lock.exists():
        if not lock.take():
            return "running"
        lock.release()
        return "interrupted"
    return "running" if _beats(store, run_id) else "interrupted"


def _stream(run_id: str) -> str:
    return f"run:{run_id}"


def _lineage(store: Store, run_id: str) -> tuple[str, ...]:
    """The run that this one continues, the one which that continued, and so on, oldest first; itself last."""
    found = [run_id]
    while earlier := (store.get("run", found[0], dict) or {}).get("continues"):
        found.insert(0, earlier)
    return tuple(found)


def _scratch(run_id: str) -> str:
    return f"runs/{run_id}"


def _claim_resumable(store: Store, mark: str) -> tuple[str, _Lock | None]:
    """Take over the newest interrupted run: whoever gets its lock has it, the other begins afresh."""
    run_id = find_resumable(store, mark)
    if run_id:
        lock = _Lock(store, run_id)
        if lock.take(patience=0.2):
            if not store.events(_stream(run_id), kind=END):
                return run_id, lock
            lock.release()  # it ended while we looked
    return "", None


def _new_run(store: Store, mark: str, facts: Mapping[str, Any]) -> tuple[str, _Lock]:
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
    lock = _Lock(store, run_id)
    lock.take()
    with store.transaction() as t:
        t.put("run", run_id, {**facts, "fingerprint": mark})
        t.link(("fingerprint", mark), "run", ("run", run_id))
    return run_id, lock


def _run(store: Store, run_id: str, created: str, facts: dict[str, Any]) -> Run:
    happenings = store.events(_stream(run_id))
    ended = [happening.body for happening in happenings if happening.kind == END]
    return Run(run_id, state_of(store, run_id), created, facts, _spent(store, run_id, happenings), ended[-1]["result"] if ended else {})


def _spent(store: Store, run_id: str, happenings: Sequence[Happening]) -> float:
    """Seconds of all attempts: of each the most it ever said. No wall clock takes part, so none can jump."""
    most: dict[int, float] = {}
    said = [happening.body for happening in happenings] + [record.read(dict) for record in store.list("beat", f"{run_id}/")]
    for body in said:
        spent = body.get("spent", 0.0)
        most[body.get("attempt", 1)] = max(most.get(body.get("attempt", 1), 0.0), spent if math.isfinite(spent) else 0.0)
    return sum(most.values())


def _beats(store: Store, run_id: str) -> bool:
    """Whether a run whose lock lies on another machine has a fresh heartbeat."""
    walls = [record.read(dict).get("wall", 0.0) for record in store.list("beat", f"{run_id}/")]
    return bool(walls) and abs(time.time() - max(walls)) < STALE_S


def _sweep(store: Store) -> None:
    """Remove the results of runs that were interrupted long ago, and of ended ones that nobody will go on from any more."""
    for record in store.list("run"):
        if _old(record) and state_of(store, record.key) == "interrupted":
            store.append(_stream(record.key), END, {"state": "stopped", "result": {}})
            store.artifacts.remove(_scratch(record.key))
            _Lock(store, record.key).remove()
    ended = [record for record in reversed(store.list("results")) if record.read(dict)["kept"]]
    fresh = {run for record in ended[:KEPT_RUNS] if not _old(record) for run in _lineage(store, record.key)}
    for record in ended:
        if record.key not in fresh:
            store.artifacts.remove(_scratch(record.key))
            store.put("results", record.key, {"kept": False}, replace=True)


def _old(record: Record) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(record.created)).days > KEPT_DAYS


def _unzip(data: bytes) -> dict[str, bytes]:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


class _Lock:
    """A lock file that the kernel frees when its process dies. Children that a fork makes do not hold it."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._path = store.root / "locks" / run_id
        self._handle = -1

    def exists(self) -> bool:
        return self._path.exists()

    def take(self, patience: float = 0.0) -> bool:
        """Whether the lock is ours now; `patience` (seconds) outlasts those who only look whether it is held."""
        make_folder(self._path.parent)
        with writing(self._path):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        until = time.monotonic() + patience
        while not _flock(handle):
            if time.monotonic() >= until:
                os.close(handle)
                return False
            time.sleep(0.01)
        self._handle = handle
        _HELD.add(self)
        return True

    def release(self) -> None:
        _HELD.discard(self)
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """The run has ended: no one will ask for its lock again."""
        with writing(self._path):
            self._path.unlink(missing_ok=True)


_HELD: set[_Lock] = set()


def _flock(handle: int) -> bool:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go_in_child() -> None:
    """A worker that outlives its driver must not keep the driver's run looking alive; closing its copy leaves the driver's lock as it is."""
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
