"""One port, four protocols: which protocol a client speaks, which login is accepted, and how a failure is reported to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NameNotFound, Refused, TimedOut, TunnelctlError, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.basic import encode_basic
from tunnelctl.proto.local_port import (
    LocalLogin,
    LocalRefusal,
    LocalRequest,
    LocalServer,
    Outcome,
    granted,
    read_login,
    refusal_for,
    refused,
)
from tunnelctl.proto.refusal import Refusal, auth_required, limit_reached

LOGIN = ("anna", "s3cret")
TARGET = Address("host.test", 443)
BASIC = f"Proxy-Authorization: {encode_basic(*LOGIN)}\r\n".encode()


def connect(*fields: bytes) -> bytes:
    return b"CONNECT host.test:443 HTTP/1.1\r\nHost: host.test:443\r\n" + b"".join(fields) + b"\r\n"


REQUESTS = [
    (b"\x05\x01\x00\x05\x01\x00\x03\x09host.test\x01\xbb", None, LocalRequest("socks5", TARGET, b""), b"\x05\x00"),
    (b"\x04\x01\x01\xbb\x00\x00\x00\x01\0host.test\0", None, LocalRequest("socks4", TARGET, b""), b""),
    (connect(), None, LocalRequest("connect", TARGET, b""), b""),
    (b"\r\n" + connect(), None, LocalRequest("connect", TARGET, b""), b""),
    (connect(BASIC), None, LocalRequest("connect", TARGET, b""), b""),
    (connect(BASIC), LOGIN, LocalRequest("connect", TARGET, b""), b""),
    (b"CONNECT host.test:443 HTTP/1.0\n" + BASIC + b"\r\n", LOGIN, LocalRequest("connect", TARGET, b""), b""),  # corkscrew
    (
        b"\x05\x01\x02\x01\x04anna\x06s3cret\x05\x01\x00\x03\x09host.test\x01\xbb",
        LOGIN,
        LocalRequest("socks5", TARGET, b""),
        b"\x05\x02\x01\x00",
    ),
]


def judged(server: LocalServer, outcome: Outcome, login: tuple[str, str] | None) -> Outcome:
    """The outcome after the login, which is correct if it equals `login`."""
    if isinstance(outcome, LocalLogin):
        return server.go_on(None if tuple(outcome) == login else auth_required(details="wrong user or password"))
    return outcome


@pytest.mark.parametrize(("data", "login", "request_", "said"), REQUESTS, ids=range(len(REQUESTS)))
def test_protocols_are_recognised_however_the_data_is_cut(data, login, request_, said) -> None:
    server = LocalServer(login is not None)
    assert judged(server, server.feed(data + b"more"), login) == request_._replace(leftover=b"more")
    assert server.take_output() == said
    server, heard = LocalServer(login is not None), b""
    for place in range(len(data)):
        outcome = judged(server, server.feed(data[place : place + 1]), login)
        heard += server.take_output()
    assert (outcome, heard) == (request_, said)


@pytest.mark.parametrize("data", [b"GET http://h/ HTTP/1.1\r\n", b"CONNECTED x", b"G", b"\r\nGET http://h/", b"\x00"])
def test_other_data_is_treated_as_plain_http(data: bytes) -> None:
    assert LocalServer().feed(data) == LocalRequest("http", None, data)


@pytest.mark.parametrize("data", [b"C", b"CONNEC", b"CONNECT", b"\r", b"\r\n", b"\r\nCON"])
def test_an_ambiguous_beginning_waits_for_more(data: bytes) -> None:
    server = LocalServer()
    assert server.feed(data) is None
    assert server.take_output() == b""
    assert isinstance(server.eof(), LocalRefusal)


@pytest.mark.parametrize("data", [b"\x05", b"CONNECT host.test"])
def test_eof_inside_a_request_is_refused(data: bytes) -> None:
    server = LocalServer()
    assert server.feed(data) is None
    assert isinstance(server.eof(), LocalRefusal)


def test_eof_before_any_data_has_no_outcome() -> None:
    assert LocalServer().eof() is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x00\x10garbage\r\n\r\n", b"400"),
        (b"CONNECT host.test HTTP/1.1\r\nHost: host.test\r\n\r\n", b"400"),
        (connect(), b"407"),
        (connect(b"Proxy-Authorization: Basic eDp5\r\n"), b"407"),
        (connect(b"Proxy-Authorization: Bearer x\r\n"), b"407"),
    ],
)
def test_http_requests_are_refused_in_http(data: bytes, status: bytes) -> None:
    server = LocalServer(login=True)
    outcome = judged(server, server.feed(data), LOGIN)
    assert isinstance(outcome, LocalRefusal)
    assert outcome.answer.startswith(b"HTTP/1.1 " + status)
    assert outcome.cause.startswith(status.decode()) or data == connect()  # a challenge is not a failure


def test_a_socks_client_without_a_login_is_refused_in_socks() -> None:
    assert LocalServer(login=True).feed(b"\x05\x01\x00") == LocalRefusal(
        b"\x05\xff", "the client offers no login, which this port requires"
    )
    server = LocalServer()
    server.feed(connect()[:20])
    assert server.take_output() == b""


def test_a_refused_login_is_reported_in_its_own_protocol() -> None:
    answer = limit_reached("too many wrong logins")._replace(status=429)
    server = LocalServer(login=True)
    assert server.feed(connect(BASIC)) == LocalLogin(*LOGIN)
    no = server.go_on(answer)
    assert isinstance(no, LocalRefusal)
    assert no.answer.startswith(b"HTTP/1.1 429 ")
    assert no.cause == "429 Too Many Requests: too many wrong logins"
    server = LocalServer(login=True)
    assert server.feed(b"\x05\x01\x02\x01\x04anna\x06s3cret") == LocalLogin(*LOGIN)
    assert server.go_on(answer) == LocalRefusal(b"\x01\x01", "too many wrong logins")


def test_repr_shows_no_password() -> None:
    server = LocalServer(login=True)
    assert "s3cret" not in repr(server.feed(connect(BASIC))) + repr(server)


def test_read_login_parses_basic_credentials() -> None:
    assert read_login(encode_basic("anna", "s3cret")) == LocalLogin("anna", "s3cret")
    for nothing, details in ((None, "credentials are required"), ("Bearer x", "this proxy does not offer Bearer authentication")):
        answer = read_login(nothing)
        assert isinstance(answer, Refusal)
        assert (answer.status, answer.details) == (407, details)


def test_granted_answers_in_each_protocol() -> None:
    assert granted("connect").startswith(b"HTTP/1.1 200")
    assert granted("socks5")[:2] == b"\x05\x00"
    assert granted("socks4")[:2] == b"\x00\x5a"


ERRORS: list[tuple[TunnelctlError, int, str]] = [
    (Refused("p", "c", "refused", detail={"code": 403}), 403, "http_request_denied"),
    (Refused("p", "c", "refused", detail={"code": 403, "error": "destination_ip_prohibited"}), 403, "destination_ip_prohibited"),
    (Refused("p", "c", "refused", detail={"code": 502, "error": "connection_refused"}), 502, "connection_refused"),
    (Refused("p", "c", "refused", detail={"code": 503}), 503, "destination_unavailable"),
    (Refused("p", "c", "refused", detail={"code": 418}), 502, "destination_unavailable"),
    (AuthenticationFailed("p", "c", "login-missing", detail={"code": 407}), 502, "http_request_denied"),
    (NameNotFound("p", "c", "name-unknown"), 502, "dns_error"),
    (TimedOut("p", "c", "timed-out"), 504, "connection_timeout"),
    (TimedOut("p", "c", "timed-out", detail={"code": 504, "error": "dns_timeout"}), 504, "dns_timeout"),
    (Unreachable("p", "c", "not-connected"), 502, "destination_unavailable"),
    (Unreachable("p", "c", "not-connected", detail={"error": "connection_refused"}), 502, "connection_refused"),
    (Unreachable("p", "c", "not-connected", detail={"error": "destination_ip_unroutable"}), 502, "destination_ip_unroutable"),
    (Unreachable("p", "c", "not-connected", detail={"error": "connection_timeout"}), 504, "connection_timeout"),
    (Unreachable("p", "c", "not-connected", detail={"error": "dns_timeout"}), 504, "dns_timeout"),
    (Unreachable("p", "c", "not-connected", detail={"error": "destination_ip_prohibited"}), 403, "destination_ip_prohibited"),
    (
        Refused("p", "c", "refused", detail={"code": 2, "error": "http_request_denied"}),
        403,
        "http_request_denied",
    ),  # of a SOCKS proxy
    (Refused("p", "c", "refused", detail={"code": 5, "error": "connection_refused"}), 502, "connection_refused"),
    (Refused("p", "c", "refused", detail={"code": 502, "error": "destination_ip_prohibited"}), 502, "destination_ip_prohibited"),
    (MalformedAnswer("p", "c", "not-http"), 502, "destination_unavailable"),
]


@pytest.mark.parametrize(("error", "status", "kind"), ERRORS, ids=range(len(ERRORS)))
def test_a_failure_upstream_is_reported_in_each_protocol(error: TunnelctlError, status: int, kind: str) -> None:
    answer = refusal_for(error)
    assert (answer.status, answer.error) == (status, kind)
    # A 407 here would make the client send us its password for a proxy that it does not know.
    assert refused("connect", error).startswith(f"HTTP/1.1 {status} ".encode())
    assert refused("http", error) == refused("connect", error)
    assert refused("socks5", error)[0] == 5
    assert refused("socks4", error)[1] == 91


@bounded
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_any_octets_have_an_outcome_or_need_more(data: bytes, login: bool) -> None:
    outcome = LocalServer(login).feed(data)
    assert outcome is None or isinstance(outcome, LocalRequest | LocalLogin | LocalRefusal)
