"""What every container export shares: the model file, the exact packages, a wheel of this emlyn, and a Dockerfile without any free text in it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

import emlyn
from emlyn import plugins
from emlyn.core.exporter import Exportable
from emlyn.core.storing.archive import zip_bytes
from emlyn.core.storing.sbom import sbom
from emlyn.errors import ModelError

SERVING = ("numpy", "scipy", "msgspec", "pluggy", "sqlalchemy", "starlette", "uvicorn", "httptools", "uvloop", "orjson", "prometheus-client")
"""What the server imports besides the members' own libraries."""
POSTGRESQL = ("psycopg", "psycopg-binary")
"""What a prediction log in PostgreSQL needs; a container's own disk ends with it."""
SYSTEM = {"lightgbm": "libgomp1", "xgboost": "libgomp1", "trees": "libgomp1"}
"""Learner -> Debian package it needs."""
DRAWING = frozenset({"matplotlib", "plotly", "graphviz", "contourpy", "cycler", "fonttools", "kiwisolver", "pillow", "pyparsing", "packaging"})
"""CatBoost asks for these to draw pictures; predictions need none."""
MODEL = "model.emlyn"
SAFE = {
    "image": re.compile(r"[a-z0-9][a-z0-9./_-]{0,120}(:[A-Za-z0-9._-]{1,60})?(@sha256:[0-9a-f]{64})?"),
    "package": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}"),
    "version": re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,60}"),
    "variable": re.compile(r"[A-Z][A-Z0-9_]{0,60}"),
    "value": re.compile(r"[A-Za-z0-9_./:,@*+=-]{0,200}"),
}
"""What may stand in each field of a Dockerfile: a line break or a quote in a package's name must not become an instruction."""


def safe(kind: str, text: str) -> str:
    """The text, when it may stand in a field of this kind. Raises ModelError."""
    if not SAFE[kind].fullmatch(text):
        raise ModelError(f"{text[:80]!r} cannot be the {kind} of an image", allowed=SAFE[kind].pattern)
    return text


def quoted(path: Path) -> str:
    """A path as one word of a shell command."""
    return shlex.quote(str(path))


def slug(name: str) -> str:
    """A model's name as platforms want names: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50] or "model"


def context(what: Exportable, *, root: bool = False, environment: dict[str, str] | None = None) -> dict[str, bytes | str]:
    """The files of an image's build context."""
    name, wheel = wheel_of_emlyn()
    return {
        "Dockerfile": dockerfile(what, name, root=root, environment=environment or {}),
        ".dockerignore": "*\n!" + "\n!".join((MODEL, "requirements.txt", "wheels")) + "\n",
        "requirements.txt": requirements(what),
        MODEL: Path(what.version.path).read_bytes(),
        f"wheels/{name}": wheel,
    }


def dockerfile(what: Exportable, wheel: str, *, root: bool, environment: dict[str, str]) -> str:
    """Small, without a shell at its entry, read-only apart from /tmp; `serve` as argument is accepted."""
    learners = {member.recipe.learner for member in what.model.members}
    system = sorted({SYSTEM[learner] for learner in learners if learner in SYSTEM})
    python = safe("image", f"python:{sys.version_info.major}.{sys.version_info.minor}-slim")
    variables = {
        "EMLYN_HOST": "0.0.0.0",  # noqa: S104 - inside the container
        "EMLYN_HOME": "/tmp/emlyn",  # noqa: S108 - the one place of a read-only container that can be written
        "EMLYN_MODELS": f"/opt/emlyn/{MODEL}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    lines = [f"FROM {python}"]
    if system:
        packages = " ".join(safe("package", p) for p in system)
        lines.append(f"RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*")
    lines += [
        "COPY requirements.txt /tmp/requirements.txt",
        f"COPY wheels/{safe('package', wheel)} /tmp/{wheel}",
        f"RUN pip install --no-cache-dir --no-deps -r /tmp/requirements.txt /tmp/{wheel} && rm -r /tmp/requirements.txt /tmp/{wheel}",
        f"COPY {MODEL} /opt/emlyn/{MODEL}",
        *(f"ENV {safe('variable', k)}={safe('value', v)}" for k, v in variables.items()),
        "EXPOSE 8080",
        *([] if root else ["RUN useradd --system --uid 10001 emlyn", "USER 10001"]),
        'HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen(\'http://127.0.0.1:8080/readyz\', timeout=2)"]',
        'ENTRYPOINT ["python", "-m", "emlyn.doors.server"]',
        'CMD ["serve"]',
    ]
    return "\n".join(lines) + "\n"


def log_note(files: Mapping[str, bytes | str]) -> str:
    """Where the image's predictions are kept, and what would keep them."""
    lost = "The prediction log is in /tmp and ends with the container"
    if "psycopg==" in str(files["requirements.txt"]):
        return f"{lost}; set EMLYN_LOG=postgresql+psycopg://… to keep it."
    return f"{lost}; to keep it in a database, pip install 'emlyn[postgresql]' here, export again and set EMLYN_LOG=postgresql+psycopg://…"


def requirements(what: Exportable) -> str:
    """Exactly what serving this model needs, pinned as installed here, for `pip install --no-deps`; PostgreSQL's driver where it is installed."""
    learners = {member.recipe.learner for member in what.model.members}
    wanted = set(SERVING)
    for learner in learners:
        wanted |= set(getattr(plugins.find("learners", learner), "packages", ()))
    if importlib.util.find_spec("psycopg_binary"):
        wanted |= set(POSTGRESQL)
    bill = json.loads(sbom(what.version.name, str(what.version.version), wanted))
    pins = {safe("package", c["name"]): safe("version", c["version"]) for c in bill["components"] if c["name"] not in DRAWING}
    return "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))


def wheel_of_emlyn() -> tuple[str, bytes]:
    """This very emlyn as a wheel (PEP 427): the image runs the code that made the model."""
    version = safe("version", emlyn.__version__)
    info = f"emlyn-{version}.dist-info"
    root = Path(str(resources.files("emlyn")))
    files = {
        f"emlyn/{p.relative_to(root).as_posix()}": p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and "__pycache__" not in p.parts
    }
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: emlyn\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: emlyn\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = _entry_points()
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()) + f"{info}/RECORD,,\n"
    return f"emlyn-{version}-py3-none-any.whl", zip_bytes({**files, f"{info}/RECORD": record.encode()})


def _entry_points() -> bytes:
    try:
        found = metadata.distribution("emlyn").entry_points
    except metadata.PackageNotFoundError:
        return b""
    scripts = [f"{e.name} = {e.value}" for e in found if e.group == "console_scripts"]
    return ("[console_scripts]\n" + "\n".join(scripts) + "\n").encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
