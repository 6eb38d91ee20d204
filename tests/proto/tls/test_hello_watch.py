"""Watching for the hellos of a client, and for the point after which none can follow: V29, RFC 8446 4.1.2 to 4.1.4 and 4.2.10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.client_hellos import (
    CHANGE_CIPHER_SPEC,
    CHROMIUM,
    RETRY_RANDOM,
    application_data,
    body,
    extension,
    hello,
    message,
    named,
    records,
    server_hello,
    server_name,
)
from tests.proto.feeding import bounded, cut, octets
from tunnelctl.proto.tls.client_hello import ENDED, MALFORMED, MAX_HELLO, NO_TLS, TOO_LONG, ClientHello, NoClientHello
from tunnelctl.proto.tls.hello_watch import MAX_SKIPPED, TOO_MANY, HelloWatch

FIRST, SECOND = named("a.example"), named("b.example")
A, B = ClientHello("a.example"), ClientHello("b.example")
RETRY, ANSWER = server_hello(RETRY_RANDOM), server_hello()
ALERT = records(b"\x01\x5a", kind=21)  # user_canceled, a warning
EMPTY, EMPTY_DATA = b"\x16\x03\x03\0\0", b"\x17\x03\x03\0\0"  # records without content
FINISH = records(message(bytes(60), kind=16))  # ClientKeyExchange, which comes next in TLS 1.2


def watched(*pieces: bytes) -> tuple[list[ClientHello | NoClientHello], HelloWatch]:
    """The findings in a client's pieces, and the watch afterwards."""
    watch, found = HelloWatch(), []
    for piece in pieces:
        if watch.over:
            break
        found += watch.feed_client(piece)
    return found, watch


def first_seen() -> HelloWatch:
    return watched(FIRST)[1]


def test_the_first_hello_is_found() -> None:
    for pieces in ([FIRST], octets(FIRST)):
        found, watch = watched(*pieces)
        assert found == [A]
        assert (watch.over, watch.begun, watch.pending) == (False, False, 0)


@pytest.mark.parametrize("size", range(len(FIRST)))
def test_the_first_hello_is_pending_until_it_is_complete(size: int) -> None:
    found, watch = watched(FIRST[:size])
    assert (found, watch.pending, watch.begun, watch.over) == ([], size, True, False)
    assert watch.end() == [NoClientHello(ENDED)]
    assert watch.over


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"\x16\x02", records(b"\x02" + bytes(40))])
def test_without_a_first_hello_the_watch_is_over(data: bytes) -> None:
    found, watch = watched(data)
    assert found == [NoClientHello(MALFORMED if data[:2] == b"\x16\x03" else NO_TLS)]
    assert (watch.over, watch.pending) == (True, 0)


BETWEEN = [
    b"",
    CHANGE_CIPHER_SPEC,
    application_data(),
    application_data(16384 + 256) + application_data(1),
    ALERT,
    CHANGE_CIPHER_SPEC + application_data() + ALERT + CHANGE_CIPHER_SPEC,
    records(b"", kind=23) + b"\x17\x03\x03\0\0",
]


@pytest.mark.parametrize("size", [1 << 14, 7, 1])
@pytest.mark.parametrize("between", BETWEEN)
def test_a_second_hello_is_found_whatever_records_precede_it(between: bytes, size: int) -> None:
    """However it is cut, and whether or not the server has requested it: a client may anticipate the request."""
    data = FIRST + between + named("b.example", size=size)
    for pieces in ([data], octets(data), [FIRST, data[len(FIRST) :]]):
        found, watch = watched(*pieces)
        assert found == [A, B]
        assert (watch.pending, watch.begun) == (0, False)
    watch = first_seen()
    watch.feed_server(RETRY)
    assert watch.feed_client(between + named("b.example", size=size)) == [B]
    assert watch.over


@pytest.mark.parametrize("between", BETWEEN)
def test_only_the_second_hello_is_pending_not_what_precedes_it(between: bytes) -> None:
    for size in range(len(SECOND)):
        found, watch = watched(FIRST + between + SECOND[:size])
        assert (found, watch.pending, watch.begun, watch.over) == ([A], size, size > 0, False)


def test_two_hellos_in_one_record_are_found() -> None:
    content = message(body(server_name(b"a.example"))) + message(body(server_name(b"b.example")))
    for pieces in ([records(content)], octets(records(content)), [records(content, 100)]):
        found, _ = watched(*pieces)
        assert found == [A, B]


def test_a_second_hello_beginning_in_the_record_of_the_first_is_found() -> None:
    first, second = message(body(server_name(b"a.example"))), message(body(server_name(b"b.example")))
    data = records(first + second[:9]) + records(second[9:])
    for pieces in ([data], octets(data)):
        assert watched(*pieces)[0] == [A, B]
    assert watched(records(first + second[:9]))[1].pending == 9


def test_a_third_hello_is_ignored() -> None:
    found, watch = watched(FIRST + SECOND + FIRST)
    assert (found, watch.over, watch.pending) == ([A, B], True, 0)


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (records(message(b"\x03\x03" + bytes(9))), NoClientHello(MALFORMED)),
        (hello(server_name(b"a.example", b"b.example")), NoClientHello(MALFORMED)),
        (named("b.example", size=25)[:30] + CHANGE_CIPHER_SPEC, NoClientHello(MALFORMED)),  # a record inside a message
        (named("b.example", size=30)[:35] + application_data(), NoClientHello(MALFORMED)),
        (named("b.example", size=30)[:35] + b"junk", NoClientHello(MALFORMED)),
        (records(b"\1" + (MAX_HELLO + 1).to_bytes(3, "big")), NoClientHello(TOO_LONG)),
        (EMPTY, NoClientHello(MALFORMED)),  # some servers skip it, and would accept a hello after it
        (EMPTY + SECOND, NoClientHello(MALFORMED)),
        (CHANGE_CIPHER_SPEC + records(b"\1") + EMPTY, NoClientHello(MALFORMED)),
    ],
)
def test_a_malformed_second_hello_is_reported(second: bytes, found: NoClientHello) -> None:
    for pieces in ([FIRST + second], octets(FIRST + second)):
        heard, watch = watched(*pieces)
        assert heard == [A, found]
        assert (watch.over, watch.pending) == (True, 0)


def test_a_second_hello_has_the_same_size_limit_including_record_headers() -> None:
    """So the pending octets, which are buffered, are bounded, however small the records are."""
    content = message(body(extension(21, bytes(20000))))
    at_most = len(FIRST) + MAX_HELLO
    for size, outcome in ((1, NoClientHello(TOO_LONG)), (2, NoClientHello(TOO_LONG)), (3, ClientHello(""))):
        data = FIRST + records(content, size)
        assert (len(data) > at_most) is (size < 3)
        found, watch = watched(*cut(data, range(0, len(data), 1000)))
        assert found == [A, outcome]
        found, watch = watched(data[:at_most])
        assert watch.pending <= MAX_HELLO
        assert watch.over


@pytest.mark.parametrize("record", [EMPTY_DATA, application_data(1), CHANGE_CIPHER_SPEC, ALERT])
def test_the_number_of_records_before_a_second_hello_is_limited(record: bytes) -> None:
    """More would delay other tunnels. Nor does the proxy pass the tunnel then, since a server might accept a later hello."""
    assert watched(FIRST + MAX_SKIPPED * record + SECOND)[0] == [A, B]
    for pieces in ([FIRST, (MAX_SKIPPED + 1) * record + SECOND], octets(FIRST + (MAX_SKIPPED + 1) * record + SECOND)):
        found, watch = watched(*pieces)
        assert (found, watch.over, watch.pending) == ([A, NoClientHello(TOO_MANY)], True, 0)


@pytest.mark.parametrize(
    "after",
    [FINISH, b"and more", b"\x18", b"\x16\x02", b"\x00", b"\x80\x2e\x01\x03\x01", b"\x17\x03\x03\xff\xff", b"GET / HTTP/1.1\r\n"],
)
def test_the_watch_is_over_at_data_that_no_server_skips(after: bytes) -> None:
    for pieces in ([FIRST + after], octets(FIRST + after)):
        found, watch = watched(*pieces)
        assert (found, watch.over, watch.pending) == ([A], True, 0)


def test_eof_after_the_first_hello_reports_nothing() -> None:
    for data in (FIRST, FIRST + CHANGE_CIPHER_SPEC + application_data(), FIRST + SECOND[:4]):
        _, watch = watched(data)
        assert watch.end() == []
        assert (watch.over, watch.pending) == (True, 0)


def test_eof_inside_the_second_hello_is_reported() -> None:
    assert watched(FIRST + SECOND[:10])[1].end() == [NoClientHello(ENDED)]


# --- answers of the server


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        server_hello(size=1),
        CHANGE_CIPHER_SPEC + ANSWER,
        ALERT + ANSWER,
        server_hello(RETRY_RANDOM[:-1] + b"\0"),
        records(message(b"", kind=11)),
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-x\r\n",
        server_hello(RETRY_RANDOM, size=20)[:25] + CHANGE_CIPHER_SPEC,
        FIRST,  # an echo
    ],
)
def test_any_answer_but_a_retry_request_ends_the_watch(answer: bytes) -> None:
    for pieces in ([answer], octets(answer)):
        watch = first_seen()
        for piece in pieces:
            watch.feed_server(piece)
        assert watch.over


@pytest.mark.parametrize(
    "answer", [RETRY, server_hello(RETRY_RANDOM, size=1), CHANGE_CIPHER_SPEC + RETRY, RETRY + CHANGE_CIPHER_SPEC]
)
def test_after_a_retry_request_the_watch_waits_for_the_second_hello(answer: bytes) -> None:
    for pieces in ([answer], octets(answer)):
        watch = first_seen()
        for piece in pieces:
            watch.feed_server(piece)
        assert not watch.over
        watch.feed_server(application_data())
        assert watch.feed_client(CHANGE_CIPHER_SPEC + SECOND) == [B]
        assert watch.over, "a server requests one retry only"


@pytest.mark.parametrize("answer", [b"", ANSWER[:9], ANSWER[:42], RETRY[:42], CHANGE_CIPHER_SPEC, ALERT])
def test_an_incomplete_answer_decides_nothing(answer: bytes) -> None:
    watch = first_seen()
    watch.feed_server(answer)
    assert not watch.over


@pytest.mark.parametrize("record", [EMPTY, EMPTY_DATA, ALERT])
def test_the_watch_ends_after_many_records_of_the_server(record: bytes) -> None:
    watch = first_seen()
    watch.feed_server(MAX_SKIPPED * record)
    assert not watch.over
    watch.feed_server(record)
    assert watch.over


def test_server_data_before_the_first_hello_is_not_its_answer() -> None:
    watch = HelloWatch()
    watch.feed_server(b"220 mail.example.com\r\n")
    assert watch.feed_client(FIRST[:20]) == []
    watch.feed_server(ANSWER)
    assert watch.feed_client(FIRST[20:] + SECOND) == [A, B]


def test_a_partial_second_hello_is_read_to_its_end_whatever_the_answer() -> None:
    _, watch = watched(FIRST + SECOND[:50])
    watch.feed_server(ANSWER)
    assert (watch.over, watch.pending) == (False, 50)
    assert watch.feed_client(SECOND[50:]) == [B]
    assert watch.over


def test_the_watch_ends_with_the_answer_during_early_data() -> None:
    _, watch = watched(FIRST + CHANGE_CIPHER_SPEC + application_data(1000)[:70])
    assert (watch.pending, watch.over) == (0, False)
    watch.feed_server(ANSWER)
    assert watch.over


# --- arbitrary cuts

PIECES = st.sampled_from(
    [
        FIRST,
        SECOND,
        CHROMIUM,
        FINISH,
        CHANGE_CIPHER_SPEC,
        application_data(),
        ALERT,
        b"junk",
        named("b.example", size=5),
        b"\x16",
        EMPTY,
        b"",
    ]
)


@bounded
@given(st.lists(PIECES, max_size=6).map(b"".join), st.sets(st.integers(0, 3000)), st.binary(max_size=3), st.integers(0, 900))
def test_property_cuts_do_not_matter(data: bytes, at: set[int], patch: bytes, place: int) -> None:
    data = FIRST + data[:place] + patch + data[place + len(patch) :]
    whole, watch = watched(data)
    for pieces in (octets(data), cut(data, at)):
        found, other = watched(*pieces)
        assert found == whole
        assert (other.over, other.pending) == (watch.over, watch.pending)


@bounded
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_fuzz_feeding_raises_nothing(sent: bytes, answered: bytes) -> None:
    _, watch = watched(FIRST + sent)
    watch.feed_server(answered)
    assert 0 <= watch.pending <= len(FIRST + sent)
    if watch.over:
        assert watch.pending == 0
