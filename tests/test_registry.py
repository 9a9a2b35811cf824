"""The registry: names, numbers, aliases and decisions; and packaging a model into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import evidences
import toys
from emlyn.core.models.model import Model
from emlyn.core.storing import archive, registry, signing
from emlyn.core.storing.store import Conflict, Store
from emlyn.core.storing.workspace import Workspace
from emlyn.doors.server.run import champions
from emlyn.doors.server.setup import ServeOptions
from emlyn.errors import ModelError, OptionError, WorkspaceError
from emlyn.records.codec import from_json
from emlyn.records.evaluation import Verdict
from emlyn.records.manifest import Manifest
from emlyn.records.run import Evidence, ModelVersion
from emlyn.stages.ensemble import ensemble
from emlyn.stages.package import package
from emlyn.stages.plan import plan
from emlyn.stages.search import search


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Workspace.find(tmp_path / "home", {}).open_store() as store:
        yield store


def add(store: Store, name: str = "churn", by: str = "ada") -> ModelVersion:
    number = registry.reserve(store, name)
    data = archive.pack({"a.txt": f"{name} {number}".encode()}, Manifest({}, name, number))
    key, digest = store.artifacts.put(data, registry.FILE), hashlib.sha256(data).hexdigest()
    return registry.register(store, ModelVersion(name, number, digest, key, "binary", "y", "roc_auc", "", lineage=evidences.LINEAGE), by)


def test_the_first_version_is_champion_and_later_ones_wait(store: Store) -> None:
    assert [add(store).aliases for _ in range(3)] == [("champion", "latest"), ("latest",), ("latest",)]
    assert registry.resolve(store, "churn").version == 1
    assert registry.resolve(store, "churn@latest").version == 3
    assert registry.resolve(store, "churn@champion").version == 1
    assert registry.resolve(store, "churn:2").version == 2
    assert [v.aliases for v in registry.versions(store, "churn")] == [("champion",), (), ("latest",)]


def test_promote_and_rollback_walk_the_line_of_champions(store: Store) -> None:
    for _ in range(3):
        add(store)
    promoted = registry.promote(store, "churn:2", by="ada", why="better on March")
    assert (promoted.version, promoted.before, promoted.by, promoted.why) == (2, 1, "ada", "better on March")
    assert promoted.at
    registry.promote(store, "churn@latest")
    registry.promote(store, "churn:3")  # again: no second step to go back
    assert registry.rollback(store, "churn", why="complaints").version == 2
    assert registry.resolve(store, "churn").version == 2
    registry.promote(store, "churn:3")
    assert [registry.rollback(store, "churn").version for _ in range(2)] == [2, 1]
    with pytest.raises(ModelError, match="no other champion"):
        registry.rollback(store, "churn")
    actions = [(d.action, d.alias, d.version) for d in registry.history(store, "churn")]
    assert actions[:5] == [
        ("register", "champion", 1),
        ("register", "latest", 2),
        ("register", "latest", 3),
        ("promote", "champion", 2),
        ("promote", "champion", 3),
    ]
    assert next(d.why for d in registry.history(store, "churn") if d.action == "rollback") == "complaints"


def test_aliases_of_ones_own(store: Store) -> None:
    add(store)
    add(store)
    registry.promote(store, "churn:2", alias="challenger")
    assert registry.resolve(store, "churn@challenger").version == 2
    assert registry.resolve(store, "churn").version == 1
    with pytest.raises(OptionError, match="latest"):
        registry.promote(store, "churn:1", alias="latest")


def test_numbers_are_given_once_to_many_at_a_time(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: add(store).version, range(24)))
    assert sorted(versions) == list(range(1, 25))
    champions = [d for d in registry.history(store, "churn") if d.alias == "champion"]
    assert len(champions) == 1
    with pytest.raises(Conflict):
        registry.register(store, replace(registry.resolve(store, "churn"), version=2, digest="other"))


def test_a_number_whose_packaging_failed_is_not_used_again(store: Store) -> None:
    registry.reserve(store, "churn")
    assert add(store).version == 2
    assert registry.resolve(store, "churn").version == 2


def test_names_that_begin_alike_are_kept_apart(store: Store) -> None:
    for name in ("churn", "churn-2", "churn.2", "Zürich_1"):
        add(store, name)
    assert [v.name for v in registry.versions(store, "churn")] == ["churn"]
    assert {v.name for v in registry.versions(store)} == {"churn", "churn-2", "churn.2", "Zürich_1"}
    assert registry.resolve(store, "Zürich_1").version == 1


@pytest.mark.parametrize("name", ["", "a b", "a@b", "a:1", "a/b", "../x", "-a", "a" * 101, "model.emlyn", "a\n", "a\x00"])
def test_what_cannot_be_a_name(store: Store, name: str) -> None:
    with pytest.raises(OptionError) as error:
        registry.reserve(store, name)
    assert error.value.allowed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Copy of Churn (1)", "copy-of-churn-1"),
        ("İstanbul", "i-stanbul"),
        ("🙂", "model"),
        ("", "model"),
        ("a" * 300, "a" * 100),
        ("../x", "x"),
        ("Zürich", "zürich"),
    ],
)
def test_a_name_from_a_file(text: str, name: str) -> None:
    assert registry.name_from(text) == name


@given(st.text(max_size=130))
@settings(deadline=None)
def test_any_text_gives_a_name(text: str) -> None:
    assert registry.check_name(registry.name_from(text))


@pytest.mark.parametrize(
    ("reference", "says", "next_step"),
    [
        ("chrun", "no model is called 'chrun'", "did you mean 'churn'?"),
        ("zzz", "no model is called", "train one"),
        ("churn@champoin", "no alias", "did you mean 'champion'?"),
        ("churn:9", "no version 9", "emlyn models churn"),
        ("churn:x", "does not name a model", "emlyn models"),
        ("churn@a@b", "does not name a model", "emlyn models"),
        ("", "does not name a model", "emlyn models"),
        ("no/such/file.emlyn", "cannot be read", "check the path"),
        ("./churn", "cannot be read", "check the path"),
    ],
)
def test_what_cannot_be_resolved_says_what_could(store: Store, reference: str, says: str, next_step: str) -> None:
    add(store)
    with pytest.raises(ModelError, match=says) as error:
        registry.resolve(store, reference)
    assert next_step in error.value.next_step
    assert error.value.allowed


@given(st.text(max_size=40))
@example("/\x00")
@settings(max_examples=200, deadline=None)
def test_any_text_is_resolved_or_refused_politely(text: str) -> None:
    with pytest.raises(ModelError):
        registry.resolve(None, text)


def test_a_file_needs_no_registry(store: Store, tmp_path: Path) -> None:
    version = add(store)
    copy = tmp_path / "copy of churn.emlyn"
    copy.write_bytes(Path(version.path).read_bytes())
    found = registry.resolve(None, copy)
    assert (found.name, found.version, found.digest) == ("churn", 1, version.digest)
    with pytest.raises(ModelError, match="promoted"):
        registry.promote(store, str(copy))


def test_a_registered_file_that_was_altered_is_not_opened(store: Store) -> None:
    version = add(store)
    assert dict(registry.load(version).parts) == {"a.txt": b"churn 1"}
    other = archive.pack({"a.txt": b"evil"}, Manifest({}, "churn", 1))
    Path(version.path).write_bytes(other)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        registry.load(registry.resolve(store, "churn"))
    Path(version.path).unlink()
    with pytest.raises(ModelError):
        registry.load(registry.resolve(store, "churn"))


def test_lineage_can_be_followed_from_the_data(store: Store) -> None:
    first = add(store)
    links = store.links(source=("data", evidences.LINEAGE.data_digest))
    assert [link.target for link in links] == [("version", f"churn:{first.version}")]
    assert registry.versions(store, "churn")[0].lineage == evidences.LINEAGE


# ---- packaging


def numbered(store: Store, evidence: Evidence) -> Evidence:
    return replace(evidence, model=f"churn:{registry.reserve(store, 'churn')}")


@pytest.fixture(scope="module")
def model() -> Model:
    with toys.only(toys.Ridge(), toys.Prior()):
        data, problem, context = toys.rows_data(), toys.binary_problem(), toys.context()
        return ensemble(search(plan(problem, data, toys.options(2), context), data, problem, context), data, problem, context)


def test_a_packaged_model_is_found_by_name_and_predicts_the_same(store: Store, model: Model) -> None:
    evidence = evidences.binary()
    events = []
    with toys.only(toys.Ridge(), toys.Prior()):
        version = package(model, numbered(store, evidence), "<html>report</html>", toys.context(store=store, sink=events.append))
        found = registry.load(registry.resolve(store, "churn"))
        again = Model.load(found.under("model/"))
        data = toys.rows_data(seed=1)
        np.testing.assert_array_equal(again.predict_answers(data), model.predict_answers(data))
    assert found.parts["report.html"] == b"<html>report</html>" == Path(version.report).read_bytes()
    assert from_json(found.parts["evidence.json"], Evidence).model == "churn:1"
    assert json.loads(found.parts["sbom.json"])["bomFormat"] == "CycloneDX"
    assert found.manifest.problem == model.problem
    assert "numpy" in found.manifest.packages
    assert version.evaluation == registry.resolve(store, "churn").evaluation
    assert version.evaluation["roc_auc"]["value"] == evidence.evaluation.metrics["roc_auc"].value
    assert [event.kind for event in events] == ["package"]
    assert "champion" in events[0].message


def test_a_second_package_says_how_to_promote_it(store: Store, model: Model) -> None:
    events = []
    with toys.only(toys.Ridge(), toys.Prior()):
        for _ in range(2):
            package(model, numbered(store, evidences.binary()), "", toys.context(store=store, sink=events.append))
    assert "emlyn promote churn:2" in events[1].message


def test_a_model_is_signed_where_the_workspace_has_a_key(store: Store, model: Model) -> None:
    keys = store.root / "keys"
    signing.new_key(keys)
    with toys.only(toys.Ridge(), toys.Prior()):
        version = package(model, numbered(store, evidences.binary()), "", toys.context(store=store))
    assert registry.load(version, require_signature=True, public_keys=signing.trusted(keys)).signed_by


def test_a_package_that_finds_the_disk_full_registers_nothing(store: Store, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise WorkspaceError("the disk is full")

    with toys.only(toys.Ridge(), toys.Prior()):
        monkeypatch.setattr(store.artifacts, "put", full)
        with pytest.raises(WorkspaceError):
            package(model, numbered(store, evidences.binary()), "", toys.context(store=store))
    assert registry.versions(store) == ()
    assert registry.history(store, "churn") == ()


def test_the_manifest_names_what_each_member_needs(store: Store) -> None:
    data, problem, context = toys.rows_data(), toys.binary_problem(), toys.context(store=store)
    ridge = toys.Ridge()
    ridge.packages = ("lightgbm",)
    with toys.only(ridge):
        made = ensemble(search(plan(problem, data, toys.options(1), context), data, problem, context), data, problem, context)
        version = package(made, numbered(store, evidences.binary()), "", context)
    manifest = registry.load(version).manifest
    needs = {name: member.packages for name, member in manifest.members.items()}
    assert {packages for name, packages in needs.items() if name.startswith("model/members/")} == {("lightgbm",)}
    assert {packages for name, packages in needs.items() if not name.startswith("model/members/")} == {()}
    assert {"lightgbm", "numpy"} <= set(manifest.packages)


def test_a_version_that_must_not_be_used_yet_is_no_champion_until_someone_says_so(store: Store, model: Model) -> None:
    evidence, events = evidences.binary(), []
    unfit = replace(evidence, evaluation=replace(evidence.evaluation, verdict=Verdict("do not use yet", "no better than guessing")))
    context = toys.context(store=store, sink=events.append)
    with toys.only(toys.Ridge(), toys.Prior()):
        first = package(model, numbered(store, unfit), "", context)
        with pytest.raises(ModelError) as refused:
            registry.resolve(store, "churn")
        assert registry.resolve(store, "churn@latest").version == registry.resolve(store, "churn:1").version == 1
        second = package(model, numbered(store, evidence), "", context)
    assert registry.CHAMPION not in first.aliases
    said = str(refused.value)
    assert "do not use yet" in said
    assert 'emlyn promote churn:1 --why "REASON"' in said
    assert 'emlyn promote churn:1 --why "REASON"' in events[0].message
    assert "do not use yet" in registry.history(store, "churn")[0].why
    assert registry.CHAMPION in second.aliases, "the first that is fit for use becomes champion"
    registry.promote(store, "churn:1", by="ada", why="a pilot with two doctors")
    assert registry.resolve(store, "churn").version == 1
    assert registry.rollback(store, "churn").version == 2


def test_a_name_without_a_champion_does_not_keep_the_others_from_being_served(store: Store) -> None:
    def unfit(name: str) -> None:
        number = registry.reserve(store, name)
        registry.register(store, ModelVersion(name, number, "d", "a", "binary", "y", "roc_auc", ""), barred="it guesses")

    options = ServeOptions(home=str(store.root))
    unfit("alone")
    with pytest.raises(ModelError, match="it guesses"):
        champions(options)
    add(store, "churn")
    unfit("zebra")
    assert champions(options) == ("churn",)
