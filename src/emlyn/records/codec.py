"""One codec for every record: JSON both ways, unknown fields ignored so that an older reader opens a newer file."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_json(record: Any, *, indent: int = 0) -> bytes:
    """A record, or plain values, as UTF-8 JSON. NaN and infinities become null."""
    raw = msgspec.json.encode(record, enc_hook=_encode_numpy, order="deterministic")
    return msgspec.json.format(raw, indent=indent) if indent else raw


def from_json(raw: bytes | str, kind: type[T]) -> T:
    """Bytes as a record of `kind`. Raises msgspec.ValidationError where a field has the wrong type."""
    return msgspec.json.decode(raw, type=kind)


def to_plain(record: Any) -> Any:
    """A record as dicts, lists, strings and numbers."""
    return msgspec.json.decode(to_json(record))


def digest(record: Any) -> str:
    """SHA-256 over the record's JSON, in hex: the same content has the same digest everywhere."""
    return hashlib.sha256(to_json(record)).hexdigest()


def _encode_numpy(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form; records hold plain values only")
