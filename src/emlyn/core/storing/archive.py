"""The model file, `.emlyn`: one zip whose first member is a manifest with the digest of every other. Parse, audit, then construct.

>>> from emlyn.core.storing import archive
>>> from emlyn.records.manifest import Manifest
>>> archive.write(path, {"model/weights.npz": b"..."}, Manifest({}, name="churn"))  # doctest: +SKIP
>>> found = archive.open(path)                      # every digest is verified here
>>> model = Model.load(found.under("model/"))       # doctest: +SKIP

Nothing is unpacked to the disk, nothing inside can run code, and nothing but the zip directory, the manifest and its signature is read
before all digests fit. What an archive may hold is in docs/model-file.md.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from emlyn.core.storing import signing
from emlyn.core.storing.durable import make_folder, write_durably
from emlyn.errors import ModelError
from emlyn.records import codec
from emlyn.records.manifest import FORMAT, Manifest, Member

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MOST_MEMBERS = 10_000
LARGEST_MEMBER = 2 * 2**30
LARGEST_TOTAL = 4 * 2**30
LARGEST_MANIFEST = 16 * 2**20
HIGHEST_RATIO = 200
"""Uncompressed : compressed bytes of a member above 1 MiB; text of boosters stays below 20, a bomb needs hundreds."""
NAME = re.compile(r"(?=.{1,240}\Z)[A-Za-z0-9_][\w.+=@-]*(/[A-Za-z0-9_][\w.+=@-]*)*", re.ASCII)
RUNS_CODE = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".py", ".pyc", ".so", ".dll", ".dylib", ".exe", ".sh")
PICKLE = re.compile(rb"\x80[\x01-\x05]")
"""How a pickle of protocol 2 and above begins; none of the formats that a model is saved in does."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""One time-stamp for all members, so that the same model has the same bytes."""


@dataclass(frozen=True, eq=False)
class Archive:
    """An opened model file whose every digest fits."""

    manifest: Manifest
    parts: Mapping[str, bytes]
    """Members by name."""
    digest: str
    """SHA-256 of the whole file."""
    signed_by: str = ""
    """The name of the trusted key that signed it, or ""."""

    def under(self, prefix: str) -> dict[str, bytes]:
        """The members below a folder (`model/`), by the rest of their names."""
        return {name.removeprefix(prefix): part for name, part in self.parts.items() if name.startswith(prefix)}


Needs = Mapping[str, Collection[str]]
"""Member -> the distributions without which it cannot be used."""


def write(path: Path, parts: Mapping[str, bytes], manifest: Manifest, *, packages: Needs | None = None, sign_with: bytes = b"") -> str:
    """Write a model file, whole or not at all, and return its SHA-256. The same arguments give the same bytes.

    `manifest.members` is filled here; `packages` says which distributions each member needs. Raises ModelError for a member that
    `open` would refuse, WorkspaceError when the disk will not have it.
    """
    data = pack(parts, manifest, packages=packages, sign_with=sign_with)
    make_folder(path.parent)
    write_durably(path, data)
    return hashlib.sha256(data).hexdigest()


def pack(parts: Mapping[str, bytes], manifest: Manifest, *, packages: Needs | None = None, sign_with: bytes = b"") -> bytes:
    """The bytes of a model file; see `write`."""
    needs = packages or {}
    for name, data in parts.items():
        _audit_name(name, "the new model file")
        _audit_content(name, data[:2], "the new model file")
    members = {n: Member(len(parts[n]), hashlib.sha256(parts[n]).hexdigest(), tuple(sorted(needs.get(n, ())))) for n in sorted(parts)}
    head = codec.to_json(replace(manifest, members=members, format=FORMAT), indent=1)
    first = {MANIFEST: head} | ({SIGNATURE: signing.sign(sign_with, head)} if sign_with else {})
    return zip_bytes(first | {name: parts[name] for name in members})


def zip_bytes(parts: Mapping[str, bytes]) -> bytes:
    """A zip with these members in this order and nothing that differs from one writing to the next."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if _shrinks(data) else zipfile.ZIP_STORED
            file.writestr(info, data, compresslevel=1)
    return made.getvalue()


def open(source: Path | str | bytes, *, require_signature: bool = False, public_keys: Iterable[bytes] = ()) -> Archive:
    """Open a model file (or its bytes) after auditing all of it. Raises ModelError for anything that is not exactly as it was written.

    With `require_signature`, the manifest must be signed by one of `public_keys` (32 raw bytes each).
    """
    where = "the model file's bytes" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    try:
        file = zipfile.ZipFile(io.BytesIO(data))
        infos = _audit_directory(file, data, where)
        head = _member(file, infos[MANIFEST], LARGEST_MANIFEST)
        seal = _member(file, infos[SIGNATURE], LARGEST_MANIFEST) if SIGNATURE in infos else b""
        signed_by = _audit_signature(seal, head, require_signature, tuple(public_keys), where)
        manifest = _audit_manifest(head, infos, where)
        parts = {}
        for name, member in manifest.members.items():
            found = _member(file, infos[name], LARGEST_MEMBER) if infos[name].file_size == member.size else b""
            if len(found) != member.size or hashlib.sha256(found).hexdigest() != member.sha256:
                raise _damaged(where, f"{name} is not what the manifest says")
            _audit_content(name, found[:2], where)
            parts[name] = found
    except BROKEN as error:
        raise _damaged(where, str(error) or type(error).__name__) from error
    return Archive(manifest, parts, hashlib.sha256(data).hexdigest(), signed_by)


def sign(path: Path, secret: bytes) -> str:
    """Sign a model file in place (an older signature is replaced) and return its new SHA-256. Raises ModelError, WorkspaceError."""
    found = open(path)
    needs = {name: member.packages for name, member in found.manifest.members.items()}
    return write(path, found.parts, found.manifest, packages=needs, sign_with=secret)


BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, KeyError, OSError, msgspec.MsgspecError)
"""What zipfile, zlib and the JSON decoder raise on bytes that are not what they seem."""


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_TOTAL:
            raise _refused(str(path), f"it is larger than {LARGEST_TOTAL >> 30} GiB")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null byte is no path at all
        raise ModelError(
            f"this model file cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path).replace("\0", "\\0"),
            allowed="a .emlyn file, or the name of a registered model",
            next_step="check the path; `emlyn models` lists the registered ones",
        ) from error


def _audit_directory(file: zipfile.ZipFile, data: bytes, where: str) -> dict[str, zipfile.ZipInfo]:
    """Refuse a zip that is not plainly a row of small regular files, one after the other from the first byte on."""
    infos = file.infolist()
    if len(infos) > MOST_MEMBERS:
        raise _refused(where, f"it has more than {MOST_MEMBERS:,} members")
    by_name = {info.filename: info for info in infos}
    if len(by_name) != len(infos):
        raise _refused(where, "two members have one name")
    if not infos or infos[0].filename != MANIFEST:
        raise _refused(where, f"its first member is not {MANIFEST}")
    end = 0
    for info in infos:
        _audit_name(info.filename, where)
        if info.orig_filename != info.filename:
            raise _refused(where, f"{info.filename} has a second name")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _refused(where, f"{info.filename} is a link or a device")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & ~0x806:
            raise _refused(where, f"{info.filename} is encrypted, or packed in a way that is not allowed")
        if info.file_size > LARGEST_MEMBER or (info.file_size > 2**20 and info.file_size > HIGHEST_RATIO * info.compress_size):
            raise _refused(where, f"{info.filename} would unpack to {info.file_size:,} bytes")
        if info.header_offset < end:
            raise _refused(where, f"{info.filename} overlaps another member")
        end = info.header_offset + 30 + len(info.filename) + info.compress_size
    if sum(info.file_size for info in infos) > LARGEST_TOTAL or file.comment or infos[0].header_offset or end > len(data):
        raise _refused(where, "it is too large, has other bytes before its first member, or a comment")
    return by_name


def _audit_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name) or any(part.strip(".") != part for part in name.split("/")):
        raise _refused(where, f"{name[:80]!r} is not a plain relative name")
    if name.lower().endswith(RUNS_CODE):
        raise _refused(where, f"{name} is of a kind that can run code")


def _audit_content(name: str, start: bytes, where: str) -> None:
    if PICKLE.match(start):
        raise _refused(where, f"{name} looks like a pickle, which can run code")


def _audit_signature(seal: bytes, head: bytes, required: bool, keys: tuple[bytes, ...], where: str) -> str:
    signed_by = signing.signer(seal, head, keys) if seal and keys else ""
    if required and not signed_by:
        raise ModelError(
            "this model file is not signed by a key that is trusted here" if seal else "this model file is not signed",
            where=where,
            allowed="a file signed by one of: " + (", ".join(map(signing.key_name, keys)) or "(no key is trusted here yet)"),
            next_step="get the signed file, or put its maker's public key (.pub) into the workspace's folder `keys`",
        )
    return signed_by


def _audit_manifest(head: bytes, infos: Mapping[str, zipfile.ZipInfo], where: str) -> Manifest:
    number = msgspec.json.decode(head, type=_Format).format
    if number > FORMAT:
        raise ModelError(
            f"this model file is of format {number}, made by a newer emlyn",
            where=where,
            allowed=f"formats up to {FORMAT}",
            next_step="pip install --upgrade emlyn",
        )
    manifest = codec.from_json(head, Manifest)
    inside, said = set(infos) - {MANIFEST, SIGNATURE}, set(manifest.members)
    if inside != said:
        raise _damaged(where, f"manifest and content differ in {sorted(inside ^ said)[0]}")
    return manifest


class _Format(msgspec.Struct):
    format: int


def _member(file: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """One member's bytes, never more than the directory says it has."""
    if info.file_size > most:
        raise ValueError(f"{info.filename} is longer than allowed")
    with file.open(info) as stream:
        found = stream.read(info.file_size)
        if stream.read(1):
            raise ValueError(f"{info.filename} is longer than it says")
        return found


def _shrinks(data: bytes) -> bool:
    sample = data[: 1 << 16]
    return len(data) > 256 and len(zlib.compress(sample, 1)) < 0.9 * len(sample)


def _damaged(where: str, why: str) -> ModelError:
    return ModelError(
        f"this is not a whole model file: {why}",
        where=where,
        allowed="a .emlyn file, byte for byte as it was written",
        next_step="copy it again from its source, and compare its SHA-256 with `emlyn models`",
    )


def _refused(where: str, why: str) -> ModelError:
    return ModelError(
        f"this model file is refused: {why}",
        where=where,
        allowed="plain files with relative names, nothing that can run code, at most 4 GiB in all",
        next_step="do not use it unless you know who made it; ask its maker for a file written by emlyn",
    )
