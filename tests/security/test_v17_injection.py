"""V17: text from a client cannot break out of its place in an answer, a field or a request of ours.

For the log see tests/server/observe/test_access_log.
"""

import pytest

from tests.client.harness import connect
from tests.options import connect_options
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, Trap
from tunnelctl.errors import TunnelctlError
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.proxy_status import parse

HOSTILE = [
    b"a\rSet-Cookie: x:443", b'a"; error=none:443', b"a\\:443", b"a\x1b[31m:443", b"a\x80\xff:443",
    b"<script>alert(1)</script>:443",
    b"a%0d%0aX:%20y:443", b"a" * 4096 + b":443", b"a:443\x00", b"a\tb:443", b"a,b;c=d:443", b"\xe2\x80\xae:443",
]  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_a_hostile_target_injects_nothing_into_the_answer(target: bytes) -> None:
    with Proxy("*:*") as proxy:
        answer = proxy.ask(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n")
    assert answer.status in (400, 414, 431)
    assert all(octet in b"\r\n" or 0x20 <= octet < 0x7F for octet in answer.raw)
    assert set(answer.fields) == {"proxy-status", "connection", "content-type", "content-length"}
    (status,) = parse(answer.fields["proxy-status"])
    assert (status.proxy, status.error) == ("tunnelctl", "http_request_error")
    assert b"<script>" not in answer.raw


INSERTED = [bytes([octet]) for octet in b"\r\n\0\t\x1b \"'\\,;<@\x80\xff"] + [b"\r\n", b"%0d%0a", b"a" * 4096]


@pytest.mark.parametrize("text", INSERTED)
def test_a_hostile_target_is_not_dialled(text: bytes) -> None:
    """The rules allow all of loopback and every name: no part of the text must be treated as the target."""
    with Trap() as trap, Proxy("127.0.0.0/8:*", "*:*") as proxy:
        host, port = b"127.0.0.1", b"%d" % trap.port
        for target in (host + text + b":" + port, text + host + b":" + port, host + b":" + text + port, host + b":" + port + text):
            answer = proxy.ask(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + host + b":" + port + b"\r\n\r\n")
            assert answer.status in (400, 414, 431, 505), target
        proxy.wait_for_records(4)
        assert proxy.log().isascii()


@pytest.mark.parametrize("method", [b"G\rX: y", b'"evil"', b"<b>", b"A" * 8000, b"\x1b[2J"])
def test_a_hostile_method_is_not_in_the_answer(method: bytes) -> None:
    with Proxy() as proxy:
        answer = proxy.ask(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.status in (400, 501)
    assert method not in answer.raw


@pytest.mark.parametrize(
    "text", ["a\r\nX: y:22", "a\nb:22", "a b:22", "a\0:22", "a:22 HTTP/1.1\r\n\r\n", "[a]:22", "a@b:22", "a:22\r"]
)
def test_client_rejects_hostile_targets(text: str) -> None:
    with pytest.raises(TunnelctlError):
        parse_authority(text)


@pytest.mark.parametrize(
    "field", ["X: a\r\nProxy-Authorization: b", "X\r\nY: z", "X: a\nb", "X: a\0", "X Y: z", ": z", "X\u2028: y"]
)
def test_client_rejects_hostile_fields(field: str) -> None:
    with ScriptedServer(echo) as proxy, pytest.raises(TunnelctlError):
        connect(connect_options(Address("target.test", 22), (proxy.url,), header=(field,)))
    assert proxy.conversations == []
