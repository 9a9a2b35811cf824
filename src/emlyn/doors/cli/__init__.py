"""The command line. Commands parse, call and show; heavy libraries load inside them, so `--help` is instant."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `emlyn` script and of `python -m emlyn`."""
    import gc
    import os

    from emlyn.doors.cli.app import app

    # OpenMP threads that spin while they wait make a busy machine several times slower; read when a learner's library loads
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    try:
        app()
    except SystemExit as end:
        _leave(end.code)
        raise
    finally:
        gc.freeze()  # the process ends: looking for garbage among everything that was loaded takes the interpreter half a second


def _leave(code: object) -> None:
    """End the process at once where a job was left behind: waiting for it, or for the interpreter to take its thread down, could last for ever."""
    import os
    import sys

    executor = sys.modules.get("emlyn.core.executor")
    if executor is not None and executor.left_behind():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
