"""V53: requests of HTTP/2 that another reader could take for something else. Each is malformed, recorded, and reaches nothing."""

import pytest

from tests.peers.http2 import END_STREAM, Field, reset_with
from tests.server.harness import Proxy, Trap

METHOD, PROTOCOL_ERROR = (":method", "CONNECT"), 1
SPELLINGS = {
    "with :path": lambda target: [METHOD, (":authority", target), (":path", "/")],
    "with :scheme": lambda target: [METHOD, (":scheme", "https"), (":authority", target)],
    "with :protocol": lambda target: [
        METHOD,
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", target),
    ],
    "two methods": lambda target: [METHOD, METHOD, (":authority", target)],
    "two authorities": lambda target: [METHOD, (":authority", "h.test:443"), (":authority", target)],
    "another host": lambda target: [METHOD, (":authority", target), ("host", "h.test:443")],
    "two hosts": lambda target: [METHOD, (":authority", target), ("host", target), ("host", "h.test:443")],
    "no :authority": lambda target: [METHOD, ("host", target)],
    "an empty method": lambda target: [(":method", ""), (":authority", target)],
    "a pseudo-field behind a field": lambda target: [METHOD, ("x", "y"), (":authority", target)],
    "an unknown pseudo-field": lambda target: [METHOD, (":authority", target), (":x", "y")],
    "a pseudo-field of responses": lambda target: [METHOD, (":authority", target), (":status", "200")],
    "upper case": lambda target: [METHOD, (":authority", target), ("X", "y")],
    "a colon in a name": lambda target: [METHOD, (":authority", target), ("x:y", "z")],
    "a blank in a name": lambda target: [METHOD, (":authority", target), ("x ", "y")],
    "a line end in a value": lambda target: [METHOD, (":authority", target), ("x", "y\r\nproxy-authorization: Basic eDp5")],
    "a line end in the target": lambda target: [METHOD, (":authority", f"{target}\r\nx: y")],
    "NUL in a value": lambda target: [METHOD, (":authority", target), ("x", "a\0b")],
    "a blank around a value": lambda target: [METHOD, (":authority", target), ("x", " y")],
    "transfer-encoding": lambda target: [METHOD, (":authority", target), ("transfer-encoding", "chunked")],
    "connection": lambda target: [METHOD, (":authority", target), ("connection", "proxy-authorization")],
    "proxy-connection": lambda target: [METHOD, (":authority", target), ("proxy-connection", "keep-alive")],
    "upgrade": lambda target: [METHOD, (":authority", target), ("upgrade", "websocket")],
    "te": lambda target: [METHOD, (":authority", target), ("te", "gzip")],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_malformed_request_reaches_nothing(spelling: str) -> None:
    with Trap() as trap, Proxy() as proxy, proxy.http2() as connection:
        fields: list[Field] = SPELLINGS[spelling](f"127.0.0.1:{trap.port}")
        stream = connection.request(fields)
        assert stream.wait_end() == reset_with(PROTOCOL_ERROR)
        (record,) = proxy.wait_for_records(1)
    assert (record["status"], record["target"], record["tunnel"]) == (400, "", f"{record['connection']}.1")
    assert record["details"].startswith("HTTP/2: PROTOCOL_ERROR: ")


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:+1", "127.0.0.1:00080", "user@127.0.0.1:1", "0x7f.1:80", "http://127.0.0.1:1"]
)
def test_a_target_that_is_none_gets_400(target: str) -> None:
    with Proxy() as proxy, proxy.http2() as connection:
        stream = connection.connect(target)
        assert connection.response(stream) == "400"
        assert stream.wait_end() == END_STREAM
