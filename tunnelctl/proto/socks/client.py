"""SOCKS as the client: version 5 (RFC 1928) with or without a password (RFC 1929), and 4a. The proxy resolves the names.

    5:   methods offered ── none ─▶ request
                         ── password ─▶ login ── 0 ─▶ request
    4a:  request
    request ── granted ─▶ Granted: everything after the reply belongs to the tunnel
            ── else ────▶ the matching error
    not SOCKS ──▶ MalformedAnswer, at the first octet that shows it

Each message waits for the response to the one before, and payload for the grant. A proxy that expects another message than the
client guessed would treat early octets as that message.
"""

from __future__ import annotations

from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NoAnswer, Refused, TimedOut, TunnelctlError, UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.http1.connect_client import SHOWN, quote
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
    NO_IDENT_4,
    NO_LOGIN,
    NO_NETWORK,
    NONE_ACCEPTABLE,
    NOT_ACCEPTED,
    NOT_ALLOWED,
    PASSWORD,
    VERSION_4,
    VERSION_5,
    WRONG_USER_4,
    Speaker,
    error_type,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.proto.socks.wire import Dialogue

SOCKS5, SOCKS4A = "socks5", "socks4a"

Credentials = tuple[str, str]  # user and password

# The replies of RFC 1928 section 6, with the codes of our errors.
_CAUSES = {
    FAILED: ("general failure", "socks-failure"),
    NOT_ALLOWED: ("not allowed by its rules", "socks-rules"),
    NO_NETWORK: ("network unreachable", "socks-network-unreachable"),
    NO_HOST: ("host unreachable", "socks-host-unreachable"),
    NOT_ACCEPTED: ("connection refused", "socks-connection-refused"),
    NO_COMMAND: ("it does not support CONNECT", "socks-command"),
    NO_ADDRESS_TYPE: ("it does not support this address type", "socks-address-type"),
}


class Granted(NamedTuple):
    """The tunnel is established. leftover: octets after the reply; they are the target's and must be delivered first."""

    leftover: bytes


class SocksClient(Speaker):
    """One request on one connection."""

    __slots__ = ("_asked", "_credentials", "_done", "_heard", "_request", "_target")

    def __init__(self, target: Address, version: str = SOCKS5, credentials: Credentials | None = None) -> None:
        """Raises UsageProblem or AuthenticationFailed for values that the version cannot carry.

        credentials: for version 4a the user alone, with an empty password
        """
        self._target = target
        self._done = self._heard = False
        self._asked = version != SOCKS5  # whether the request itself has been sent
        if version == SOCKS5:
            self._credentials = _login(credentials)
            methods = (NO_LOGIN, PASSWORD) if credentials else (NO_LOGIN,)
            self._request = bytes((VERSION_5, len(methods), *methods))
            super().__init__(self._version_5())
        else:
            self._request = _request_4a(target, credentials)
            super().__init__(self._version_4a())

    def request(self) -> bytes:
        """Returns the octets to send first."""
        return self._request

    def feed(self, data: bytes) -> Granted | None:
        """Takes octets from the proxy; `take_output` may then have octets for it. Raises the error that matches its refusal."""
        if self._done:
            raise RuntimeError("the answer is complete: what follows is tunnel bytes, or nothing")
        self._heard = self._heard or bool(data)
        try:
            self._advance(data)
        except StopIteration:
            self._done = True
            return Granted(self._buffer)
        except TunnelctlError:
            self._done = True
            raise
        return None

    def eof(self) -> MalformedAnswer:
        """Returns the error to raise if the proxy closes now."""
        if self._asked:
            return self._malformed("closed before it responded to the request", "socks-closed-request")
        if self._heard:
            return self._malformed("closed in the middle of the reply", "socks-closed-inside")
        return NoAnswer(self._what, "closed without a response", "socks-closed")

    # Each of these yields the number of octets that it needs next, and is sent them.

    def _version_5(self) -> Dialogue[None]:
        yield from self._first(VERSION_5)
        yield from self._log_in((yield 1)[0])
        self._output += _request_5(self._target)
        self._asked = True
        # A refusal is raised before the rest of the reply is read, as some proxies do not send that.
        version, reply = yield 2
        if version != VERSION_5:
            raise self._malformed(f"its reply has version {version}", "socks-reply-version")
        if reply != GRANTED:
            raise self._refused(reply)
        _, kind = yield 2
        if kind not in (IPV4, NAME, IPV6):
            raise self._malformed(f"its reply has an address of unknown type {kind}", "socks-reply-address")
        length = {IPV4: 4, IPV6: 16}.get(kind) or (yield 1)[0]
        yield length + 2

    def _first(self, *right: int) -> Dialogue[None]:
        octet = yield 1
        if octet[0] not in right:
            first = octet + self._buffer[: SHOWN - 1]
            raise self._malformed(f"not SOCKS: it starts with {quote(first)}", _guess(first))

    def _log_in(self, method: int) -> Dialogue[None]:
        if method == NO_LOGIN:
            return
        if method == PASSWORD and self._credentials is not None:
            user, password = (text.encode("utf-8", "surrogateescape") for text in self._credentials)
            self._output += bytes((LOGIN_VERSION, len(user))) + user + bytes((len(password),)) + password
            status = (yield 2)[1]  # the first octet is not checked: some proxies send the version of SOCKS
            if status:
                raise self._login_failed("it did not accept the login", "login-refused")
        elif method == PASSWORD:
            raise self._login_failed("it requires a user and a password", "login-missing")
        elif method == NONE_ACCEPTABLE:
            code = "no-method" if self._credentials else "no-method-without-login"
            raise self._login_failed("no authentication method in common with tunnelctl", code)
        else:
            raise self._malformed(f"it chose an authentication method that was not offered ({method})", "socks-method")

    def _version_4a(self) -> Dialogue[None]:
        yield from self._first(0, VERSION_4)  # it should be 0; some proxies put the version there
        reply = (yield 1)[0]
        if reply in (NO_IDENT_4, WRONG_USER_4):
            raise self._login_failed(f"it does not admit this user ({reply})", "socks4-login")
        if reply == FAILED_4:
            raise Refused(self._what, "request rejected or failed", "socks4-failed", detail={"code": reply})
        if reply != GRANTED_4:
            raise self._malformed(f"it has the unknown reply {reply}", "socks-reply")
        yield 6

    @property
    def _what(self) -> str:
        return f"SOCKS request for {self._target}"

    def _malformed(self, cause: str, code: str) -> MalformedAnswer:
        return MalformedAnswer(self._what, cause, code)

    def _login_failed(self, cause: str, code: str) -> AuthenticationFailed:
        return AuthenticationFailed(self._what, cause, code)

    def _refused(self, reply: int) -> TunnelctlError:
        kind = error_type(reply)
        detail: dict[str, int | str] = {"code": reply, **({"error": kind} if kind else {})}
        if reply == EXPIRED:
            return TimedOut(self._what, f"timed out ({reply})", "socks-expired", detail=detail)
        cause, code = _CAUSES.get(reply, ("unknown reply", "socks-unknown-reply"))
        return Refused(self._what, f"{cause} ({reply})", code, detail=detail)


def _login(credentials: Credentials | None) -> Credentials | None:
    for role, text in zip(("user", "password"), credentials or (), strict=False):
        length = len(text.encode("utf-8", "surrogateescape"))
        if not 1 <= length <= MAX_TEXT:
            raise AuthenticationFailed(
                f"{role} for a SOCKS proxy", f"it has {length} bytes, and 1 to {MAX_TEXT} are allowed", "socks-login-length"
            )
    return credentials


def _request_5(target: Address) -> bytes:
    """Builds the request. Names are sent as they are: the proxy resolves them."""
    host, port = target
    if ":" in host:
        import ipaddress  # 2 ms, not needed for names and IPv4

        octets = bytes((IPV6,)) + ipaddress.IPv6Address(host).packed
    elif is_ip(host):
        octets = bytes((IPV4,)) + _quad(host)
    else:
        octets = bytes((NAME, len(host))) + host.encode("ascii")
    return bytes((VERSION_5, CONNECT, 0)) + octets + port.to_bytes(2, "big")


def _request_4a(target: Address, credentials: Credentials | None) -> bytes:
    host, port = target
    user, password = credentials or ("", "")
    if password:
        raise AuthenticationFailed("password for a SOCKS4a proxy", "SOCKS4a has no passwords", "socks4-password")
    if ":" in host:
        raise UsageProblem(f"target {target}", "SOCKS4a carries no IPv6 address", "socks4-ipv6")
    name = user.encode("utf-8", "surrogateescape")
    if b"\0" in name or len(name) > MAX_TEXT:
        raise AuthenticationFailed("user for a SOCKS4a proxy", f"at most {MAX_TEXT} bytes are allowed, and no NUL", "socks4-user")
    # An address of the network 0.0.0.0/24 announces a name, so a genuine one is sent as a name too.
    plain = is_ip(host) and not host.startswith("0.0.0.")
    address, text = (_quad(host), b"") if plain else (b"\0\0\0\1", host.encode("ascii") + b"\0")
    return bytes((VERSION_4, CONNECT)) + port.to_bytes(2, "big") + address + name + b"\0" + text


def _quad(host: str) -> bytes:
    return bytes(map(int, host.split(".")))


def _guess(first: bytes) -> str:
    """Returns the code for an answer that is not SOCKS."""
    if first[:1] == b"H":
        return "http-proxy"
    if first[:1] == b"S":
        return "ssh-server"
    if first[0] in (0, VERSION_4):
        return "socks4-proxy"
    if first[0] == VERSION_5:
        return "socks5-proxy"
    return "not-socks"
