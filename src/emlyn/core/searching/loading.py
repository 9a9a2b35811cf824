"""Libraries that learners need: how long they take to load. On a slow disk that is seconds, which are no fault of the learner's."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

USUAL, SLOW = 1.5, 20.0
"""Seconds that loading takes as long as nothing slower was seen, and that a learner is waited for on a slow disk."""


@dataclass(eq=False)
class Loading:
    """What is known of loading in this race."""

    learners: Mapping[str, Any]
    longest: float = USUAL
    heard: set[str] = field(default_factory=set)
    """Learners of which a job has come back: their libraries are loaded."""

    def seconds(self, learner: str) -> float:
        """That a job of this learner will take to load what it needs."""
        return 0.0 if set(self._libraries(learner)) <= set(sys.modules) else self.longest

    def patience(self, learner: str) -> float:
        """Seconds beyond its own after which a job is not yet taken for one that does not stop."""
        return SLOW if self._libraries(learner) else 0.0

    def learn(self, learner: str, seconds: float) -> None:
        """Take the first job of a learner into account, which loaded for so many seconds."""
        if learner not in self.heard:
            self.heard.add(learner)
            self.longest = max(self.longest, seconds)

    def _libraries(self, learner: str) -> Sequence[str]:
        """Those that nothing has shown to be loaded: a module counts as there while it is still being loaded."""
        return () if learner in self.heard else getattr(self.learners[learner], "libraries", ())
