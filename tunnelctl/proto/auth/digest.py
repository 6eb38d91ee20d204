"""The Digest scheme (RFC 7616): the computations of both ends, and the client's half. The server's half is `digest_server`.

Text here is latin-1 as in header fields: one character per octet, so that the hashes cover the octets on the wire. Names and
passwords are UTF-8 in it, whether or not the challenge announces that, as in Basic.

hashlib is imported when the first Digest challenge arrives: a tunnel without one does not wait for OpenSSL.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnelctl.errors import AuthenticationFailed
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.auth.challenge import Challenge, parse_challenges
from tunnelctl.proto.headers import has_control, quoted

# Strongest first; each also as -sess. Maps the RFC's names, in lower case, to those of hashlib.
ALGORITHMS = {"sha-512-256": "sha512_256", "sha-256": "sha256", "md5": "md5"}
_SESSION = "-sess"
_ATTR_CHAR = "!#$&+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 8187 section 3.2.1

Hash = Callable[[str], str]


class Terms(NamedTuple):
    """The values that a response is bound to. qop, nc and cnonce are "" in the older form of RFC 2069.

    uri: for CONNECT the request target, HOST:PORT. RFC 7616 section 3.4 requires the target of the request line, and curl sends
    the same (Curl_http_output_auth in its HTTP/1 proxy filter). Squid hashes whatever uri it receives and compares it to nothing
    (Auth::Digest::UserRequest::authenticate), others compare it to the request line
    """

    method: str
    uri: str
    nonce: str
    nc: str = ""
    cnonce: str = ""
    qop: str = ""


def hash_of(algorithm: str) -> Hash | None:
    """Returns the hash that an `algorithm` parameter names, with or without -sess; None if unknown or missing in this OpenSSL."""
    import hashlib

    name = ALGORITHMS.get(algorithm.lower().removesuffix(_SESSION), "")
    try:
        hashlib.new(name)
    except ValueError:  # unknown, not built in (SHA-512/256 on some), or forbidden (MD5 in FIPS mode)
        return None
    return lambda text: hashlib.new(name, text.encode("latin-1")).hexdigest()


def is_session(algorithm: str) -> bool:
    return algorithm.lower().endswith(_SESSION)


def wire(text: str) -> str:
    """Returns the octets of a name or password as latin-1. Raises UnicodeEncodeError for lone surrogates that stand for none."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def login_hash(digest: Hash, user: str, realm: str, password: str) -> str:
    """Returns H(A1) before any -sess: all that either side needs to know of the password. user and password as on the wire."""
    return digest(f"{user}:{realm}:{password}")


def user_hash(digest: Hash, user: str, realm: str) -> str:
    """Returns the hash that replaces the name if userhash is true (section 3.4.4)."""
    return digest(f"{user}:{realm}")


def proof(digest: Hash, login: str, session: bool, terms: Terms) -> str:
    """Returns the `response` of a request, or with "" as the method the `rspauth` of the reply (sections 3.4.1 to 3.4.3, 3.5)."""
    key = digest(f"{login}:{terms.nonce}:{terms.cnonce}") if session else login
    counted = f"{terms.nc}:{terms.cnonce}:{terms.qop}:" if terms.qop else ""
    return digest(f"{key}:{terms.nonce}:{counted}{digest(f'{terms.method}:{terms.uri}')}")


# -- the client ----------------------------------------------------------------------------------------------------------------


def rank(challenge: Challenge) -> int | None:
    """Returns the rank of the hash of a Digest challenge, 0 for the strongest; None if this client cannot meet the challenge.

    It cannot if the algorithm is unknown, if only auth-int is offered (a CONNECT has no content to protect), if the nonce is
    missing, or if a value to be sent back contains control characters.
    """
    algorithm = _algorithm(challenge)
    echoed = "".join(challenge.get(name) for name in ("realm", "nonce", "opaque"))
    if hash_of(algorithm) is None or _qop(challenge) is None or not challenge.get("nonce") or has_control(echoed):
        return None
    return list(ALGORITHMS).index(algorithm.lower().removesuffix(_SESSION))


def is_stale(challenge: Challenge) -> bool:
    """True if the nonce was too old and nothing else was wrong: worth a retry with the same password (section 3.3)."""
    return challenge.get("stale").lower() == "true"


class DigestClient:
    """Responds to one challenge, for any number of requests: as long as the proxy accepts the nonce, no further 407 is needed."""

    __slots__ = ("_challenge", "_cnonce", "_count", "_hash", "_login", "_nonce", "_user")

    def __init__(self, challenge: Challenge, user: str, password: str, cnonce: str) -> None:
        """challenge: one with a `rank`; cnonce: printable ASCII that nobody can guess

        All requests share one cnonce. Implementations differ on whether the key of a -sess algorithm contains the first cnonce or
        that of each request; here both are the same. The nonce count distinguishes the requests.
        Raises AuthenticationFailed for a name or password that cannot be sent.
        """
        if has_control(user + password):
            raise AuthenticationFailed(
                "proxy credentials", "user name or password contains a control character", "control-character"
            )
        digest = hash_of(_algorithm(challenge))
        if digest is None:
            raise ValueError("a challenge that cannot be answered")
        try:
            self._user = user, wire(user)
            self._login = login_hash(digest, wire(user), challenge.get("realm"), wire(password))
        except UnicodeEncodeError:
            raise AuthenticationFailed("proxy credentials", "user name and password are not valid text", "not-text") from None
        self._challenge = challenge
        self._hash = digest
        self._cnonce = cnonce
        self._nonce = challenge.get("nonce")
        self._count = 0

    def authorize(self, method: str, uri: str) -> str:
        """Returns the value of Proxy-Authorization for the next request. uri: the request target as it is sent"""
        self._count += 1
        qop = _qop(self._challenge) or ""
        terms = Terms(method, uri, self._nonce, f"{self._count:08x}", self._cnonce, qop)
        return "Digest " + ", ".join(self._parameters(terms, self._proof(terms)))

    def confirm(self, sent: str, info: str) -> bool:
        """Takes the Proxy-Authentication-Info of the response to the request that carried `sent`, and adopts the next nonce in it.

        Returns False if the proxy claims to know the password and does not. True proves nothing if the proxy sent no `rspauth`.
        Requests may overlap: once another response has replaced the nonce, this one's is ignored.
        """
        said, asked = (parse_challenges([text])[0] for text in (f"Digest {info}", sent))
        terms = Terms("", *(asked.get(name) for name in ("uri", "nonce", "nc", "cnonce", "qop")))
        nonce = said.get("nextnonce")
        if nonce and not has_control(nonce) and terms.nonce == self._nonce:
            self._nonce, self._count = nonce, 0
        return said.get("rspauth").lower() in ("", self._proof(terms))

    def _proof(self, terms: Terms) -> str:
        return proof(self._hash, self._login, is_session(_algorithm(self._challenge)), terms)

    def _parameters(self, terms: Terms, response: str) -> list[str]:
        """Follows the order of the RFC's examples. It forbids quotes round algorithm, qop and nc, and some servers enforce that."""
        challenge = self._challenge
        parameters = [
            self._username(),
            f"realm={quoted(challenge.get('realm'))}",
            f"nonce={quoted(terms.nonce)}",
            f"uri={quoted(terms.uri)}",
            f'response="{response}"',
        ]
        names = [name for name, _ in challenge.params]
        if "algorithm" in names:
            parameters.append(f"algorithm={challenge.get('algorithm')}")
        if terms.qop or is_session(_algorithm(challenge)):
            parameters.append(f"cnonce={quoted(terms.cnonce)}")
        if "opaque" in names:
            parameters.append(f"opaque={quoted(challenge.get('opaque'))}")
        if terms.qop:
            parameters += [f"qop={terms.qop}", f"nc={terms.nc}"]
        if self._hides_user():
            parameters.append("userhash=true")
        return parameters

    def _username(self) -> str:
        """Returns the user parameter: hashed if the proxy supports that; encoded if charset shows that it knows RFC 7616."""
        user, octets = self._user
        if self._hides_user():
            return "username=" + quoted(user_hash(self._hash, octets, self._challenge.get("realm")))
        if user.isascii() or self._challenge.get("charset").lower() != "utf-8":
            return f"username={quoted(octets)}"
        return f"username*=UTF-8''{''.join(char if char in _ATTR_CHAR else f'%{ord(char):02X}' for char in octets)}"

    def _hides_user(self) -> bool:
        return self._challenge.get("userhash").lower() == "true"


def _algorithm(challenge: Challenge) -> str:
    return challenge.get("algorithm") or "MD5"


def _qop(challenge: Challenge) -> str | None:
    """Returns auth, "" for a challenge without qop (RFC 2069), or None if it offers only others."""
    offered = challenge.get("qop")
    if not offered.strip():
        return ""
    return "auth" if "auth" in (value.strip().lower() for value in offered.split(",")) else None
