"""SOCKS as the server: octets in, one request for a tunnel or one refusal out. Versions 5 (RFC 1928, RFC 1929), 4 and 4a.

CONNECT only: a tunnel through an HTTP proxy carries no datagrams, and nobody can connect back through it.
"""

from __future__ import annotations

from tunnelctl.errors import AddressError, NameNotFound, TimedOut, TunnelctlError
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_host
from tunnelctl.proto.socks.wire import (
    CONNECT,
    EXPIRED,
    FAILED,
    FAILED_4,
    GRANTED,
    GRANTED_4,
    IPV4,
    IPV6,
    LOGIN_VERSION,
    MAX_TEXT,
    NAME,
    NO_ADDRESS_TYPE,
    NO_COMMAND,
    NO_HOST,
    NO_LOGIN,
    NONE_ACCEPTABLE,
    NOT_ALLOWED,
    PASSWORD,
    REPLIES,
    VERSION_4,
    VERSION_5,
    WRONG_USER_4,
    Speaker,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.proto.socks.wire import Dialogue

_BOUND_NOWHERE = bytes((0, IPV4, 0, 0, 0, 0, 0, 0))  # no local address would mean anything to the client

# Status codes, for a proxy that has named no type. Not 407: that means a failed login of ours, not a fault of the client's request.
# And the one reply of a SOCKS proxy that no type matches.
_CODES = {403: NOT_ALLOWED, 504: EXPIRED, NO_ADDRESS_TYPE: NO_ADDRESS_TYPE}


class SocksRequest(NamedTuple):
    """The request for a tunnel. leftover: tunnel bytes after the request"""

    version: int
    target: Address
    leftover: bytes


class SocksLogin(NamedTuple):
    """Credentials that a client has sent. The caller decides whether to accept them: see `SocksServer.go_on`."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"SocksLogin({self.user!r})"


class SocksRefusal(NamedTuple):
    """A client is refused. answer: octets to send before the connection is closed; cause: the reason, in a few words of ours"""

    answer: bytes
    cause: str


class _Refused(Exception):
    def __init__(self, answer: bytes, cause: str) -> None:
        super().__init__(cause)
        self.refusal = SocksRefusal(answer, cause)


class SocksServer(Speaker):
    """Reads one request, with the dialogue before it. With `login`, a client must log in, which version 4 cannot do.

    version 5 ── methods ── no login ─▶ request ─▶ SocksRequest
                         ── password ─▶ SocksLogin ── go_on ─▶ request ─▶ SocksRequest
    version 4 ── request ─▶ SocksRequest
    anything else, or a rejected login ─▶ SocksRefusal
    """

    __slots__ = ("_begun", "_login")

    def __init__(self, login: bool = False) -> None:
        super().__init__(self._converse())
        self._login = login
        self._begun = False

    def feed(self, data: bytes) -> SocksRequest | SocksLogin | SocksRefusal | None:
        """Takes octets from the client; returns the outcome once it is known. Only after a login is more read."""
        self._begun = True
        try:
            self._advance(data)
        except StopIteration as end:
            if isinstance(end.value, SocksLogin):
                return end.value
            version, target = end.value
            return SocksRequest(version, target, self._buffer)
        except _Refused as refused:
            return refused.refusal
        return None

    def go_on(self, cause: str) -> SocksRequest | SocksRefusal | None:
        """Continues after a login. cause: why it is refused; "" accepts it."""
        if cause:
            return SocksRefusal(bytes((LOGIN_VERSION, 1)), cause)
        self._output += bytes((LOGIN_VERSION, 0))
        self._begin(self._request_5())
        outcome = self.feed(b"")
        assert not isinstance(outcome, SocksLogin)
        return outcome

    def eof(self) -> SocksRefusal | None:
        """Returns the refusal for a client that ended its side before its request was complete; None if it had sent nothing."""
        return SocksRefusal(b"", "it ended inside its request") if self._begun else None

    # Each of these yields the number of octets that it needs next, and is sent them.

    def _converse(self) -> Dialogue[tuple[int, Address] | SocksLogin]:
        version = (yield 1)[0]
        if version == VERSION_5:
            given = yield from self._choose_method()
            return _login(*given) if given is not None and self._login else (yield from self._request_5())
        if version == VERSION_4:
            return VERSION_4, (yield from self._version_4())
        raise _Refused(b"", "it does not speak SOCKS")

    def _choose_method(self) -> Dialogue[tuple[bytes, bytes] | None]:
        """Negotiates the method (RFC 1928 section 3), and reads the login if that is by password (RFC 1929)."""
        count = (yield 1)[0]
        offered = (yield count) if count else b""
        if not self._login and NO_LOGIN in offered:
            self._output += bytes((VERSION_5, NO_LOGIN))
            return None
        if PASSWORD not in offered:
            cause = (
                "the client offers no login, which this port requires"
                if self._login
                else "the client offers no authentication method that this port supports"
            )
            raise _Refused(bytes((VERSION_5, NONE_ACCEPTABLE)), cause)
        self._output += bytes((VERSION_5, PASSWORD))
        given = yield from self._read_password()
        if not self._login:  # no login is required, so any is accepted: some clients insist
            self._output += bytes((LOGIN_VERSION, 0))
        return given

    def _read_password(self) -> Dialogue[tuple[bytes, bytes]]:
        version, user_length = yield 2
        user = (yield user_length) if user_length else b""
        password_length = (yield 1)[0]
        password = (yield password_length) if password_length else b""
        if version != LOGIN_VERSION:
            raise _Refused(bytes((LOGIN_VERSION, 1)), "its login is not of version 1")
        return user, password

    def _request_5(self) -> Dialogue[tuple[int, Address]]:
        version, command, _, kind = yield 4
        if version != VERSION_5:
            raise _Refused(_reply_5(FAILED), "its request is not of SOCKS version 5")
        if command != CONNECT:
            raise _Refused(_reply_5(NO_COMMAND), "its command is not CONNECT")
        if kind not in (IPV4, NAME, IPV6):
            raise _Refused(_reply_5(NO_ADDRESS_TYPE), "its address is of an unknown type")
        length = {IPV4: 4, IPV6: 16}.get(kind) or (yield 1)[0]
        octets = yield length + 2
        return VERSION_5, _target(octets[:-2], kind, octets[-2:], _reply_5(FAILED))

    def _version_4(self) -> Dialogue[Address]:
        octets = yield 7
        yield from _text()  # the user that the client claims, which is not checked
        command, port, host = octets[0], octets[1:3], octets[3:]
        named = host[:3] == b"\0\0\0" and host[3]  # 4a: an impossible address announces a name
        name = (yield from _text()) if named else b""
        if command != CONNECT:
            raise _Refused(_reply_4(FAILED_4), "its command is not CONNECT")
        if self._login:
            raise _Refused(_reply_4(WRONG_USER_4), "it cannot log in: SOCKS version 4 has no password")
        if host == bytes(4):
            raise _Refused(_reply_4(FAILED_4), "the name of the target cannot be resolved")
        return _target(name or host, NAME if named else IPV4, port, _reply_4(FAILED_4))


def _login(user: bytes, password: bytes) -> SocksLogin:
    try:
        return SocksLogin(user.decode(), password.decode())
    except UnicodeDecodeError:  # matches no user, as a users file is UTF-8
        raise _Refused(bytes((LOGIN_VERSION, 1)), "its user or password is not valid UTF-8") from None


def _text() -> Dialogue[bytes]:
    """Reads a text up to a NUL, which is not part of it."""
    text = b""
    while (octet := (yield 1)) != b"\0":
        if len(text) == MAX_TEXT:
            raise _Refused(_reply_4(FAILED_4), f"a text of more than {MAX_TEXT} octets")
        text += octet
    return text


def _target(host: bytes, kind: int, port: bytes, refusal: bytes) -> Address:
    number = int.from_bytes(port, "big")
    try:
        if number:
            return Address(_host(host, kind), number)
        cause = "its target has the port 0"
    except (AddressError, UnicodeDecodeError):
        cause = "its target has a malformed name"
    raise _Refused(refusal, cause)


def _host(octets: bytes, kind: int) -> str:
    if kind == IPV4:
        return ".".join(map(str, octets))
    if kind == IPV6:
        return parse_host(f"[{octets.hex(':', 2)}]")
    return parse_host(octets.decode("utf-8"))


def granted(version: int) -> bytes:
    """Returns the reply for an established tunnel."""
    return _reply_5(GRANTED) if version == VERSION_5 else _reply_4(GRANTED_4)


def refused(version: int, error: TunnelctlError) -> bytes:
    """Returns the reply for a tunnel that could not be opened. Version 4 has one reply for all causes."""
    return _reply_5(_reply_for(error)) if version == VERSION_5 else _reply_4(FAILED_4)


def _reply_for(error: TunnelctlError) -> int:
    """Returns the reply by the error type that the proxy named, else by its status code, else by the class of the error."""
    kind, code = error.detail.get("error"), error.detail.get("code")
    if kind in REPLIES:
        return REPLIES[kind]
    if code in _CODES:
        return _CODES[code]
    if isinstance(error, NameNotFound):
        return NO_HOST
    return EXPIRED if isinstance(error, TimedOut) else FAILED


def _reply_5(reply: int) -> bytes:
    return bytes((VERSION_5, reply)) + _BOUND_NOWHERE


def _reply_4(reply: int) -> bytes:
    return bytes((0, reply, 0, 0, 0, 0, 0, 0))
