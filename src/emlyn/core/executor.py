"""Where jobs run: threads here, processes here, or another machine through a plug-in. A job carries all it needs and never the `Context`."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import threadpoolctl

from emlyn import plugins
from emlyn.core.learner import Effort, never
from emlyn.errors import OptionError

ABANDONED = "it did not stop when its time was over and was left behind"
JOB_THREAD = "emlyn-job"
CLOSING = 5.0
"""Seconds that threads which were asked to stop are waited for."""


@dataclass(frozen=True)
class Job:
    """One call of a top-level function: `work(*arguments, effort)`, with shared references already replaced by what they stand for."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float
    threads: int = 1
    seed: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a job came to: its value, or the reason why there is none."""

    value: Any
    seconds: float
    error: str = ""


@dataclass(frozen=True, eq=False)
class Reference:
    """Stands for data that was shared once; the executor that made it knows what it means."""

    key: Any


class Executor(Protocol):
    """Runs jobs. Results come in the order they finish; a job that raises, or a worker that dies, is an outcome with an error."""

    name: str
    workers: int
    """Jobs that run at the same time."""

    def share(self, data: Any) -> Reference:
        """Make data known to every worker once, so that many jobs can name it."""

    def submit(self, job: Job) -> Future[Outcome]:
        """Queue a job; its future never raises."""

    def cancel(self) -> None:
        """Drop what has not begun and ask what runs to stop and keep what it has."""

    def abandon(self, answer: Future[Outcome]) -> None:
        """Give up on a job that does not stop: its outcome is an error at once, its place is free for another. No effect on one that ended."""

    def close(self) -> None:
        """Cancel, and give the workers back. Waits for nothing that was abandoned."""


def open_executor(where: str, workers: int) -> Executor | None:
    """The executor a user named: `local` (None: the search opens threads of its own), `processes`, or a plug-in's name, alone or as `name://address`.

    Raises OptionError for a name that nobody knows, Unavailable when its library is missing.
    """
    if where == "local":
        return None
    if where == "processes":
        return ProcessExecutor(workers)
    known = {made.name: made for made in plugins.collect("executors")}
    scheme, _, address = where.partition("://")
    if scheme not in known:
        raise OptionError(
            f"no executor is called {where[:100]!r}",
            where="--executor",
            allowed=", ".join(["local", "processes", *known]),
            next_step="leave it out to run here",
        )
    found: Executor = known[scheme](address=where if address else "")
    return found


def run_job(job: Job, resolve: Callable[[Any], Any], cancelled: Callable[[], bool] = never) -> Outcome:
    """Run one job in this thread. Whatever it raises becomes the outcome's error: one bad recipe never ends a run."""
    began = time.monotonic()
    try:
        limit_threads(job.threads)
        arguments = [resolve(a) if isinstance(a, Reference) else a for a in job.arguments]
        value = job.work(*arguments, Effort(job.seconds, job.threads, job.seed, job.steps, cancelled))
        return Outcome(value, time.monotonic() - began)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(None, time.monotonic() - began, f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"[:500])


def limit_threads(count: int) -> None:
    """Let BLAS and OpenMP of every library loaded so far use `count` threads. Stays in force: restoring it would race with the other workers."""
    threadpoolctl.ThreadpoolController().limit(limits=count)


class ThreadExecutor:
    """Jobs as threads of this process: no start-up, data is shared by being there. Training libraries release the interpreter lock.

    A thread cannot be killed: one that is abandoned runs on beside whatever follows and ends with the process, which does not wait for it.
    """

    name = "threads"

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._stop = threading.Event()
        self._places = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._open: set[Future[Outcome]] = set()

    def share(self, data: Any) -> Reference:
        return Reference(data)

    def submit(self, job: Job) -> Future[Outcome]:
        answer: Future[Outcome] = Future()
        self._open.add(answer)
        threading.Thread(target=self._work, args=(job, answer), name=JOB_THREAD, daemon=True).start()
        return answer

    def cancel(self) -> None:
        self._stop.set()

    def abandon(self, answer: Future[Outcome]) -> None:
        self._end(answer, Outcome(None, 0.0, ABANDONED))

    def close(self) -> None:
        self._stop.set()
        wait(list(self._open), timeout=CLOSING)

    def _work(self, job: Job, answer: Future[Outcome]) -> None:
        self._places.acquire()
        dropped = self._stop.is_set() or answer.done()
        self._end(answer, Outcome(None, 0.0, "cancelled") if dropped else run_job(job, _key, self._stop.is_set))

    def _end(self, answer: Future[Outcome], outcome: Outcome) -> None:
        """The first end of a job counts, and gives its place back; what an abandoned thread comes to later goes nowhere."""
        with self._lock:
            if answer.done():
                return
            self._open.discard(answer)
            self._places.release()
        answer.set_result(outcome)


def left_behind() -> bool:
    """Is there a thread that was abandoned and still runs? Then an orderly end of the interpreter could crash in native code."""
    return any(thread.name == JOB_THREAD for thread in threading.enumerate())


def run_beside(job: Job, patience: float, cancelled: Callable[[], bool]) -> Outcome:
    """Run one job in a thread of its own for at most `patience` seconds, then go on without it."""
    executor = ThreadExecutor()
    answer, until = executor.submit(job), time.monotonic() + patience
    while not answer.done():
        wait([answer], timeout=0.2)
        if cancelled():
            executor.cancel()
        if time.monotonic() > until:
            executor.abandon(answer)
    return answer.result()


class ProcessExecutor:
    """Jobs as processes of this machine: a job that crashes its process costs that job only. Data travels to each worker once."""

    name = "processes"

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._shared: list[Any] = []
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def share(self, data: Any) -> Reference:
        with self._lock:
            self._shared.append(data)
            self._retire()
            return Reference(len(self._shared) - 1)

    def submit(self, job: Job) -> Future[Outcome]:
        answer: Future[Outcome] = Future()
        with self._lock:
            try:
                inner = self._running().submit(_run_in_process, job)
            except BrokenProcessPool:  # another job broke it a moment ago: a fresh pool takes this one
                self._pool = None
                inner = self._running().submit(_run_in_process, job)
        inner.add_done_callback(lambda done: self._arrived(job, answer, done))
        return answer

    def cancel(self) -> None:
        with self._lock:
            self._retire()

    def abandon(self, answer: Future[Outcome]) -> None:
        """Its process is killed; the other jobs of that pool begin anew."""
        if answer.done():
            return
        with self._lock:
            pool, self._pool = self._pool, None
        self._settle(answer, Outcome(None, 0.0, ABANDONED))
        if pool is not None:
            for process in list((pool._processes or {}).values()):  # public as kill_workers from Python 3.14 on
                process.kill()

    def close(self) -> None:
        self.cancel()

    @staticmethod
    def _settle(answer: Future[Outcome], outcome: Outcome) -> None:
        with contextlib.suppress(InvalidStateError):  # abandoned before
            answer.set_result(outcome)

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = self._fresh(self.workers)
        return self._pool

    def _fresh(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, get_context("spawn"), _arrive, (tuple(self._shared),))

    def _arrived(self, job: Job, answer: Future[Outcome], done: Future[Outcome]) -> None:
        """A process that died takes every job of its pool along; each is tried once more in a process of its own, which shows whose fault it was."""
        if done.cancelled():
            self._settle(answer, Outcome(None, 0.0, "cancelled"))
        elif done.exception() is None:
            self._settle(answer, done.result())
        elif not answer.done():
            threading.Thread(target=self._alone, args=(job, answer), daemon=True).start()

    def _alone(self, job: Job, answer: Future[Outcome]) -> None:
        with self._fresh(1) as pool:
            try:
                self._settle(answer, pool.submit(_run_in_process, job).result())
            except BrokenProcessPool as error:
                self._settle(answer, Outcome(None, 0.0, f"its process ended: {error}"))

    def _retire(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _key(reference: Reference) -> Any:
    return reference.key


_here: tuple[Any, ...] = ()


def _arrive(shared: tuple[Any, ...]) -> None:
    """A worker process begins: keep what was shared."""
    global _here
    _here = shared


def _run_in_process(job: Job) -> Outcome:
    return run_job(job, lambda reference: _here[reference.key])
