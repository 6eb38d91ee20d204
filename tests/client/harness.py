"""Shared by the client's tests: a trace that records events, replaced standard descriptors, a chain played by one script."""

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.peers.events import check_told
from tests.peers.scripted import Conversation
from tunnelctl.cli.render.hints import in_words
from tunnelctl.client.connect import run_connect
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route.planner import RoutePlanner, tls_to_target
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import run
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Event, Trace
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.headers import Fields
from tunnelctl.rare_events import OfConnection

TARGET = Address("target.test", 22)
CANARY = "canary-7f3a"

BRIEF = 0.2  # seconds: a time limit that is meant to expire
AMPLE = 10.0  # seconds: a time limit that is not


class TraceLog:
    """A Trace that records its events and checks them against the schema of --json."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: Event, /) -> None:
        told = event.event if isinstance(event, OfConnection) else event
        self.events.append(in_words(told))
        check_told(event)

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def route_through(*hops: str, fields: Fields = (), **limits: float) -> Route:
    """A route to TARGET through hops given as HOST:PORT."""
    return Route(TARGET, tuple(Hop(parse_authority(hop), fields) for hop in hops), **limits)  # type: ignore[arg-type]


@contextmanager
def descriptor_is(number: int, replacement: int) -> Iterator[None]:
    """Replaces a standard descriptor by an open file for a while."""
    kept = os.dup(number)
    os.dup2(replacement, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


class Ended:
    """The outcome of a `connect` inside this process."""

    def __init__(self, status: int, stdout: bytes, trace: TraceLog) -> None:
        self.status, self.stdout, self.trace = status, stdout, trace


def connect(options: ConnectOptions, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended:
    """Runs `connect` in this process, with pipes for stdin and stdout. Keep the data small: nothing reads the pipe meanwhile."""
    trace = TraceLog()
    source, feed = os.pipe()
    drain, sink = os.pipe()
    os.write(feed, stdin)
    os.close(feed)
    try:
        with descriptor_is(0, source), descriptor_is(1, sink):
            os.close(sink)
            status = run_connect(options, environ or {}, trace)
        with os.fdopen(drain, "rb", closefd=False) as reader:
            return Ended(status, reader.read(), trace)
    finally:
        os.close(source)
        os.close(drain)


async def prepared(
    options: ConnectOptions | ForwardOptions, environ: Mapping[str, str], trace: Trace, no_readahead: bool = False
) -> RoutePlanner:
    """The planner of `connect` or `forward`, ready to use."""
    tls = tls_to_target(options.target, options.target_tls) if isinstance(options, ConnectOptions) else None
    planner = RoutePlanner(options.reach, environ, trace, tls, no_readahead)
    await planner.prepare(ask_now=isinstance(options, ForwardOptions))
    return planner


def next_head(peer: Conversation) -> bytes:
    """Reads the request to the next hop, which comes through the previous hop's tunnel: one connection carries the whole chain."""
    peer.head = b""
    return peer.read_head()


def opened(route: Route, use: Callable[[Tunnel], Coroutine[Any, Any, object]] | None = None, trace: TraceLog | None = None) -> Any:
    """Opens a tunnel and returns the result of `use`, or the early data without one."""

    async def main() -> object:
        tunnel = await open_tunnel(route, trace or TraceLog())
        try:
            return tunnel.early if use is None else await use(tunnel)
        finally:
            tunnel.stream.close()

    return run(main)


def failed(route: Route, kind: type[TunnelctlError] = TunnelctlError) -> TunnelctlError:
    with pytest.raises(kind) as caught:
        opened(route)
    return caught.value


async def to_the_end(tunnel: Tunnel) -> bytes:
    data = tunnel.early
    while piece := await tunnel.stream.receive_some():
        data += piece
    return data


def answers(*pieces: bytes) -> Callable[[Conversation], None]:
    """A hop that sends one piece for each request, then closes."""

    def script(peer: Conversation) -> None:
        with suppress(OSError):  # a client that has read enough leaves
            for piece in pieces:
                next_head(peer)
                peer.send(piece)
            peer.end_output()
            peer.wait_gone()

    return script


def holds(piece: bytes = b"") -> Callable[[Conversation], None]:
    """A hop that sends this part of a response, and then nothing until the client leaves."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(piece)
        peer.wait_gone()

    return script
