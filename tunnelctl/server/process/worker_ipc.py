"""Queries between workers, so that the worker that serves a request of the private endpoint responds for all.

A query is a datagram: one octet that says what is asked for, and a socket. The reply comes back on that socket, preceded by its
length: a worker that dies in the middle of a reply, or is too slow, counts as one that gave none. The socket pairs are created
before the first fork and outlive every worker; a replacement inherits its predecessor's unanswered queries.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from tunnelctl import events
from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, move_on_after
from tunnelctl.events import Trace
from tunnelctl.stream.socket_stream import SocketStream

ANSWER_SECONDS = 1.0  # time limit for a reply: a worker may have died, or hang
MAX_ANSWER = 64 << 20

_LENGTH = 8  # octets

_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # of Linux and the BSDs; a worker runs no other program anyway


class WorkerQueries:
    """The workers, by number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pairs = [_datagram_pair() for _ in range(count)]

    def close(self) -> None:
        for pair in self._pairs:
            for end in pair:
                end.close()

    async def answer(self, me: int, content: Callable[[bytes], Awaitable[bytes]], trace: Trace) -> None:
        """Replies to each question of the other workers with the result of `content`, forever; a fault in that causes a warning."""
        hearing = self._pairs[me][1]
        descriptor = Descriptor(hearing.fileno())
        try:
            async with Nursery() as answers:
                while True:
                    await descriptor.wait_readable()
                    try:
                        question, fds, *_ = socket.recv_fds(hearing, 1, 1, _CLOSE_ON_EXEC)
                    except BlockingIOError:
                        descriptor.readable = False
                        continue
                    for fd in fds:
                        answers.start_soon(_reply, fd, partial(content, question), trace)
        finally:
            descriptor.forget(shared=True)

    async def ask(self, me: int, question: bytes) -> list[bytes | None]:
        """Queries the other workers; returns their replies, None for each worker that gives none. question: one octet"""
        answers: list[bytes | None] = []

        async def one(number: int) -> None:
            answers.append(await self._ask(number, question))

        async with Nursery() as asking:
            for number in range(len(self._pairs)):
                if number != me:
                    asking.start_soon(one, number)
        return answers

    async def _ask(self, number: int, question: bytes) -> bytes | None:
        try:
            mine, theirs = socket.socketpair()
        except OSError:  # no descriptor is left
            return None
        with theirs:
            mine.setblocking(False)
            theirs.setblocking(False)
            stream = SocketStream(mine)
            try:
                socket.send_fds(self._pairs[number][0], [question], [theirs.fileno()])
            except OSError:  # it has not read the last queries yet
                stream.close()
                return None
        try:
            with move_on_after(ANSWER_SECONDS):
                return await _read(stream)
        except OSError:
            pass
        finally:
            stream.close()
        return None


def _datagram_pair() -> tuple[socket.socket, socket.socket]:
    """Opens a pair for datagrams. The kind that macOS lacks queues more of them."""
    try:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in pair:
        end.setblocking(False)
    return pair


async def _read(stream: SocketStream) -> bytes | None:
    """Returns the reply; None if its end is missing, or if it is too long."""
    data = bytearray()
    while piece := await stream.receive_some():
        data += piece
        if len(data) > _LENGTH + MAX_ANSWER:
            return None
    length, answer = data[:_LENGTH], bytes(data[_LENGTH:])
    return answer if len(length) == _LENGTH and int.from_bytes(length, "big") == len(answer) else None


async def _reply(fd: int, content: Callable[[], Awaitable[bytes]], trace: Trace) -> None:
    os.set_blocking(fd, False)
    stream = SocketStream(socket.socket(fileno=fd))
    try:
        with move_on_after(ANSWER_SECONDS):
            answer = await content()
            await stream.send_all(len(answer).to_bytes(_LENGTH, "big") + answer)
    except OSError:  # the querying worker has given up
        pass
    except Exception as fault:
        trace(events.Warning(f"fault in an answer to another worker: {type(fault).__name__}: {fault}"))
    finally:
        stream.close()
