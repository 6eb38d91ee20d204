"""HTTP/1.1 messages with their bodies, read and written by h11.

The head of a request passes the strict reader of `head` first, as that of a CONNECT does, because h11 accepts much that another
reader could read differently: a lone LF, a folded line, two equal lengths, a length beside chunks.

The faults of a message are described in the words of `connect` and `serve`. h11's own texts are for programmers: they quote its
buffers and name its states. None of them leaves this module.
"""

from typing import TypeAlias

import h11

from tunnelctl.errors import AddressError
from tunnelctl.proto import refusal
from tunnelctl.proto.address import HTTP_PORT, parse_authority
from tunnelctl.proto.http1.connect_client import SHOWN, SPEAKS_TLS, quote
from tunnelctl.proto.http1.head import SERVER_LIMITS, Head, HeadError, HeadReader, Limits
from tunnelctl.proto.http1.request_head import SINGLE, RefusedHead, method_of, refuse_head, split_request_line

MAX_HEAD = SERVER_LIMITS.max_bytes

Role: TypeAlias = type[h11.CLIENT] | type[h11.SERVER]

_ANSWER = b"HTTP/"
_MAX_LENGTH_DIGITS = 18  # below 2**63
_TLS_RECORDS = (0x15, 0x16)  # the first octet of an alert and of a handshake

# By the beginnings of h11's texts. For any other text, the strict reader of heads supplies the words.
_WORDS = {
    "illegal request line": "malformed head: a character in the request target that has no place there",
    "illegal status line": "malformed head: no status line at its start",
    "InformationalResponse status_code": "malformed head: a status code below 100",
    "conflicting Content-Length": "malformed head: Content-Length says two things",
    "bad Content-Length": "malformed head: Content-Length is no number",
    "multiple Transfer-Encoding": "malformed head: several Transfer-Encoding fields",
    "Only Transfer-Encoding": "malformed head: a Transfer-Encoding other than chunked",
    "Missing mandatory Host": "malformed head: no Host field",
    "Receive buffer too long": f"a head or a line of more than {MAX_HEAD} octets",
    "Received server _SWITCH": "it switches protocols unasked (101)",
    "illegal chunk header": "malformed body: no chunk where one has to begin",
    "malformed chunk footer": "malformed body: a chunk that does not end where it has to",
}
_ENDED = {
    "can't handle event type ConnectionClosed": "closed without a response",
    "peer unexpectedly closed": "closed in the middle of the head",
    "peer closed connection without": "closed in the middle of the body",
}
_ENDED_REQUEST = {"peer closed connection without": "the request ended inside its body"}


class MessageError(Exception):
    """Raised for a malformed or incomplete message. cause: its fault; status: that of the response, if it is a request"""

    def __init__(self, cause: str, status: int = 400, to_head: bool = False) -> None:
        """to_head: the message is a HEAD request, so the response has no content"""
        super().__init__(cause)
        self.cause, self.status, self.to_head = cause, status, to_head


class Incomplete(MessageError):
    """Raised if the peer ended its side inside a message, or a server before its response."""


class Messages:
    """One connection: requests in and responses out for h11.SERVER, the reverse for h11.CLIENT."""

    def __init__(self, role: Role) -> None:
        self._reads_answers = role is h11.CLIENT
        self._begin()

    def _begin(self, received: bytes = b"", ended: bool = False) -> None:
        self._http = h11.Connection(h11.CLIENT if self._reads_answers else h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._reader = None if self._reads_answers else HeadReader(SERVER_LIMITS, strict=True)  # until the head is complete
        self._received, self._ended = received, ended  # not yet read by `_reader`; whether the peer's EOF follows

    @property
    def may_answer(self) -> bool:
        """True as long as no part of the response to the request has been written."""
        return self._http.our_state is h11.SEND_RESPONSE

    @property
    def peer_version(self) -> bytes:
        """The HTTP version of the peer's last message."""
        return self._http.their_http_version or b""

    def next_cycle(self) -> bool:
        """Returns whether another request may follow on the connection; if so, it can be read now."""
        if not (self._http.our_state is h11.DONE and self._http.their_state is h11.DONE):
            return False
        self._begin(*self._http.trailing_data)
        return True

    def send(self, event: h11.Event) -> bytes:
        """Returns the octets of an event."""
        return self._http.send(event) or b""

    def receive(self, data: bytes) -> None:
        """Takes octets from the peer. Empty data is its EOF."""
        if self._reader is None:
            self._http.receive_data(data)
        else:
            self._received += data
            self._ended = self._ended or not data

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Returns the next event of the peer's message. Raises MessageError."""
        if self._reader is not None and not self._read_head(self._reader):
            return h11.NEED_DATA
        head = self._http.trailing_data[0] if self._http.their_state in (h11.IDLE, h11.SEND_RESPONSE) else b""
        if self._reads_answers and head and not head.startswith(_ANSWER[: len(head)]):
            raise MessageError(_not_http(head))
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._explained(error, head) from None

    def _read_head(self, reader: HeadReader) -> bool:
        """Reads the head of a request. True if h11 has all that has come. Raises MessageError."""
        received, self._received = self._received, b""
        head = _read_request_head(reader, received) if received else None
        if head is None and not self._ended:
            return False
        if head is None and reader.peek(1):
            raise Incomplete("the request ended inside its head", to_head=_is_head(reader.start_line or b""))
        if head is not None:
            self._http.receive_data(head.raw + head.leftover)
        if self._ended:
            self._http.receive_data(b"")
        self._reader = None
        return True

    def _explained(self, error: h11.RemoteProtocolError, head: bytes) -> MessageError:
        text = str(error)
        if ended := _beginning(_ENDED if self._reads_answers else _ENDED_REQUEST, text):
            return Incomplete(ended)
        cause = _beginning(_WORDS, text) or f"malformed head: {_fault_of(head)}"
        return MessageError(cause, error.error_status_hint, _is_head(head))


def words_for(error: h11.RemoteProtocolError) -> str:
    """Describes the fault of a response that other code reads with h11."""
    text = str(error)
    if text.startswith("illegal status line"):
        return "not HTTP"
    return _beginning(_ENDED, text) or _beginning(_WORDS, text) or "malformed head"


def _read_request_head(reader: HeadReader, data: bytes) -> Head | None:
    """Returns the head once it is complete. Raises MessageError: the start line is judged first, and then all the fields."""
    wrong, head = None, None
    try:
        try:
            head = reader.feed(data)
        except HeadError as error:
            wrong = refuse_head(error, reader.peek(1))
        line = reader.start_line
        version = b"" if line is None else split_request_line(line)[2]
        if wrong is not None:
            raise RefusedHead(wrong)
        if head is not None:
            _check_fields(head, version)
    except RefusedHead as refused:
        raise MessageError(refused.answer.details, refused.answer.status, _is_head(reader.start_line or b"")) from None
    return head


def _check_fields(head: Head, version: bytes) -> None:
    """Raises RefusedHead for a head whose end or whose body a neighbour could find elsewhere. Leaves to h11 what it refuses."""
    seen: dict[str, str] = {}
    for name, value in head.fields:
        key = name.lower()
        if key in SINGLE and key in seen:
            raise RefusedHead(refusal.bad_request(f"more than one {name} field"))
        seen[key] = value
    if "transfer-encoding" in seen and "content-length" in seen:  # RFC 9112 section 6.1 allows to refuse it
        raise RefusedHead(refusal.bad_request("Content-Length beside Transfer-Encoding"))
    if "transfer-encoding" in seen and version == b"HTTP/1.0":  # RFC 9112 section 6.1: its framing is faulty
        raise RefusedHead(refusal.bad_request("HTTP/1.0 has no Transfer-Encoding"))
    if not _is_plain_length(seen.get("content-length", "0")):
        raise RefusedHead(refusal.bad_request("Content-Length is no plain number"))
    if version != b"HTTP/1.0" and "host" in seen and not _is_authority(seen["host"]):
        raise RefusedHead(refusal.bad_request("the Host field is malformed"))


def _is_plain_length(text: str) -> bool:
    """Whether every reader finds the same number. RFC 9112 section 6.3 allows a list of equal ones, which not all of them know.

    Some readers take a leading zero for octal, and keep no more than 64 bits: the rest of the body is then a request for them.
    """
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) <= _MAX_LENGTH_DIGITS


def _is_authority(host: str) -> bool:
    try:
        return host.isascii() and bool(parse_authority(host, HTTP_PORT))
    except AddressError:
        return False


def _beginning(table: dict[str, str], text: str) -> str:
    return next((words for start, words in table.items() if text.startswith(start)), "")


def _not_http(head: bytes) -> str:
    return SPEAKS_TLS if head[0] in _TLS_RECORDS else f"not HTTP: it starts with {quote(head[:SHOWN])}"


def _is_head(request: bytes) -> bool:
    return method_of(request) == "HEAD"


def _fault_of(head: bytes) -> str:
    """Returns the fault that the strict reader finds in a head. A lone LF may end a line here, so that is no fault."""
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    try:
        HeadReader(Limits(2 * len(head), len(head), len(head)), strict=True).feed(b"\r\n".join(lines))
    except HeadError as error:
        return str(error)
    return "it breaks the rules of HTTP"
