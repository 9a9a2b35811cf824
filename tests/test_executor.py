"""Threads and processes keep one contract; a crash of one job never ends a run."""

import threading

from emlyn.core.executor import Job, ProcessExecutor, ThreadExecutor
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
