"""Logs as one JSON object per line, without secrets and without rows."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any

import orjson

SECRET = re.compile(r"(?i)(bearer\s+|basic\s+|emlyn_)[A-Za-z0-9+/=_.~-]{6,}|(://[^:/@\s]*):[^@/\s]*@")


def redacted(text: str) -> str:
    """The text without tokens and passwords."""
    return SECRET.sub(lambda found: f"{found[1]}***" if found[1] else f"{found[2]}:***@", text)


class JsonLines(logging.Formatter):
    """Time (UTC), level, logger, message, facts, and the traceback of our own faults."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        found: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": redacted(record.getMessage())}
        found |= getattr(record, "facts", {})
        if record.exc_info:
            found["traceback"] = redacted(self.formatException(record.exc_info))
        return orjson.dumps(found, default=str).decode()


def set_up(level: int = logging.INFO) -> None:
    """Send the server's logs, and uvicorn's, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("emlyn", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True
