"""What travels in a tunnel, as far as a rule asks: its first octets are read before they go on, and none of them is changed.

Where a rule may cut the tunnel, the client's octets are held until its ClientHello is complete, so that the target gets nothing
of what it is not to get. The other direction is never held: a server that speaks first is heard, and it is what the client then
says that decides. Where the rules only report, nothing is held at all.
"""

from collections.abc import Awaitable, Callable
from errno import ECONNABORTED
from typing import NamedTuple

from tunnelctl.engine.kernel import CancelScope, current_time
from tunnelctl.proto.address import parse_authority
from tunnelctl.proto.client_hello import ClientHello, ClientHelloReader, NoClientHello
from tunnelctl.proto.policy import Demand
from tunnelctl.stream.contract import Stream

# From the opening of the tunnel to a complete ClientHello. TLS clients say it at once, and it is less than one of their timeouts;
# as long as a request head may take.
HELLO_SECONDS = 10.0

LATE = NoClientHello("no ClientHello in time")


class Cut(ConnectionAbortedError):
    """A rule ends the tunnel."""


class Seen(NamedTuple):
    """What a tunnel began with, for the log. cut_by: the rule that ended it; reports: the report rules that would have."""

    what: str
    name: str
    cut_by: str
    reports: tuple[str, ...]


class Inspected(Stream):
    """A client whose tunnel has to meet demands."""

    __slots__ = ("_client", "_deadline", "_demands", "_early", "_held", "_holds", "_host", "_late", "_reader", "seen")

    def __init__(self, client: Stream, early: bytes, demands: tuple[Demand, ...], target: str) -> None:
        """early: what was read together with the request; target: in authority form"""
        self._client, self._early, self._demands = client, early, demands
        self._host = parse_authority(target).host
        self._reader: ClientHelloReader | None = ClientHelloReader()  # until the outcome is known
        self._holds = any(demand.cut for demand in demands)
        self._held = bytearray()
        self._deadline = current_time() + HELLO_SECONDS
        self._late = False
        self.seen: Seen | None = None

    def receive_nowait(self, limit: int) -> bytes | None:
        if self._reader is not None and not self._inspect(limit):
            return None
        if self._held:
            data = bytes(self._held[:limit])
            del self._held[:limit]
            return data
        return None if self._reader is not None else self._client.receive_nowait(limit)

    def _inspect(self, limit: int) -> bool:
        """Reads on; whether there may be something to hand on. Raises Cut."""
        assert self._reader is not None
        if self._late:
            self._decide(LATE)
            return True
        data: bytes | None
        if self._early:
            data, self._early = self._early, b""
        else:
            data = self._client.receive_nowait(limit)
        if data is None:
            return False
        self._held += data
        outcome = self._reader.feed(data) if data else self._reader.eof()
        if outcome is not None:
            self._decide(outcome)
        return outcome is not None or not self._holds

    def _decide(self, outcome: ClientHello | NoClientHello) -> None:
        self._reader = None
        broken = [demand for demand in self._demands if not demand.is_met(outcome, self._host)]
        cut_by = next((demand.rule for demand in broken if demand.cut), "")
        reports = tuple(demand.rule for demand in broken if not demand.cut)
        if isinstance(outcome, NoClientHello):
            self.seen = Seen(outcome.what, "", cut_by, reports)
        else:
            self.seen = Seen("TLS with ECH" if outcome.ech else "TLS", outcome.name, cut_by, reports)
        if cut_by:
            raise Cut(ECONNABORTED, f"cut by {cut_by}")

    def wait_readable(self) -> Awaitable[None]:
        return self._client.wait_readable() if self._reader is None else self._wait_for_hello()

    async def _wait_for_hello(self) -> None:
        with CancelScope(self._deadline) as scope:
            await self._client.wait_readable()
        self._late = scope.cancelled_caught

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self._client.send_nowait(data)

    def wait_writable(self) -> Awaitable[None]:
        return self._client.wait_writable()

    def on_broken(self, callback: Callable[[], None]) -> None:
        self._client.on_broken(callback)

    def socket_fd(self) -> int | None:
        """Not before the outcome is known: what is spliced is not seen."""
        return None if self._reader is not None or self._held else self._client.socket_fd()

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

    async def delivered(self) -> None:
        await self._client.delivered()
