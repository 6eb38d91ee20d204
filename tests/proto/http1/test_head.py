"""The head reader, both grammars. C16: octets, limits, bare CR; S1, S5, S6, S7, V15: the strict grammar; V31: limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, cut, feed_all, octets, three_ways
from tunnelctl.proto.http1.head import CLIENT_LIMITS, SERVER_LIMITS, Head, HeadError, HeadReader, HeadTooLarge, Limits, LineTooLong

SMALL = Limits(max_bytes=64, max_fields=3, max_line=20)
# Text for property tests that reaches every decision of both grammars.
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"\r\n", b"\r\n\r\n", b"\n", b"\n\n", b"\r", b"\0", b" ", b"\t", b":", b"A: b", b"\x7f", b"\xe4"),
                *(b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/1.0\n", b"A: b\n"),
            ]
        ),
        st.binary(max_size=6),
    ),
    max_size=12,
).map(b"".join)


def strict(limits=SERVER_LIMITS):
    return HeadReader(limits, strict=True)


def liberal(limits=CLIENT_LIMITS):
    return HeadReader(limits, strict=False)


def raised(kind, text):
    return kind, text


@pytest.mark.parametrize("make", [strict, liberal])
def test_a_head_is_parsed(make):
    data = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nX-Empty:\r\nx-twice: \t1, 2 \t\r\nX-Twice: \xe4\r\n\r\n"
    fields = (("Host", "a:1"), ("X-Empty", ""), ("x-twice", "1, 2"), ("X-Twice", "\xe4"))
    assert three_ways(make, data) == Head(b"CONNECT a:1 HTTP/1.1", fields, data, b"")


@pytest.mark.parametrize("make", [strict, liberal])
def test_a_head_without_fields_is_parsed(make):
    assert three_ways(make, b"HTTP/1.1 200 OK\r\n\r\n") == Head(b"HTTP/1.1 200 OK", (), b"HTTP/1.1 200 OK\r\n\r\n", b"")


@pytest.mark.parametrize("make", [strict, liberal])
@pytest.mark.parametrize("data", [b"", b"A", b"A\r", b"A\r\n", b"A\r\nB: c\r\n", b"A\r\nB: c\r\n\r"])
def test_an_incomplete_head_has_no_outcome(make, data):
    assert three_ways(make, data) is None
    reader = make()
    assert feed_all(reader, [data]) is None
    assert reader.peek(1) == data[:1]
    assert reader.peek(100) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"A B\nHost: a\r\n", "a lone LF"),
        (b"A B\r\nHost: a\n", "a lone LF"),
        (b"A B\n\n", "a lone LF"),
        (b"\n", "a lone LF"),
        (b"A B\rC", "a bare CR"),
        (b"A B\r\r\n", "a bare CR"),
        (b"A B\r\nHost: a\rb\r\n", "a bare CR"),
        (b"A B\r\nHost: a\r\n\rb", "a bare CR"),
        (b"A B\r\nHost: a\0\r\n", "the control character 0x00"),
        (b"A \x1bB", "the control character 0x1b"),
        (b"\x16\x03\x01", "the control character 0x16"),
        (b"A\x7f", "the control character 0x7f"),
        (b"\r\n\x05\x01\x00", "the control character 0x05"),
        (b"A B\r\nX: a\r\n folded\r\n\r\n", "a folded header line"),
        (b"A B\r\n\tfolded: x\r\n\r\n", "a folded header line"),
        (b"A B\r\nHost : a\r\n\r\n", "a blank before the colon of a header line"),
        (b"A B\r\nHost\t: a\r\n\r\n", "a blank before the colon of a header line"),
        (b"A B\r\nHost\r\n\r\n", "a header line without a colon"),
        (b"A B\r\n: a\r\n\r\n", "a header line with an invalid name"),
        (b"A B\r\nHo st: a\r\n\r\n", "a header line with an invalid name"),
        (b"A B\r\nH\xe4: a\r\n\r\n", "a header line with an invalid name"),
        (b"A B\r\n(): a\r\n\r\n", "a header line with an invalid name"),
    ],
)
def test_s5_s6_s7_v15_strict_refuses_malformed_heads(data, text):
    """S5: blank before the colon, obs-fold; S6: bare CR, NUL; S7: lone LF"""
    assert three_ways(strict, data) == raised(HeadError, text)


@pytest.mark.parametrize("data", [b"A B\n", b"A\0", b"A\rB", b"X\r\nA: b\n"])
def test_s7_strict_refuses_at_the_first_wrong_octet(data):
    """A client that sends lone LF waits for an answer, and must not have to wait for a timeout."""
    reader = strict()
    assert feed_all(reader, octets(data[:-1])) is None
    assert feed_all(reader, [data[-1:]])[0] is HeadError


OLD = b"CONNECT a:1 HTTP/1.0"


class TestOldVersion:
    """In an HTTP/1.0 head a lone LF ends a line as well; everything else remains strict."""

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("field", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("empty", [b"\n", b"\r\n"])
    def test_each_line_may_end_with_a_lone_lf(self, end, field, empty):
        data = OLD + end + b"A: b" + field + b"C:\t d " + field + empty
        assert three_ways(strict, data) == Head(OLD, (("A", "b"), ("C", "d")), data, b"")
        assert three_ways(strict, OLD + end + empty) == Head(OLD, (), OLD + end + empty, b"")

    def test_the_head_ends_at_the_first_empty_line(self):
        assert strict().feed(OLD + b"\n\n\r\n\r\n").leftover == b"\r\n\r\n"
        assert strict().feed(OLD + b"\r\n\n\0").leftover == b"\0"
        assert strict().feed(b"\r\n" + OLD + b"\n\n\n").leftover == b"\n"

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"\n" + OLD + b"\n\n", "a lone LF"),  # before the version is known
            (b"A HTTP/1.1\n", "a lone LF"),
            (b"A HTTP/1.0 \n", "a lone LF"),
            (b"A HTTP/1.00\n", "a lone LF"),
            (b"A http/1.0\n", "a lone LF"),
            (b"HTTP/1.0\n", "a lone LF"),
            (b"A\tHTTP/1.0\n", "a lone LF"),
            (b"A HTTP/1.1\r\nX: HTTP/1.0\n", "a lone LF"),
            (OLD + b"\r\r\n", "a bare CR"),
            (OLD + b"\rX: y\n\n", "a bare CR"),
            (OLD + b"\nX: a\rb\n\n", "a bare CR"),
            (OLD + b"\nX: a\n\rb\n", "a bare CR"),
            (OLD + b"\nX: \0", "the control character 0x00"),
            (b"A\0 HTTP/1.0\n\n", "the control character 0x00"),
            (OLD + b"\nX: a\n b\n\n", "a folded header line"),
            (OLD + b"\n X: a\n\n", "a folded header line"),
            (OLD + b"\nX : a\n\n", "a blank before the colon of a header line"),
            (OLD + b"\nX\n\n", "a header line without a colon"),
            (OLD + b"\n: a\n\n", "a header line with an invalid name"),
        ],
    )
    def test_everything_else_is_strict(self, data, text):
        assert three_ways(strict, data) == raised(HeadError, text)

    def test_limits_apply_to_lone_lf_too(self):
        line, make = b"x" * 11 + b" HTTP/1.0", lambda: strict(SMALL)
        assert three_ways(make, line + b"\n\n").start_line == line
        assert three_ways(make, b"x" + line + b"\n\n")[0] is LineTooLong
        assert three_ways(make, b"x" + line + b"\r\n\n")[0] is LineTooLong
        fits = line + b"\nX: " + b"x" * (64 - 20 - 1 - 3 - 2) + b"\n\n"
        assert len(fits) == 64
        assert three_ways(make, fits).raw == fits
        assert three_ways(make, fits.replace(b": ", b":  "))[0] is HeadTooLarge
        assert three_ways(make, line + b"\n" + b"X: y\n" * 4 + b"\n") == raised(HeadTooLarge, "more than 3 fields")


def test_s1_one_leading_empty_line_is_skipped():
    head = Head(b"A B", (), b"A B\r\n\r\n", b"")
    assert three_ways(strict, b"\r\nA B\r\n\r\n") == head


def test_s1_a_second_empty_line_is_an_empty_start_line():
    head = three_ways(strict, b"\r\n\r\nX: y\r\n\r\n", trailing=b"")
    assert head.start_line == b""


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"S\nA: b\n\n", (("A", "b"),)),
        (b"S\r\nA: b\n\r\n", (("A", "b"),)),
        (b"S\nA: b\r\n\n", (("A", "b"),)),
        (b"S\n\r\n", ()),
        (b"S\r\n\n", ()),
        (b"S\n\n", ()),
        (b"S\r\nA: b\r\n c\r\n\t d \r\n\r\n", (("A", "b c d"),)),
        (b"S\r\nA:\r\n c\r\n\r\n", (("A", "c"),)),
        (b"S\r\nA: b\r\n \r\nC: d\r\n\r\n", (("A", "b"), ("C", "d"))),
        (b"S\r\n folded at once\r\nA: b\r\n\r\n", (("A", "b"),)),
        (b"S\r\nA : b\r\n\r\n", (("A", "b"),)),
        (b"S\r\nno field at all\r\nA: b\r\n: nameless\r\n\r\n", (("A", "b"),)),
        (b"S\r\nA b: c\x1b\x01\r\n\r\n", (("A b", "c\x1b\x01"),)),
    ],
)
def test_liberal_accepts_what_real_proxies_send(data, fields):
    assert three_ways(liberal, data) == Head(b"S", fields, data, b"")


def test_liberal_ends_the_head_at_the_first_empty_line():
    assert liberal().feed(b"S\n\n\r\n\r\n").leftover == b"\r\n\r\n"
    assert liberal().feed(b"S\n\r\n\n").leftover == b"\n"


@pytest.mark.parametrize("data", [b"S\r\nA: \0\r\n\r\n", b"S\rT\r\n\r\n", b"S\r\r\n\r\n", b"S\nA: b\rc\n\n"])
def test_c16_liberal_refuses_nul_and_bare_cr(data):
    assert three_ways(liberal, data) == raised(HeadError, "a NUL or a bare CR in it")


@pytest.mark.parametrize("make", [strict, liberal])
def test_leftover_may_hold_anything(make):
    """C7, S12: the reader does not examine octets after the empty line."""
    leftover = bytes(range(256)) * 40
    head = make().feed(b"A B\r\nX: y\r\n\r\n" + leftover)
    assert head.leftover == leftover


class TestLimits:
    """V31, S8: limits on octets, fields and the start line, exact to the octet, wherever the data is cut."""

    def test_octets_are_limited(self):
        fits = b"A\r\nX: " + b"x" * (64 - 10) + b"\r\n\r\n"
        assert len(fits) == 64
        for make in (lambda: strict(SMALL), lambda: liberal(SMALL)):
            assert three_ways(make, fits).raw == fits
            assert three_ways(make, fits.replace(b": ", b":  "))[0] is HeadTooLarge
            assert three_ways(make, fits.replace(b"\r\n\r\n", b"yyyyy"))[0] is HeadTooLarge

    def test_fields_are_limited(self):
        fits = b"A\r\n" + b"X: y\r\n" * 3 + b"\r\n"
        for make in (lambda: strict(SMALL), lambda: liberal(SMALL)):
            assert len(three_ways(make, fits).fields) == 3
            assert three_ways(make, b"A\r\n" + b"X: y\r\n" * 4 + b"\r\n") == raised(HeadTooLarge, "more than 3 fields")

    def test_the_start_line_is_limited(self):
        make = lambda: strict(SMALL)  # noqa: E731
        fits = b"x" * 20
        assert three_ways(make, fits) is None
        assert three_ways(make, fits + b"\r\n\r\n").start_line == fits
        assert three_ways(make, fits + b"y\r\n\r\n")[0] is LineTooLong
        assert three_ways(make, fits + b"y\r\r")[0] is LineTooLong
        assert three_ways(make, fits + b"yy")[0] is LineTooLong
        assert three_ways(make, fits + b"\rx") == raised(HeadError, "a bare CR")

    def test_the_first_fault_is_reported(self):
        assert three_ways(lambda: strict(SMALL), b"\0" + b"x" * 100) == raised(HeadError, "the control character 0x00")
        assert three_ways(lambda: strict(SMALL), b"x" * 100 + b"\0")[0] is LineTooLong
        assert three_ways(lambda: strict(SMALL), b"x\r\n" + b"y" * 100 + b"\0")[0] is HeadTooLarge

    def test_rfc_9112_8000_octet_lines_are_accepted(self):
        """C16, S8"""
        line = b"CONNECT " + b"a" * (8000 - 17) + b" HTTP/1.1"
        assert three_ways(strict, line + b"\r\n\r\n").start_line == line

    def test_liberal_accepts_64_kib_and_hundreds_of_fields(self):
        data = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 60) for i in range(1000)) + b"\r\n"
        assert len(data) > 65536
        assert len(three_ways(liberal, data).fields) == 1000


def test_feeding_octet_by_octet_takes_linear_time():
    """The largest heads in single octets: 0.3 s now, minutes if every octet caused a rescan of all before it."""
    assert three_ways(strict, b"A B\r\n" + b"X: %s\r\n" % (b"x" * 175) * 89, trailing=b"") is None
    assert three_ways(strict, OLD + b"\n" + b"X: %s\n" % (b"x" * 175) * 89, trailing=b"") is None
    assert three_ways(liberal, b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000, trailing=b"") is None


def test_the_start_line_is_available_before_the_rest():
    reader = strict()
    assert reader.start_line is None
    assert feed_all(reader, [b"A B\r"]) is None
    assert reader.start_line is None
    assert feed_all(reader, [b"\n\0"])[0] is HeadError
    assert reader.start_line == b"A B"


@pytest.mark.parametrize("make", [strict, liberal, lambda: strict(SMALL), lambda: liberal(SMALL)])
def test_property_cuts_do_not_matter(make):
    @bounded
    @given(HOSTILE, st.sets(st.integers(0, 60)))
    def check(data, at):
        whole = feed_all(make(), [data])
        assert feed_all(make(), octets(data)) == (whole._replace(leftover=b"") if isinstance(whole, Head) else whole)
        pieces = cut(data, at)
        in_pieces = feed_all(make(), pieces)
        if isinstance(whole, Head):
            assert in_pieces[:3] == whole[:3]
            assert data.endswith(whole.raw + whole.leftover)
        else:
            assert in_pieces == whole

    check()


@bounded
@given(HOSTILE)
def test_property_liberal_parses_what_strict_accepts_alike(data):
    head = feed_all(strict(), [data])
    if isinstance(head, Head) and head.start_line and not data.startswith(b"\r\n"):
        assert feed_all(liberal(), [data])[:3] == head[:3]
