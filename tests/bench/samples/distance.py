"""`forward` and what people use in its place, at a distance: the proxy is a round trip of 20 ms away (tests/bench/line.py).

The time of a set-up counts round trips. What one stream carries shows windows that are too small: the kernel's, which are the same
for all, and those of HTTP/2, which come on top of them.
"""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench.line import FAR
from tests.bench.samples import forward, proxies
from tests.bench.samples.proxies import Command, Proxy
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, say

ROUND_TRIP_MS = 20
HTTP2 = "tunnelctl forward --http 2"
RECIPES = forward.RECIPES | {HTTP2: forward.ours("--http", "2")}
SERVE = "tunnelctl serve, for others"
DOWN, UP = 12, 13  # the last number of the address of those targets of load.c
MIB = 1 << 20
STREAM = 128 * MIB
SET_UPS = 30


def serve(workshop: Workshop, directory: Path) -> Command:
    """On all addresses, of which one is the near end of the line."""
    return proxies.tunnelctl(workshop, directory, "--open-proxy", host="0.0.0.0")


# ---- the samples ----


def first_byte(port: int) -> socket.socket:
    """A connection through which the target has sent its first byte."""
    client = socket.create_connection(("127.0.0.1", port), forward.SECONDS)
    if not client.recv(1):
        raise Unavailable("a stream ended at once")
    return client


def hear(port: int) -> None:
    first_byte(port).close()


def down(port: int) -> float:
    """Seconds from the first byte to the last."""
    with first_byte(port) as client:
        left, space, begun = STREAM - 1, bytearray(MIB), time.perf_counter()
        while left:
            count = client.recv_into(space)
            if not count:
                raise Unavailable(f"a stream ended with {left} bytes to go")
            left -= count
        return time.perf_counter() - begun


def up(port: int) -> float:
    """Seconds until the target has acknowledged the last byte."""
    with first_byte(port) as client:
        piece, begun = bytes(MIB), time.perf_counter()
        for _ in range(STREAM // MIB):
            client.sendall(piece)
        if not client.recv(1):
            raise Unavailable("a stream ended before its last byte")
        return time.perf_counter() - begun


class Bench:
    def __init__(self, table: Table) -> None:
        self._table = table

    def latency(self, name: str, program: Proxy) -> None:
        self._table.add(name, **forward.latencies(program.port, SET_UPS))

    def down(self, name: str, program: Proxy) -> None:
        self._table.add(name, down_mibs=STREAM / MIB / down(program.port))

    def up(self, name: str, program: Proxy) -> None:
        self._table.add(name, up_mibs=STREAM / MIB / up(program.port))


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    bench = Bench(table)
    with ExitStack() as stack:
        stack.enter_context(forward.beside(workshop, sys.executable, "-m", "tests.bench.line", ROUND_TRIP_MS))
        proxy = stack.enter_context(proxies.running(workshop, SERVE, {SERVE: serve})).port

        def start(goal: str, carry_a_byte: Callable[[int], object] = hear) -> dict[str, Proxy]:
            return forward.start_all(workshop, table, stack, f"{FAR}:{proxy}", goal, RECIPES, carry_a_byte)

        scripted = stack.enter_context(forward.beside(workshop, workshop.load, "proxy", STREAM))
        echo = stack.enter_context(forward.beside(workshop, workshop.load, "echo", "127.0.0.1"))
        echoing = start(f"127.0.0.1:{echo}", forward.set_up)
        pouring, draining = start(f"127.0.0.{DOWN}:{scripted}"), start(f"127.0.0.{UP}:{scripted}")
        for number in range(1, plan.rounds + 1):
            say(f"distance: round {number} of {plan.rounds}")
            forward.sample_each(table, echoing, bench.latency)
            forward.sample_each(table, pouring, bench.down)
            forward.sample_each(table, draining, bench.up)
