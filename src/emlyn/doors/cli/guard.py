"""Where errors end: a user's mistake is explained with exit code 2, our own fault says so with exit code 1, and nobody reads a traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer

from emlyn.errors import EmlynError, UserError

Command = TypeVar("Command", bound=Callable[..., Any])


def guarded(command: Command) -> Command:
    """The command with every error turned into a message and an exit code; with `--json` also into one JSON object on stdout."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(_say("stopped", {"what": "stopped"}, 130, kwargs)) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except EmlynError as error:
            plain = error.as_dict() if isinstance(error, UserError) else {"what": str(error)}
            raise typer.Exit(_say(str(error), plain, error.exit_code, kwargs)) from error
        except (OSError, MemoryError) as error:
            what = "not enough memory" if isinstance(error, MemoryError) else f"{error.strerror or error}"
            where = str(getattr(error, "filename", "") or "")
            raise typer.Exit(_say(f"{what}" + (f"\n  where:   {where}" if where else ""), {"what": what, "where": where}, 2, kwargs)) from error
        except Exception as error:
            if os.environ.get("EMLYN_DEBUG"):
                raise
            what = f"emlyn failed: {type(error).__name__}: {error}"
            raise typer.Exit(
                _say(f"{what}\n  next:    this is our fault; run again with EMLYN_DEBUG=1 and report what it prints", {"what": what}, 1, kwargs)
            ) from error

    return run  # type: ignore[return-value]


def _say(message: str, plain: dict[str, str], code: int, options: dict[str, Any]) -> int:
    print(f"error: {message}", file=sys.stderr)
    if options.get("json"):
        from emlyn.doors.cli.show import as_json

        as_json({"error": plain})
    return code
