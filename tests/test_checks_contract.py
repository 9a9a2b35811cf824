"""Every built-in check keeps the contract of checks."""

from __future__ import annotations

import pytest

from emlyn import plugins
from emlyn.core.check import Check
from emlyn.testing.checks import CheckContract

CHECKS = {c.name: c for c in plugins.collect("checks")}


class TestBuiltInChecks(CheckContract):
    @pytest.fixture(params=list(CHECKS))
    def check(self, request: pytest.FixtureRequest) -> Check:
        return CHECKS[request.param]


def test_codes_of_one_group_stand_in_one_family_of_modules() -> None:
    groups = {name.split(".")[0] for name in CHECKS}
    assert groups == {"form", "missing", "target", "leakage", "structure", "enough", "fairness", "privacy", "model"}
