"""Why this answer: the columns that push each row's score, from the explainer plug-in that knows the model."""

from __future__ import annotations

from emlyn.core.explainer import reasons

__all__ = ["reasons"]
