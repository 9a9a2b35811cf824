"""The model file: what is written comes back, and nothing else is ever believed."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emlyn import plugins
from emlyn.core.storing import archive, signing
from emlyn.core.storing.sbom import sbom
from emlyn.errors import ModelError, WorkspaceError
from emlyn.records.manifest import Manifest
from emlyn.records.problem import Problem
from emlyn.service.loading import Loader

PARTS = {"model/state.json": b'{"a": 1}' * 200, "model/members/0/arrays.npz": bytes(range(256)) * 3, "report.html": b"<html>", "empty.txt": b""}
PROBLEM = Problem("binary", "churn", "roc_auc", "maximize")
HEAD = Manifest({}, name="churn", version=3, problem=PROBLEM, packages={"numpy": "2.0"}, created="2026-11-20")
WHOLE = archive.pack(PARTS, HEAD)
SECRET = bytes(range(32))
SIGNED = archive.pack(PARTS, HEAD, sign_with=SECRET)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    signing.new_key(folder)
    return folder


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "new" / "churn.emlyn"
    digest = archive.write(path, PARTS, HEAD, packages={"report.html": ["jinja2"]})
    found = archive.open(path)
    assert dict(found.parts) == PARTS
    assert found.digest == digest
    assert found.manifest.problem == HEAD.problem
    assert found.manifest.members["report.html"].packages == ("jinja2",)
    assert found.under("model/") == {"state.json": PARTS["model/state.json"], "members/0/arrays.npz": PARTS["model/members/0/arrays.npz"]}
    assert [p.name for p in path.parent.iterdir()] == ["churn.emlyn"]


def test_the_same_model_has_the_same_bytes_whatever_the_order_of_its_parts() -> None:
    assert archive.pack(dict(reversed(PARTS.items())), HEAD) == WHOLE


def test_it_is_an_ordinary_zip_that_any_tool_opens() -> None:
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as file:
        assert file.testzip() is None
        assert file.namelist()[0] == "manifest.json"
        assert json.loads(file.read("manifest.json"))["format"] == 1


# ---- damage


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change of any byte, a cut, a repetition, an insertion or a swap, at any place."""
    place, length, byte = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 40)), draw(st.integers(1, 255))
    kind = draw(st.sampled_from(["flip", "flip", "flip", "cut", "end", "repeat", "insert", "zero"]))

    def change(data: bytes) -> bytes:
        i = int(place * len(data))
        return {
            "flip": data[:i] + bytes([data[i] ^ byte]) + data[i + 1 :],
            "cut": data[:i] + data[i + length :],
            "end": data[:i],
            "repeat": data[: i + length] + data[i:],
            "insert": data[:i] + bytes([byte]) * length + data[i:],
            "zero": data[:i] + bytes(len(data[i : i + length])) + data[i + length :],
        }[kind]

    return change


@given(st.lists(damage(), min_size=1, max_size=3), st.booleans())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_is_refused_or_harmless_and_never_anything_else(changes: list[Callable[[bytes], bytes]], signed: bool) -> None:
    data = SIGNED if signed else WHOLE
    for change in changes:
        data = change(data) if data else data
    try:
        found = archive.open(data)
        parts = dict(found.parts)
    except ModelError:
        return
    assert parts == PARTS
    assert found.manifest.problem == PROBLEM


def test_no_single_byte_of_a_member_can_be_changed() -> None:
    """Each byte in turn, inverted: inside a member it is refused, elsewhere (time-stamps, what follows a stream's last symbol) it changes nothing."""
    parts = {"a/x.json": b"0123456789" * 60, "b": b"q"}
    small = archive.pack(parts, Manifest({}))
    with zipfile.ZipFile(io.BytesIO(small)) as file:
        starts = {i.header_offset + 30 + len(i.filename): i.compress_size - 2 * (i.compress_type == zipfile.ZIP_DEFLATED) for i in file.infolist()}
    inside = {start + k for start, size in starts.items() for k in range(size)}
    refused = set()
    for i in range(len(small)):
        try:
            assert dict(archive.open(small[:i] + bytes([small[i] ^ 0xFF]) + small[i + 1 :]).parts) == parts
        except ModelError:
            refused.add(i)
    assert inside <= refused


@given(st.binary(max_size=300))
@example(b"")
@example(b"PK\x05\x06" + bytes(18))
@example(pickle.dumps({"a": 1}))
@settings(max_examples=100, deadline=None)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        archive.open(data)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.emlyn"):
        with pytest.raises(ModelError, match="cannot be read"):
            archive.open(path)


# ---- malice: archives whose manifest fits what they hold, so that only the audit of the zip can refuse them


def made(extra: Callable[[zipfile.ZipFile], None] = lambda _: None, parts: dict[str, bytes] | None = None, **changes: object) -> bytes:
    """A model file written by someone else's program."""
    import hashlib

    held = PARTS if parts is None else parts
    members = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in held.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps({"format": 1, "members": members, **changes}))
        for name, data in held.items():
            file.writestr(name, data)
        extra(file)
    return out.getvalue()


def link(file: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("model/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(info, "/etc/passwd")


def packed_otherwise(file: zipfile.ZipFile) -> None:
    file.writestr("model/x", b"x" * 100, zipfile.ZIP_LZMA)


def a_second_of_the_name(file: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("report.html", b"other")


def comment(file: zipfile.ZipFile) -> None:
    file.comment = b"hello"


def overlap() -> bytes:
    """Two directory entries that share the bytes of one member (the trick of quine bombs)."""
    data = made(parts={"a": b"x" * 50, "b": b"x" * 50})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        a, b = file.getinfo("a").header_offset, file.getinfo("b").header_offset
    directory = data.rindex(struct.pack("<I", b))
    return data[:directory] + struct.pack("<I", a) + data[directory + 4 :]


MALICE: dict[str, tuple[Callable[[], bytes], str]] = {
    "traversal": (lambda: made(parts={"../../etc/cron.d/x": b""}), "plain relative name"),
    "traversal inside": (lambda: made(parts={"model/../../x": b""}), "plain relative name"),
    "absolute": (lambda: made(parts={"/etc/passwd": b""}), "plain relative name"),
    "drive": (lambda: made(parts={"C:/x": b""}), "plain relative name"),
    "backslash": (lambda: made(parts={"model\\..\\x": b""}), "plain relative name|second name"),
    "dots": (lambda: made(parts={"model/...": b""}), "plain relative name"),
    "hidden": (lambda: made(parts={".bashrc": b""}), "plain relative name"),
    "folder": (lambda: made(parts={"model/": b""}), "plain relative name"),
    "odd letters": (lambda: made(parts={"model/\u202egnp.x": b""}), "plain relative name"),
    "new line": (lambda: made(parts={"model/a\nb": b""}), "plain relative name"),
    "long name": (lambda: made(parts={"m" * 300: b""}), "plain relative name"),
    "pickle by name": (lambda: made(parts={"model/m.PKL": b""}), "can run code"),
    "joblib by name": (lambda: made(parts={"model/m.joblib": b""}), "can run code"),
    "torch by name": (lambda: made(parts={"model/m.pt": b""}), "can run code"),
    "python": (lambda: made(parts={"model/m.py": b""}), "can run code"),
    "pickle by content": (lambda: made(parts={"model/m.json": pickle.dumps([1])}), "pickle"),
    "link": (lambda: made(link), "link"),
    "other compression": (lambda: made(packed_otherwise), "packed"),
    "two of one name": (lambda: made(a_second_of_the_name), "one name"),
    "comment": (lambda: made(comment), "comment"),
    "bytes in front": (lambda: b"#!/bin/sh\n" + WHOLE, "before its first member|not a whole"),
    "bomb": (lambda: made(parts={"model/zeros": bytes(30_000_000)}), "would unpack"),
    "overlap": (overlap, "overlaps|not a whole"),
    "too many": (lambda: made(parts={f"m{i}": b"" for i in range(archive.MOST_MEMBERS + 1)}), "members"),
    "no manifest": (lambda: zip_of({"model/a": b""}), "first member"),
    "empty": (lambda: zip_of({}), "first member"),
    "not in the manifest": (lambda: made(lambda f: f.writestr("model/stray", "x")), "stray"),
    "not in the zip": (lambda: made(members={"ghost": {"size": 0, "sha256": ""}}, parts={}), "ghost"),
    "another digest": (lambda: made(members={"a": {"size": 1, "sha256": "00"}}, parts={"a": b"x"}), "a is not what"),
    "another size": (lambda: made(members={"a": {"size": 5, "sha256": "00"}}, parts={"a": b"x"}), "a is not what"),
    "huge size": (lambda: made(members={"a": {"size": 10**30, "sha256": "00"}}, parts={"a": b"x"}), "not a whole"),
    "manifest of another kind": (lambda: made(members=[1]), "not a whole"),
    "newer format": (lambda: made(format=2), "newer emlyn"),
    "no format": (lambda: zip_of({"manifest.json": b"{}"}), "not a whole"),
    "deep JSON": (lambda: zip_of({"manifest.json": b'{"format":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}), "not a whole"),
}


def zip_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("case", MALICE, ids=lambda name: name.replace(" ", "_"))
def test_malice_is_refused(case: str) -> None:
    build, says = MALICE[case]
    data = build()
    with pytest.raises(ModelError, match=says) as error:
        archive.open(data)
    assert all((error.value.what, error.value.where, error.value.allowed, error.value.next_step))


def test_someone_elses_plain_archive_is_opened() -> None:
    """The control of the cases above: without the trick, `made` makes an archive that is accepted."""
    assert dict(archive.open(made()).parts) == PARTS


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    data = made(parts={"model/zeros": bytes(50_000_000)})
    tracemalloc.start()
    with pytest.raises(ModelError):
        archive.open(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_member_that_lies_about_its_size_does_not_unpack_further() -> None:
    """The directory says 10 bytes, the stream holds 20 million: reading stops at what was said."""
    data = bytearray(made(parts={"model/zeros": bytes(20_000_000)}))
    said = struct.pack("<I", 20_000_000)
    while (at := bytes(data).find(said)) >= 0:
        data[at : at + 4] = struct.pack("<I", 10)
    tracemalloc.start()
    with pytest.raises(ModelError):
        archive.open(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_nothing_is_written_that_would_not_be_opened(tmp_path: Path) -> None:
    for name, data in {"model/m.pkl": b"", "../x": b"", "model/m": pickle.dumps(1)}.items():
        with pytest.raises(ModelError):
            archive.write(tmp_path / "m.emlyn", {name: data}, HEAD)
    assert not list(tmp_path.iterdir())


# ---- forward compatibility


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    problem = {"task": "binary", "target": "y", "metric": "m", "direction": "maximize", "new": [1]}
    found = archive.open(made(name="churn", colour="blue", problem=problem))
    assert found.manifest.name == "churn"
    assert found.manifest.problem is not None
    assert found.manifest.problem.target == "y"


CHECKED_IN = sorted((Path(__file__).parent / "data").glob("*.emlyn"))


@pytest.mark.skipif(not CHECKED_IN, reason="no released model file is checked in under tests/data yet")
@pytest.mark.parametrize("path", CHECKED_IN, ids=lambda p: p.name)
def test_a_model_file_of_every_release_opens_for_ever(path: Path) -> None:
    from emlyn.core.models.model import Model

    found = archive.open(path)
    model = Model.load(found.under("model/"))
    assert model.problem == found.manifest.problem


# ---- signatures


def test_nothing_of_a_file_is_read_by_a_library_before_every_digest_is_right(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last byte of the last member is wrong, or the signature is not there: no learner's parser has been called by then."""
    learners = plugins.collect("learners")
    for learner in learners:
        monkeypatch.setattr(type(learner), "load", Mock(side_effect=AssertionError("a parser saw bytes that nobody had verified")))
    good = (Path(__file__).parent / "data" / "v1.emlyn").read_bytes()
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    last = max(name for name in members if name not in ("manifest.json", "manifest.sig"))
    spoiled = archive.zip_bytes({**members, last: members[last][:-1] + bytes([members[last][-1] ^ 1])})
    (tmp_path / "spoiled.emlyn").write_bytes(spoiled)
    (tmp_path / "unsigned.emlyn").write_bytes(archive.zip_bytes({n: d for n, d in members.items() if n != "manifest.sig"}))
    for name, signed in (("spoiled", False), ("unsigned", True)):
        loader = Loader(None, signed, signing.trusted(keys) if signed else ())
        with pytest.raises(ModelError):
            loader.open(loader.resolve(str(tmp_path / f"{name}.emlyn")))
    loader = Loader(None)
    with pytest.raises(AssertionError, match="a parser saw"):
        loader.open(loader.resolve(str(Path(__file__).parent / "data" / "v1.emlyn")))


def test_a_signature_is_required_verified_and_named(tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "m.emlyn"
    trusted = signing.trusted(keys)
    archive.write(path, PARTS, HEAD)
    with pytest.raises(ModelError, match="not signed"):
        archive.open(path, require_signature=True, public_keys=trusted)
    archive.sign(path, signing.secret_key(keys / "signing.key"))
    found = archive.open(path, require_signature=True, public_keys=trusted)
    assert found.signed_by == signing.key_name(trusted[0])
    assert dict(found.parts) == PARTS
    with pytest.raises(ModelError, match="trusted"):
        archive.open(path, require_signature=True, public_keys=[bytes(32)])
    with pytest.raises(ModelError, match="trusted"):
        archive.open(path, require_signature=True)
    assert archive.open(path).signed_by == ""


def test_a_signature_does_not_cover_another_manifest(keys: Path) -> None:
    trusted, secret = signing.trusted(keys), signing.secret_key(keys / "signing.key")
    good = archive.pack(PARTS, HEAD, sign_with=secret)
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    evil = archive.pack(PARTS | {"report.html": b"<html>evil"}, HEAD)
    with zipfile.ZipFile(io.BytesIO(evil)) as file:
        forged = {name: file.read(name) for name in file.namelist()}
    order = ["manifest.json", "manifest.sig", *sorted(PARTS)]
    data = archive.zip_bytes({name: (forged | {"manifest.sig": members["manifest.sig"]})[name] for name in order})
    for required in (True, False):
        with pytest.raises(ModelError, match="does not fit"):
            archive.open(data, require_signature=required, public_keys=trusted)


@given(st.binary(max_size=200))
@example(b'{"algorithm":"none","key":"","signature":""}')
@example(b'{"algorithm":"ed25519","key":"x","signature":"AAAA"}')
@settings(max_examples=60, deadline=None)
def test_a_senseless_signature_is_refused(seal: bytes) -> None:
    public = [bytes(32)]
    order = {"manifest.json": b"", "manifest.sig": seal} | PARTS
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as file:
        order["manifest.json"] = file.read("manifest.json")
    with pytest.raises(ModelError):
        archive.open(archive.zip_bytes(order), require_signature=True, public_keys=public)


def test_keys_are_private_and_never_written_over(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "keys")
    secret = tmp_path / "keys" / "signing.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    with pytest.raises(WorkspaceError, match="already"):
        signing.new_key(tmp_path / "keys")
    assert secret.read_bytes() == before
    assert signing.public_key(public) in signing.trusted(tmp_path / "keys")
    for wrong in (public, tmp_path / "nothing"):
        with pytest.raises(ModelError):
            signing.secret_key(wrong)
    with pytest.raises(ModelError):
        signing.public_key(secret)


# ---- bill of materials


def test_the_bill_names_what_is_needed_and_what_that_needs() -> None:
    bill = json.loads(sbom("churn", "3", ["LightGBM", "not-installed-anywhere"]))
    versions = {c["name"]: c["version"] for c in bill["components"]}
    assert {"lightgbm", "numpy", "scipy"} <= set(versions)
    assert bill["bomFormat"] == "CycloneDX"
    assert "not-installed-anywhere" not in versions
    refs = {c["bom-ref"] for c in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert all(d["ref"] in refs and set(d["dependsOn"]) <= refs for d in bill["dependencies"])
    assert sbom("churn", "3", ["lightgbm"]) == sbom("churn", "3", ["lightgbm"])
