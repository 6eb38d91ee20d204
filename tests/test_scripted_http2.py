"""The scripted HTTP/2 client and proxy of the tests, against each other."""

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.peers import certificates, http2_server
from tests.peers.certificates import Certificates
from tests.peers.http2 import END_STREAM, LOST, STEP_SECONDS, Flag, GoAway, Kind, frame, header_block, reset_with
from tests.peers.http2_client import Http2Client, tls_context
from tests.peers.http2_server import Http2Server, Request, Script, grant_echo
from tests.peers.process import scratch_directory, wait_until
from tests.peers.scripted import ESTABLISHED, sample

pytestmark = pytest.mark.once  # nothing of ours runs in them
TARGET = "target.test:22"
MIB = 1 << 20


@pytest.fixture(scope="module")
def company() -> Iterator[Certificates]:
    with scratch_directory() as directory:
        yield certificates.make(directory)


def test_streams_echo_side_by_side() -> None:
    with Http2Server(grant_echo) as server, Http2Client(server.proxy) as client:
        streams = [client.tunnel(TARGET, ("user-agent", str(number))) for number in range(5)]
        for number, stream in enumerate(streams):
            stream.send(sample(5000, number))
        for number, stream in enumerate(streams):
            assert stream.read_exactly(5000) == sample(5000, number)
            stream.end()
            assert stream.read_to_end() == b""
            assert stream.ending == END_STREAM
            assert stream.closed
    assert [request.field("user-agent") for request in server.requests] == ["0", "1", "2", "3", "4"]
    assert {request.target for request in server.requests} == {TARGET}
    assert server.accepted == 1


def test_alpn_over_tls(company: Certificates) -> None:
    with Http2Server(grant_echo, company) as server, Http2Client(server.proxy, tls_context(company.authority)) as client:
        stream = client.tunnel(TARGET)
        stream.send(b"hello", end=True)
        assert stream.read_to_end() == b"hello"
        assert server.connections[0].alpn == "h2"


def test_4_mib_down_in_small_windows() -> None:
    data = sample(4 * MIB)

    def blast(request: Request) -> None:
        request.accept()
        request.send(data, end=True)

    with Http2Server(blast) as server, Http2Client(server.proxy, settings={SettingCodes.INITIAL_WINDOW_SIZE: 20_000}) as client:
        assert client.tunnel(TARGET).read_to_end() == data
    assert server.connections[0].settings[SettingCodes.INITIAL_WINDOW_SIZE] == 20_000
    assert sum(server.connections[0].credits()) > 3 * MIB


def test_4_mib_up_in_large_frames() -> None:
    data, received = sample(4 * MIB), []

    def sink(request: Request) -> None:
        request.accept()
        received.append(request.read_to_end())
        request.end()

    large = {SettingCodes.MAX_FRAME_SIZE: MIB, SettingCodes.INITIAL_WINDOW_SIZE: 2 * MIB}
    with Http2Server(sink, settings=large, window=8 * MIB) as server, Http2Client(server.proxy) as client:
        stream = client.tunnel(TARGET)
        stream.send(data, end=True)
        assert stream.wait_end() == END_STREAM
        assert max(len(one.payload) for one in server.connections[0].received(Kind.DATA)) == MIB
    assert received == [data]


def test_an_unread_stream_does_not_hold_up_another() -> None:
    """What the script leaves unread is credited when it ends: six refused uploads do not use up the connection's window."""
    with Http2Server(http2_server.in_turn(*[http2_server.refuse(403)] * 6, grant_echo)) as server:
        with Http2Client(server.proxy) as client:
            for _ in range(6):
                stream = client.connect(TARGET)
                stream.send(bytes(50_000))
                assert client.response(stream) == "403"
            stream = client.tunnel(TARGET)
            stream.send(bytes(60_000), end=True)
            assert stream.read_to_end() == bytes(60_000)


@pytest.mark.parametrize(
    ("script", "response", "ending"),
    [
        pytest.param(http2_server.refuse(502, ("proxy-status", "a"), body=b"why"), "502", END_STREAM, id="refusal"),
        pytest.param(http2_server.reset(ErrorCodes.REFUSED_STREAM), "RST_STREAM REFUSED_STREAM", None, id="reset"),
        pytest.param(
            http2_server.grant_then_reset(ErrorCodes.CONNECT_ERROR, b"x"),
            "200",
            reset_with(ErrorCodes.CONNECT_ERROR),
            id="late reset",
        ),
        pytest.param(http2_server.close_connection, LOST, LOST, id="closed connection"),
        pytest.param(http2_server.abort_connection, LOST, LOST, id="reset connection"),
        pytest.param(http2_server.reset(0x99), "RST_STREAM 0x99", None, id="unknown code"),
    ],
)
@pytest.mark.parametrize("over_tls", [False, True], ids=["clear", "TLS"])
def test_how_a_stream_ends(script: Script, response: str, ending: str | None, over_tls: bool, company: Certificates) -> None:
    context = tls_context(company.authority) if over_tls else None
    with Http2Server(script, company if over_tls else None) as server, Http2Client(server.proxy, context) as client:
        stream = client.connect(TARGET)
        assert client.response(stream) == response
        assert stream.wait_end() == (ending or response)


def test_a_reset_connection_differs_from_a_closed_one() -> None:
    for script, how in ((http2_server.close_connection, "closed"), (http2_server.abort_connection, "reset")):
        with Http2Server(script) as server, Http2Client(server.proxy) as client:
            client.connect(TARGET)
            assert client.wait_lost() == how


def test_data_before_a_reset_is_read_first() -> None:
    with Http2Server(http2_server.grant_then_reset(ErrorCodes.CANCEL, b"last")) as server, Http2Client(server.proxy) as client:
        stream = client.tunnel(TARGET)
        assert stream.read_exactly(4) == b"last"
        with pytest.raises(ConnectionResetError, match="CANCEL"):
            stream.read()
        with pytest.raises(ConnectionResetError):
            stream.send(b"more")


def test_a_login_on_the_same_connection() -> None:
    script = http2_server.inform_first(103, then=http2_server.require_login("Basic eDp5", 'Basic realm="r"', "Digest"))
    with Http2Server(script) as server, Http2Client(server.proxy) as client:
        refused = client.connect(TARGET)
        assert client.response(refused) == "407"
        assert [value for name, value in refused.fields if name == "proxy-authenticate"] == ['Basic realm="r"', "Digest"]
        assert refused.interim == [[(":status", "103")]]
        client.tunnel(TARGET, ("proxy-authorization", "Basic eDp5")).end()
    assert not server.requests[1].never_indexed("proxy-authorization")


def test_more_streams_than_the_limit_are_refused() -> None:
    with Http2Server(grant_echo, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as server, Http2Client(server.proxy) as client:
        first = client.tunnel(TARGET)
        second = client.connect(TARGET)
        assert client.response(second) == reset_with(ErrorCodes.REFUSED_STREAM)
        first.send(b"still", end=True)
        assert first.read_to_end() == b"still"
        client.tunnel(TARGET).end()
        assert client.settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 1
    assert len(server.connections[0].refused) == 1


def test_tunnels_go_on_after_goaway() -> None:
    with Http2Server(http2_server.in_turn(grant_echo, http2_server.go_away())) as server, Http2Client(server.proxy) as client:
        first, second = client.tunnel(TARGET), client.connect(TARGET)
        client.wait_for(lambda: client.goaways, "GOAWAY")
        assert client.goaways == [GoAway(1, 0, b"")]
        assert [stream.unprocessed for stream in (first, second)] == [False, True]
        first.send(b"still", end=True)
        assert first.read_to_end() == b"still"
        second.reset()


def test_a_client_sends_goaway_and_resets() -> None:
    endings = []
    with Http2Server(lambda request: endings.append(request.wait_end())) as server, Http2Client(server.proxy) as client:
        stream = client.connect(TARGET)
        stream.reset(ErrorCodes.CANCEL)
        client.goaway(0)
        client.ping()
        assert server.connections[0].goaways == [GoAway(0, 0, b"")]
    assert endings == [reset_with(ErrorCodes.CANCEL)]


def test_a_mute_proxy_does_not_answer_pings() -> None:
    with Http2Server(grant_echo, mute=(Kind.PING,)) as server, Http2Client(server.proxy) as client:
        client.send_raw(frame(Kind.PING, payload=b"question"))
        stream = client.tunnel(TARGET)
        assert (server.connections[0].pings, client.pongs) == ([b"question"], [])
        stream.end()
        client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        assert client.settings_acknowledged == 2


def test_a_proxy_that_does_not_read() -> None:
    """The client's output backs up, and comes when the proxy reads again."""
    paused, resume = threading.Event(), threading.Event()

    def stall(request: Request) -> None:
        request.connection.pause_reading()
        paused.set()
        assert resume.wait(STEP_SECONDS)
        request.connection.resume_reading()
        request.accept()
        assert request.read_to_end() == bytes(32 * MIB)
        request.end()

    wide = {SettingCodes.INITIAL_WINDOW_SIZE: 64 * MIB}
    with Http2Server(stall, settings=wide, window=64 * MIB) as server, Http2Client(server.proxy) as client:
        client.wait_for(lambda: client.settings, "SETTINGS")
        stream = client.connect(TARGET)
        assert paused.wait(STEP_SECONDS)
        sender = threading.Thread(target=stream.send, args=(bytes(32 * MIB), True))
        sender.start()
        wait_until(lambda: client.unsent, what="output that backs up")
        assert server.requests[0].data == b""
        resume.set()
        sender.join(STEP_SECONDS)
        assert stream.wait_end() == END_STREAM


def test_fields_that_need_continuation() -> None:
    long = ("x-long", "b" * 20_000)

    def answer(request: Request) -> None:
        request.respond(403, long, long)

    with Http2Server(answer) as server, Http2Client(server.proxy) as client:
        stream = client.connect(TARGET, long, end=True)
        assert client.response(stream) == "403"
        assert stream.fields[1:] == [long, long]
        assert client.received(Kind.CONTINUATION)
    assert server.requests[0].field("x-long") == long[1]


def test_raw_frames_and_their_answers() -> None:
    with Http2Server(grant_echo) as server, Http2Client(server.proxy) as client:
        block = header_block([(":method", "CONNECT"), (":authority", TARGET), ("x-long", "a" * 300)])
        client.send_raw(frame(Kind.HEADERS, 7, block, Flag.END_HEADERS) + frame(Kind.DATA, 7, b"raw", Flag.END_STREAM))
        stream = client.adopt(7)
        assert client.response(stream) == "200"
        assert stream.read_to_end() == b"raw"
        client.send_raw(frame(0x42, 9, b"unknown"))
        client.ping()
        assert server.connections[0].received(0x42, 9)


def test_a_breach_of_the_protocol_fails_the_test() -> None:
    server = Http2Server(grant_echo).__enter__()
    with Http2Client(server.proxy) as client:
        client.send_raw(frame(Kind.PING, payload=b"short"))
        client.wait_for(lambda: client.goaways, "GOAWAY")
        assert client.goaways[0].code == ErrorCodes.FRAME_SIZE_ERROR
    with pytest.raises(AssertionError, match="breaks HTTP/2"):
        server.__exit__(None, None, None)


def test_http_1_1_on_the_same_port(company: Certificates) -> None:
    for tls in (None, company):
        with Http2Server(grant_echo, tls, http1=lambda peer: peer.accept_tunnel()) as server:
            with _connected(server, tls) as sock:
                sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
                assert sock.recv(1000) == ESTABLISHED
        assert len(server.conversations) == 1


def _connected(server: Http2Server, tls: Certificates | None):
    sock = socket.create_connection((server.proxy.host, server.port), 15)
    return sock if tls is None else tls_context(tls.authority, ["http/1.1"]).wrap_socket(sock, server_hostname="localhost")


def test_a_failing_script_fails_the_test() -> None:
    def fail(request: Request) -> None:
        request.accept()
        raise KeyError("by the script")

    with pytest.raises(KeyError), Http2Server(fail) as server, Http2Client(server.proxy) as client:
        client.tunnel(TARGET)


def test_a_client_that_trusts_another_authority(company: Certificates) -> None:
    with scratch_directory() as directory:
        other, _ = certificates.another_authority(directory)
        with Http2Server(grant_echo, company) as server, pytest.raises(ssl.SSLCertVerificationError):
            Http2Client(server.proxy, tls_context(other))
    assert server.connections == []
