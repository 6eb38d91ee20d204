"""V50: frames of HTTP/2 that move no data, and answers that nobody reads."""

from collections.abc import Iterator

import pytest

from tests.peers.http2 import Flag, Kind, frame, settings_frame
from tests.security.abuse import CALM, FLOW_CONTROL_ERROR, Attacked, attacked, request

ONE = (1).to_bytes(4)
PING = frame(Kind.PING, payload=bytes(8))
FLOODS = {
    "PING": PING,
    "answers to no PING": frame(Kind.PING, payload=bytes(8), flags=Flag.ACK),
    "SETTINGS": settings_frame([]),
    "SETTINGS with changes": settings_frame([(4, 1)]) + settings_frame([(4, 1 << 30)]) + settings_frame([(1, 0)]),
    "acknowledgements of SETTINGS": frame(Kind.SETTINGS, flags=Flag.ACK),
    "PRIORITY": frame(Kind.PRIORITY, 1, bytes(5)),
    "PRIORITY of idle streams": frame(Kind.PRIORITY, 99, bytes(5)),
    "unknown frames": frame(0x21, 1, b"x"),
    "WINDOW_UPDATE of the connection": frame(Kind.WINDOW_UPDATE, 0, ONE),
    "WINDOW_UPDATE of a stream": frame(Kind.WINDOW_UPDATE, 1, ONE),
    "GOAWAY": frame(Kind.GOAWAY, payload=bytes(8)),
    "DATA without data": frame(Kind.DATA, 1),
    "DATA of padding": frame(Kind.DATA, 1, bytes([3]) + bytes(3), Flag.PADDED),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("frames")) as running:
        yield running


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_frames_ends_the_connection(flood: str, scene: Attacked) -> None:
    with scene.beside_others(), scene.abuser() as abuser:
        abuser.send(request(scene.target.authority, 1))
        abuser.wait_for(Kind.HEADERS, 1)
        assert abuser.flood(FLOODS[flood] * 500, 500) == CALM
        scene.wait_for_decision(abuser, 429)
        assert sorted(scene.decisions(abuser)) == [200, 429]


@pytest.mark.parametrize("flood", ["PING", "SETTINGS"])
def test_answers_that_are_not_read(flood: str, scene: Attacked) -> None:
    with scene.beside_others(), scene.abuser(reads=False) as abuser:
        for _ in range(300):
            abuser.send(FLOODS[flood] * 100)
        abuser.reads = True
        assert abuser.code() == CALM


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (settings_frame([(99, 0)] * 33), CALM),
        (frame(Kind.WINDOW_UPDATE, 0, ((1 << 31) - 1).to_bytes(4)), FLOW_CONTROL_ERROR),
        (frame(Kind.PING, payload=bytes(60_000)), CALM),
        (frame(0x21, payload=bytes(80_000)), 6),
    ],
    ids=["many settings", "a window too large", "a long PING", "a frame longer than announced"],
)
def test_one_frame_too_large(sent: bytes, code: int, scene: Attacked) -> None:
    with scene.beside_others(), scene.abuser() as abuser:
        assert abuser.flood(sent, 1) == code


def test_data_of_one_octet_at_a_time(scene: Attacked) -> None:
    """A program may write like that, so much of it is allowed. It costs the others little."""
    with scene.beside_others(), scene.abuser() as abuser:
        abuser.send(request(scene.target.authority, 1))
        abuser.wait_for(Kind.HEADERS, 1)
        for _ in range(40):
            abuser.send(frame(Kind.DATA, 1, b"x") * 500)
        assert abuser.serves()


def test_credit_of_one_octet_at_a_time(scene: Attacked) -> None:
    """Each octet of a download costs a frame in each direction."""
    with scene.beside_others(), scene.abuser((4, 0)) as abuser:
        abuser.send(request(scene.target.authority, 1) + frame(Kind.DATA, 1, b"x" * 10_000) + frame(Kind.DATA, 1, b"x" * 10_000))
        abuser.wait_for(Kind.HEADERS, 1)
        assert abuser.flood(frame(Kind.WINDOW_UPDATE, 1, ONE), 20_000) == CALM


def test_a_client_that_never_acknowledges_settings_is_served(scene: Attacked) -> None:
    """It costs nothing: no rule of ours depends on it."""
    with scene.beside_others(), scene.abuser() as abuser:
        abuser.send(request(scene.target.authority, 1) + frame(Kind.DATA, 1, b"hello", Flag.END_STREAM))
        assert abuser.wait_for(Kind.DATA, 1).payload == b"hello"
