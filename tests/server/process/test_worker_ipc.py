"""Queries between workers, which are tasks of one process here; where a worker dies, it is a process of its own."""

import os
import select
import signal
import socket
from collections.abc import Awaitable, Callable
from errno import EPROTONOSUPPORT

import pytest

from tests.client.harness import TraceLog
from tunnelctl.engine.kernel import Nursery, checkpoint, run
from tunnelctl.events import silent
from tunnelctl.server.process import worker_ipc as under_test
from tunnelctl.server.process.worker_ipc import WorkerQueries
from tunnelctl.stream.socket_stream import SocketStream


@pytest.fixture(autouse=True, params=["seqpacket", "datagram"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes away the kind of socket that macOS lacks, for half of the tests."""
    if request.param == "datagram":
        pair = socket.socketpair

        def socketpair(family: int = socket.AF_UNIX, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
            if kind == socket.SOCK_SEQPACKET:
                raise OSError(EPROTONOSUPPORT, os.strerror(EPROTONOSUPPORT))
            return pair(family, kind)

        monkeypatch.setattr(socket, "socketpair", socketpair)


def says(answer: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def content(_: bytes) -> bytes:
        return answer

    return content


def asked(count: int, alive: range, content: bytes = b"x", times: int = 1) -> list[list[bytes | None]]:
    """Returns the answers that worker 0 receives in each of `times` queries; workers not in `alive` do not answer."""
    siblings = WorkerQueries(count)

    async def main() -> list[list[bytes | None]]:
        async with Nursery() as nursery:
            for number in alive:
                nursery.start_soon(siblings.answer, number, says(content + str(number).encode()), silent)
            heard = [await siblings.ask(0, b"?") for _ in range(times)]
            nursery.cancel_scope.cancel()
        return heard

    try:
        return run(main)
    finally:
        siblings.close()


def test_the_other_workers_answer_and_not_the_asking_one() -> None:
    (heard,) = asked(3, range(3))
    assert sorted(heard) == [b"x1", b"x2"]
    assert asked(1, range(1)) == [[]]


def test_long_answers_to_many_queries() -> None:
    content = bytes(3 << 20)
    heard = asked(2, range(2), content, times=5)
    assert heard == [[content + b"1"]] * 5


def test_a_silent_worker_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.05)
    (heard,) = asked(3, range(2))
    assert sorted(heard, key=str) == [None, b"x1"] or sorted(heard, key=str) == [b"x1", None]


def test_queries_to_a_dead_worker_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full after some; then no more queries are sent to it, and nothing blocks."""
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.001)
    assert asked(2, range(0), times=300) == [[None]] * 300


def test_a_replacement_answers_the_queries_left_by_a_dead_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.01)
    siblings = WorkerQueries(2)

    async def main() -> list[bytes | None]:
        assert await siblings.ask(0, b"?") == [None]
        async with Nursery() as nursery:
            nursery.start_soon(siblings.answer, 1, says(b"here"), silent)
            await checkpoint()
            monkeypatch.setattr(under_test, "ANSWER_SECONDS", 5.0)
            heard = await siblings.ask(0, b"?")
            nursery.cancel_scope.cancel()
        return heard

    try:
        assert run(main) == [b"here"]
    finally:
        siblings.close()


def test_an_answer_that_is_too_long_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_ANSWER", 10)
    assert asked(2, range(2), b"x" * 100) == [[None]]


def test_a_fault_in_an_answer_is_a_warning_and_the_next_one_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 5.0)
    siblings, trace, faults = WorkerQueries(2), TraceLog(), [ZeroDivisionError("a fault of ours")]

    async def content(_: bytes) -> bytes:
        while faults:
            raise faults.pop()
        return b"here"

    async def main() -> list[list[bytes | None]]:
        async with Nursery() as nursery:
            nursery.start_soon(siblings.answer, 1, content, trace)
            heard = [await siblings.ask(0, b"?") for _ in range(2)]
            nursery.cancel_scope.cancel()
        return heard

    try:
        assert run(main) == [[None], [b"here"]]
    finally:
        siblings.close()
    (warning,) = trace.named("warning")
    assert warning["text"] == "fault in an answer to another worker: ZeroDivisionError: a fault of ours"


# --- incomplete answers

SENT = b'[{"id": "1"}, {"id": "2"}]'
WHOLE = len(SENT).to_bytes(8, "big") + SENT


def answered_by(peer: Callable[[socket.socket], object]) -> list[bytes | None]:
    """Returns what worker 0 receives from a scripted process, which is killed at the end."""
    siblings = WorkerQueries(2)
    child = os.fork()
    if child == 0:
        try:
            hearing = siblings._pairs[1][1]
            hearing.setblocking(True)
            _, (fd,), *_ = socket.recv_fds(hearing, 1, 1)
            peer(socket.socket(fileno=fd))
            signal.pause()
        finally:
            os._exit(1)
    try:
        return run(siblings.ask, 0, b"?")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        siblings.close()


def test_a_complete_scripted_answer_is_received() -> None:
    assert answered_by(lambda sock: (sock.sendall(WHOLE), sock.close())) == [SENT]  # type: ignore[func-returns-value]


@pytest.mark.parametrize("size", [*range(len(WHOLE)), len(WHOLE) + 1])
def test_a_truncated_or_oversized_answer_is_discarded(size: int) -> None:
    sent = (WHOLE + b"]")[:size]
    assert answered_by(lambda sock: (sock.sendall(sent), sock.close())) == [None]  # type: ignore[func-returns-value]


def test_the_answer_of_a_worker_killed_while_sending_is_discarded() -> None:
    def die(sock: socket.socket) -> None:
        sock.sendall(WHOLE[:20])
        os.kill(os.getpid(), signal.SIGKILL)

    assert answered_by(die) == [None]


def test_the_answer_of_a_worker_stopped_while_sending_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.2)

    def stop(sock: socket.socket) -> None:
        sock.sendall(WHOLE[:20])
        os.kill(os.getpid(), signal.SIGSTOP)

    assert answered_by(stop) == [None]


def test_a_worker_killed_before_its_long_answer_is_read() -> None:
    """As observed: the answer is longer than a socket buffer holds."""
    siblings = WorkerQueries(2)
    mine, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            run(siblings.answer, 1, says(SENT * 100_000), silent)
        finally:
            os._exit(1)
    try:
        with theirs:
            socket.send_fds(siblings._pairs[1][0], [b"?"], [theirs.fileno()])
        assert select.select([mine], [], [], 20.0)[0]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        siblings.close()

    async def read() -> bytes | None:
        mine.setblocking(False)
        stream = SocketStream(mine)
        try:
            return await under_test._read(stream)
        finally:
            stream.close()

    assert run(read) is None
