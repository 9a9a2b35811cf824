"""Everything a user may say to `train`, in one record that is passed down and never unpacked on the way."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainOptions:
    """The options of `emlyn train` and `emlyn.train`; each has the name of its flag."""

    target: str | None = None
    task: str = "auto"
    metric: str = "auto"
    budget: float = 300.0
    """Seconds; a maximum."""
    trials: int | None = None
    test: str | None = None
    time: str | None = None
    group: str | None = None
    id: str | None = None
    weight: str | None = None
    types: dict[str, str] = field(default_factory=dict)
    """Column -> kind, from `--type COL=kind`."""
    sensitive: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    """Columns the user vouches for: known at the moment of prediction (`--known COL`), never quarantined."""
    positive: str | None = None
    cost_fp: float | None = None
    cost_fn: float | None = None
    capacity: int | None = None
    max_latency: float | None = None
    """Seconds for one row."""
    repairs: str = "safe"
    """none | safe | all."""
    without: tuple[str, ...] = ()
    """Check codes or finding ids whose repair is undone."""
    fair: str | None = None
    """METRIC=LIMIT."""
    name: str | None = None
    executor: str = "local"
    jobs: int | None = None
    memory: int | None = None
    """Bytes."""
    seed: int = 0
    out: str | None = None
    experience: bool = True
    """Learn from and add to the workspace's experience store."""
    continue_: float | None = None
    """Further seconds for the run of the latest version of the model, or of the one that `name` says; they are its budget."""
