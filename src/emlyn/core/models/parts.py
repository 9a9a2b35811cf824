"""Named parts of a saved object: one JSON document and one npz archive, read back without anything that can run code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from emlyn.errors import ModelError
from emlyn.records.codec import to_json


def pack(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, bytes]:
    """`document` as `state.json` and `arrays` as `arrays.npz` (zlib-compressed). Raises TypeError for arrays of objects."""
    held = dict(arrays or {})
    if any(a.dtype.hasobject for a in held.values()):
        raise TypeError("arrays of objects cannot be saved without pickle; keep strings in the document")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **held)
    return {"state.json": to_json(dict(document)), "arrays.npz": buffer.getvalue()}


def unpack(parts: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The reverse of `pack`. Raises ModelError for parts that are missing or damaged."""
    try:
        document = msgspec.json.decode(parts["state.json"])
        with np.load(io.BytesIO(parts["arrays.npz"]), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except KeyError as error:
        raise broken(f"the part {error} is missing") from error
    except (msgspec.DecodeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise broken(str(error)) from error
    if not isinstance(document, dict):
        raise broken("its state is not a JSON object")
    return document, arrays


def broken(why: str) -> ModelError:
    """The error for a saved part that does not hold together."""
    return ModelError(f"a part of the model is damaged: {why}", next_step="use an undamaged copy of the model, or train again")


def require(holds: bool, why: str) -> None:
    """Raises ModelError unless `holds`: loaders check what native code will trust."""
    if not holds:
        raise broken(why)


def within(parts: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    """The parts below `prefix/`, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: part for name, part in parts.items() if name.startswith(start)}


def below(prefix: str, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """The parts renamed to lie below `prefix/`."""
    return {f"{prefix}/{name}": part for name, part in parts.items()}
