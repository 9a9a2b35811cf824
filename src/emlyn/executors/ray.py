"""Many machines: the same jobs on a Ray cluster (extra `ray`). A lost worker costs a trial, not the run."""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import Future
from typing import Any

from emlyn.core.executor import Job, Outcome, Reference, run_job
from emlyn.errors import Unavailable
from emlyn.plugins import hook


class RayExecutor:
    """Jobs as Ray tasks. Data is put into the cluster's object store once; a task reads it in place, without a copy where Ray allows it.

    `address` is `ray` for the cluster the environment names (or a new one on this machine) or `ray://host:port`. Raises Unavailable without Ray.
    """

    name = "ray"

    def __init__(self, workers: int = 0, address: str = "") -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise Unavailable("running on a Ray cluster needs the library ray", "ray") from error
        if not self._ray.is_initialized():
            self._ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._run = self._ray.remote(max_retries=0)(_run)
        self._waiting: dict[Any, Future[Outcome]] = {}
        self._lock = threading.Lock()
        self._open = True

    def share(self, data: Any) -> Reference:
        return Reference(self._ray.put(data))

    def submit(self, job: Job) -> Future[Outcome]:
        answer: Future[Outcome] = Future()
        # references stand as task arguments of their own, so that Ray sends the data to where the task runs
        shared = [a.key if isinstance(a, Reference) else None for a in job.arguments]
        bare = tuple(Reference(i) if isinstance(a, Reference) else a for i, a in enumerate(job.arguments))
        plain = Job(job.work, bare, job.seconds, job.threads, job.seed, job.steps)
        task = self._run.options(num_cpus=job.threads).remote(plain, *shared)
        with self._lock:
            self._waiting[task] = answer
        threading.Thread(target=self._collect, args=(task, answer), daemon=True).start()
        return answer

    def cancel(self) -> None:
        with self._lock:
            tasks = list(self._waiting)
        for task in tasks:
            self._ray.cancel(task, force=False)

    def abandon(self, answer: Future[Outcome]) -> None:
        with self._lock:
            tasks = [task for task, waiting in self._waiting.items() if waiting is answer]
        for task in tasks:
            self._ray.cancel(task, force=True)

    def close(self) -> None:
        self.cancel()

    def _collect(self, task: Any, answer: Future[Outcome]) -> None:
        try:
            outcome = self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            outcome = Outcome(None, 0.0, "cancelled")
        except self._ray.exceptions.RayError as error:
            outcome = Outcome(None, 0.0, f"its worker was lost: {type(error).__name__}: {error}"[:500])
        with self._lock:
            self._waiting.pop(task, None)
        answer.set_result(outcome)


def _run(job: Job, *shared: Any) -> Outcome:
    return run_job(job, lambda reference: shared[reference.key])


@hook
def emlyn_executors() -> list[Any]:
    return [RayExecutor]
