"""This machine: cores that are free, memory that may be used, how old the process is, which packages are here."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "lightgbm",
    "catboost",
    "xgboost-cpu",
    "optuna",
    "sqlalchemy",
    "starlette",
    "ray",
    "torch",
)
CGROUP = Path("/sys/fs/cgroup")
LEAST_MEMORY = 64 << 20
"""Bytes that are always taken for granted: a small table is trained on even where the limit is below what the libraries themselves hold."""


def usable_cores() -> int:
    """Cores this process may run on: the affinity mask, capped by the cgroup's CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return max(1, cores)


def usable_memory() -> int:
    """Bytes that may still be used: what the system has available, capped by the cgroup's limit; 0 when unknown."""
    found = 0
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            found = int(line.split()[1]) * 1024
    limit, used = _read(CGROUP / "memory.max"), _read(CGROUP / "memory.current")
    if limit.isdigit() and used.isdigit():
        room = max(0, int(limit) - int(used))
        found = min(found, room) if found else room
    return found


def memory_left(limit: int) -> int:
    """Bytes that may still be taken: what is left of `limit` (0: no limit) after what this process holds, and of what the machine has."""
    held = _read(Path("/proc/self/statm")).split()
    own = int(held[1]) * os.sysconf("SC_PAGE_SIZE") if len(held) > 1 else 0
    rooms = [room for room in (limit - own if limit else 0, usable_memory()) if room]
    return max(min(rooms, default=0), LEAST_MEMORY if rooms else 0)


MOST_START = 5.0
"""Seconds that an interpreter takes at most to begin."""


def busy_share(pause: float = 0.05) -> float:
    """Share of all cores that are busy over the next `pause` seconds, our own work counted; 0.0 where the system does not tell."""
    before = _cpu_ticks()
    time.sleep(pause)
    after = _cpu_ticks()
    total = sum(after) - sum(before)
    return 1 - (after[3] - before[3]) / total if total > 0 else 0.0


def _cpu_ticks() -> list[int]:
    """user, nice, system, idle, … summed over all cores."""
    first = _read(Path("/proc/stat")).partition("\n")[0].split()
    return [int(t) for t in first[1:]] if first[:1] == ["cpu"] else []


def process_age(loaded: float) -> float:
    """Seconds since this program began, interpreter start included; since `loaded` (monotonic, our first line) where the system does not tell.

    `sh -c "one && two"` becomes its last command: the process is then as old as the shell. No interpreter takes `MOST_START` to come to our first
    line, so such a process is as old as that line.
    """
    since = time.monotonic() - loaded
    stat = _read(Path("/proc/self/stat"))
    if not stat or not hasattr(time, "CLOCK_BOOTTIME"):
        return since
    ticks = int(stat.rsplit(")", 1)[1].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return age if since <= age <= since + MOST_START else since


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that shape a model."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_machine() -> str:
    memory = usable_memory()
    return f"{platform.system()} {platform.machine()}, {usable_cores()} cores" + (f", {memory / 2**30:.0f} GiB free" if memory else "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""  # another system, or no such limit: the caller has a default
