"""Reading on after a final response: its bounds, and that other tasks run meanwhile."""

from tests.stream.ends import go
from tunnelctl.engine.kernel import Nursery, checkpoint
from tunnelctl.stream.base import CHUNK, Stream
from tunnelctl.stream.linger import LINGER_BYTES, linger


class Pouring(Stream):
    """Always has something to read, up to `most` bytes."""

    def __init__(self, most: int) -> None:
        self.left, self.eof = most, 0

    def receive_nowait(self, limit: int) -> bytes:
        assert self.eof == 1
        size = min(limit, self.left)
        self.left -= size
        return bytes(size)

    def send_eof(self) -> None:
        self.eof += 1


def test_linger_reads_up_to_eof() -> None:
    stream = Pouring(3 * CHUNK + 1)
    go(linger, stream)
    assert (stream.left, stream.eof) == (0, 1)


def test_linger_leaves_a_flooding_client_and_does_not_delay_others() -> None:
    stream = Pouring(1 << 40)

    async def main() -> int:
        turns = 0
        async with Nursery() as nursery:

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await checkpoint()

            nursery.start_soon(other)
            await linger(stream)
            nursery.cancel_scope.cancel()
        return turns

    turns = go(main)
    assert stream.left == (1 << 40) - LINGER_BYTES
    assert turns >= LINGER_BYTES // CHUNK
