"""The excerpt of a refusal's body. C9: framing by RFC 9112 section 6.3, a bounded amount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, octets
from tunnelctl.proto.body import BodyReader

LIMIT = 20
CHUNKED = (("Transfer-Encoding", "chunked"),)


def read(fields, data, *, empty=False):
    """(content, complete), which must be the same whole and octet by octet."""
    whole, single = BodyReader(fields, LIMIT, empty), BodyReader(fields, LIMIT, empty)
    complete = whole.feed(data)
    assert [single.feed(octet) for octet in octets(data)][-1:] in ([complete], [])
    assert single.content == whole.content
    return whole.content, complete


@pytest.mark.parametrize(
    ("fields", "data", "expected"),
    [
        ((), b"", (b"", False)),
        ((), b"until the end", (b"until the end", False)),
        ((), b"x" * 30, (b"x" * 20, True)),
        ((("Content-Length", "5"),), b"12345678", (b"12345", True)),
        ((("Content-Length", "5"),), b"1234", (b"1234", False)),
        ((("content-length", "0"),), b"", (b"", True)),
        ((("Content-Length", "30"),), b"x" * 30, (b"x" * 20, True)),
        ((("Content-Length", "5, 5"),), b"12345678", (b"12345", True)),
        ((("Content-Length", "5"), ("Content-Length", "5")), b"12345678", (b"12345", True)),
        ((("Content-Length", "5, 6"),), b"12345678", (b"12345678", False)),
        ((("Content-Length", "-5"),), b"12345678", (b"12345678", False)),
        ((("Content-Length", "9" * 5000),), b"12345678", (b"12345678", False)),
        ((("Content-Length", "\xb2"),), b"12345678", (b"12345678", False)),
        ((("Content-Length", ""),), b"12345678", (b"12345678", False)),
        ((("Transfer-Encoding", "gzip"),), b"12345678", (b"12345678", False)),
    ],
)
def test_c9_framing(fields, data, expected):
    assert read(fields, data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (b"", False)),
        (b"3\r\nwhy\r\n0\r\n\r\n", (b"why", True)),
        (b"3\nwhy\n0\n\n", (b"why", True)),
        (b"03;name=value\r\nwhy\r\n2 \r\n..\r\n", (b"why..", False)),
        (b"A\r\n0123456789\r\nb\r\n0123456789-\r\n", (b"01234567890123456789", True)),
        (b"3\r\nwh", (b"wh", False)),
        (b"3\r\nwhy\r\nx\r\n", (b"why", True)),
        (b"-3\r\nwhy", (b"", True)),
        (b"0x3\r\nwhy", (b"", True)),
        (b"1" * 17 + b"\r\nwhy", (b"", True)),
        (b"3" * 1024, (b"", False)),
        (b"3" * 1025, (b"", True)),
        (b"0\r\nTrailer: x\r\n\r\n", (b"", True)),
    ],
)
def test_c9_chunked(data, expected):
    assert read(CHUNKED, data) == expected


@pytest.mark.parametrize("coding", ["Chunked", "gzip, chunked", "gzip,\tchunked "])
def test_c9_chunked_wins_over_a_length(coding):
    fields = (("Content-Length", "1"), ("Transfer-Encoding", coding))
    assert read(fields, b"3\r\nwhy\r\n0\r\n\r\n") == (b"why", True)


def test_a_status_without_content():
    assert read(CHUNKED, b"3\r\nwhy", empty=True) == (b"", True)


@bounded
@given(st.lists(st.binary(min_size=1, max_size=8), max_size=4))
def test_property_chunks_come_back_as_they_went(pieces):
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert read(CHUNKED, data) == (b"".join(pieces)[:LIMIT], True)


@bounded
@given(st.sampled_from([CHUNKED, ()]), st.binary(max_size=60))
def test_fuzz_bounded_and_nothing_raised(fields, data):
    assert len(read(fields, data)[0]) <= LIMIT
