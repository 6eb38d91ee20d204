"""Waiting for a child process without blocking the loop."""

import os
import subprocess

from tunnelctl.engine.kernel import checkpoint, move_on_after, run
from tunnelctl.stream.process import wait_ended


def test_wait_ended_returns_at_the_end_of_the_child_and_keeps_its_status() -> None:
    child = subprocess.Popen(["sh", "-c", "read word; exit 7"], stdin=subprocess.PIPE)
    assert child.stdin is not None

    async def main() -> None:
        with move_on_after(0) as early:
            await wait_ended(child.pid)
        assert early.cancelled_caught
        child.stdin.close()  # type: ignore[union-attr]
        await wait_ended(child.pid)
        await checkpoint()

    before = set(os.listdir("/proc/self/fd"))
    run(main)
    assert child.wait() == 7
    assert set(os.listdir("/proc/self/fd")) <= before, "no descriptor is left open"
