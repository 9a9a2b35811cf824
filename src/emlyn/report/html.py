"""The report: one self-contained HTML file that works offline, on paper, on a phone, in light and dark."""

from __future__ import annotations

import functools
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from emlyn.records.codec import from_json, to_json
from emlyn.records.run import Evidence
from emlyn.report import details, page, words
from emlyn.report.discreet import discreet

FLAG = re.compile(r"--[a-z][a-z-]*(?: [A-Z]+\b)?")


def flags(text: str) -> Markup:
    """Escaped text in which command-line flags are set as code, so that they do not break at their hyphens."""
    return Markup(FLAG.sub(r'<code class="flag">\g<0></code>', str(escape(text))))  # noqa: S704


@functools.cache
def templates() -> Environment:
    """The templates of this room, with every value escaped."""
    made = Environment(
        loader=PackageLoader("emlyn.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["flags"] = flags
    return made


def render(evidence: Evidence) -> str:
    """All that is known about one model as one HTML page: verdict and score first, ten short answers, the rest by click.

    Nothing is fetched from anywhere and no script runs; the same evidence gives the same bytes.
    """
    return templates().get_template("report.html").render(page_values(evidence))


def page_values(evidence: Evidence) -> dict[str, Any]:
    """What the page shows: title, name, hero, the ten answers, the details, and the evidence without what points at single people."""
    evidence = discreet(
        from_json(to_json(evidence), Evidence)
    )  # as it comes back from the store: the page must not depend on which of the two it was given
    name = evidence.model or words.short(evidence.lineage.data.rsplit("/", 1)[-1], 60)
    return {
        "title": f"{words.short(evidence.problem.target, 60)} · {name}",
        "name": name,
        "hero": page.hero(evidence),
        "sections": page.sections(evidence),
        "details": details.sections(evidence),
        "evidence": evidence,
    }
