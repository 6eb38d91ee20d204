"""`connect` through `serve` to a target: both of our ends together, and every byte of the tunnel compared."""

import hashlib
import random
import signal
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.peers import certificates
from tests.peers.certificates import Certificates
from tests.peers.process import wait_until
from tests.peers.program import SOON, Serve, at_end_soon, read_soon, started
from tests.peers.scripted import Conversation, ScriptedServer, sample

MIB = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


class Way(NamedTuple):
    """A route through `serve`: the words for it, and the version of HTTP."""

    words: tuple[str, ...]
    version: str


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2", "HTTP/2 over TLS"])
def way(request: pytest.FixtureRequest, files: Certificates) -> Iterator[Way]:
    over_tls = "TLS" in request.param
    tls = ("--tls-cert", str(files.chain), "--tls-key", str(files.key)) if over_tls else ()
    trust = ("--proxy-cacert", str(files.authority)) if over_tls else ()
    version = request.param.split()[0]
    with Serve(*tls) as proxy:
        url = f"https://localhost:{proxy.port}" if over_tls else proxy.url
        yield Way(("-x", url, *trust, "--http", version.removeprefix("HTTP/")), version)


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


def test_64_mib_in_both_directions_at_once(way: Way) -> None:
    there, back = sample(64 * MIB, 1), sample(64 * MIB, 2)
    received = []

    def swap(peer: Conversation) -> None:
        sender = threading.Thread(target=lambda: [peer.send(piece) for piece in pieces(back, 3)])
        sender.start()
        received.append(digest(peer.read_exactly(len(there))))
        sender.join()
        assert peer.read() == b""  # the EOF of our stdin, passed on

    with ScriptedServer(swap) as target, started("connect", *way.words, target.authority) as process:
        writer = threading.Thread(target=write_all, args=(process.stdin, there, 4))
        writer.start()
        data = b"".join(iter(lambda: process.stdout.read(MIB), b""))
        writer.join()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""
    assert digest(data) == digest(back)
    assert received == [digest(there)]


def digest(data: bytes) -> tuple[int, str]:
    """Returns length and SHA-256: to show where two samples of this size differ would take minutes."""
    return len(data), hashlib.sha256(data).hexdigest()


def test_a_target_that_responds_only_after_eof(way: Way) -> None:
    question = sample(5 * MIB)
    with (
        ScriptedServer(lambda peer: peer.send(peer.read_to_end()[::-1])) as target,
        started("connect", *way.words, target.authority) as process,
    ):
        write_all(process.stdin, question, 3)
        assert process.stdout.read() == question[::-1]
        assert process.wait(SOON) == 0


def test_a_target_that_ends_first_can_still_receive(way: Way) -> None:
    late = sample(5 * MIB)
    received = []

    def script(peer: Conversation) -> None:
        peer.end_output()
        received.append(peer.read_to_end())

    with ScriptedServer(script) as target, started("connect", *way.words, target.authority) as process:
        assert at_end_soon(process.stdout)
        write_all(process.stdin, late, 4)
        assert process.wait(SOON) == 0
    assert received == [late]


def test_a_reset_by_the_target_stays_a_reset(way: Way) -> None:
    """If a proxy turned it into a clean end, the client would treat the data as complete."""
    arrived = threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(b"half a mess")
        assert arrived.wait(SOON)
        peer.reset()

    with ScriptedServer(script) as target, started("connect", *way.words, target.authority) as process:
        assert read_soon(process.stdout, 11) == b"half a mess"
        arrived.set()
        assert process.wait(SOON) == 74
        assert b"reset" in process.stderr.read()


@pytest.mark.parametrize("half_closed", ["neither", "the client", "the target"])
def test_a_reset_by_the_target_in_each_state(way: Way, half_closed: str) -> None:
    """What the client has sent before is at the target, and it is told of the reset unless it had the end already."""
    ready = threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(b"half a mess")
        if half_closed == "the target":
            peer.end_output()
        if half_closed == "the client":
            assert peer.read_to_end() == b"all"
        assert ready.wait(SOON)
        peer.reset()

    with ScriptedServer(script) as target, started("connect", *way.words, target.authority) as process:
        assert read_soon(process.stdout, 11) == b"half a mess"
        if half_closed == "the client":
            process.stdin.write(b"all")
            process.stdin.close()
        if half_closed == "the target":
            assert at_end_soon(process.stdout)
        ready.set()
        status = process.wait(SOON)
        assert status in ((0, 74) if half_closed == "the target" else (74,))


@pytest.mark.parametrize("moment", ["before", "during", "after its end"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_client_ends_its_tunnel(way: Way, sent: signal.Signals, moment: str) -> None:
    """before: it has sent nothing; after its end: the target is still sending. The target never takes it for a clean end."""
    endings = []

    def script(peer: Conversation) -> None:
        peer.send(b"hello")
        try:
            data = peer.read_to_end() if moment != "after its end" else peer.read_exactly(4)
            if moment == "after its end":
                assert peer.read() == b""
                while True:
                    peer.send(bytes(1 << 16))
            endings.append(("EOF", data))
        except ConnectionError:
            endings.append(("reset", b""))

    with ScriptedServer(script) as target, started("connect", *way.words, target.authority) as process:
        assert read_soon(process.stdout, 5) == b"hello"
        if moment != "before":
            process.stdin.write(b"data")
        if moment == "after its end":
            process.stdin.close()
            assert read_soon(process.stdout, 1 << 16)
        process.send_signal(sent)
        assert process.wait(SOON) == -sent
        wait_until(lambda: endings, SOON, "the end at the target")
    if moment == "after its end" or way.version == "HTTP/2":
        assert endings == [("reset", b"")]


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
