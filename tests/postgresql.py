"""A PostgreSQL server of our own for one test run, where its programs are installed; otherwise a skip that says why."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _program(name: str) -> str | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((found for place in places if (found := shutil.which(name, path=str(place)))), None) or shutil.which(name)


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of an empty database that lasts as long as the block."""
    initdb, postgres = _program("initdb"), _program("postgres")
    if not initdb or not postgres:
        pytest.skip("no PostgreSQL programs (initdb, postgres) are installed here")
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'emlyn[postgresql]'")
    owner = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}  # the server refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        if owner:
            try:
                shutil.chown(folder, **owner)
            except LookupError:
                pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
        data = f"{folder}/data"
        subprocess.run([initdb, "-D", data, "-U", "emlyn", "-A", "trust", "-N", "-E", "UTF8"], check=True, capture_output=True, **owner)
        command = [postgres, "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner)
        url = f"postgresql+psycopg://emlyn@/postgres?host={folder}"
        try:
            _wait_until_ready(url, server)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    import time

    import sqlalchemy as sa

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(200):
        assert server.poll() is None, "the server ended at once"
        with contextlib.suppress(sa.exc.OperationalError), engine.connect():
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")
