"""V52: clients of HTTP/2 that do not read, or hold connections open without using them."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.peers.http2 import Flag, Frame, Kind, frame
from tests.peers.process import resident, wait_until
from tests.peers.scripted import Conversation, ScriptedServer
from tests.security.abuse import Abuser, Attacked, attacked, request
from tests.server.harness import SECONDS

IDLE_SECONDS = 2
STREAMS = 50
LARGEST = (1 << 31) - 1
HELD = 16 << 20  # octets of memory for all downloads of one client together


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("readers"), "--idle-timeout", str(IDLE_SECONDS)) as running:
        yield running


def pour(peer: Conversation) -> None:
    """A target that sends without end."""
    try:
        while True:
            peer.send(bytes(1 << 16))
    except OSError:  # the proxy has reset the connection
        pass


@pytest.mark.parametrize("window", [0, 65_535, LARGEST])
def test_downloads_that_are_not_read(window: int, scene: Attacked) -> None:
    """What the client does not take is left at the target. The limit on idle tunnels ends them, and later the connection."""
    with ScriptedServer(pour) as target, scene.beside_others():
        with scene.abuser((4, window), reads=False) as abuser:
            abuser.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            before = resident(scene.pid)
            abuser.send(frame(Kind.WINDOW_UPDATE, 0, (LARGEST - 65_535).to_bytes(4)))
            abuser.send(b"".join(request(target.authority, 2 * number + 1) for number in range(STREAMS)))
            wait_until(lambda: scene.decisions(abuser).count(200) == STREAMS, SECONDS, "the tunnels")
            grown = [0]

            def ended() -> bool:
                grown.append(resident(scene.pid) - before)
                return causes(scene, abuser) == ["idle"] * STREAMS

            wait_until(ended, SECONDS, "the end of the tunnels")
            assert max(grown) < HELD


def causes(scene: Attacked, abuser: Abuser) -> list[str]:
    return [record["cause"] for record in scene.records_of(abuser) if record["event"] == "closed"]


def test_uploads_to_a_target_that_does_not_read(scene: Attacked) -> None:
    """What is held is bounded by the window that was granted, on all streams together."""

    def stall(peer: Conversation) -> None:
        ended.wait(SECONDS)

    ended = threading.Event()
    with ScriptedServer(stall) as target, scene.beside_others(), scene.abuser() as abuser:
        before = resident(scene.pid)
        abuser.send(b"".join(request(target.authority, 2 * number + 1) for number in range(STREAMS)))
        abuser.wait_for(Kind.HEADERS, 2 * STREAMS - 1)
        credit, sent = 65_535 + sum_of_credit(abuser.frames, 0), 0
        while sent + 16_000 < credit and abuser.send(frame(Kind.DATA, 1 + 2 * (sent // 16_000 % STREAMS), bytes(16_000))):
            sent += 16_000
            credit = 65_535 + sum_of_credit(abuser.frames, 0)
            assert sent < 64 << 20, "the proxy has granted more than it may hold"
        assert abuser.serves(), "frames are read, whatever the windows"
        assert resident(scene.pid) - before < 2 * HELD + (16 << 20)
        ended.set()


def sum_of_credit(frames: list[Frame], stream: int) -> int:
    return sum(int.from_bytes(one.payload) for one in frames if one.kind == Kind.WINDOW_UPDATE and one.stream == stream)


def test_idle_connections(scene: Attacked) -> None:
    """One client network may have 100 without a tunnel; the one that has been idle for longest makes room."""
    with scene.beside_others():
        before = scene.descriptors()
        abusers = [scene.abuser() for _ in range(160)]
        for abuser in abusers:
            abuser.send(request("10.0.0.1:1", 1, Flag.END_HEADERS | Flag.END_STREAM))
            abuser.wait_for(Kind.HEADERS, 1)
        wait_until(lambda: scene.descriptors() <= before + 100, SECONDS, "the end of those beyond the limit")
        assert abusers[-1].serves()
        assert {abuser.code() for abuser in abusers[:50]} == {0}
        for abuser in abusers:
            abuser.sock.close()
