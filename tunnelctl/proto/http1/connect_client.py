"""CONNECT as the client: the request, and the reading of the proxy's response.

    request sent ── 1xx ──▶ again, a bounded number of times
                 ── 2xx ──▶ Established: everything after the empty line belongs to the tunnel
                 ── else ─▶ an excerpt of the body is collected ──▶ Rejected
                                (on a 401 or 407 the whole body is read, if this connection is kept for the next request)
                 ── not HTTP ──▶ MalformedAnswer, at the first octet that shows it

Payload must not be sent before Established (RFC 9931): a proxy that then refuses would read it as a request.

Modules that only a refusal needs (`error_body`, `structured`) are imported when there is one: an ssh that gets its tunnel does not
wait for them.
"""

from __future__ import annotations

from tunnelctl import __version__
from tunnelctl.errors import MalformedAnswer, NoAnswer, SpeaksTLS, UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto import headers as header
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.http1.head import CLIENT_LIMITS, Head, HeadError, HeadReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.proto.proxy_status import ProxyStatus

MAX_INFORMATIONAL = 20  # 1xx responses skipped: more are a stall
MAX_EXCERPT = 4096  # octets of the body of a refusal: a screen of text
LOGIN_WANTED = (401, 407)  # statuses; 401 is for origin servers, but some proxies send it instead of 407
SHOWN = 40  # octets of a non-HTTP response that the message repeats

# These decide where the request ends; a CONNECT has no content (RFC 9110 section 9.3.6).
_OURS = frozenset({"content-length", "transfer-encoding"})
SPEAKS_TLS = "it speaks TLS, not plain HTTP"

_PREFIX = b"HTTP/"
TLS_RECORDS = (b"\x15", b"\x16")  # the first octet of an alert and of a handshake, and of nothing in HTTP
_VERSIONS = frozenset(f"HTTP/1.{minor}" for minor in range(10))


class Established(NamedTuple):
    """The tunnel is established. leftover: octets after the head; they are the target's and must be delivered first."""

    version: str
    status: int
    reason: str
    fields: Fields
    leftover: bytes


class Rejected(NamedTuple):
    """The proxy responded with a status other than 2xx. All text in it is the peer's, unescaped.

    body: the content without its chunk framing, at most MAX_EXCERPT octets of it
    reusable: the connection can take the next request; False unless `keep` was set
    """

    version: str
    status: int
    reason: str
    fields: Fields
    body: bytes
    proxy_status: tuple[ProxyStatus, ...]
    reusable: bool = False


class ConnectClient:
    """One CONNECT request on one connection."""

    version = "HTTP/1.1"

    def __init__(self, target: Address, fields: Fields = (), keep: bool = False) -> None:
        """`fields` go into the request as given. Raises UsageProblem for one that cannot be sent or that the user must not set.

        A Host among them replaces the target's, which RFC 9112 section 3.2 does not allow. It is for proxies that are name-based
        virtual hosts, selected by that field. The request line has the target in any case.

        keep: after a 401 or 407 the connection is needed for the next request (NTLM and Negotiate authenticate a connection), so
        the body of such a response is read to its end
        """
        for name, value in fields:
            header.check(name, value)
            if name.lower() in _OURS:
                raise UsageProblem(f"header {name}", "not to be set in a CONNECT request", "header-reserved")
        if header.get(fields, "user-agent") is None:
            fields = (("User-Agent", f"tunnelctl/{__version__}"), *fields)
        self._target = target
        self._fields = _with_host(fields, str(target))
        self._reader = HeadReader(CLIENT_LIMITS, strict=False)
        self._informational = 0
        self._done = False
        self._keep = keep
        self._refusal: _RefusalReader | None = None

    def request(self) -> bytes:
        """Returns the request head."""
        return f"CONNECT {self._target} {self.version}\r\n".encode("ascii") + header.render(self._fields) + b"\r\n"

    @property
    def masked_fields(self) -> Fields:
        """The fields of the request for people and logs: without credentials."""
        return header.mask(self._fields)

    @property
    def refusing(self) -> bool:
        """True once the response is known to be a refusal, even if its body is incomplete."""
        return self._refusal is not None

    @property
    def heard(self) -> bool:
        """Whether the proxy has sent anything."""
        return self.refusing or self._informational > 0 or bool(self._reader.peek(1))

    def feed(self, data: bytes) -> Established | Rejected | None:
        """Takes octets from the proxy; returns the outcome once it is known. After that nothing more is read."""
        if self._done:
            raise RuntimeError("the answer is complete: what follows is tunnel bytes, or nothing")
        outcome = self._outcome(data)
        self._done = outcome is not None
        return outcome

    def _outcome(self, data: bytes) -> Established | Rejected | None:
        while self._refusal is None:
            head = self._read_head(data)
            if head is None:
                return None
            version, status, reason = self._read_status(head.start_line)
            if 200 <= status <= 299:
                return Established(version, status, reason, head.fields, head.leftover)
            if status >= 200:
                self._refusal = _RefusalReader(version, status, reason, head, self._keep and status in LOGIN_WANTED)
            else:
                self._skip_informational(status)
            data = head.leftover
        return self._refusal.feed(data)

    def eof(self) -> Rejected:
        """Handles EOF or a timeout: ends the excerpt of a refusal. Raises MalformedAnswer if there is no complete head."""
        if self._refusal is not None:
            return self._refusal.result()
        if self._reader.peek(1):
            raise self._malformed("closed in the middle of the response head", "closed-inside")
        # A TLS server that receives plain text mostly closes without a response.
        raise NoAnswer(f"answer to CONNECT {self._target}", "closed without a response", "closed" if self.heard else "closed-mute")

    def _read_head(self, data: bytes) -> Head | None:
        first = (self._reader.peek(SHOWN) + data[:SHOWN])[:SHOWN]
        if first[:1] in TLS_RECORDS:
            raise SpeaksTLS(f"answer to CONNECT {self._target}", SPEAKS_TLS, "speaks-tls")
        if not first.startswith(_PREFIX[: len(first)]):
            raise self._malformed(f"not HTTP: it starts with {quote(first)}", _guess(first))
        try:
            return self._reader.feed(data)
        except HeadError as error:
            raise self._malformed(f"malformed head: {error}", "malformed-head") from None

    def _read_status(self, line: bytes) -> tuple[str, int, str]:
        """Returns version, status and reason. The reason may be missing, with or without the blank before it."""
        version, _, rest = line.decode("latin-1").partition(" ")
        code, _, reason = rest.strip(header.BLANKS).partition(" ")
        if version not in _VERSIONS:
            raise self._malformed(f"not HTTP/1: it starts with {quote(line)}", "not-http1")
        if not (code.isascii() and code.isdigit() and len(code) == 3 and code[0] != "0"):
            raise self._malformed(f"no status code in {quote(line)}", "no-status-code")
        return version, int(code), reason.strip(header.BLANKS)

    def _skip_informational(self, status: int) -> None:
        if status == 101:  # an unrequested upgrade: the protocol that follows is unknown
            raise self._malformed("it switches protocols unasked (101)", "switching-protocols")
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise self._malformed(f"more than {MAX_INFORMATIONAL} informational responses and no final one", "informational")
        self._reader = HeadReader(CLIENT_LIMITS, strict=False)

    def _malformed(self, cause: str, code: str) -> MalformedAnswer:
        return MalformedAnswer(f"answer to CONNECT {self._target}", cause, code)


def _with_host(fields: Fields, target: str) -> Fields:
    """Returns the fields with one Host before all others (RFC 9110 section 7.2)."""
    given = header.get_all(fields, "host")
    if not given:
        return (("Host", target), *fields)
    if len(given) > 1:
        raise UsageProblem("header Host", "given more than once", "header-twice")
    return (("Host", given[0]), *(field for field in fields if field[0].lower() != "host"))


class _RefusalReader:
    """Collects the body after the head of a refusal."""

    def __init__(self, version: str, status: int, reason: str, head: Head, keep: bool) -> None:
        from tunnelctl.proto.http1.error_body import BodyReader, stays_open

        self._start = version, status, reason
        self._fields = head.fields
        drain = keep and stays_open(version, head.fields)
        self._body = BodyReader(head.fields, MAX_EXCERPT, empty=status == 304, drain=drain)  # RFC 9112 section 6.3

    def feed(self, data: bytes) -> Rejected | None:
        return self.result() if self._body.feed(data) else None

    def result(self) -> Rejected:
        fields = self._fields
        # One field or several: a list either way (RFC 9110 section 5.3).
        from tunnelctl.proto.proxy_status import parse as parse_proxy_status  # needed for a refusal only

        proxy_status = parse_proxy_status(", ".join(header.get_all(fields, "proxy-status")))
        return Rejected(*self._start, fields, self._body.content, proxy_status, self._body.drained)


def quote(octets: bytes) -> str:
    """Returns octets of the peer for a message: escaped and cut to length."""
    return ascii(octets[:SHOWN].decode("latin-1"))


def _guess(first: bytes) -> str:
    """Returns the code for an answer that is not HTTP."""
    if first.startswith(b"SSH-"):
        return "ssh-server"
    if first[:1] == b"\x05":  # the version, with which each reply of SOCKS 5 begins
        return "socks5-proxy"
    if first[:1] == b"\x00":
        return "socks4-proxy"
    return "not-http"
