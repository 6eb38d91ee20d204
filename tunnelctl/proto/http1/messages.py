"""HTTP/1.1 messages with their bodies, read and written by h11.

The faults of a message are described in the words of `connect` and `serve`. h11's own texts are for programmers: they quote its
buffers and name its states. None of them leaves this module.
"""

from typing import TypeAlias

import h11

from tunnelctl.proto.headers import TEXT
from tunnelctl.proto.http1.connect_client import SHOWN, SPEAKS_TLS, quote
from tunnelctl.proto.http1.head import HeadError, HeadReader, Limits

MAX_HEAD = 16384  # octets, as in `serve`

Role: TypeAlias = type[h11.CLIENT] | type[h11.SERVER]

_ANSWER = b"HTTP/"
_TLS_RECORDS = (0x15, 0x16)  # the first octet of an alert and of a handshake

# By the beginnings of h11's texts. For any other text, the strict reader of heads supplies the words.
_WORDS = {
    "illegal request line": "not a request line: METHOD TARGET VERSION with one space between",
    "no request line": "not a request line: METHOD TARGET VERSION with one space between",
    "illegal status line": "malformed head: no status line at its start",
    "InformationalResponse status_code": "malformed head: a status code below 100",
    "conflicting Content-Length": "malformed head: Content-Length says two things",
    "bad Content-Length": "malformed head: Content-Length is no number",
    "multiple Transfer-Encoding": "malformed head: several Transfer-Encoding fields",
    "Only Transfer-Encoding": "malformed head: a Transfer-Encoding other than chunked",
    "Missing mandatory Host": "malformed head: no Host field",
    "Found multiple Host": "malformed head: several Host fields",
    "Receive buffer too long": f"a head or a line of more than {MAX_HEAD} octets",
    "Received server _SWITCH": "it switches protocols unasked (101)",
    "illegal chunk header": "malformed body: no chunk where one has to begin",
    "malformed chunk footer": "malformed body: a chunk that does not end where it has to",
}
_ENDED = {
    "can't handle event type ConnectionClosed": "closed without answering",
    "peer unexpectedly closed": "closed in the middle of the head",
    "peer closed connection without": "closed in the middle of the body",
}
_ENDED_REQUEST = {
    "peer unexpectedly closed": "the request ended inside its head",
    "peer closed connection without": "the request ended inside its body",
}


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
        self._http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)
        self._reads_answers = role is h11.CLIENT

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
        self._http.start_next_cycle()
        return True

    def send(self, event: h11.Event) -> bytes:
        """Returns the octets of an event."""
        return self._http.send(event) or b""

    def receive(self, data: bytes) -> None:
        """Takes octets from the peer. Empty data is its EOF."""
        self._http.receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Returns the next event of the peer's message. Raises MessageError."""
        head = self._http.trailing_data[0] if self._http.their_state in (h11.IDLE, h11.SEND_RESPONSE) else b""
        if self._reads_answers and head and not head.startswith(_ANSWER[: len(head)]):
            raise MessageError(_not_http(head))
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._explained(error, head) from None
        # h11 refuses only NUL, CR and LF, and servers treat other control characters unpredictably. Those in responses are left to
        # the client.
        if isinstance(event, h11.Request) and (wrong := b"".join(value for _, value in event.headers).translate(None, TEXT)):
            raise MessageError(f"malformed head: the control character 0x{wrong[0]:02x}", to_head=_is_head(head))
        return event

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


def _beginning(table: dict[str, str], text: str) -> str:
    return next((words for start, words in table.items() if text.startswith(start)), "")


def _not_http(head: bytes) -> str:
    return SPEAKS_TLS if head[0] in _TLS_RECORDS else f"not HTTP: it starts with {quote(head[:SHOWN])}"


def _is_head(request: bytes) -> bool:
    return request.startswith(b"HEAD ")


def _fault_of(head: bytes) -> str:
    """Returns the fault that the strict reader finds in a head. A lone LF may end a line here, so that is no fault."""
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    try:
        HeadReader(Limits(2 * len(head), len(head), len(head)), strict=True).feed(b"\r\n".join(lines))
    except HeadError as error:
        return str(error)
    return "it breaks the rules of HTTP"
