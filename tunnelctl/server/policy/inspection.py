"""Inspection of tunnels, if a rule requires it: reads the first octets before they are forwarded, and changes none of them.

If a rule may cut the tunnel, the client's octets are held until its ClientHello is complete, so that the target receives nothing
that it must not. A second hello, which the server may request, is held and judged like the first. The other direction is never
held: a server may send first, and what the client then sends decides. The server's octets are inspected for one purpose: whether
they rule out a second hello, so that the tunnel can be left alone. If the rules only report, nothing is held at all.
"""

from collections.abc import Awaitable, Callable
from errno import ECONNABORTED
from typing import NamedTuple

from tunnelctl.engine.kernel import CancelScope, checkpoint, current_time
from tunnelctl.proto.address import parse_authority
from tunnelctl.proto.tls.client_hello import NoClientHello
from tunnelctl.proto.tls.hello_watch import Hello, HelloWatch
from tunnelctl.server.policy.rules import TLSRequirement
from tunnelctl.stream.base import Stream

# Time limit from the opening of the tunnel to a complete ClientHello, and from the first octet of a second one to its last. TLS
# clients send it at once. The limit is shorter than their timeouts, and equal to that of a request head. The time that the server
# takes to request the second hello does not count: nothing is held meanwhile.
HELLO_SECONDS = 10.0

# Bytes per read while hellos are looked for, so that one that takes long to inspect is read in several turns: in records of one
# octet, this many take about a millisecond. Few hellos are longer.
PIECE = 2048

LATE = NoClientHello("no ClientHello in time")


class TunnelCut(ConnectionAbortedError):
    """A rule has cut the tunnel."""


class FirstBytes(NamedTuple):
    """The beginning of a tunnel, for the log: the last hello of the client.

    cut_by: the rule that cut it; reports: the report rules that would have, at either hello
    """

    what: str
    name: str
    cut_by: str
    reports: tuple[str, ...]


class InspectedStream(Stream):
    """The stream of a client whose tunnel must meet demands."""

    __slots__ = ("_client", "_deadline", "_early", "_free", "_held", "_holds", "_host", "_late", "_requirements", "_watch", "seen")

    def __init__(self, client: Stream, early: bytes, requirements: tuple[TLSRequirement, ...], target: str) -> None:
        """early: data read together with the request; target: in authority form"""
        self._client, self._early, self._requirements = client, early, requirements
        self._host = parse_authority(target).host
        self._watch: HelloWatch | None = HelloWatch()  # None once no hello can come any more
        self._holds = any(requirement.cut for requirement in requirements)
        self._held = bytearray()  # read, and not yet handed on
        self._free = 0  # how much of it may be handed on
        self._deadline = current_time() + HELLO_SECONDS
        self._late = False
        self.seen: FirstBytes | None = None

    def receive_nowait(self, limit: int) -> bytes | None:
        if not self._free and self._watch is not None and not self._inspect(self._watch, limit):
            return None
        if self._free:
            data = bytes(self._held[: min(limit, self._free)])
            del self._held[: len(data)]
            self._free -= len(data)
            return data
        return None if self._watch is not None else self._client.receive_nowait(limit)

    def _inspect(self, watch: HelloWatch, limit: int) -> bool:
        """Reads on; returns whether there may be something to hand on. Raises Cut."""
        data: bytes | None
        found: list[Hello]
        if self._late:
            data, found, self._watch = b"", [LATE], None
        else:
            data, self._early = self._early or self._client.receive_nowait(min(limit, PIECE)), b""
            if data is None:
                return False
            begun = watch.begun
            found = watch.feed_client(data) if data else watch.end()
            if watch.begun and (found or not begun):
                self._deadline = current_time() + HELLO_SECONDS
        self._held += data
        for hello in found:
            self._decide(hello)
        self._release()
        return self._free > 0 or self._watch is None

    def _release(self) -> None:
        """Updates how much may be handed on."""
        watch = self._watch
        if watch is not None and watch.over:
            watch = self._watch = None
        self._free = len(self._held) - (watch.pending if watch is not None and self._holds else 0)

    def _decide(self, hello: Hello) -> None:
        broken = [requirement for requirement in self._requirements if not requirement.is_met(hello, self._host)]
        cut_by = next((requirement.rule for requirement in broken if requirement.cut), "")
        before = () if self.seen is None else self.seen.reports
        reports = tuple(dict.fromkeys((*before, *(requirement.rule for requirement in broken if not requirement.cut))))
        if isinstance(hello, NoClientHello):
            self.seen = FirstBytes(hello.what, "", cut_by, reports)
        else:
            self.seen = FirstBytes("TLS with ECH" if hello.ech else "TLS", hello.name, cut_by, reports)
        if cut_by:
            raise TunnelCut(ECONNABORTED, f"cut by {cut_by}")

    def wait_readable(self) -> Awaitable[None]:
        if self._watch is None or not self._watch.begun:
            return self._client.wait_readable()
        return self._wait_for_hello()

    async def _wait_for_hello(self) -> None:
        with CancelScope(self._deadline) as scope:
            if self._held:  # more may be readable at once: reading it piece by piece without a pause would starve other tasks
                await checkpoint()
            await self._client.wait_readable()
        self._late = scope.cancelled_caught

    def send_nowait(self, data: bytes | memoryview) -> int:
        sent = self._client.send_nowait(data)
        if sent and self._watch is not None:
            self._watch.feed_server(data[:sent])
            self._release()
        return sent

    def wait_writable(self) -> Awaitable[None]:
        return self._client.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._client.on_broken(callback)

    def socket_fd(self) -> int | None:
        """Returns None until all hellos are known: spliced data cannot be inspected."""
        return None if self._watch is not None or self._held else self._client.socket_fd()

    def expect_bulk(self) -> None:
        self._client.expect_bulk()

    def source_drained(self) -> None:
        self._client.source_drained()

    def sink_filled(self) -> None:
        self._client.sink_filled()

    def send_eof(self) -> None:
        self._client.send_eof()

    async def flush_eof(self) -> None:
        await self._client.flush_eof()

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()

    async def wait_acknowledged(self) -> None:
        await self._client.wait_acknowledged()
