"""The command line. Commands parse, call and show; heavy libraries load inside them, so `--help` is instant."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `emlyn` script and of `python -m emlyn`."""
    import os

    from emlyn.doors.cli.app import app

    # OpenMP threads that spin while they wait make a busy machine several times slower; read when a learner's library loads
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    app()
