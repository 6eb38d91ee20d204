"""The exchange of one plain http request: fairness. What passes, and what fails, is tested through `forward -D` and `serve`."""

import h11

from tests.engine.tools import bounded
from tunnelctl.engine.kernel import Nursery, checkpoint, current_kernel
from tunnelctl.proto.http1.messages import Messages
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.exchange import Exchange
from tunnelctl.stream.relay import Outcome, TimeLimits

HEAD = b"GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n"


class Ready(Stream):
    """A peer that has already sent everything, and accepts every write at once. Notes whether its writers are bulk tasks."""

    def __init__(self, said: bytes = b"") -> None:
        self.said, self.told = said, b""
        self.bulk: list[bool] = []
        self.expected = 0

    def receive_nowait(self, limit: int) -> bytes:
        data, self.said = self.said[:limit], self.said[limit:]
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        self.told += data
        self.bulk.append(current_kernel().task.bulk)
        return len(data)

    def expect_bulk(self) -> None:
        self.expected += 1

    def close(self) -> None:
        pass


def test_small_chunks_from_a_fast_server_do_not_starve_other_tasks() -> None:
    """All chunks arrive in one read and the client accepts each at once, so the exchange never has to wait."""
    chunks = 2000
    far = Ready(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
    near = Ready(HEAD)

    async def main() -> tuple[int, Outcome]:
        client, turns = Messages(h11.SERVER), 0
        client.receive(near.receive_nowait(1000))
        request = client.next_event()
        assert isinstance(request, h11.Request)

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with Nursery() as nursery:
            nursery.start_soon(other)
            exchange = Exchange(client, near, far, b"", TimeLimits())
            outcome = await exchange.run(request, "p", lambda *_: None, last=True)
            nursery.cancel_scope.cancel()
        return turns, outcome

    turns, outcome = bounded(main)
    assert turns >= chunks
    assert near.told.count(b"1\r\nx\r\n") == chunks
    assert near.told.count(b"\r\nConnection: close\r\n") == 1
    assert (outcome.ended_by, outcome.cause, outcome.error) == ("right", "eof", None)


def test_a_large_response_is_bulk_and_a_small_one_is_not() -> None:
    """Keystrokes of other clients go before bulk, and the queue of a stalled reader is bounded."""

    async def moved(size: int) -> tuple[Ready, Ready, bool]:
        far, near, client = Ready(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(size)), Ready(HEAD), Messages(h11.SERVER)
        client.receive(near.receive_nowait(CHUNK))
        request = client.next_event()
        assert isinstance(request, h11.Request)
        await Exchange(client, near, far, b"", TimeLimits()).run(request, "p", lambda *_: None, last=True)
        return near, far, current_kernel().task.bulk

    async def main() -> None:
        near, far, after = await moved(10 * CHUNK)
        assert (any(near.bulk), far.expected, after) == (True, 1, False)
        near, far, after = await moved(100)
        assert (any(near.bulk), far.expected, after) == (False, 0, False)

    bounded(main)
