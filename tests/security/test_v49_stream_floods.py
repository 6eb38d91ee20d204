"""V49: streams of HTTP/2 that are opened and thrown away, or piled up."""

import socket
from collections.abc import Iterator

import pytest

from tests.peers.http2 import Flag, Kind, frame, header_block
from tests.peers.process import opening, wait_until
from tests.peers.scripted import black_hole_port
from tests.security.abuse import CALM, REFUSED_STREAM, Attacked, attacked, request
from tests.server.harness import SECONDS

DENIED = "10.0.0.1:1"
BLOCK = header_block([(":method", "CONNECT"), (":authority", DENIED)])
CANCEL = (8).to_bytes(4)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("streams"), "--dial-timeout", "60") as running:
        yield running


def numbers(count: int, first: int = 1) -> range:
    return range(first, first + 2 * count, 2)


@pytest.mark.parametrize("where", ["target", "denied"])
def test_rapid_reset(where: str, scene: Attacked) -> None:
    """CVE-2023-44487: a request and its reset, in a loop. What is reset at once is not even dialled."""
    target, reached = (scene.target.authority if where == "target" else DENIED), len(scene.target.conversations)
    with scene.beside_others(), scene.abuser() as abuser:
        pairs = [request(target, number) + frame(Kind.RST_STREAM, number, CANCEL) for number in numbers(3000)]
        assert abuser.flood(b"".join(pairs), 1) == CALM
        scene.wait_for_decision(abuser, 429)
        found = scene.decisions(abuser)
        assert found.count(429) == 1, "one record for the connection"
        assert len(found) < 1100
        # The end of a read may come between a request and its reset.
        assert len(scene.target.conversations) - reached < 50


def window_update(stream: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, stream, increment.to_bytes(4))


MISTAKES = {
    "WINDOW_UPDATE of 0": lambda number: window_update(number, 0),
    "too large a window": lambda number: window_update(number, (1 << 31) - 1),
    "DATA after END_STREAM": lambda number: frame(Kind.DATA, number, b"x" * 100, Flag.END_STREAM) + frame(Kind.DATA, number, b"x"),
    "a second request": lambda number: request(DENIED, number),
    "trailers": lambda number: frame(Kind.HEADERS, number, header_block([("x", "y")]), Flag.END_HEADERS | Flag.END_STREAM),
    "a priority of itself": lambda number: frame(Kind.PRIORITY, number, number.to_bytes(4) + b"\0\0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_resets_provoked_from_us(mistake: str, scene: Attacked) -> None:
    """CVE-2025-8671: the streams are reset by us, for a mistake each. 100 are forgiven."""
    with scene.beside_others(), scene.abuser() as abuser:
        sent = [request(scene.target.authority, number) + MISTAKES[mistake](number) for number in numbers(300)]
        code = abuser.flood(b"".join(sent), 1)
        assert code in (CALM, 6) if mistake == "a priority of itself" else code == CALM
        wait_until(lambda: scene.decisions(abuser), SECONDS, "a record")
        assert len(abuser.resets()) <= 101


def test_malformed_requests_are_mistakes_too(scene: Attacked) -> None:
    block = header_block([(":method", "CONNECT"), (":authority", DENIED), ("connection", "close")])
    with scene.beside_others(), scene.abuser() as abuser:
        sent = [frame(Kind.HEADERS, number, block, Flag.END_HEADERS) for number in numbers(300)]
        assert abuser.flood(b"".join(sent), 1) == CALM
        assert abuser.resets() == [(number, 1) for number in numbers(100)]


def test_streams_that_hang_in_their_dials(scene: Attacked) -> None:
    """They are 100 at most; a further one is refused at once, and 1,000 of those end the connection. The dials end with it."""
    with black_hole_port() as hole, scene.beside_others():
        before = opening(hole)
        with scene.abuser() as abuser:
            abuser.send(b"".join(request(f"127.0.0.1:{hole}", number) for number in numbers(150)))
            assert abuser.serves()
            wait_until(lambda: opening(hole) == before + 100, SECONDS, "the dials")
            assert abuser.resets() == [(number, REFUSED_STREAM) for number in numbers(50, 201)]
            more = b"".join(request(f"127.0.0.1:{hole}", number) for number in numbers(1500, 301))
            assert abuser.flood(more, 1) == CALM
        wait_until(lambda: opening(hole) == before, SECONDS, "the end of the dials")


def test_thousands_of_requests_are_refused_one_after_the_other(scene: Attacked) -> None:
    """That is no abuse. Each has its response, and its record."""
    with scene.beside_others(), scene.abuser() as abuser:
        for at in range(0, 3000, 100):
            abuser.send(b"".join(frame(Kind.HEADERS, 2 * number + 1, BLOCK, 5) for number in range(at, at + 100)))
            abuser.wait_for(Kind.HEADERS, 2 * (at + 99) + 1)
        assert abuser.serves()
        assert len([one for one in abuser.frames if one.kind == Kind.HEADERS]) == 3000
        wait_until(lambda: scene.decisions(abuser).count(403) == 3000, SECONDS, "the records")


def test_responses_that_are_not_read(scene: Attacked) -> None:
    """The requests go on meanwhile. Each response is longer than its request."""
    with scene.beside_others(), scene.abuser(reads=False) as abuser:
        abuser.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for number in range(400_000):
            if not abuser.send(frame(Kind.HEADERS, 2 * number + 1, BLOCK, Flag.END_HEADERS | Flag.END_STREAM)):
                break
        assert number < 399_999, "the proxy has taken all of them"
