"""`python -m emlyn.doors.server [serve] [MODEL ...]`: the server alone, without the command line's libraries, for containers."""

from __future__ import annotations

import argparse
import sys

from emlyn.doors.server.run import serve
from emlyn.doors.server.setup import serve_options
from emlyn.errors import EmlynError


def main(arguments: list[str]) -> int:
    """Exit 2 for a user's mistake, as every command of emlyn."""
    parser = argparse.ArgumentParser(prog="emlyn serve")
    parser.add_argument("models", nargs="*", help="NAME, NAME@alias, NAME:version, or .emlyn files")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--log")
    parser.add_argument("--require-signature", action="store_true", default=None)
    parser.add_argument("--allow-host", action="append")
    parser.add_argument("--open", action="append", help="sagemaker, mlflow, vertex or kserve: its gateway authenticates callers")
    said = vars(parser.parse_args(arguments[1:] if arguments[:1] == ["serve"] else arguments))
    try:
        serve(serve_options({**said, "models": tuple(said["models"])}), lambda text: print(text, file=sys.stderr, flush=True))
    except EmlynError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
