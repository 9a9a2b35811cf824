"""The command line. Commands parse, call and show; heavy libraries load inside them, so `--help` is instant."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `emlyn` script and of `python -m emlyn`."""
    from emlyn.doors.cli.app import app

    app()
