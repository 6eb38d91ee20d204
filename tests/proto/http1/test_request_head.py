"""What holds for the heads of all requests. The tests of both readers, connect_server and messages, cover the rest."""

import pytest

from tunnelctl.proto.http1.head import HeadError, HeadTooLarge, LineTooLong
from tunnelctl.proto.http1.request_head import RefusedHead, is_connect, is_for_url, method_of, refuse_head, split_request_line


@pytest.mark.parametrize(
    ("data", "connect"),
    [
        (b"CONNECT h:1 HTTP/1.1\r\n", True),
        (b"\r\nCONNECT h:1 HTTP/1.1\r\n", True),
        (b"\x16\x03\x01", True),
        (b"\x05\x01\x00", True),
        (b"GET http://h/ HTTP/1.1\r\n", False),
        (b"\r\nGET http://h/ HTTP/1.1\r\n", False),
        (b"connect h:1 HTTP/1.1\r\n", False),
        (b"CONNECTION", False),
        (b"\r\n\r\n", False),
        (b"\n", False),
        (b"CONNECT", None),
        (b"C", None),
        (b"\r", None),
        (b"\r\n", None),
        (b"\r\nCON", None),
    ],
)
def test_the_first_octets_tell_connect_from_the_rest(data: bytes, connect: bool | None) -> None:
    assert is_connect(data) is connect


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  / HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET / HTTP/1.x", 400),
        (b"G\x80T / HTTP/1.1", 400),
        (b"GET / HTTP/3.0", 505),
        (b"G" * 33 + b" / HTTP/1.1", 501),
    ],
)
def test_s08_s09_a_wrong_request_line_is_refused(line: bytes, status: int) -> None:
    with pytest.raises(RefusedHead) as raised:
        split_request_line(line)
    assert raised.value.answer.status == status


def test_a_request_line_has_three_parts() -> None:
    assert split_request_line(b"GET http://h/ HTTP/1.1") == (b"GET", b"http://h/", b"HTTP/1.1")


@pytest.mark.parametrize(
    ("line", "method", "for_url"),
    [
        (b"GET http://h/ HTTP/1.1", "GET", True),
        (b"GET HTTP://h/", "GET", True),
        (b"GET / HTTP/1.1", "GET", False),
        (b"GET", "", False),
        (b"G\x1bT http://h/ HTTP/1.1", "", True),
        (b"G" * 33 + b" / HTTP/1.1", "", False),
    ],
)
def test_what_the_log_says_of_a_line_that_may_be_malformed(line: bytes, method: str, for_url: bool) -> None:
    assert (method_of(line), is_for_url(line)) == (method, for_url)


@pytest.mark.parametrize(
    ("error", "first", "status"),
    [
        (LineTooLong("x"), b"G", 414),
        (HeadTooLarge("x"), b"G", 431),
        (HeadError("x"), b"G", 400),
        (HeadError("x"), b"\x16", 400),
    ],
)
def test_a_broken_head_gets_its_status(error: HeadError, first: bytes, status: int) -> None:
    assert refuse_head(error, first).status == status
