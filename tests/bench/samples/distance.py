"""`forward` and what people use in its place, at a distance: the proxy is a round trip of 20 ms away (tests/bench/line.py).

The time of a set-up counts round trips. What one stream carries shows windows that are too small. The far end is the scripted proxy
of load.c, which leaves all windows to the kernel, but in HTTP/2, which it does not speak: there it is `serve`.
"""

import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.bench.line import FAR, NEAR
from tests.bench.network import isolated
from tests.bench.samples import forward, proxies
from tests.bench.samples.proxies import Command, Proxy
from tests.bench.workshop import DIRECT, Plan, Table, Unavailable, Workshop, say

ROUND_TRIP_MS = 20
HTTP2 = "tunnelctl forward --http 2"
RECIPES = forward.RECIPES | {HTTP2: forward.ours("--http", "2")}
SERVE = "tunnelctl serve, for others"
DOWN, UP = 2, 3  # the ports of those targets in load.c's proxy
OWN = 10  # 127.0.0.12 and 13 are the same targets without a proxy
MIB = 1 << 20
STREAM = 128 * MIB
SET_UPS = 100

Programs = dict[str, Proxy]


def serve(workshop: Workshop, directory: Path) -> Command:
    """On all addresses, of which one is the near end of the line."""
    return proxies.tunnelctl(workshop, directory, "--open-proxy", host="0.0.0.0")


# ---- the samples ----

Open = Callable[[], socket.socket]  # a stream to a target, through which nothing has come yet


def local(port: int) -> Open:
    """Through a program with this port."""
    return lambda: socket.create_connection(("127.0.0.1", port), forward.SECONDS)


def direct(scripted: str, goal: int) -> Open:
    """Without a program: what the line carries."""

    def open_tunnel() -> socket.socket:
        client = socket.create_connection((FAR, int(scripted)), forward.SECONDS)
        client.sendall(f"CONNECT 127.0.0.1:{goal} HTTP/1.1\r\nHost: 127.0.0.1:{goal}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and (piece := client.recv(1)):
            head += piece
        return client

    return open_tunnel


def first_byte(open_stream: Open) -> socket.socket:
    """A stream through which the target has sent its first byte."""
    client = open_stream()
    if not client.recv(1):
        raise Unavailable("a stream ended at once")
    return client


def hear(port: int) -> None:
    first_byte(local(port)).close()


def down(open_stream: Open) -> float:
    """MiB/s from the first byte to the last."""
    with first_byte(open_stream) as client:
        left, space, begun = STREAM - 1, bytearray(MIB), time.perf_counter()
        while left:
            count = client.recv_into(space)
            if not count:
                raise Unavailable(f"a stream ended with {left} bytes to go")
            left -= count
        return STREAM / MIB / (time.perf_counter() - begun)


def up(open_stream: Open) -> float:
    """MiB/s until the target has acknowledged the last byte."""
    with first_byte(open_stream) as client:
        piece, begun = bytes(MIB), time.perf_counter()
        for _ in range(STREAM // MIB):
            client.sendall(piece)
        if not client.recv(1):
            raise Unavailable("a stream ended before its last byte")
        return STREAM / MIB / (time.perf_counter() - begun)


class Bench:
    def __init__(self, table: Table, scripted: str) -> None:
        self._table, self._scripted = table, scripted

    def latency(self, name: str, program: Proxy) -> None:
        self._table.add(name, **forward.latencies(program.port, SET_UPS))

    def down(self, name: str, program: Proxy) -> None:
        self._table.add(name, down_mibs=down(local(program.port)))

    def up(self, name: str, program: Proxy) -> None:
        self._table.add(name, up_mibs=up(local(program.port)))

    def direct(self) -> None:
        self._table.add(DIRECT, down_mibs=down(direct(self._scripted, DOWN)), up_mibs=up(direct(self._scripted, UP)))


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    if not isolated():  # the proxy here is open on all addresses, and the line would be an interface of the machine
        raise Unavailable("there is no network of our own")
    with ExitStack() as stack:
        stack.enter_context(forward.beside(workshop, sys.executable, "-m", "tests.bench.line", ROUND_TRIP_MS))
        serve_port = stack.enter_context(proxies.running(workshop, SERVE, {SERVE: serve})).port
        scripted = stack.enter_context(forward.beside(workshop, workshop.load, "proxy", STREAM, NEAR))
        echo = stack.enter_context(forward.beside(workshop, workshop.load, "echo", "127.0.0.1"))

        def by_serve(goal: str, recipes: Mapping[str, forward.Recipe], carry_a_byte: Callable[[int], object]) -> Programs:
            return forward.start_all(workshop, table, stack, f"{FAR}:{serve_port}", goal, recipes, carry_a_byte)

        def streams(goal: int) -> Programs:
            by_scripted = forward.start_all(workshop, table, stack, f"{FAR}:{scripted}", f"127.0.0.1:{goal}", forward.RECIPES, hear)
            return by_scripted | by_serve(f"127.0.0.{OWN + goal}:{scripted}", {HTTP2: RECIPES[HTTP2]}, hear)

        bench = Bench(table, scripted)
        echoing = by_serve(f"127.0.0.1:{echo}", RECIPES, forward.set_up)
        pouring, draining = streams(DOWN), streams(UP)
        for number in range(1, plan.rounds + 1):
            say(f"distance: round {number} of {plan.rounds}")
            forward.sample_each(table, echoing, bench.latency)
            bench.direct()
            forward.sample_each(table, pouring, bench.down)
            forward.sample_each(table, draining, bench.up)
