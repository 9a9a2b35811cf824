"""Durations and sizes are read in one place; each bad form is refused with the forms allowed."""

import pytest

from emlyn.core import units
from emlyn.errors import OptionError


@pytest.mark.parametrize(
    ("text", "value"), [("60s", 60), (60, 60), ("60", 60), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), (" 2 H ", 7200), (0.5, 0.5)]
)
def test_seconds(text, value):
    assert units.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0", 0, -1, "60 parrots", "s", "nan", "inf", None, True, "5m30", [60]])
def test_bad_seconds(text):
    with pytest.raises(OptionError, match="60s"):
        units.seconds(text)


@pytest.mark.parametrize(("text", "value"), [("8GB", 8 * 10**9), ("1.5GiB", 3 * 2**29), ("512 mb", 512 * 10**6), (1024, 1024)])
def test_bytes(text, value):
    assert units.bytes(text) == value


@pytest.mark.parametrize("text", ["", "8 apples", "-1GB", 0, "GB", None, "nan"])
def test_bad_bytes(text):
    with pytest.raises(OptionError, match="8GB"):
        units.bytes(text)
