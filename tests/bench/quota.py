"""A CPU quota for single processes, by control groups (cgroups(7)) of version 2 or 1. To make a group usually requires root."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.workshop import Unavailable
from tests.peers.process import wait_until

# The kernel's default. A process that has used its share pauses until the next period, and more pauses take more CPU time: with
# periods of 2 ms, a short tunnel took the only worker a fifth more.
PERIOD_US = 100_000

CGROUPS = Path("/sys/fs/cgroup")
VERSION_1 = CGROUPS / "cpu"


@contextmanager
def quotas(count: int, share: float) -> Iterator[list[Path]]:
    """Makes `count` groups. The process in a group gets no more than `share` of a core, and must end when the block does.

    Raises Unavailable where groups cannot be made.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_group(f"tunnelctl-bench-{os.getpid()}-{number}", share)) for number in range(count)]


def join(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))


@contextmanager
def _group(name: str, share: float) -> Iterator[Path]:
    group = (VERSION_1 if VERSION_1.exists() else CGROUPS) / name
    try:
        group.mkdir()
    except OSError as failure:
        raise Unavailable(f"no control group: {failure}") from None
    try:
        _limit(group, share)
        yield group
    finally:
        # A worker whose supervisor was killed ends by itself, a moment later.
        wait_until(lambda: not (group / "cgroup.procs").read_text(), what="the end of all processes with a quota")
        group.rmdir()


def _limit(group: Path, share: float) -> None:
    quota = str(int(share * PERIOD_US))
    try:
        if group.parent == VERSION_1:
            (group / "cpu.cfs_quota_us").write_text(quota)
        else:
            (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.max").write_text(quota)
    except OSError as failure:
        raise Unavailable(f"no CPU quota: {failure}") from None
