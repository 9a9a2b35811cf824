"""Tokens and signing keys of the workspace, as `emlyn keys` handles them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emlyn.core.storing import signing
from emlyn.core.storing.durable import make_folder, write_durably
from emlyn.core.storing.workspace import Workspace
from emlyn.doors.server.run import open_tokens
from emlyn.doors.server.setup import ServeOptions
from emlyn.errors import OptionError
from emlyn.service.tokens import SCOPES

ACTIONS = ("list", "new-token", "revoke", "new-signing-key", "trust")
USUAL = ("predict", "feedback")


def act(action: str, name: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Do one thing and say what was done; a secret is in the answer only when it was made. Raises OptionError."""
    if action not in ACTIONS:
        raise OptionError(f"no such action: {action!r}", where="emlyn keys", allowed=", ".join(ACTIONS))
    tokens, folder = open_tokens(ServeOptions()), Workspace.find().keys
    if action == "new-token":
        secret = tokens.create(name, scopes or USUAL)
        return {
            "name": name,
            "scopes": list(scopes or USUAL),
            "token": secret,
            "lines": [f"{name}: {secret}", "It is shown this once. Send it as: Authorization: Bearer TOKEN"],
        }
    if action == "revoke":
        tokens.revoke(name)
        return {"name": name, "lines": [f"{name} is revoked"]}
    if action == "new-signing-key":
        public = signing.new_key(folder)
        return {"public_key": str(public), "lines": [f"Models trained from now on are signed. Give this public key to who must check them: {public}"]}
    if action == "trust":
        key = signing.key_name(signing.public_key(Path(name)))
        write_durably(make_folder(folder) / f"{key}.pub", Path(name).read_bytes())
        return {"trusted": key, "lines": [f"Model files signed by {key} are trusted from now on"]}
    known = [{"name": t.name, "scopes": list(t.scopes)} for t in tokens]
    lines = [f"{t['name']}: {', '.join(t['scopes'])}" for t in known] or [
        f"No token yet. Make one: emlyn keys new-token NAME --scope {' --scope '.join(SCOPES[:2])}"
    ]
    return {"tokens": known, "signing": (folder / signing.SECRET_FILE).exists(), "lines": lines}
