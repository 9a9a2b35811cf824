"""Threads and processes keep one contract; a crash of one job never ends a run."""

import dataclasses
import importlib.util
import os
import sys
import threading

import numpy as np
import pytest

import toys
from emlyn.core.executor import Job, ProcessExecutor, ThreadExecutor, open_executor
from emlyn.errors import OptionError, Unavailable
from emlyn.stages.plan import plan
from emlyn.stages.search import search
from emlyn.testing.executors import ExecutorContract


class TestThreads(ExecutorContract):
    def make(self):
        return ThreadExecutor(2)


class TestProcesses(ExecutorContract):
    isolated = True

    def make(self):
        return ProcessExecutor(2)


def test_cancel_reaches_a_running_job():
    began, executor = threading.Event(), ThreadExecutor(1)

    def patient(effort):
        began.set()
        while not effort.cancelled():
            pass
        return "kept what it had"

    future = executor.submit(Job(patient, (), 60.0))
    began.wait(10)
    executor.cancel()
    assert future.result(10).value == "kept what it had"
    executor.close()


def test_executors_are_found_by_name():
    assert open_executor("local", 2) is None
    processes = open_executor("processes", 2)
    assert processes.workers == 2
    processes.close()
    with pytest.raises(OptionError, match="processes"):
        open_executor("cloud://somewhere", 2)


def test_a_missing_library_names_its_extra():
    if importlib.util.find_spec("ray"):
        pytest.skip("ray is installed")
    with pytest.raises(Unavailable, match="emlyn\\[ray\\]"):
        open_executor("ray", 2)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
class TestRay(ExecutorContract):
    """On a cluster of two nodes, each a set of processes of its own."""

    isolated = True

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def cluster(cls):
        import ray
        from ray.cluster_utils import Cluster

        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        found.add_node(num_cpus=1)
        ray.init(address=found.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}})
        yield
        ray.shutdown()
        found.shutdown()

    def make(self):
        return open_executor("ray", 2)

    def test_the_same_run_here_and_there(self):
        """Under a number of trials the same recipes are selected, and predictions agree within 1e-6."""
        data, problem = toys.rows_data(), toys.binary_problem()

        def run(executor):
            context = toys.context(executor=executor, threads=2)
            made = plan(problem, data, toys.options(4), context)
            recipes = tuple(r for r in made.recipes if r.learner in ("baseline", "linear", "lightgbm"))
            return search(dataclasses.replace(made, recipes=recipes), data, problem, context)

        here, there = run(None), run(self.make())
        assert [c.recipe.name for c in here.candidates] == [c.recipe.name for c in there.candidates]
        for c in here.candidates:
            np.testing.assert_allclose(here.oof(c.recipe.name), there.oof(c.recipe.name), atol=1e-6)
