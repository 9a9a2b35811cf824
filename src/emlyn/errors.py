"""The exception tree.

EmlynError                 something emlyn knows about; exit code 1 (our own fault) unless a subclass says otherwise
├── UserError              a user's mistake: says what, where, what was allowed and what to do next; exit code 2
│   ├── DataError          the table cannot be read or does not hold what was asked for
│   │   └── NoRows         a header and nothing below it: nothing to learn from, and nothing to score
│   ├── OptionError        an option has a value that is not allowed
│   ├── ModelError         a model name, version or file that cannot be opened
│   └── WorkspaceError     the workspace cannot be written, is locked, or its disk is full
├── Unavailable            an optional library is missing; names the extra that brings it
└── Interrupted            the run was asked to stop before there was any model
"""

from __future__ import annotations


class EmlynError(Exception):
    """Base of every error that emlyn raises on purpose."""

    exit_code = 1


class UserError(EmlynError):
    """A user's mistake, in four parts: what is wrong, where, what would have been allowed, what to do next."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", allowed: str = "", next_step: str = "") -> None:
        self.what, self.where, self.allowed, self.next_step = what, where, allowed, next_step
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.allowed, self.next_step))

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  where:   {self.where}"] if self.where else []
        lines += [f"  allowed: {self.allowed}"] if self.allowed else []
        lines += [f"  next:    {self.next_step}"] if self.next_step else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        return {"what": self.what, "where": self.where, "allowed": self.allowed, "next": self.next_step}


def _rebuild(kind: type[UserError], what: str, where: str, allowed: str, next_step: str) -> UserError:
    return kind(what, where=where, allowed=allowed, next_step=next_step)


class DataError(UserError):
    """The table cannot be read, or does not hold what was asked for."""


class NoRows(DataError):
    """A header and nothing below it; `columns` are its names."""

    columns: tuple[str, ...] = ()


class OptionError(UserError, ValueError):
    """An option has a value that is not allowed."""


class ModelError(UserError):
    """A model name, version or file that cannot be opened."""


class WorkspaceError(UserError):
    """The workspace cannot be written, is locked, or its disk is full."""


class Unavailable(EmlynError):
    """An optional library is missing."""

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what}\n  next:    install it with: pip install 'emlyn[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return (Unavailable, (self.what, self.extra))


class Interrupted(EmlynError):
    """The run was asked to stop before there was any model."""
