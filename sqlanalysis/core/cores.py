"""How many cores this process may use: of the machine, of its container, and of the batch job that it belongs to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# The share of one of several workers of a machine.
SHARE = "SQLANALYSIS_CORES"
# Cores that a batch system gives to a job, or to each of its tasks: Slurm, PBS, Torque, Grid Engine, LSF. Those of a
# job on several machines are more than a process has, which does no harm, because the smallest limit counts.
JOB_LIMITS = (SHARE, "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "PBS_NUM_PPN", "NSLOTS", "LSB_DJOB_NUMPROC")
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def count_cores() -> int:
    """Number of cores that this process may use, at least 1; a part of a core counts as one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = (int(text) for text in map(os.environ.get, JOB_LIMITS) if text and text.isdecimal())
    return min([here, *(n for n in jobs if n), *(math.ceil(n) for n in quotas(GROUPS, OWN_GROUPS))])


def quotas(groups: Path, own: Path) -> Iterator[float]:
    """Limits of the control groups of this process, and of those around them, in cores.

    Args:
        groups: where the groups are mounted.
        own: a list of the groups of this process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (groups / controllers, groups / "cpu") if controllers else (groups, groups / "unified"):
            # In a container the path may be that of the machine, and then only the top is there.
            for group in (PurePosixPath(path), *PurePosixPath(path).parents):
                quota = _quota(root / group.relative_to("/"))
                if quota is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """CPU time of a group per time; None if it has no limit. Version 2 has one file, version 1 two."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
