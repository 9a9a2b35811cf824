"""Package: the model, its evidence and its report become one file, stored by content and registered under the next version of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata

import emlyn
from emlyn import plugins
from emlyn.context import Context
from emlyn.core.models.model import Model
from emlyn.core.models.parts import below
from emlyn.core.storing import archive, registry, signing
from emlyn.core.storing.durable import make_folder, write_durably
from emlyn.core.storing.sbom import sbom
from emlyn.records.codec import to_json, to_plain
from emlyn.records.manifest import Manifest
from emlyn.records.run import Evidence, ModelVersion

BASE = ("msgspec", "numpy", "pluggy", "scipy")
"""What every model needs, beside emlyn itself, to be opened and to answer."""
UNUSABLE = "do not use yet"
"""The verdict that keeps a version from becoming champion by itself."""


def package(model: Model, evidence: Evidence, report_html: str, context: Context) -> ModelVersion:
    """Write the model file, store it in the workspace of `context.store` and register it with its lineage.

    `evidence.model` is `NAME:NUMBER`, a number that was reserved before the report was drawn, so that the report carries it. While a name has
    no champion, a version whose verdict allows it becomes champion; any other waits for `emlyn promote`. Signed when the workspace has a signing key.
    Raises WorkspaceError when the workspace cannot be written.
    """
    store = context.store
    name, _, text = evidence.model.rpartition(":")
    number = int(text)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    parts = below("model", model.save())
    needs = _needs(model, parts)
    packages = sorted({p for found in needs.values() for p in found} | set(BASE))
    parts |= {
        "contract.json": to_json(model.contract),
        "evidence.json": to_json(evidence),
        "report.html": report_html.encode(),
        "sbom.json": sbom(name, str(number), packages),
    }
    manifest = Manifest(
        {}, name=name, version=number, problem=model.problem, packages=_installed(packages), emlyn=emlyn.__version__, created=created
    )
    key = store.root / "keys" / signing.SECRET_FILE
    data = archive.pack(parts, manifest, packages=needs, sign_with=signing.secret_key(key) if key.exists() else b"")
    report = make_folder(store.root / "reports") / f"{name}-{number}.html"
    write_durably(report, report_html.encode())
    version = ModelVersion(
        name=name,
        version=number,
        digest=hashlib.sha256(data).hexdigest(),
        artifact=store.artifacts.put(data, registry.FILE),
        task=model.problem.task,
        target=model.problem.target,
        metric=model.problem.metric,
        created=created,
        evaluation=to_plain(evidence.evaluation.metrics),
        lineage=evidence.lineage,
        report=str(report),
    )
    verdict = evidence.evaluation.verdict
    barred = "" if verdict is None or verdict.word != UNUSABLE else f"its verdict is “{UNUSABLE}”"
    registered = registry.register(store, version, by=evidence.lineage.by, barred=barred)
    context.emit("package", _said(registered, barred), model=evidence.model, digest=version.digest, bytes=len(data))
    return registered


def _needs(model: Model, parts: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """Part -> the distributions that its member's learner says it needs."""
    found: dict[str, tuple[str, ...]] = {}
    for i, member in enumerate(model.members):
        packages = tuple(getattr(plugins.find("learners", member.recipe.learner), "packages", ()))
        found |= {part: packages for part in parts if part.startswith(f"model/members/{i}/")}
    return found


def _installed(packages: list[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # vendored, or under another name: the bill of materials leaves it out as well
    return found


def _said(version: ModelVersion, barred: str) -> str:
    name = f"{version.name}:{version.version}"
    if registry.CHAMPION in version.aliases:
        return f"registered as {name}, the champion"
    if barred:
        return f'registered as {name}, not as champion: {barred}; to use it all the same: emlyn promote {name} --why "REASON"'
    return f"registered as {name}; make it the champion with: emlyn promote {name}"
