"""Documentation cannot lie: reference pages follow from code, every check has its page, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import emlyn
from emlyn import plugins

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def _make_docs() -> object:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "python.md", "plugins.md"])
def test_reference_pages_are_fresh(page: str) -> None:
    made = _make_docs().PAGES[page]().rstrip() + "\n"  # type: ignore[attr-defined]
    assert (DOCS / page).read_text(encoding="utf-8") == made, f"docs/{page} is stale: run python scripts/make_docs.py"


def test_public_surface_is_pinned() -> None:
    assert emlyn.__all__ == ["Classifier", "Regressor", "audit", "load", "train"]


def test_every_check_has_a_page() -> None:
    for check in plugins.collect("checks"):
        page = DOCS / "checks" / f"{check.name}.md"
        assert page.exists(), f"docs/checks/{check.name}.md is missing"
        assert check.name in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [p.relative_to(ROOT).as_posix() for p in (ROOT / "README.md", *DOCS.rglob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}, which is not there"


def test_readme_begins_with_exactly_two_commands() -> None:
    block = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert block is not None
    lines = block.group(1).strip().splitlines()
    assert len(lines) == 2
    assert "emlyn train src/emlyn/samples/" in lines[0]
    assert lines[1].endswith("-m pytest -n 2")
