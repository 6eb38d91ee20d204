"""The excerpt of a refusal's body. C9: framed by RFC 9112 section 6.3, of bounded size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, octets
from tunnelctl.proto.http1 import error_body as body
from tunnelctl.proto.http1.error_body import MAX_BODY, BodyReader, stays_open

LIMIT = 20
CHUNKED = (("Transfer-Encoding", "chunked"),)


def read(fields, data, *, empty=False):
    """(content, complete), which must be the same fed at once and octet by octet."""
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
def test_c9_a_body_is_framed_by_its_fields(fields, data, expected):
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
        (b";name=value\r\nwhy", (b"", True)),
        (b"3;" + b"x" * 1030 + b"\r\nwhy", (b"", True)),
    ],
)
def test_c9_a_chunked_body_is_decoded(data, expected):
    assert read(CHUNKED, data) == expected


@pytest.mark.parametrize("coding", ["Chunked", "gzip, chunked", "gzip,\tchunked "])
def test_c9_chunked_overrides_a_length(coding):
    fields = (("Content-Length", "1"), ("Transfer-Encoding", coding))
    assert read(fields, b"3\r\nwhy\r\n0\r\n\r\n") == (b"why", True)


def test_a_status_without_content_has_no_body():
    assert read(CHUNKED, b"3\r\nwhy", empty=True) == (b"", True)


class TestDrain:
    """The body of a 407 is read to its end, so that the next request can use the same connection."""

    def drain(self, fields, data, *, empty=False):
        """(content, complete, drained), which must be the same fed at once and octet by octet."""
        whole, single = (BodyReader(fields, LIMIT, empty, drain=True) for _ in range(2))
        complete = whole.feed(data)
        assert [single.feed(octet) for octet in octets(data)][-1:] in ([complete], [])
        assert (single.content, single.drained) == (whole.content, whole.drained)
        return whole.content, complete, whole.drained

    @pytest.mark.parametrize(
        ("fields", "data", "expected"),
        [
            ((("Content-Length", "30"),), b"x" * 30, (b"x" * 20, True, True)),
            ((("Content-Length", "30"),), b"x" * 29, (b"x" * 20, False, False)),
            ((("Content-Length", "0"),), b"", (b"", True, True)),
            (CHUNKED, b"1e\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n", (b"x" * 20, True, True)),
            (CHUNKED, b"1\r\nx\r\n0;last\r\nA: b\r\nC: d\r\n\r\n", (b"x", True, True)),
            (CHUNKED, b"1\nx\n0\n\n", (b"x", True, True)),
            (CHUNKED, b"1\r\nx\r\n0\r\nA: b\r\n", (b"x", False, False)),
            (CHUNKED, b"1\r\nx\r\nwhy\r\n", (b"x", True, False)),
            (CHUNKED, b"0\r\nA: " + b"b" * 1024, (b"", True, False)),
        ],
    )
    def test_a_body_is_drained_to_its_end(self, fields, data, expected):
        assert self.drain(fields, data) == expected

    @pytest.mark.parametrize(
        "fields",
        [
            (),
            (("Content-Length", "5, 6"),),
            (("Content-Length", str(MAX_BODY + 1)),),
            (("Transfer-Encoding", "gzip"),),
            (("Transfer-Encoding", "gzip"), ("Content-Length", "20")),
        ],
    )
    def test_a_body_without_a_near_end_gives_only_the_excerpt(self, fields):
        assert self.drain(fields, b"x" * 20) == (b"x" * 20, True, False)

    def test_a_body_with_two_framings_is_not_drained(self):
        assert self.drain((*CHUNKED, ("Content-Length", "3")), b"3\r\nwhy\r\n0\r\n\r\n") == (b"why", True, False)

    def test_trailing_octets_make_the_body_undrained(self):
        reader = BodyReader((("Content-Length", "3"),), LIMIT, drain=True)
        assert reader.feed(b"why?")
        assert (reader.content, reader.drained) == (b"why", False)

    def test_a_status_without_content_has_no_body(self):
        reader = BodyReader((("Content-Length", "5"),), LIMIT, empty=True, drain=True)
        assert reader.feed(b"")
        assert reader.drained

    def test_v31_draining_is_limited(self, monkeypatch):
        """For a huge body as for chunks of one octet. The test lowers the limit so that they reach it within a second."""
        most = MAX_BODY // 16
        monkeypatch.setattr(body, "MAX_BODY", most)
        for piece in (b"10000\r\n" + b"x" * 65536 + b"\r\n", b"1\r\nx\r\n" * 10_000):
            reader, fed = BodyReader(CHUNKED, LIMIT, drain=True), 0
            while not reader.feed(piece):
                fed += len(piece)
            assert most - len(piece) <= fed <= most
            assert reader.content == b"x" * LIMIT
            assert not reader.drained


@pytest.mark.parametrize(
    ("version", "fields", "expected"),
    [
        ("HTTP/1.1", (), True),
        ("HTTP/1.1", (("Connection", "keep-alive"),), True),
        ("HTTP/1.1", (("connection", "foo, Close"),), False),
        ("HTTP/1.1", (("Connection", "keep-alive"), ("Connection", "close")), False),
        ("HTTP/1.1", (("Proxy-Connection", "close"),), False),
        ("HTTP/1.0", (), False),
        ("HTTP/1.0", (("Proxy-Connection", "Keep-Alive"),), True),
        ("HTTP/1.0", (("Connection", "keep-alive"),), True),
        ("HTTP/1.0", (("Connection", "keep-alive, close"),), False),
        ("HTTP/1.0", (("Connection", "keep-alive"), *CHUNKED), False),
    ],
)
def test_which_connections_stay_open(version, fields, expected):
    assert stays_open(version, fields) is expected


@bounded
@given(st.lists(st.binary(min_size=1, max_size=8), max_size=4))
def test_property_chunks_decode_to_their_content(pieces):
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert read(CHUNKED, data) == (b"".join(pieces)[:LIMIT], True)
    assert TestDrain().drain(CHUNKED, data) == (b"".join(pieces)[:LIMIT], True, True)


@bounded
@given(st.sampled_from([CHUNKED, ()]), st.binary(max_size=60))
def test_fuzz_the_excerpt_is_bounded(fields, data):
    assert len(read(fields, data)[0]) <= LIMIT
