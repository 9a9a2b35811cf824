"""What a user typed, checked once and put into one options record."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any, get_args

from emlyn.core import units
from emlyn.core.judging.fairness_limit import limit_of
from emlyn.core.storing.registry import check_name
from emlyn.errors import OptionError
from emlyn.records.options import TrainOptions
from emlyn.types import Kind

KINDS: tuple[str, ...] = (*get_args(Kind), "id")
REPAIRS = ("none", "safe", "all")
TUPLES = ("sensitive", "exclude", "include", "without")
POSITIVE = ("cost_fp", "cost_fn", "trials", "capacity", "jobs")


def train_options(given: Mapping[str, Any]) -> TrainOptions:
    """Plain values (from flags, a YAML file or keyword arguments) as `TrainOptions`; None means "not said".

    `continue` (in Python `continue_`) is the budget in place of `budget` and `trials`, and lets `name` be a version. The environment variable
    EMLYN_EXPERIENCE=off stands for `experience: false` where that is not said.
    `budget`, `max_latency` take seconds or texts such as `60s`, `5m`, `1ms`; `memory` bytes or `8GB`; `types` a mapping or a list of `COL=kind`.
    Raises OptionError with the nearest option for a name that does not exist, and for values outside what is allowed.
    """
    known = [f.name for f in dataclasses.fields(TrainOptions)]
    said = {"continue_" if name == "continue" else name: value for name, value in given.items() if value is not None}
    switch = os.environ.get("EMLYN_EXPERIENCE", "on")
    if switch not in ("on", "off"):
        raise OptionError(f"EMLYN_EXPERIENCE={switch}", allowed="on, off", next_step="`on` is the default")
    said.setdefault("experience", switch == "on")
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise OptionError(
                f"there is no option {name!r}",
                allowed=", ".join(known),
                next_step=f"did you mean {near[0]!r}?" if near else "see: emlyn train --help",
            )
    if "continue_" in said:
        said["continue_"] = said["budget"] = units.seconds(said["continue_"], "--continue")
        said.pop("trials", None)
    elif "budget" in said:
        said["budget"] = units.seconds(said["budget"], "budget")
    if "max_latency" in said:
        said["max_latency"] = units.seconds(said["max_latency"], "max_latency")
    if "memory" in said:
        said["memory"] = units.bytes(said["memory"], "memory")
    if "types" in said:
        said["types"] = column_types(said["types"])
    for name in TUPLES:
        if name in said:
            said[name] = (said[name],) if isinstance(said[name], str) else tuple(said[name])
    for name in POSITIVE:
        if name in said and not (isinstance(said[name], int | float) and not isinstance(said[name], bool) and said[name] > 0):
            raise OptionError(
                f"--{name.replace('_', '-')} {said[name]}", allowed="a number above 0", next_step="leave the option out for the default"
            )
    if "fair" in said:
        limit_of(said["fair"])
        if not said.get("sensitive"):
            raise OptionError(f"--fair {said['fair']}", allowed="--fair with a sensitive column", next_step="name the column: --sensitive sex")
    if said.get("repairs", "safe") not in REPAIRS:
        raise OptionError(f"--repairs {said['repairs']}", allowed=", ".join(REPAIRS), next_step="`safe` is the default")
    if not isinstance(said.get("seed", 0), int) or not 0 <= said.get("seed", 0) < 2**32:
        raise OptionError(f"--seed {said['seed']}", allowed="a whole number from 0 to 4294967295")
    if "name" in said and "continue_" not in said:
        check_name(said["name"])
    if "positive" in said:
        said["positive"] = str(said["positive"])
    return TrainOptions(**said)


def column_types(given: Any) -> dict[str, str]:
    """`{"zip": "category"}` from a mapping or from `["zip=category"]`. Raises OptionError."""
    pairs = given.items() if isinstance(given, Mapping) else (str(item).rsplit("=", 1) for item in ([given] if isinstance(given, str) else given))
    found: dict[str, str] = {}
    for pair in pairs:
        if len(pair) != 2 or pair[1] not in KINDS:
            raise OptionError(
                f"--type {'='.join(pair)}",
                allowed=f"COLUMN=KIND, where KIND is one of {', '.join(KINDS)}",
                next_step="for example: --type zip=category",
            )
        found[pair[0]] = pair[1]
    return found


def read_config(path: str) -> dict[str, Any]:
    """The options in a YAML file. Raises OptionError when it cannot be read or is not a mapping."""
    import yaml

    try:
        with open(path, encoding="utf-8") as f:
            found = yaml.safe_load(f) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"cannot read the configuration: {error}", where=path, allowed="a YAML file of option: value lines") from error
    if not isinstance(found, dict):
        raise OptionError("the configuration is not a mapping", where=path, allowed="option: value lines, e.g. `budget: 60s`")
    return {str(k).replace("-", "_"): v for k, v in found.items()}
