"""The fast path and the reader agree: same heads, same fields, same leftover."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnelctl.proto.http1.fast_head import match_plain_head
from tunnelctl.proto.http1.head import SERVER_LIMITS, Head, HeadError, HeadReader, Limits

PLAIN = b"CONNECT host.test:22 HTTP/1.1\r\nHost: host.test:22\r\nX-Empty:\r\nX: \t blanks \t\r\n\r\n"
SMALL = Limits(max_bytes=200, max_fields=3, max_line=60)

# Pieces that form heads, broken heads and near misses.
pieces = st.sampled_from(
    [
        b"CONNECT h:1 HTTP/1.1",
        b"CONNECT h:1 HTTP/1.0",
        b"Host: h:1",
        b"X:",
        b" ",
        b"\t",
        b":",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\x7f",
        b"\xff",
    ]
)
names, values = st.sampled_from(["Host", "a-b", "X_1"]), st.text("a \t\xff!:", max_size=5)
streams = st.lists(pieces, max_size=14).map(b"".join) | st.binary(max_size=60)


def read(data: bytes, limits: Limits) -> Head | None:
    try:
        return HeadReader(limits, strict=True).feed(data)
    except HeadError:
        return None


def test_a_plain_head_is_matched() -> None:
    head = match_plain_head(PLAIN + b"\0tunnel\r\n\r\n", SERVER_LIMITS)
    assert head == read(PLAIN + b"\0tunnel\r\n\r\n", SERVER_LIMITS)
    assert head is not None
    assert head.leftover == b"\0tunnel\r\n\r\n"
    assert head.fields == (("Host", "host.test:22"), ("X-Empty", ""), ("X", "blanks"))


def test_a_head_without_fields_is_matched() -> None:
    head = match_plain_head(b"CONNECT h:1 HTTP/1.0\r\n\r\n", SERVER_LIMITS)
    assert head == Head(b"CONNECT h:1 HTTP/1.0", (), b"CONNECT h:1 HTTP/1.0\r\n\r\n", b"")


@settings(max_examples=300)
@given(streams, st.sampled_from([SERVER_LIMITS, SMALL]))
def test_a_match_always_agrees_with_the_reader(data: bytes, limits: Limits) -> None:
    head = match_plain_head(data, limits)
    assert head is None or head == read(data, limits)


@settings(max_examples=100)
@given(st.lists(st.tuples(names, values), max_size=5), st.binary(max_size=5))
def test_every_valid_head_is_matched(fields: list[tuple[str, str]], leftover: bytes) -> None:
    lines = "".join(f"{name}:{value}\r\n" for name, value in fields).encode("latin-1")
    data = b"CONNECT h:1 HTTP/1.1\r\n" + lines + b"\r\n" + leftover
    assert match_plain_head(data, SERVER_LIMITS) == read(data, SERVER_LIMITS) != None  # noqa: E711 - both, and neither is None


@pytest.mark.parametrize("limit", [{"max_bytes": len(PLAIN) - 1}, {"max_fields": 2}, {"max_line": 20}])
def test_limits_are_respected(limit: dict[str, int]) -> None:
    assert match_plain_head(PLAIN, SERVER_LIMITS._replace(**limit)) is None
    assert match_plain_head(PLAIN, Limits(len(PLAIN), 3, len(PLAIN))) is not None


def test_a_long_malformed_head_takes_linear_time() -> None:
    """No backtracking: 16 KiB that fail to match at the very end are rejected at once, without trying every way to divide them."""
    assert match_plain_head(b"CONNECT h:1 HTTP/1.1\r\n" + b"a:b\r\n" * 3000 + b"\0", SERVER_LIMITS) is None
    assert match_plain_head(b"a" * 100_000, SERVER_LIMITS) is None
