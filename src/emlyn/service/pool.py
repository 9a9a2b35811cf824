"""The model pool: several models and versions at once, swapped without a dropped request, with canary and shadow by share.

What is served is one immutable mapping that is replaced as a whole: a request keeps the model it began with, and the old one is freed
when its last request ends.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from emlyn.errors import ModelError, OptionError
from emlyn.service.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Served:
    """One loaded model version."""

    name: str
    version: str
    scorer: Scorer

    @property
    def label(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Lane:
    """The versions of one model, and which of them answers."""

    champion: str
    versions: Mapping[str, Served]
    canary: str = ""
    canary_share: float = 0.0
    """Share of the requests the canary answers."""
    shadow: str = ""
    shadow_share: float = 0.0
    """Share of the requests the shadow answers too, into the log alone."""


@dataclass
class Pool:
    """What is being served. Safe to change from any thread."""

    _lanes: Mapping[str, Lane] = field(default_factory=lambda: MappingProxyType({}))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def lanes(self) -> Mapping[str, Lane]:
        return self._lanes

    @property
    def default(self) -> str:
        """The model that answers when a request names none: the first one added."""
        return next(iter(self._lanes), "")

    def get(self, name: str = "", version: str = "") -> Served:
        """The champion of a model, or the version named. Raises ModelError."""
        lane = self._lane(name)
        found = lane.versions.get(version or lane.champion)
        if found is None:
            raise ModelError(f"version {version[:64]!r} of {name or self.default!r} is not being served", allowed=", ".join(lane.versions))
        return found

    def choose(self, name: str = "", version: str = "", draw: float = 1.0) -> tuple[Served, str, Served | None]:
        """Who answers a request, in which role, and who answers in the shadow. `draw` is uniform on [0, 1). Raises ModelError."""
        if version:
            return self.get(name, version), "live", None
        lane = self._lane(name)
        role = "canary" if lane.canary and draw < lane.canary_share else "live"
        # the other end of the same draw, so that canary and shadow shares are independent up to one half each
        shadow = lane.versions[lane.shadow] if lane.shadow and 1.0 - draw <= lane.shadow_share else None
        return lane.versions[lane.canary if role == "canary" else lane.champion], role, shadow

    def put(self, served: Served) -> None:
        """Serve a version and make it the champion; canary and shadow end when they become it."""
        with self._lock:
            lane = self._lanes.get(served.name)
            if lane is None:
                self._replace(served.name, Lane(served.version, {served.version: served}))
                return
            kept = {v: s for v, s in lane.versions.items() if v != lane.champion or v in (lane.canary, lane.shadow)}
            lane = replace(lane, champion=served.version, versions={**kept, served.version: served})
            lane = replace(lane, canary="", canary_share=0.0) if lane.canary == served.version else lane
            self._replace(served.name, replace(lane, shadow="", shadow_share=0.0) if lane.shadow == served.version else lane)

    def add(self, served: Served) -> None:
        """Serve a version beside the champion, reachable by its number."""
        with self._lock:
            lane = self._lane(served.name)
            self._replace(served.name, replace(lane, versions={**lane.versions, served.version: served}))

    def route(self, name: str, *, canary: str = "", canary_share: float = 0.0, shadow: str = "", shadow_share: float = 0.0) -> None:
        """Set who answers besides the champion. Raises ModelError for a version that is not served, OptionError for a share outside 0..1."""
        for share in (canary_share, shadow_share):
            if not 0.0 <= share <= 1.0:
                raise OptionError(f"a share of {share} is not possible", allowed="0 to 1")
        with self._lock:
            lane = self._lane(name)
            for version in filter(None, (canary, shadow)):
                self.get(name, version)
            self._replace(name or self.default, replace(lane, canary=canary, canary_share=canary_share, shadow=shadow, shadow_share=shadow_share))

    def remove(self, name: str) -> None:
        with self._lock:
            self._lanes = MappingProxyType({n: lane for n, lane in self._lanes.items() if n != name})

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name or self.default)
        if lane is None:
            raise ModelError(f"no model called {name[:200]!r} is being served", allowed=", ".join(self._lanes) or "(no model is loaded)")
        return lane

    def _replace(self, name: str, lane: Lane) -> None:
        self._lanes = MappingProxyType({**self._lanes, name: lane})
