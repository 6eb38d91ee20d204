"""Plain HTTP requests to a proxy: where they go, and which fields are forwarded."""

from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.forward_request import NotForUs, authorization, end_to_end, fields, onward, to_origin, via

NAME = "tunnelctl-0a1b2c3d"
VIA = (b"Via", b"1.1 tunnelctl-0a1b2c3d")


def request(target: str, *fields: tuple[str, str], method: str = "GET") -> h11.Request:
    return h11.Request(method=method, target=target, headers=[("Host", "wrong.test"), *fields])


def sent(message: h11.Request) -> list[tuple[bytes, bytes]]:
    return list(message.headers.raw_items())


@pytest.mark.parametrize(
    ("target", "address", "path", "host"),
    [
        ("http://www.example.com/a/b?c=d", Address("www.example.com", 80), b"/a/b?c=d", b"www.example.com"),
        ("http://www.example.com:8080/", Address("www.example.com", 8080), b"/", b"www.example.com:8080"),
        ("http://www.example.com:80/", Address("www.example.com", 80), b"/", b"www.example.com"),
        ("HTTP://WWW.example.com", Address("www.example.com", 80), b"/", b"www.example.com"),
        ("http://www.example.com?q=http://x/", Address("www.example.com", 80), b"/?q=http://x/", b"www.example.com"),
        ("http://[2001:db8::1]/", Address("2001:db8::1", 80), b"/", b"[2001:db8::1]"),
        ("http://[2001:db8::1]:81/", Address("2001:db8::1", 81), b"/", b"[2001:db8::1]:81"),
    ],
)
def test_rfc_9112_3_2_absolute_form_becomes_origin_form(target: str, address: Address, path: bytes, host: bytes) -> None:
    found, message = to_origin(request(target), NAME)
    assert (found, message.target) == (address, path)
    # RFC 9112 section 3.2.2: the target decides, whatever Host was; there is one Host, and it comes first (RFC 9110 section 7.2).
    assert sent(message)[0] == (b"Host", host)
    assert [name.lower() for name, _ in sent(message)].count(b"host") == 1


def test_rfc_9112_3_2_4_options_without_a_path_becomes_asterisk_form() -> None:
    assert to_origin(request("http://www.example.com", method="OPTIONS"), NAME)[1].target == b"*"
    assert to_origin(request("http://www.example.com/", method="OPTIONS"), NAME)[1].target == b"/"


@pytest.mark.parametrize(
    ("target", "details"),
    [
        ("/index.html", "this is a proxy"),
        ("ftp://www.example.com/", "this is a proxy"),
        ("https://www.example.com/", "this is a proxy"),
        ("http://", "malformed"),
        ("http:///path", "malformed"),
        ("http://www.example.com:0/", "malformed"),
        ("http://0x7f.1/", "malformed"),
        ("http://user:secret@www.example.com/", "user information"),
        ("http://www.example.com/#part", "a fragment"),
        ("http://www.example.com#@secret/", "a fragment"),
    ],
)
def test_other_targets_are_answered_by_the_proxy(target: str, details: str) -> None:
    with pytest.raises(NotForUs, match=details) as raised:
        to_origin(request(target), NAME)
    assert raised.value.answer.status == 400
    assert "secret" not in raised.value.answer.details
    assert raised.value.answer.details.isascii(), "other characters would be escaped later"


def test_rfc_9110_7_6_1_hop_by_hop_fields_are_not_forwarded() -> None:
    message = request(
        "http://h/",
        ("X-Mine", "1"),
        ("Connection", "keep-alive, X-Named"),
        ("x-named", "2"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Authenticate", "Basic realm=x"),
        ("Proxy-Authentication-Info", "nextnonce=x"),
        ("Keep-Alive", "5"),
        ("Trailer", "X"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Cookie", "a=b"),
    )
    assert sent(to_origin(message, NAME)[1]) == [
        (b"Host", b"h"),
        (b"X-Mine", b"1"),
        (b"Cookie", b"a=b"),
        VIA,
        (b"Connection", b"close"),
    ]


def test_connection_cannot_remove_framing_fields() -> None:
    """If Content-Length were dropped, the body would be read as a second request (request smuggling)."""
    message = request("http://h/", ("Connection", "content-length, host"), ("Content-Length", "5"), method="POST")
    assert (b"Content-Length", b"5") in sent(to_origin(message, NAME)[1])


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_rfc_9110_7_6_2_max_forwards_counts_down(method: str) -> None:
    assert (b"Max-Forwards", b"9") in sent(to_origin(request("http://h/", ("Max-Forwards", "10"), method=method), NAME)[1])
    for value, status in (("0", 405), ("-1", 400), ("x", 400), ("", 400), ("1" * 10, 400)):
        with pytest.raises(NotForUs) as raised:
            to_origin(request("http://h/", ("Max-Forwards", value), method=method), NAME)
        assert raised.value.answer.status == status


def test_max_forwards_means_nothing_to_other_methods() -> None:
    assert (b"Max-Forwards", b"0") in sent(to_origin(request("http://h/", ("Max-Forwards", "0")), NAME)[1])


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_rfc_9110_10_1_1_http_1_0_has_no_expectations(version: str) -> None:
    headers = [("Host", "h"), ("Expect", "100-continue"), ("X", "y")]
    message = h11.Request(method="PUT", target="http://h/", headers=headers, http_version=version)
    names = [name for name, _ in sent(to_origin(message, NAME)[1])]
    assert names == [b"Host", *([b"Expect"] if version == "1.1" else []), b"X", b"Via", b"Connection"]


def test_a_chunked_body_stays_chunked() -> None:
    message = request("http://h/", ("Transfer-Encoding", "chunked"), method="POST")
    assert (b"Transfer-Encoding", b"chunked") in sent(to_origin(message, NAME)[1])


def test_rfc_9112_6_3_content_length_beside_chunked_is_not_forwarded() -> None:
    """Classic request smuggling: we would read chunks, and the server use the length."""
    message = request("http://h/", ("Content-Length", "5"), ("Transfer-Encoding", "chunked"), method="POST")
    names = [name.lower() for name, _ in sent(to_origin(message, NAME)[1])]
    assert b"content-length" not in names
    assert names.count(b"transfer-encoding") == 1


def test_field_names_keep_their_spelling() -> None:
    headers = [("X-MiXed", "1"), ("Transfer-Encoding", "chunked"), ("Connection", "x-gone"), ("X-Gone", "")]
    assert end_to_end(h11.Response(status_code=200, headers=headers).headers) == [(b"X-MiXed", b"1")]


# --- Via: RFC 9110 section 7.6.3


def test_via_is_appended_to_the_existing_one() -> None:
    """Even if Connection names it: loops are detected by it."""
    message = request("http://h/", ("Via", "1.0 fred, 1.1 p.example (Apache/1.1)"), ("Connection", "via"))
    values = [value for name, value in sent(to_origin(message, NAME)[1]) if name == b"Via"]
    assert values == [b"1.0 fred, 1.1 p.example (Apache/1.1)", b"1.1 tunnelctl-0a1b2c3d"]


def test_via_has_the_version_of_the_received_message() -> None:
    old = h11.Request(method="GET", target="http://h/", headers=[], http_version="1.0")
    assert (b"Via", b"1.0 tunnelctl-0a1b2c3d") in sent(to_origin(old, NAME)[1])


def test_responses_get_via_too() -> None:
    answer = h11.Response(status_code=200, headers=[("Via", "1.1 varnish"), ("Connection", "close")], http_version="1.0")
    assert onward(answer, NAME) == [(b"Via", b"1.1 varnish"), (b"Via", b"1.0 tunnelctl-0a1b2c3d")]
    interim = h11.InformationalResponse(status_code=103, headers=[("Link", "</a>")])
    assert onward(interim, NAME) == [(b"Link", b"</a>"), VIA]


def test_all_via_fields_are_read() -> None:
    got = via(request("http://h/", ("Via", "1.1 other"), ("X", "y"), ("via", "1.0 fred, 1.1 p")))
    assert got == ("1.1 other", "1.0 fred, 1.1 p")
    assert via(request("http://h/")) == ()


def test_the_fields_have_no_login() -> None:
    message = request("http://h/", ("Proxy-Authorization", "Basic eDp5"), ("X", "y"))
    assert fields(message) == (("host", "wrong.test"), ("x", "y"))


def test_authorization_returns_the_credentials_field() -> None:
    assert authorization(request("http://h/")) is None
    assert authorization(request("http://h/", ("Proxy-Authorization", "Basic eDp5"))) == "Basic eDp5"


@bounded
@given(st.binary(min_size=1, max_size=60))
def test_any_target_is_accepted_or_refused(target: bytes) -> None:
    try:
        message = h11.Request(method="GET", target=b"http://" + target, headers=[("Host", "x")])
    except h11.LocalProtocolError:
        return
    with suppress(NotForUs):
        address, forwarded = to_origin(message, NAME)
        assert address.host
        assert forwarded.target[:1] in (b"/", b"*")
