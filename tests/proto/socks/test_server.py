"""SOCKS server (RFC 1928, RFC 1929, the memos on 4 and 4a): fed at once, octet by octet, and with trailing data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NameNotFound, Refused, TimedOut, TunnelctlError, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.proto.socks.server import SocksLogin, SocksRefusal, SocksRequest, SocksServer, granted, refused

LOGIN = ("anna", "s3cret")
NO_LOGIN = b"\x05\x01\x00"
TO_IPV4 = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x16"
TO_NAME = b"\x05\x01\x00\x03\x09host.test\x01\xbb"
TO_IPV6 = b"\x05\x01\x00\x04" + bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x50"
PASSWORD = b"\x05\x01\x02\x01\x04anna\x06s3cret"
FOUR = b"\x04\x01\x00\x16\xc0\x00\x02\x01"
FOUR_A = b"\x04\x01\x00\x16\x00\x00\x00\x01user\0host.test\0"

Outcome = SocksRequest | SocksRefusal | None
Login = tuple[str, str] | None


def judged(server: SocksServer, outcome: SocksLogin | Outcome, login: Login) -> Outcome:
    """The outcome after the login, which is correct if it equals `login`."""
    if isinstance(outcome, SocksLogin):
        return server.go_on("" if tuple(outcome) == login else "wrong user or password")
    return outcome


def whole(data: bytes, login: Login) -> tuple[Outcome, bytes]:
    server = SocksServer(login is not None)
    outcome = judged(server, server.feed(data), login)
    return outcome, server.take_output()


def octets(data: bytes, login: Login) -> tuple[Outcome, bytes]:
    server, said, outcome = SocksServer(login is not None), b"", None
    for place in range(len(data)):
        assert outcome is None, f"decided {len(data) - place} octets early"
        outcome = judged(server, server.feed(data[place : place + 1]), login)
        said += server.take_output()
        assert server.take_output() == b"", "output is returned once only"
    return outcome, said


feedings = pytest.mark.parametrize("feed", [whole, octets])

GOOD = [
    (NO_LOGIN + TO_IPV4, None, b"\x05\x00", 5, Address("192.0.2.1", 22)),
    (NO_LOGIN + TO_NAME, None, b"\x05\x00", 5, Address("host.test", 443)),
    (NO_LOGIN + TO_IPV6, None, b"\x05\x00", 5, Address("2001:db8::1", 80)),
    (b"\x05\x03\x01\x02\x00" + TO_NAME, None, b"\x05\x00", 5, Address("host.test", 443)),
    (b"\x05\x01\x02\x01\x01x\x01y" + TO_NAME, None, b"\x05\x02\x01\x00", 5, Address("host.test", 443)),
    (b"\x05\x01\x02\x01\x00\x00" + TO_NAME, None, b"\x05\x02\x01\x00", 5, Address("host.test", 443)),
    (b"\x05\x01\x02\x01\x01\xff\x01y" + TO_NAME, None, b"\x05\x02\x01\x00", 5, Address("host.test", 443)),
    (PASSWORD + TO_NAME, LOGIN, b"\x05\x02\x01\x00", 5, Address("host.test", 443)),
    (NO_LOGIN + b"\x05\x01\x00\x03\x09192.0.2.1\x00\x16", None, b"\x05\x00", 5, Address("192.0.2.1", 22)),
    (NO_LOGIN + b"\x05\x01\x00\x03\x09B\xc3\xbccher.x\x00\x16", None, b"\x05\x00", 5, Address("xn--bcher-kva.x", 22)),
    (FOUR + b"\0", None, b"", 4, Address("192.0.2.1", 22)),
    (FOUR + b"anna\0", None, b"", 4, Address("192.0.2.1", 22)),
    (FOUR + b"u" * 255 + b"\0", None, b"", 4, Address("192.0.2.1", 22)),
    (FOUR_A, None, b"", 4, Address("host.test", 22)),
]


@feedings
@pytest.mark.parametrize(("data", "login", "said", "version", "target"), GOOD, ids=range(len(GOOD)))
def test_requests_are_parsed(feed, data, login, said, version, target) -> None:
    assert feed(data, login) == (SocksRequest(version, target, b""), said)


@pytest.mark.parametrize(("data", "login", "said", "version", "target"), GOOD, ids=range(len(GOOD)))
def test_octets_after_the_request_belong_to_the_tunnel(data, login, said, version, target) -> None:
    assert whole(data + b"SSH-2.0", login) == (SocksRequest(version, target, b"SSH-2.0"), said)


def five(reply: int) -> bytes:
    return bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0))


def four(reply: int) -> bytes:
    return bytes((0, reply, 0, 0, 0, 0, 0, 0))


BAD = [
    # RFC 1928 section 3: no acceptable method
    (b"\x05\x00", None, b"\x05\xff", "no authentication method that this port supports"),
    (b"\x05\x01\x01", None, b"\x05\xff", "no authentication method that this port supports"),
    (b"\x05\x01\x00", LOGIN, b"\x05\xff", "the client offers no login, which this port requires"),
    # RFC 1929 section 2
    (b"\x05\x01\x02\x01\x04anna\x05wrong", LOGIN, b"\x01\x01", "wrong user or password"),
    (b"\x05\x01\x02\x01\x03ann\x06s3cret", LOGIN, b"\x01\x01", "wrong user or password"),
    (b"\x05\x01\x02\x01\x00\x00", LOGIN, b"\x01\x01", "wrong user or password"),
    (b"\x05\x01\x02\x05\x04anna\x06s3cret", LOGIN, b"\x01\x01", "not of version 1"),
    (b"\x05\x01\x02\x05\x04anna\x06s3cret", None, b"\x01\x01", "not of version 1"),
    (b"\x05\x01\x02\x01\x02\xff\xfe\x01x", LOGIN, b"\x01\x01", "not valid UTF-8"),
    # RFC 1928 section 6: 07 command, 08 address type, 01 everything else
    (NO_LOGIN + b"\x05\x02\x00\x01", None, five(7), "not CONNECT"),
    (NO_LOGIN + b"\x05\x03\x00\x01", None, five(7), "not CONNECT"),
    (NO_LOGIN + b"\x05\x01\x00\x02", None, five(8), "of an unknown type"),
    (NO_LOGIN + b"\x04\x01\x00\x01", None, five(1), "not of SOCKS version 5"),
    (NO_LOGIN + b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x00", None, five(1), "port 0"),
    (NO_LOGIN + b"\x05\x01\x00\x03\x00\x00\x16", None, five(1), "malformed name"),
    (NO_LOGIN + b"\x05\x01\x00\x03\x01\xff\x00\x16", None, five(1), "malformed name"),
    (NO_LOGIN + b"\x05\x01\x00\x03\x06a\0b.xy\x00\x16", None, five(1), "malformed name"),
    (NO_LOGIN + b"\x05\x01\x00\x03\x060x7f.1\x00\x16", None, five(1), "malformed name"),
    (b"\x04\x02\x00\x16\xc0\x00\x02\x01\0", None, four(91), "not CONNECT"),
    (FOUR + b"\0", LOGIN, four(93), "no password"),
    (FOUR_A, LOGIN, four(93), "no password"),
    (b"\x04\x01\x00\x16\0\0\0\0\0", None, four(91), "cannot be resolved"),
    (b"\x04\x01\x00\x00\xc0\x00\x02\x01\0", None, four(91), "port 0"),
    (b"\x04\x01\x00\x16\x00\x00\x00\x01\0bad host\0", None, four(91), "malformed name"),
    (b"\x04\x01\x00\x16\x00\x00\x00\x01\0\0", None, four(91), ""),
    (FOUR + b"u" * 256, None, four(91), "more than 255"),
    (b"\x06", None, b"", "does not speak SOCKS"),
]


@feedings
@pytest.mark.parametrize(("data", "login", "answer", "cause"), BAD, ids=range(len(BAD)))
def test_invalid_requests_are_refused(feed, data, login, answer, cause) -> None:
    outcome, _ = feed(data, login)
    assert isinstance(outcome, SocksRefusal)
    assert outcome.answer == answer
    assert cause in outcome.cause


def test_eof_inside_a_request_is_refused() -> None:
    server = SocksServer()
    assert server.eof() is None
    assert server.feed(b"\x05") is None
    assert isinstance(server.eof(), SocksRefusal)


def test_a_login_is_left_to_the_caller_to_check() -> None:
    """The server sends no result before the caller has decided."""
    server = SocksServer(login=True)
    login = server.feed(PASSWORD + TO_NAME + b"more")
    assert login == SocksLogin("anna", "s3cret")
    assert server.take_output() == b"\x05\x02"
    assert server.go_on("") == SocksRequest(5, Address("host.test", 443), b"more")
    assert server.take_output() == b"\x01\x00"


def test_a_refused_login_has_its_cause() -> None:
    server = SocksServer(login=True)
    server.feed(PASSWORD)
    assert server.go_on("too many wrong logins") == SocksRefusal(b"\x01\x01", "too many wrong logins")


def test_repr_shows_no_password() -> None:
    server = SocksServer(login=True)
    login = server.feed(PASSWORD)
    assert "s3cret" not in repr(server) + repr(login)
    assert "anna" in repr(login)


def test_granted_replies_of_each_version() -> None:
    assert granted(5) == five(0)
    assert granted(4) == four(90)


REPLIES: list[tuple[TunnelctlError, int]] = [
    (Refused("p", "c", "refused", detail={"code": 502, "error": "connection_refused"}), 5),
    (NameNotFound("p", "c", "name-unknown", detail={"code": 502, "error": "dns_error"}), 4),
    (TimedOut("p", "c", "timed-out", detail={"code": 504, "error": "dns_timeout"}), 6),
    (TimedOut("p", "c", "timed-out", detail={"code": 504, "error": "connection_timeout"}), 6),
    (Refused("p", "c", "refused", detail={"code": 403, "error": "destination_ip_prohibited"}), 2),
    (Refused("p", "c", "refused", detail={"code": 403, "error": "http_request_denied"}), 2),
    (Refused("p", "c", "refused", detail={"code": 502, "error": "destination_ip_unroutable"}), 3),
    (Refused("p", "c", "refused", detail={"code": 502, "error": "proxy_loop_detected"}), 1),
    (Refused("p", "c", "refused", detail={"code": 403}), 2),
    (Refused("p", "c", "refused", detail={"code": 504}), 6),
    (Refused("p", "c", "refused", detail={"code": 503}), 1),
    (AuthenticationFailed("p", "c", "login-missing", detail={"code": 407}), 1),
    (Unreachable("p", "c", "not-connected", detail={"error": "connection_refused"}), 5),
    (Unreachable("p", "c", "not-connected", detail={"error": "destination_unavailable"}), 4),
    (Unreachable("p", "c", "not-connected", detail={"error": "destination_ip_unroutable"}), 3),
    (Unreachable("p", "c", "not-connected", detail={"error": "destination_ip_prohibited"}), 2),
    (Unreachable("p", "c", "not-connected", detail={"error": "connection_timeout"}), 6),
    (Unreachable("p", "c", "not-connected", detail={"error": "dns_timeout"}), 6),
    (NameNotFound("p", "c", "name-unknown", detail={"error": "dns_error"}), 4),
    # what a SOCKS proxy replied, in the numbers of version 5
    (Refused("p", "c", "refused", detail={"code": 2, "error": "http_request_denied"}), 2),
    (Refused("p", "c", "refused", detail={"code": 3, "error": "destination_ip_unroutable"}), 3),
    (Refused("p", "c", "refused", detail={"code": 4, "error": "destination_unavailable"}), 4),
    (Refused("p", "c", "refused", detail={"code": 5, "error": "connection_refused"}), 5),
    (TimedOut("p", "c", "timed-out", detail={"code": 6, "error": "connection_timeout"}), 6),
    (Refused("p", "c", "refused", detail={"code": 8}), 8),
    (Refused("p", "c", "refused", detail={"code": 1}), 1),
    (Refused("p", "c", "refused", detail={"code": 91}), 1),
    (NameNotFound("p", "c", "name-unknown"), 4),
    (TimedOut("p", "c", "timed-out"), 6),
    (Unreachable("p", "c", "not-connected"), 1),
    (MalformedAnswer("p", "c", "not-http"), 1),
]


@pytest.mark.parametrize(("error", "reply"), REPLIES, ids=range(len(REPLIES)))
def test_each_error_has_its_reply(error: TunnelctlError, reply: int) -> None:
    assert refused(5, error) == five(reply)
    assert refused(4, error) == four(91)


@bounded
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_any_octets_have_the_same_outcome_however_they_are_cut(data: bytes, cuts: list[int], login: bool) -> None:
    right = LOGIN if login else None
    expected, said = whole(data, right) if data else (None, b"")
    server, heard, outcome = SocksServer(login), b"", None
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        if outcome is None and data[start:stop]:
            outcome = judged(server, server.feed(data[start:stop]), right)
            heard += server.take_output()
    assert heard == said
    if isinstance(expected, SocksRequest):
        assert isinstance(outcome, SocksRequest)
        assert outcome[:2] == expected[:2]
        assert expected.leftover.startswith(outcome.leftover)
    else:
        assert outcome == expected
