"""Ed25519 signatures (RFC 8032) over a model file's manifest. Keys are 32 raw bytes in memory and PEM files on disk.

>>> from emlyn.core.storing import signing
>>> secret = signing.new_key(workspace.keys)        # doctest: +SKIP
>>> archive.write(path, parts, manifest, sign_with=signing.secret_key(workspace.keys / "signing.key"))  # doctest: +SKIP
>>> archive.open(path, require_signature=True, public_keys=signing.trusted(workspace.keys))  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import msgspec

from emlyn.core.storing.durable import make_folder, write_durably
from emlyn.errors import ModelError, WorkspaceError

SECRET_FILE = "signing.key"  # noqa: S105 - a file name
DOMAIN = b"emlyn model manifest 1\n"
"""Signed in front of the manifest, so that a signature made for anything else never fits."""


class Signature(msgspec.Struct, frozen=True):
    """What lies beside the manifest."""

    algorithm: str
    key: str
    """The short name of the public key."""
    signature: str
    """Base 64."""


def new_key(folder: Path) -> Path:
    """Make a key pair: `signing.key` (only its owner may read it) and its public half `NAME.pub`; return the public half's path.

    Raises WorkspaceError when there is one already: a signing key is never written over.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if (folder / SECRET_FILE).exists():
        raise WorkspaceError(
            "there is a signing key already",
            where=str(folder / SECRET_FILE),
            allowed="one signing key per workspace",
            next_step="move it to a safe place first; models it signed still need its public half",
        )
    make_folder(folder)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = folder / f"{key_name(key.public_key().public_bytes_raw())}.pub"
    write_durably(folder / SECRET_FILE, secret, mode=0o600)
    write_durably(path, public)
    return path


def secret_key(path: Path) -> bytes:
    """The 32 secret bytes of a PEM file. Raises ModelError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(path, "not an Ed25519 key")
    return key.private_bytes_raw()


def public_key(path: Path) -> bytes:
    """The 32 public bytes of a PEM file. Raises ModelError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _unreadable(path, "not an Ed25519 key")
    return key.public_bytes_raw()


def trusted(folder: Path) -> tuple[bytes, ...]:
    """Every public key (`*.pub`) of a folder: whose signatures count here."""
    return tuple(public_key(path) for path in sorted(folder.glob("*.pub")))


def key_name(public: bytes) -> str:
    """The short name of a public key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def sign(secret: bytes, manifest: bytes) -> bytes:
    """The signature member for a manifest, as JSON."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(secret)
    made = base64.b64encode(key.sign(DOMAIN + manifest)).decode()
    return msgspec.json.encode(Signature("ed25519", key_name(key.public_key().public_bytes_raw()), made))


def signer(signature: bytes, manifest: bytes, public_keys: tuple[bytes, ...]) -> str:
    """The name of the key that signed this manifest, or "" when none of `public_keys` did.

    Raises ValueError for a signature that cannot be read, or that names one of these keys and is not its signature.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = msgspec.json.decode(signature, type=Signature)
    for public in public_keys:
        if found.algorithm == "ed25519" and found.key == key_name(public):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(found.signature, validate=True), DOMAIN + manifest)
            except InvalidSignature as error:
                raise ValueError(f"the signature of key {found.key} does not fit") from error
            return found.key
    return ""


def _unreadable(path: Path, why: object) -> ModelError:
    return ModelError(
        f"this key file cannot be read: {why}", where=str(path), allowed="a PEM file with an Ed25519 key", next_step="make a pair with `emlyn keys`"
    )
