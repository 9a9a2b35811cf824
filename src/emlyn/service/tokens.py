"""Bearer tokens: shown once, stored as SHA-256 of 256 random bits, compared in constant time. Scopes imply nothing: each is given by name."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from emlyn.errors import OptionError, WorkspaceError

SCOPES: tuple[str, ...] = ("predict", "feedback", "read", "admin")
"""predict: ask for answers; feedback: send true labels; read: metrics, OpenAPI, model metadata; admin: change what is served."""

SHORTEST = 20
"""Characters a token from the environment must have: `admin` or `password` is refused."""


@dataclass(frozen=True)
class Token:
    """What is stored of one token: never the secret."""

    name: str
    digest: str
    scopes: tuple[str, ...]
    created: float = 0.0
    expires: float | None = None
    """Seconds since 1970, or never."""

    def allows(self, scope: str) -> bool:
        return scope in self.scopes


class Tokens:
    """The tokens of one workspace (a file only its owner can read), plus the one of the environment."""

    def __init__(self, path: Path | None = None, secret: str | None = None) -> None:
        """`secret` is `EMLYN_TOKEN`: one token with every scope. Raises OptionError for a secret that is too short to be one."""
        self._path = path
        self._fixed: tuple[Token, ...] = ()
        if secret:
            if len(secret) < SHORTEST or len(set(secret)) < 8:
                raise OptionError(
                    "EMLYN_TOKEN is too easy to guess",
                    allowed=f"at least {SHORTEST} characters, 8 of them different",
                    next_step="make one with: emlyn keys new-token, or: openssl rand -hex 32",
                )
            self._fixed = (Token("EMLYN_TOKEN", digest_of(secret), SCOPES),)
        self._stamp = -1
        self._stored: tuple[Token, ...] = ()

    def __iter__(self) -> Iterator[Token]:
        self._refresh()
        return iter((*self._fixed, *self._stored))

    def create(self, name: str, scopes: Iterable[str], expires: float | None = None) -> str:
        """Make and store a token, and return its secret: the only moment it can be seen. Raises OptionError, WorkspaceError."""
        wanted = tuple(dict.fromkeys(scopes))
        unknown = sorted(set(wanted) - set(SCOPES))
        if unknown or not wanted:
            raise OptionError(f"no such scope: {', '.join(unknown) or '(none given)'}", where="tokens", allowed=", ".join(SCOPES))
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            raise OptionError(f"{name[:80]!r} cannot be a token's name", where="tokens", allowed="1 to 64 letters, digits, dot, dash or underscore")
        with self._locked():
            if any(token.name == name for token in self):
                raise OptionError(f"there is a token called {name!r} already", where="tokens", next_step="revoke it first, or choose another name")
            secret = "emlyn_" + secrets.token_urlsafe(32)
            self._store((*self._stored, Token(name, digest_of(secret), wanted, time.time(), expires)))
        return secret

    def revoke(self, name: str) -> None:
        """Forget a token; requests that carry it are refused from the next one on. Raises OptionError when there is none of that name."""
        with self._locked():
            kept = tuple(token for token in self._current() if token.name != name)
            if len(kept) == len(self._stored):
                raise OptionError(
                    f"no stored token is called {name!r}", where="tokens", allowed=", ".join(t.name for t in self._stored) or "(there is none)"
                )
            self._store(kept)

    def find(self, secret: str) -> Token | None:
        """The token whose secret this is. Every stored digest is compared, so the time taken tells nothing."""
        digest, found = digest_of(secret), None
        for token in self:
            if hmac.compare_digest(digest, token.digest):
                found = token
        return None if found is None or (found.expires is not None and found.expires < time.time()) else found

    def _current(self) -> tuple[Token, ...]:
        self._refresh()
        return self._stored

    def _refresh(self) -> None:
        """Read the file again when it changed, so that a revoked token stops working without a restart."""
        if self._path is None:
            return
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            self._stored, self._stamp = (), -1
            return
        if stamp != self._stamp:
            self._stored = msgspec.json.decode(self._path.read_bytes(), type=tuple[Token, ...])
            self._stamp = stamp

    def _store(self, tokens: tuple[Token, ...]) -> None:
        self._stored = tuple(replace(token, created=round(token.created, 3)) for token in tokens)
        if self._path is None:
            return
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(self._stored))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        self._stamp = self._path.stat().st_mtime_ns

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, across processes: an exclusive lock file, taken over when its owner has been gone for a minute."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_suffix(".lock")
        until = time.monotonic() + 10
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
                break
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - lock.stat().st_mtime > 60:
                        lock.unlink()
                if time.monotonic() > until:
                    raise WorkspaceError("the token file is locked by another process", where=str(lock), next_step="try again in a minute") from None
                time.sleep(0.02)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
