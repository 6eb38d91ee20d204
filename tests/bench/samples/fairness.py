"""What one tunnel takes from the others: keystrokes beside bulk transfers, and kernel memory for readers that stall."""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.samples.proxies import GIB, SETTLE_SECONDS, Proxy, start_all, tree
from tests.bench.workshop import DIRECT, Plan, Table, Unavailable, Workshop, say
from tests.peers.process import end

BULK_TUNNELS, SECONDS = 100, 4
STALLED_READERS, MIB = 20, 1 << 20
# Bytes that each reader takes before it stalls: none, and enough for the windows to have grown.
STALLED = {"stalled_at_once": 0, "stalled_later": 64 * MIB}


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    with ExitStack() as stack:
        started = start_all(workshop, table, stack)
        for number in range(1, plan.rounds + 1):
            say(f"fairness: round {number} of {plan.rounds}")
            _keystrokes(workshop, table, DIRECT, None)
            for name, proxy in started.items():
                _keystrokes(workshop, table, name, proxy)
        for number in range(1, plan.idle_rounds + 1):
            say(f"fairness: stalled readers, round {number} of {plan.idle_rounds}")
            for name, proxy in started.items():
                _stalled_readers(workshop, table, name, proxy)


def _keystrokes(workshop: Workshop, table: Table, name: str, proxy: Proxy | None) -> None:
    """Round trips of one byte through one tunnel while the others carry all that they can."""
    before = 0.0 if proxy is None else proxy.cpu()
    try:
        figures = workshop.sample("fair", 0 if proxy is None else proxy.port, BULK_TUNNELS, SECONDS)
    except Unavailable as failure:
        table.note_failure(name, "keystrokes", failure)
        return
    gibs = figures["bytes"] / GIB / figures["seconds"]
    table.add(name, p50=figures["p50"] * 1000, p99=figures["p99"] * 1000, beside_gibs=gibs)
    if proxy is not None:
        table.add(name, beside_cpu=(proxy.cpu() - before) / (figures["bytes_in_all"] / GIB))


def _stalled_readers(workshop: Workshop, table: Table, name: str, proxy: Proxy) -> None:
    """Clients that ask for more than they read, and what the kernel keeps for each of them in the proxy."""
    for metric, size in STALLED.items():
        command = [str(workshop.load), "stall", str(proxy.port), str(STALLED_READERS), str(size)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdin, process.stdout, process.stderr:
            try:
                if process.stdout.readline() != b"%d\n" % STALLED_READERS:  # load.c has its own limit of time
                    failure = Unavailable(process.stderr.read().decode().strip())
                    table.note_failure(name, metric, failure)
                else:
                    table.add(name, **{metric: _settled_kernel_bytes(proxy) / STALLED_READERS / MIB})
            finally:
                end(process)


def _settled_kernel_bytes(proxy: Proxy) -> int:
    """What the kernel keeps for the proxy, once that has stopped growing."""
    before, deadline = -1, time.monotonic() + SETTLE_SECONDS
    while before != (after := kernel_bytes(tree(proxy.pid))) and time.monotonic() < deadline:
        before = after
        time.sleep(0.5)
    return after


def kernel_bytes(pids: list[int]) -> int:
    """What lies in the queues of all sockets of these processes, with its overhead, and in their pipes."""
    return _in_sockets(pids) + sum(map(_in_pipes, pids))


def _in_sockets(pids: list[int]) -> int:
    listed = subprocess.run(["ss", "-tmnpHO"], capture_output=True, text=True, timeout=20, check=True).stdout
    total = 0
    for line in listed.splitlines():
        queued = re.search(r"skmem:\(r(\d+),.*?,w(\d+)", line)
        if queued and any(f"pid={pid}," in line for pid in pids):
            total += sum(map(int, queued.groups()))
    return total


def _in_pipes(pid: int) -> int:
    """Each pipe has two descriptors here, and each of them tells of all its bytes."""
    total = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(entry).startswith("pipe:"):
                pipe = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    total += struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
                finally:
                    os.close(pipe)
    return total // 2
