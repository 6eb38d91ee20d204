"""HTTP/1.1 messages with h11: their events, and our texts for errors, fed at once and octet by octet."""

from collections.abc import Iterable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded, octets
from tunnelctl.proto.http1.messages import Incomplete, MessageError, Messages, words_for

HEAD = b"GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
END = b""  # h11 treats empty data as the peer's EOF

Outcome = list[str] | tuple[type[MessageError], str, int]


def outcome(messages: Messages, pieces: Iterable[bytes]) -> Outcome:
    """The kinds of the events, consecutive equal ones once; or the error."""
    kinds: list[str] = []
    try:
        for piece in pieces:
            messages.receive(piece)
            while (event := messages.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                kind = type(event).__name__
                kinds += [kind] if kinds[-1:] != [kind] else []
                if kind in ("EndOfMessage", "ConnectionClosed"):
                    return kinds
    except MessageError as error:
        return type(error), error.cause, error.status
    return kinds


def answers(method: str = "GET") -> Messages:
    """A client connection that waits for a response."""
    messages = Messages(h11.CLIENT)
    assert messages.send(h11.Request(method=method, target="/", headers=[("Host", "h.test")])) == (
        f"{method} / HTTP/1.1\r\nHost: h.test\r\n\r\n".encode()
    )
    assert messages.send(h11.EndOfMessage()) == b""
    return messages


def both(make: object, data: bytes, ended: bool = False) -> Outcome:
    """The outcome of the data fed at once, which must be the same octet by octet."""
    assert callable(make)
    end = [END] if ended else []
    whole = outcome(make(), [data, *end] if data else end)
    assert outcome(make(), [*octets(data), *end]) == whole
    return whole


def requests() -> Messages:
    return Messages(h11.SERVER)


LINE = "not a request line: METHOD TARGET VERSION with one space between"
LENGTH = b"Content-Length: 3\r\n"
NO_LENGTHS = (b"x", b"+3", b"-3", b"0x3", b"03", b"00", b"3 3", b"1, 2", b"3, 3", b"\xb2", b"", b"9" * 19)
FOLDED = "malformed head: a folded header line"
LONE_LF = "malformed head: a lone LF"
BAD_REQUESTS = [
    (b"hello\r\n\r\n", LINE, 400),
    (b"GET  http://h/ HTTP/1.1\r\n\r\n", LINE, 400),
    (b"GET http://h/ HTTP/2.0\r\n\r\n", "only HTTP/1.1 and HTTP/1.0 are spoken here", 505),
    (b"GET http://h/ http/1.1\r\n\r\n", "not a request line: no HTTP version at its end", 400),
    (b"G(T http://h/ HTTP/1.1\r\n\r\n", "not a request line: no method at its start", 400),
    (b"G" * 33 + b" http://h/ HTTP/1.1\r\n\r\n", "the method is unknown", 501),
    (
        b"GET http://h/\x80 HTTP/1.1\r\nHost: h\r\n\r\n",
        "malformed head: a character in the request target that has no place there",
        400,
    ),
    (b"\x00\x01", "malformed head: the control character 0x00", 400),
    (b"\x16\x03\x01", "this is a TLS ClientHello, and this port speaks plain HTTP", 400),
    (b"\r\n\r\n", LINE, 400),
    # RFC 9110 section 5.5, with the texts of `serve` for the same faults
    (HEAD + b"X: a\x07b\r\n\r\n", "malformed head: the control character 0x07", 400),
    (HEAD + b"X: \x1b[1m\r\n\r\n", "malformed head: the control character 0x1b", 400),
    (HEAD + b"X: a\x7f\r\n\r\n", "malformed head: the control character 0x7f", 400),
    (HEAD + b"X: a\0b\r\n\r\n", "malformed head: the control character 0x00", 400),
    (HEAD + b"X: a\rb\r\n\r\n", "malformed head: a bare CR", 400),
    (HEAD + b"X: a\nY: b\r\n\r\n", LONE_LF, 400),
    (HEAD.replace(b"\r\n", b"\n") + b"\n", LONE_LF, 400),
    (HEAD + b"X : b\r\n\r\n", "malformed head: a blank before the colon of a header line", 400),
    (HEAD + b"X Y: b\r\n\r\n", "malformed head: a header line with an invalid name", 400),
    (HEAD + b": b\r\n\r\n", "malformed head: a header line with an invalid name", 400),
    (HEAD + b"X\r\n\r\n", "malformed head: a header line without a colon", 400),
    (b"GET http://h/ HTTP/1.1\r\n Host: h\r\n\r\n", FOLDED, 400),
    (HEAD + b"X: a\r\n b\r\n\r\n", FOLDED, 400),
    # RFC 9112 sections 6.1 and 6.3: two readers could find the end of the body in two places.
    *((HEAD + b"Content-Length: %b\r\n\r\n" % text, "Content-Length is no plain number", 400) for text in NO_LENGTHS),
    (HEAD + LENGTH + b"Content-Length: 2\r\n\r\n", "more than one Content-Length field", 400),
    (HEAD + LENGTH + LENGTH + b"\r\n", "more than one Content-Length field", 400),
    (HEAD + LENGTH + CHUNKED, "Content-Length beside Transfer-Encoding", 400),
    (HEAD + CHUNKED[:-2] + LENGTH + b"\r\n", "Content-Length beside Transfer-Encoding", 400),
    (HEAD.replace(b"1.1", b"1.0") + CHUNKED, "HTTP/1.0 has no Transfer-Encoding", 400),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", "malformed head: a Transfer-Encoding other than chunked", 501),
    (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", "malformed head: a Transfer-Encoding other than chunked", 501),
    (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n", "malformed head: a Transfer-Encoding other than chunked", 501),
    (HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n", "malformed head: a Transfer-Encoding other than chunked", 501),
    (HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n', "malformed head: a Transfer-Encoding other than chunked", 501),
    (HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n", "malformed head: the control character 0x0b", 400),
    (HEAD + b"Transfer-Encoding : chunked\r\n\r\n", "malformed head: a blank before the colon of a header line", 400),
    (HEAD + b"X: y\nTransfer-Encoding: chunked\r\n\r\n", LONE_LF, 400),
    (HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n", FOLDED, 400),
    (HEAD + CHUNKED[:-2] + CHUNKED, "more than one Transfer-Encoding field", 400),
    # RFC 9112 section 3.2
    (b"GET http://h/ HTTP/1.1\r\n\r\n", "malformed head: no Host field", 400),
    (HEAD + b"Host: other\r\n\r\n", "more than one Host field", 400),
    (b"GET http://h/ HTTP/1.1\r\nHost: a b\r\n\r\n", "the Host field is malformed", 400),
    (b"GET http://h/ HTTP/1.1\r\nHost: h@i\r\n\r\n", "the Host field is malformed", 400),
    (HEAD + b"X: " + b"x" * 16384, "the request head is too large", 431),
    (HEAD + b"X: y\r\n" * 101 + b"\r\n", "the request head is too large", 431),
    (b"GET http://h/" + b"x" * 8192 + b" HTTP/1.1\r\n\r\n", "the request line is too long", 414),
    (HEAD + CHUNKED + b"zz\r\n", "malformed body: no chunk where one has to begin", 400),
    (HEAD + CHUNKED + b"-1\r\n", "malformed body: no chunk where one has to begin", 400),
    (HEAD + CHUNKED + b"0x1\r\n", "malformed body: no chunk where one has to begin", 400),
    (HEAD + CHUNKED + b"f" * 30 + b"\r\n", "malformed body: no chunk where one has to begin", 400),
    (HEAD + CHUNKED + b"1\r\nabc", "malformed body: a chunk that does not end where it has to", 400),
]


@pytest.mark.parametrize(("data", "cause", "status"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_a_malformed_request_has_its_cause_and_status(data: bytes, cause: str, status: int) -> None:
    assert both(requests, data) == (MessageError, cause, status)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET http://h", "the request ended inside its head"),
        (HEAD, "the request ended inside its head"),
        (HEAD + b"Content-Length: 3\r\n\r\nab", "the request ended inside its body"),
        (HEAD + CHUNKED + b"5\r\nab", "the request ended inside its body"),
    ],
)
def test_a_truncated_request_is_incomplete(data: bytes, cause: str) -> None:
    assert both(requests, data, ended=True) == (Incomplete, cause, 400)


BAD_ANSWERS = [
    # With the texts of `connect`, and as early as possible.
    (b"HELLO", "not HTTP: it starts with 'H"),
    (b"SSH-2.0-x\r\n", "not HTTP: it starts with 'S"),
    (b"\x1b[31m", "not HTTP: it starts with '\\x1b"),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "not HTTP: it starts with '\\r"),
    (b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS, not plain HTTP"),
    (b"HTTP/1.1 abc OK\r\n\r\n", "malformed head: no status line at its start"),
    (b"HTTP/1.1 099 OK\r\n\r\n", "malformed head: a status code below 100"),
    (b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "it switches protocols unasked (101)"),
    (OK + b"X: a\0b\r\n\r\n", "malformed head: the control character 0x00"),
    (OK + b"X: a\rb\r\n\r\n", "malformed head: a bare CR"),
    (OK + b"X: " + b"x" * 16384, "a head or a line of more than 16384 octets"),
    (OK + CHUNKED + b"zz\r\n", "malformed body: no chunk where one has to begin"),
]


@pytest.mark.parametrize(("data", "cause"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
def test_a_malformed_response_has_its_cause(data: bytes, cause: str) -> None:
    for pieces in ([data], octets(data)):
        kind, said, _ = outcome(answers(), pieces)
        assert kind is MessageError
        assert said.startswith(cause)
        assert said.isascii()
        assert said.isprintable()


def test_an_answer_other_than_http_is_quoted() -> None:
    assert outcome(answers(), [b"HELLO\r\n\r\n"]) == (MessageError, "not HTTP: it starts with 'HELLO\\r\\n\\r\\n'", 400)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "closed without a response"),
        (b"HTTP/1.1 20", "closed in the middle of the head"),
        (OK + b"Content-Length: 3\r\n\r\nab", "closed in the middle of the body"),
        (OK + CHUNKED + b"5\r\nab", "closed in the middle of the body"),
        (b"HTTP/1.1 100 Go on\r\n\r\n", "closed without a response"),
    ],
)
def test_a_truncated_response_is_incomplete(data: bytes, cause: str) -> None:
    assert both(answers, data, ended=True) == (Incomplete, cause, 400)


@pytest.mark.parametrize(
    ("data", "ended", "kinds"),
    [
        (HEAD + b"X: \x80\xff\ta\r\n\r\n", False, ["Request", "EndOfMessage"]),
        (HEAD + b"Content-Length: 2\r\n\r\nab", False, ["Request", "Data", "EndOfMessage"]),
        (HEAD + CHUNKED + b"2;x=y\r\nab\r\n0\r\nT: u\r\n\r\n", False, ["Request", "Data", "EndOfMessage"]),
        (b"", True, ["ConnectionClosed"]),
        (HEAD.replace(b"1.1", b"1.0").replace(b"\r\n", b"\n") + b"\n", False, ["Request", "EndOfMessage"]),
        (b"GET http://h/ HTTP/1.0\r\nHost: a b\r\n\r\n", False, ["Request", "EndOfMessage"]),
    ],
)
def test_events_of_requests(data: bytes, ended: bool, kinds: list[str]) -> None:
    assert both(requests, data, ended) == kinds


@pytest.mark.parametrize(
    ("data", "ended", "kinds"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", False, ["Response", "Data", "EndOfMessage"]),
        (
            b"HTTP/1.1 100 Go on\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
            False,
            ["InformationalResponse", "Response", "EndOfMessage"],
        ),
        (b"HTTP/1.0 200\r\n\r\nto the end", True, ["Response", "Data", "EndOfMessage"]),
    ],
)
def test_events_of_responses(data: bytes, ended: bool, kinds: list[str]) -> None:
    assert both(answers, data, ended) == kinds
    assert both(lambda: answers("HEAD"), data, ended) == [kind for kind in kinds if kind != "Data"]


def test_a_pipelined_request_is_read_after_the_response() -> None:
    messages = requests()
    data = HEAD + b"\r\n"
    assert outcome(messages, [data + data]) == ["Request", "EndOfMessage"]
    assert messages.may_answer
    assert not messages.next_cycle(), "the first request has no response yet"
    messages.send(h11.Response(status_code=204, headers=[]))
    assert not messages.may_answer
    messages.send(h11.EndOfMessage())
    assert messages.next_cycle()
    assert isinstance(messages.next_event(), h11.Request)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_the_peers_version_is_known_after_its_head(version: bytes) -> None:
    messages = requests()
    assert messages.peer_version == b""
    assert outcome(messages, [HEAD.replace(b"HTTP/1.1", b"HTTP/" + version) + b"\r\n"])
    assert messages.peer_version == version


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HELLO\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 20", "closed in the middle of the head"),
        (OK + b"Content-Length: x\r\n\r\n", "malformed head: Content-Length is no number"),
        (OK + b"X\r\n\r\n", "malformed head"),
    ],
)
def test_every_known_error_of_h11_has_our_text(data: bytes, words: str) -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h.test")]))
    connection.receive_data(data)
    connection.receive_data(END)
    with pytest.raises(h11.RemoteProtocolError) as raised:
        connection.next_event()
    assert words_for(raised.value) == words


def test_an_unknown_error_text_of_h11_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: h11.Connection) -> None:
        raise h11.RemoteProtocolError("unheard of: bytearray(b'x')")

    monkeypatch.setattr(h11.Connection, "next_event", fail)
    assert outcome(requests(), [HEAD + b"\r\n"]) == (MessageError, "malformed head: it breaks the rules of HTTP", 400)


@bounded
@given(st.binary(max_size=200), st.sampled_from([b"", HEAD, HEAD + b"\r\n", HEAD + CHUNKED]), st.booleans())
def test_any_request_error_has_our_text(data: bytes, before: bytes, ended: bool) -> None:
    said = outcome(requests(), [before + data or b" ", *([END] if ended else [])])
    if isinstance(said, tuple):
        known = ("not a request line", "malformed ", "the request ", "this is a ", "more than", "only HTTP", "the Host", "Content-")
        assert said[1].startswith(known), said


@bounded
@given(st.binary(max_size=200), st.sampled_from([b"", OK, OK + b"\r\n", OK + CHUNKED]), st.booleans())
def test_any_response_error_has_our_text(data: bytes, before: bytes, ended: bool) -> None:
    said = outcome(answers(), [before + data or b" ", *([END] if ended else [])])
    if isinstance(said, tuple):
        assert said[1].startswith(("not HTTP", "malformed ", "a head or a line", "closed ", "it speaks TLS", "it switches"))
