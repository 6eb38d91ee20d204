"""`connect` through `serve` to a target: both of our ends together, and every byte of the tunnel compared."""

import random
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.peers.process import wait_until
from tests.peers.program import SOON, Serve, at_end_soon, read_soon, started
from tests.peers.scripted import Conversation, ScriptedServer, sample

MIB = 1 << 20


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with Serve() as proxy:
        yield proxy


def pieces(data: bytes, seed: int) -> Iterator[memoryview]:
    """Cuts `data` at random places, into pieces from a single byte to more than any buffer on the path."""
    dice, view = random.Random(seed), memoryview(data)
    while view:
        size = min(dice.choice((1, 100, 4096, 65536, 65537, 300_000, 2 * MIB)), len(view))
        yield view[:size]
        view = view[size:]


def write_all(pipe, data: bytes, seed: int) -> None:
    """Writes to an unbuffered pipe, where one write may accept only a part, and closes it."""
    with pipe:
        for piece in pieces(data, seed):
            while piece:
                piece = piece[pipe.write(piece) :]


def test_64_mib_in_both_directions_at_once(serve: Serve) -> None:
    there, back = sample(64 * MIB, 1), sample(64 * MIB, 2)
    received = []

    def swap(peer: Conversation) -> None:
        sender = threading.Thread(target=lambda: [peer.send(piece) for piece in pieces(back, 3)])
        sender.start()
        received.append(peer.read_exactly(len(there)))
        sender.join()
        assert peer.read() == b""  # the EOF of our stdin, passed on

    with ScriptedServer(swap) as target, started("connect", "-x", serve.url, target.authority) as process:
        writer = threading.Thread(target=write_all, args=(process.stdin, there, 4))
        writer.start()
        data = b"".join(iter(lambda: process.stdout.read(MIB), b""))
        writer.join()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""
    assert data == back
    assert received == [there]


def test_a_target_that_responds_only_after_eof(serve: Serve) -> None:
    question = sample(5 * MIB)
    with (
        ScriptedServer(lambda peer: peer.send(peer.read_to_end()[::-1])) as target,
        started("connect", "-x", serve.url, target.authority) as process,
    ):
        write_all(process.stdin, question, 3)
        assert process.stdout.read() == question[::-1]
        assert process.wait(SOON) == 0


def test_a_target_that_ends_first_can_still_receive(serve: Serve) -> None:
    late = sample(5 * MIB)
    received = []

    def script(peer: Conversation) -> None:
        peer.end_output()
        received.append(peer.read_to_end())

    with ScriptedServer(script) as target, started("connect", "-x", serve.url, target.authority) as process:
        assert at_end_soon(process.stdout)
        write_all(process.stdin, late, 4)
        assert process.wait(SOON) == 0
    assert received == [late]


def test_a_reset_by_the_target_stays_a_reset(serve: Serve) -> None:
    """If a proxy turned it into a clean end, the client would treat the data as complete."""
    arrived = threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(b"half a mess")
        assert arrived.wait(SOON)
        peer.reset()

    with ScriptedServer(script) as target, started("connect", "-x", serve.url, target.authority) as process:
        assert read_soon(process.stdout, 11) == b"half a mess"
        arrived.set()
        assert process.wait(SOON) == 74
        assert b"reset" in process.stderr.read()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_client_ends_its_tunnel(serve: Serve, sent: signal.Signals) -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"hello")
        peer.wait_gone()

    with ScriptedServer(script) as target, started("connect", "-x", serve.url, target.authority) as process:
        assert read_soon(process.stdout, 5) == b"hello"
        process.send_signal(sent)
        assert process.wait(SOON) == -sent


def test_a_second_sigterm_of_the_proxy_does_not_wait_for_tunnels() -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"hello")
        peer.wait_gone()

    with (
        ScriptedServer(script) as target,
        Serve() as proxy,
        started("connect", "-x", proxy.url, target.authority) as process,
    ):
        assert read_soon(process.stdout, 5) == b"hello"
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in proxy.log(), SOON, "the drain")
        assert process.poll() is None
        proxy.process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 74  # an abort, not a clean end
        assert proxy.process.wait(SOON) == -signal.SIGTERM
        proxy.ended_on_purpose = True
