"""Scripts of proxies that require a password in ways that real ones show seldom, or not on demand."""

import base64
import hashlib
import re
import secrets
import struct
from collections.abc import Callable
from contextlib import suppress

from tests.peers.guards import DOMAIN
from tests.peers.proxies import PASSWORD, USER
from tests.peers.scripted import ESTABLISHED, Conversation, Script, echo

HUGE = 5 << 20
_BASIC = b'Basic realm="scripted"'
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
_ALGORITHMS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def authorization(head: bytes) -> str:
    """The value of Proxy-Authorization in a request head, "" if absent."""
    found = re.search(rb"(?im)^proxy-authorization:[ \t]*(.*?)[ \t]*\r$", head)
    return found[1].decode() if found else ""


def knows_basic(head: bytes) -> bool:
    return authorization(head) == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Digest:
    """The verifying side of RFC 7616 with qop=auth: a nonce is valid for one request, the next one after it was issued."""

    def __init__(self, algorithm: str = "SHA-256") -> None:
        self._algorithm = algorithm
        self._nonce = ""
        self.nonces: list[str] = []  # all that were issued
        self.seen: list[str] = []  # the nonces that came back

    def challenge(self, stale: bool = False) -> bytes:
        """A challenge with a new nonce, longer than any buffer is likely to expect."""
        self._nonce = secrets.token_urlsafe(100)
        self.nonces.append(self._nonce)
        said = ", stale=true" if stale else ""
        return f'Digest realm="scripted, too", nonce="{self._nonce}", qop="auth", algorithm={self._algorithm}{said}'.encode()

    def _hash(self, *words: str) -> str:
        return _ALGORITHMS[self._algorithm](":".join(words).encode()).hexdigest()

    def knows(self, head: bytes) -> bool:
        scheme, _, rest = authorization(head).partition(" ")
        if scheme.lower() != "digest":
            return False
        said = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        self.seen.append(said["nonce"])
        method, authority = head.decode().split(" ")[:2]
        password = self._hash(USER, "scripted, too", PASSWORD)
        request = self._hash(method, authority)
        response = self._hash(password, said["nonce"], said["nc"], said["cnonce"], said["qop"], request)
        named = (said["username"], said["uri"], said["nonce"], said["nc"])
        return named == (USER, authority, self._nonce, "00000001") and said["response"] == response


def asked(*challenges: bytes, body: bytes = b"", close: bool = True) -> bytes:
    """A 407 response with these challenges, each in its own field."""
    fields = [b"Proxy-Authenticate: " + challenge for challenge in challenges]
    fields += [b"Content-Length: %d" % len(body), b"Connection: " + (b"close" if close else b"keep-alive")]
    return b"HTTP/1.1 407 Who are you\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body


def _serve(conversation: Conversation) -> None:
    conversation.send(ESTABLISHED)
    echo(conversation)


def _guarded(knows: Callable[[bytes], bool], answer: Callable[[], bytes]) -> Script:
    """A script that serves one request per connection."""

    def script(conversation: Conversation) -> None:
        if knows(conversation.read_head()):
            _serve(conversation)
        else:
            with suppress(ConnectionError):  # the client need not read the whole answer
                conversation.send(answer())

    return script


def closes_after_407() -> Script:
    return _guarded(knows_basic, lambda: asked(_BASIC))


def keeps_the_connection() -> Script:
    """A proxy whose client may retry on the same connection, or close it."""

    def script(conversation: Conversation) -> None:
        while not knows_basic(conversation.read_head()):
            first = b""
            with suppress(ConnectionError):
                conversation.send(asked(_BASIC, body=b"<p>Who are you?</p>", close=False))
                first = conversation.read(1)
            if not first:
                return
            conversation.head = first
        _serve(conversation)

    return script


def huge_body(promised: bool = True) -> Script:
    """A 407 with a body of 5 MiB; without `promised` it has no Content-Length and ends with the connection."""
    page = asked(_BASIC, body=b"<p>Who are you?</p>\n" * (HUGE // 20))
    return _guarded(knows_basic, lambda: page if promised else re.sub(rb"Content-Length: \d+\r\n", b"", page, count=1))


def changes_its_nonce(digest: Digest, stale: int = 1) -> Script:
    """Refuses the first `stale` responses, right or wrong, because their nonce has expired."""
    left = stale
    too_old = False

    def knows(head: bytes) -> bool:
        nonlocal left, too_old
        known = digest.knows(head)
        too_old = bool(authorization(head)) and left > 0
        left -= too_old
        return known and not too_old

    return _guarded(knows, lambda: asked(digest.challenge(too_old)))


def six_in_one_line(digest: Digest) -> Script:
    """Schemes, parameters and lone tokens, all separated by commas (RFC 9110, section 11.6.1).

    Digest is the strongest scheme for which a password suffices.
    """

    def offer() -> bytes:
        others = (b"Newest", b'bearer realm="b, c" , scope=x', b"NTLM", b"Negotiate", _BASIC)
        return asked(b", ,".join([*others[:2], digest.challenge(), *others[2:]]))

    return _guarded(digest.knows, offer)


def ntlm_challenge() -> bytes:
    """The second message of NTLM ([MS-NLMP], section 2.2.1.2), with only the parts that a client needs."""
    unicode, ntlm, target_info, extended = 0x1, 0x200, 0x800000, 0x80000
    name = DOMAIN.encode("utf-16-le")
    pairs = struct.pack("<HH", 2, len(name)) + name + struct.pack("<HH", 0, 0)
    flags = unicode | ntlm | target_info | extended
    head = struct.pack("<8sIHHII8s8sHHI", b"NTLMSSP", 2, 0, 0, 48, flags, secrets.token_bytes(8), b"", len(pairs), len(pairs), 48)
    return b"NTLM " + base64.b64encode(head + pairs)


def never_done_with_ntlm(close: bool) -> Script:
    """Answers every request with a challenge: with `close` it closes after each answer, without it keeps one connection forever."""

    def script(conversation: Conversation) -> None:
        while conversation.read_head():
            first = b""
            with suppress(ConnectionError):
                begun = authorization(conversation.head).startswith("NTLM ")
                conversation.send(asked(ntlm_challenge() if begun else b"NTLM", close=close))
                first = b"" if close else conversation.read(1)
            if not first:
                return
            conversation.head = first

    return script


def ntlm_over_http_1_0(keeps: bool = True, silently: bool = False) -> Script:
    """A proxy that speaks HTTP/1.0, like squid 2.7 and ISA: it keeps a connection if Proxy-Connection requests that.

    keeps: if false, it closes after each answer, and announces that unless `silently` is set
    """

    def script(conversation: Conversation) -> None:
        while True:
            conversation.head = b""
            with suppress(AssertionError, ConnectionError):  # a client may leave between two requests
                conversation.read_head()
            if not conversation.head:
                return
            said = base64.b64decode(authorization(conversation.head).removeprefix("NTLM "))
            if said[8:9] == b"\3":
                _serve(conversation)
                return
            asked = bool(re.search(rb"(?im)^proxy-connection: keep-alive\r$", conversation.head))
            kept = b"Proxy-Connection: keep-alive\r\n" if asked and (keeps or silently) else b""
            offer = ntlm_challenge() if said else b"NTLM"
            answer = b"HTTP/1.0 407 Login\r\nProxy-Authenticate: %b\r\n%bContent-Length: 0\r\n\r\n" % (offer, kept)
            conversation.send(answer)
            if not (asked and keeps):
                return

    return script
