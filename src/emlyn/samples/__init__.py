"""The bundled real data."""

from __future__ import annotations

from pathlib import Path

CLEAN = Path(__file__).parent / "breast_cancer.csv"
DIRTY = Path(__file__).parent / "breast_cancer_dirty.csv"
