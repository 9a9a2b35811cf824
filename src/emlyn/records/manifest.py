"""What a model file says about itself, and who decided what about a registered model."""

from __future__ import annotations

from dataclasses import dataclass, field

from emlyn.records.problem import Problem

FORMAT = 1
"""The model file's format. It grows by fields that older readers ignore; a change they could not ignore raises this number."""


@dataclass(frozen=True)
class Member:
    """One file inside the model file."""

    size: int
    sha256: str
    packages: tuple[str, ...] = ()
    """Distributions, beyond those that every model needs, without which this member cannot be used."""


@dataclass(frozen=True)
class Manifest:
    """The first member of a model file: what is inside, and what is needed to use it."""

    members: dict[str, Member]
    name: str = ""
    version: int = 0
    problem: Problem | None = None
    packages: dict[str, str] = field(default_factory=dict)
    """Distribution -> version it was made with, for every package that a member needs."""
    emlyn: str = ""
    """The version of emlyn that wrote it."""
    created: str = ""
    """ISO 8601, UTC."""
    format: int = FORMAT


@dataclass(frozen=True)
class Decision:
    """One move of an alias: what, who, when, why."""

    name: str
    action: str
    """register | promote | rollback | approve."""
    alias: str
    version: int
    before: int | None
    """The version the alias named until then."""
    by: str
    at: str
    """ISO 8601, UTC."""
    why: str
