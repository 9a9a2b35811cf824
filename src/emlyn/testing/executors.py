"""What every executor must keep: subclass `ExecutorContract` and give it an `executor` fixture or method."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from emlyn.core.executor import Executor, Job
from emlyn.core.learner import Effort


def add(left: np.ndarray, right: float, effort: Effort) -> float:
    return float(left.sum()) + right


def effort_of(effort: Effort) -> tuple[float, int, int, int | None]:
    return effort.seconds, effort.threads, effort.seed, effort.steps


def fail(effort: Effort) -> None:
    raise ValueError("this recipe is bad")


def die(effort: Effort) -> None:
    """End the whole process at once, as a crash in native code would."""
    os._exit(3)


class ExecutorContract:
    """Jobs run elsewhere and come back as outcomes, whatever they do."""

    isolated = False
    """True where a job runs in a process of its own, so that its crash can be survived."""

    def make(self) -> Executor:
        raise NotImplementedError("return the executor under test, with two workers")

    @pytest.fixture
    def executor(self) -> Iterator[Any]:
        found = self.make()
        yield found
        found.close()

    def test_a_job_sees_what_was_shared(self, executor: Any) -> None:
        reference = executor.share(np.arange(4.0))
        jobs = [executor.submit(Job(add, (reference, float(i)), 5.0)) for i in range(5)]
        assert [j.result(60).value for j in jobs] == [6.0, 7.0, 8.0, 9.0, 10.0]

    def test_a_job_carries_its_limits(self, executor: Any) -> None:
        outcome = executor.submit(Job(effort_of, (), 2.5, threads=1, seed=7, steps=30)).result(60)
        assert outcome.value == (2.5, 1, 7, 30)
        assert outcome.error == ""

    def test_a_job_that_raises_is_an_outcome(self, executor: Any) -> None:
        outcome = executor.submit(Job(fail, (), 5.0)).result(60)
        assert outcome.value is None
        assert "this recipe is bad" in outcome.error
        assert executor.submit(Job(add, (np.ones(1), 1.0), 5.0)).result(60).value == 2.0

    def test_a_worker_that_dies_costs_its_job_alone(self, executor: Any) -> None:
        if not self.isolated:
            pytest.skip("jobs run in this process")
        bad, good = executor.submit(Job(die, (), 5.0)), executor.submit(Job(add, (np.ones(2), 1.0), 5.0))
        assert bad.result(120).error != ""
        assert good.result(120).value == 3.0
