"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real tables beside the project (EMLYN_TEST_DATA, else ../shared/data)."""
    folder = Path(os.environ.get("EMLYN_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (folder / "manifest.json").exists():
        pytest.skip("the real tables are not here; set EMLYN_TEST_DATA to their folder")
    return folder
