"""The registry of models: names, versions, aliases, and who decided what, when and why. All of it lives in the store.

>>> number = registry.reserve(store, "churn")                                    # doctest: +SKIP
>>> version = registry.register(store, ModelVersion("churn", number, ...), by="ada", why="trained")
>>> registry.resolve(store, "churn")                  # its champion; also "churn@latest", "churn:2", "model.emlyn"
>>> registry.promote(store, "churn:2", by="ada", why="better on March")
>>> registry.rollback(store, "churn", by="ada", why="complaints")

The first version of a name that may be used becomes its `champion`; a later one only by `promote`. `latest` always names the highest version.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emlyn.core.storing import archive
from emlyn.errors import ModelError, OptionError
from emlyn.records import codec
from emlyn.records.manifest import Decision
from emlyn.records.run import ModelVersion

if TYPE_CHECKING:
    from emlyn.core.storing.store import Store, Transaction

CHAMPION, LATEST = "champion", "latest"
NAME = re.compile(r"\w[\w.-]{0,99}")
REFERENCE = re.compile(r"(?P<name>[^@:]+)(?:@(?P<alias>[^@:]+)|:(?P<version>\d{1,9}))?")
FILE = ".emlyn"


def check_name(name: str) -> str:
    """The name, when it can be one. Raises OptionError."""
    if not NAME.fullmatch(name) or name.endswith(FILE):
        raise OptionError(
            f"{name!r} cannot be the name of a model",
            where="--name",
            allowed="1 to 100 letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
            next_step="choose another name",
        )
    return name


def name_from(text: str) -> str:
    """A name made from any text, such as a file's: lower case, other signs become `-`."""
    plain = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()))
    return plain.strip("-_")[:100].rstrip("-_") or "model"


def reserve(store: Store, name: str) -> int:
    """The next version number of a name, given to this caller alone. A number whose training fails stays unused."""
    check_name(name)
    with store.transaction() as t:
        number = 1 + max((int(r.key.rpartition(":")[2]) for r in t.list("number", f"{name}:")), default=0)
        t.put("number", f"{name}:{number}", {})
    return number


def register(store: Store, version: ModelVersion, by: str = "", why: str = "trained", barred: str = "") -> ModelVersion:
    """Make a version known under its reserved number; while its name has no champion, it becomes champion.

    With `barred`, the reason why not, it does not: somebody has to `promote` it. Raises store.Conflict for a number in use.
    """
    key = f"{version.name}:{version.version}"
    with store.transaction() as t:
        champion = _alias(t, version.name, CHAMPION)
        t.put("version", key, replace(version, aliases=()))
        if version.lineage is not None:
            t.link(("data", version.lineage.data_digest), "trained", ("version", key))
            if version.lineage.parent:
                t.link(("version", version.lineage.parent), "parent", ("version", key))
        alias = CHAMPION if champion is None and not barred else LATEST
        if alias == CHAMPION:
            t.put("alias", f"{version.name}@{CHAMPION}", {"version": version.version}, replace=True)
        told = f"{why}; no champion by itself: {barred}" if barred else why
        _record(t, Decision(version.name, "register", alias, version.version, champion, by, "", told))
    return _found(store, version.name, version.version)


def promote(store: Store, reference: str, by: str = "", why: str = "", alias: str = CHAMPION) -> Decision:
    """Give an alias (the champion's, unless said otherwise) to a registered version. Raises ModelError, OptionError."""
    version = resolve(store, reference)
    if not version.artifact:
        raise ModelError(
            "a model file by itself cannot be promoted",
            where=reference,
            allowed="a registered version: NAME:VERSION, NAME@alias",
            next_step="`emlyn models` lists the registered ones",
        )
    if alias == LATEST:
        raise OptionError("`latest` always names the highest version and cannot be given away", allowed="champion, or an alias of your own")
    check_name(alias)
    with store.transaction() as t:
        before = _alias(t, version.name, alias)
        t.put("alias", f"{version.name}@{alias}", {"version": version.version}, replace=True)
        return _record(t, Decision(version.name, "promote", alias, version.version, before, by, "", why))


def rollback(store: Store, name: str, by: str = "", why: str = "") -> Decision:
    """Make the champion before the present one champion again; once more goes back one further. Raises ModelError."""
    with store.transaction() as t:
        if not t.list("version", f"{name}:"):
            raise _unknown(name, t)
        earlier = _champions(t, name)
        if len(earlier) < 2:
            raise ModelError(
                f"{name} has had no other champion to go back to",
                where=f"{name}@{CHAMPION}",
                allowed="a name with at least two champions in its history",
                next_step=f"`emlyn models {name}` shows the history; `emlyn promote {name}:VERSION` chooses a version",
            )
        t.put("alias", f"{name}@{CHAMPION}", {"version": earlier[-2]}, replace=True)
        return _record(t, Decision(name, "rollback", CHAMPION, earlier[-2], earlier[-1], by, "", why))


def history(store: Store, name: str) -> tuple[Decision, ...]:
    """Every decision about a name, oldest first."""
    return tuple(_decision(happening.body, happening.created) for happening in store.events(_stream(name)))


def versions(store: Store, name: str = "") -> tuple[ModelVersion, ...]:
    """Registered versions, all or of one name, by name and number. Raises ModelError for a name that is not there."""
    with store.reading() as t:
        found = [r.read(ModelVersion) for r in t.list("version", f"{name}:" if name else "")]
        if name and not found:
            raise _unknown(name, t)
        pairs = [(r.key, int(r.read(dict)["version"])) for r in t.list("alias")]
    highest = {v.name: v.version for v in sorted(found, key=lambda v: v.version)}
    pairs += [(f"{n}@{LATEST}", v) for n, v in highest.items()]
    return tuple(_dressed(store, v, pairs) for v in sorted(found, key=lambda v: (v.name, v.version)))


def resolve(store: Store | None, reference: str | Path) -> ModelVersion:
    """What `NAME` (its champion), `NAME@alias`, `NAME:version` or a path to a `.emlyn` file names; `path` is a file on this machine.

    Without a store only a path can be resolved. Raises ModelError, with the nearest name for one that is not there.
    """
    text = str(reference)
    if isinstance(reference, Path) or text.endswith(FILE) or "/" in text or "\\" in text:
        return _file(Path(text))
    said = REFERENCE.fullmatch(text)
    if store is None or said is None:
        raise ModelError(
            f"{text!r} does not name a model",
            allowed="NAME, NAME@alias, NAME:version, or a path to a .emlyn file",
            next_step="`emlyn models` lists the registered ones",
        )
    name = said["name"]
    if said["version"]:
        return _found(store, name, int(said["version"]))
    alias = said["alias"] or CHAMPION
    with store.reading() as t:
        numbers = _numbers(t, name)
        if not numbers:
            raise _unknown(name, t)
        number = max(numbers) if alias == LATEST else _alias(t, name, alias)
        if number is None and alias == CHAMPION:
            raise _no_champion(name, numbers, t)
        if number is None:
            aliases = [r.key.rpartition("@")[2] for r in t.list("alias", f"{name}@")] + [LATEST]
            allowed = ", ".join(f"{name}@{a}" for a in aliases)
            raise ModelError(f"{name} has no alias {alias!r}", where=text, allowed=allowed, next_step=_nearest(alias, aliases))
    return _found(store, name, number)


def load(found: ModelVersion, *, require_signature: bool = False, public_keys: Iterable[bytes] = ()) -> archive.Archive:
    """The audited model file of a resolved version; a registered one must be byte for byte the one that was registered. Raises ModelError."""
    opened = archive.open(Path(found.path), require_signature=require_signature, public_keys=public_keys)
    if found.digest and opened.digest != found.digest:
        raise ModelError(
            "this model file is not the one that was registered: its SHA-256 differs",
            where=found.path,
            allowed=found.digest,
            next_step="restore it from a backup, or train again",
        )
    return opened


def _found(store: Store, name: str, number: int) -> ModelVersion:
    known = {v.version: v for v in versions(store, name)}
    if number not in known:
        raise ModelError(
            f"{name} has no version {number}",
            where=f"{name}:{number}",
            allowed=", ".join(f"{name}:{n}" for n in known),
            next_step=f"`emlyn models {name}` shows them",
        )
    return replace(known[number], path=str(store.artifacts.path(known[number].artifact)))


def _dressed(store: Store, version: ModelVersion, pairs: Iterable[tuple[str, int]]) -> ModelVersion:
    """The version with the aliases it has now and the place of its file."""
    aliases = tuple(key.rpartition("@")[2] for key, number in pairs if number == version.version and key.rpartition("@")[0] == version.name)
    return replace(version, aliases=aliases, path=store.artifacts.where(version.artifact))


def _file(path: Path) -> ModelVersion:
    opened = archive.open(path)
    said = opened.manifest
    problem = said.problem
    return ModelVersion(
        name=said.name or path.stem,
        version=said.version,
        digest=opened.digest,
        artifact="",
        task=problem.task if problem else "",
        target=problem.target if problem else "",
        metric=problem.metric if problem else "",
        created=said.created,
        path=str(path),
    )


def _numbers(t: Transaction, name: str) -> list[int]:
    return [int(r.key.rpartition(":")[2]) for r in t.list("version", f"{name}:")]


def _alias(t: Transaction, name: str, alias: str) -> int | None:
    found = t.get("alias", f"{name}@{alias}", dict)
    return None if found is None else int(found["version"])


def _champions(t: Transaction, name: str) -> list[int]:
    """The champions that led to the present one, in order: a promotion adds one, a rollback takes the last away."""
    line: list[int] = []
    for happening in t.events(_stream(name)):
        said = _decision(happening.body, happening.created)
        if said.alias == CHAMPION and said.action == "rollback":
            line.pop()
        elif said.alias == CHAMPION and line[-1:] != [said.version]:
            line.append(said.version)
    return line


def _record(t: Transaction, decision: Decision) -> Decision:
    t.append(_stream(decision.name), decision.action, decision)
    return _decision(codec.to_plain(decision), t.events(_stream(decision.name))[-1].created)


def _decision(body: dict[str, Any], at: str) -> Decision:
    return replace(codec.from_json(codec.to_json(body), Decision), at=at)


def _stream(name: str) -> str:
    return f"model:{name}"


def _known(t: Transaction) -> str:
    names = sorted({r.key.rpartition(":")[0] for r in t.list("version")})
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "(no model is registered yet)"


def _unknown(name: str, t: Transaction) -> ModelError:
    names = sorted({r.key.rpartition(":")[0] for r in t.list("version")})
    return ModelError(f"no model is called {name!r}", where="the registry", allowed=_known(t), next_step=_nearest(name, names))


def _no_champion(name: str, numbers: list[int], t: Transaction) -> ModelError:
    newest = f"{name}:{max(numbers)}"
    last = _decision(t.events(_stream(name))[-1].body, "")
    return ModelError(
        f"{name} has no champion: no version of it was found fit for use, and nobody has promoted one",
        where=f"{name}@{CHAMPION} ({name}:{last.version}: {last.why})",
        allowed=", ".join(f"{name}:{n}" for n in sorted(numbers)) + f", {name}@{LATEST}",
        next_step=f'read its report (emlyn report {newest}); to use it all the same: emlyn promote {newest} --why "REASON", or name the version',
    )


def _nearest(asked: str, known: list[str]) -> str:
    close = difflib.get_close_matches(asked, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else "train one with `emlyn train DATA --target COL`, or give the path of a .emlyn file"
