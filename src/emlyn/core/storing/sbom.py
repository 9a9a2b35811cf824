"""A software bill of materials (CycloneDX 1.6, JSON) for the packages a model needs, from what is installed."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from importlib import metadata
from typing import Any

NAMESPACE = uuid.UUID("5ce7bd3c-2f05-5d6a-9d5e-0f4d0d1a6a55")
"""Serial numbers follow from the content under this name space: the same model has the same bill."""


def sbom(name: str, version: str, packages: Iterable[str]) -> bytes:
    """The bill of `packages` (distribution names) and everything they require that is installed here; deterministic bytes."""
    found: dict[str, metadata.Distribution] = {}
    edges: dict[str, list[str]] = {}
    waiting = sorted({_plain(p) for p in packages})
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        try:
            found[here] = metadata.distribution(here)
        except metadata.PackageNotFoundError:
            continue  # asked for by a marker of another system
        edges[here] = sorted({_plain(r) for r in found[here].requires or () if "extra ==" not in r})
        waiting += edges[here]
    refs = {package: f"pkg:pypi/{package}@{distribution.version}" for package, distribution in found.items()}
    root = f"model:{name}@{version}"
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, root + ''.join(sorted(refs.values())))}",
        "metadata": {"component": {"type": "machine-learning-model", "bom-ref": root, "name": name, "version": version}},
        "components": [_component(package, found[package], refs[package]) for package in sorted(found)],
        "dependencies": [{"ref": root, "dependsOn": sorted(refs[p] for p in {_plain(q) for q in packages} if p in refs)}]
        + [{"ref": refs[p], "dependsOn": [refs[q] for q in edges[p] if q in refs]} for p in sorted(found)],
    }
    return json.dumps(bill, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _component(package: str, distribution: metadata.Distribution, ref: str) -> dict[str, Any]:
    about = distribution.metadata
    component: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": package, "version": distribution.version, "purl": ref}
    if "License-Expression" in about:
        component["licenses"] = [{"expression": about["License-Expression"]}]
    elif "License" in about and len(about["License"]) <= 60:
        component["licenses"] = [{"license": {"name": about["License"]}}]
    return component


def _plain(requirement: str) -> str:
    """The distribution's normalised name (PEP 503), without version, extras and marker."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()
