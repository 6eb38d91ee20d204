"""The Digest scheme (RFC 7616): what both ends compute, and the client's half. The server's is `digest_server`.

Text here is latin-1 as in header fields: one character an octet, so that what is hashed is what stood on the wire. Names and
passwords are UTF-8 in it, whether the challenge says so or not, as in Basic.

hashlib is imported when the first Digest challenge comes: a tunnel without one does not wait for OpenSSL.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnelctl.errors import AuthenticationFailed
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.auth.challenge import Challenge, parse_challenges

# Strongest first; each also as -sess. The names of the RFC in lower case, and those of hashlib.
ALGORITHMS = {"sha-512-256": "sha512_256", "sha-256": "sha256", "md5": "md5"}
_SESSION = "-sess"
_ATTR_CHAR = "!#$&+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 8187 section 3.2.1

Hash = Callable[[str], str]


class Terms(NamedTuple):
    """What an answer is bound to. qop, nc and cnonce are "" in the older form of RFC 2069.

    uri: for CONNECT the request target, HOST:PORT: RFC 7616 section 3.4 wants what stands in the request line, and curl sends
    the same (Curl_http_output_auth in its HTTP/1 proxy filter). Squid hashes whatever uri it is given and compares it to nothing
    (Auth::Digest::UserRequest::authenticate), others compare it to the request line
    """

    method: str
    uri: str
    nonce: str
    nc: str = ""
    cnonce: str = ""
    qop: str = ""


def hash_of(algorithm: str) -> Hash | None:
    """The hash that an `algorithm` parameter names, with or without -sess; None if it is unknown or missing in this OpenSSL."""
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
    """The octets of a name or password as latin-1 text. Raises UnicodeEncodeError for lone surrogates that stand for none."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def login_hash(digest: Hash, user: str, realm: str, password: str) -> str:
    """H(A1) before any -sess: all that either side needs to know of the password. user and password as on the wire."""
    return digest(f"{user}:{realm}:{password}")


def user_hash(digest: Hash, user: str, realm: str) -> str:
    """What stands for the name where userhash is true (section 3.4.4)."""
    return digest(f"{user}:{realm}")


def proof(digest: Hash, login: str, session: bool, terms: Terms) -> str:
    """The `response` of a request, or with "" for a method the `rspauth` of its answer (sections 3.4.1 to 3.4.3, 3.5)."""
    key = digest(f"{login}:{terms.nonce}:{terms.cnonce}") if session else login
    counted = f"{terms.nc}:{terms.cnonce}:{terms.qop}:" if terms.qop else ""
    return digest(f"{key}:{terms.nonce}:{counted}{digest(f'{terms.method}:{terms.uri}')}")


# -- the client ----------------------------------------------------------------------------------------------------------------


def rank(challenge: Challenge) -> int | None:
    """How strong the hash of a Digest challenge is, 0 the strongest; None if the challenge cannot be answered.

    That is one with an unknown algorithm, with auth-int only (a CONNECT has no content to protect), without a nonce, or with
    control characters in what has to be sent back.
    """
    algorithm = _algorithm(challenge)
    echoed = "".join(challenge.get(name) for name in ("realm", "nonce", "opaque"))
    if hash_of(algorithm) is None or _qop(challenge) is None or not challenge.get("nonce") or _has_control(echoed):
        return None
    return list(ALGORITHMS).index(algorithm.lower().removesuffix(_SESSION))


def is_stale(challenge: Challenge) -> bool:
    """The nonce was too old and nothing else was wrong: worth a second try with the same password (section 3.3)."""
    return challenge.get("stale").lower() == "true"


class DigestClient:
    """Answers to one challenge, for any number of requests: as long as the proxy takes the nonce, no further 407 is needed."""

    __slots__ = ("_challenge", "_cnonce", "_count", "_hash", "_login", "_nonce", "_user")

    def __init__(self, challenge: Challenge, user: str, password: str, cnonce: str) -> None:
        """challenge: one with a `rank`; cnonce: printable ASCII that nobody can guess

        One cnonce for all requests: whether the key of a -sess algorithm is made of the first one or of the one in each request
        is read in both ways, and like this they are the same. The nonce count keeps the requests apart.
        Raises AuthenticationFailed for a name or password that cannot be sent.
        """
        if _has_control(user + password):
            raise AuthenticationFailed("proxy credentials", "a control character in the user name or password")
        digest = hash_of(_algorithm(challenge))
        if digest is None:
            raise ValueError("a challenge that cannot be answered")
        try:
            self._user = user, wire(user)
            self._login = login_hash(digest, wire(user), challenge.get("realm"), wire(password))
        except UnicodeEncodeError:
            raise AuthenticationFailed("proxy credentials", "user name and password are not valid text") from None
        self._challenge = challenge
        self._hash = digest
        self._cnonce = cnonce
        self._nonce = challenge.get("nonce")
        self._count = 0

    def authorize(self, method: str, uri: str) -> str:
        """The value of Proxy-Authorization for the next request. uri: the request target as it is sent"""
        self._count += 1
        qop = _qop(self._challenge) or ""
        terms = Terms(method, uri, self._nonce, f"{self._count:08x}", self._cnonce, qop)
        return "Digest " + ", ".join(self._parameters(terms, self._proof(terms)))

    def confirm(self, sent: str, info: str) -> bool:
        """Takes the Proxy-Authentication-Info of the answer to the request that carried `sent`, and the nonce in it for the next.

        False if it claims to know the password and does not. A proxy that says nothing of it proves nothing either. Other requests
        may have been sent meanwhile: what was overtaken by another answer's nonce changes nothing.
        """
        said, asked = (parse_challenges([text])[0] for text in (f"Digest {info}", sent))
        terms = Terms("", *(asked.get(name) for name in ("uri", "nonce", "nc", "cnonce", "qop")))
        nonce = said.get("nextnonce")
        if nonce and not _has_control(nonce) and terms.nonce == self._nonce:
            self._nonce, self._count = nonce, 0
        return said.get("rspauth").lower() in ("", self._proof(terms))

    def _proof(self, terms: Terms) -> str:
        return proof(self._hash, self._login, is_session(_algorithm(self._challenge)), terms)

    def _parameters(self, terms: Terms, response: str) -> list[str]:
        """In the order of the RFC's examples. It forbids quotes round algorithm, qop and nc, and some servers see to it."""
        challenge = self._challenge
        parameters = [
            self._username(),
            f"realm={_quote(challenge.get('realm'))}",
            f"nonce={_quote(terms.nonce)}",
            f"uri={_quote(terms.uri)}",
            f'response="{response}"',
        ]
        names = [name for name, _ in challenge.params]
        if "algorithm" in names:
            parameters.append(f"algorithm={challenge.get('algorithm')}")
        if terms.qop or is_session(_algorithm(challenge)):
            parameters.append(f"cnonce={_quote(terms.cnonce)}")
        if "opaque" in names:
            parameters.append(f"opaque={_quote(challenge.get('opaque'))}")
        if terms.qop:
            parameters += [f"qop={terms.qop}", f"nc={terms.nc}"]
        if self._hides_user():
            parameters.append("userhash=true")
        return parameters

    def _username(self) -> str:
        """Hidden if the proxy can find it by its hash; encoded where it knows RFC 7616, of which charset is the sign."""
        user, octets = self._user
        if self._hides_user():
            return "username=" + _quote(user_hash(self._hash, octets, self._challenge.get("realm")))
        if user.isascii() or self._challenge.get("charset").lower() != "utf-8":
            return f"username={_quote(octets)}"
        return f"username*=UTF-8''{''.join(char if char in _ATTR_CHAR else f'%{ord(char):02X}' for char in octets)}"

    def _hides_user(self) -> bool:
        return self._challenge.get("userhash").lower() == "true"


def _algorithm(challenge: Challenge) -> str:
    return challenge.get("algorithm") or "MD5"


def _qop(challenge: Challenge) -> str | None:
    """auth, "" for a challenge without one (RFC 2069), None if there are only others."""
    offered = challenge.get("qop")
    if not offered.strip():
        return ""
    return "auth" if "auth" in (value.strip().lower() for value in offered.split(",")) else None


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _has_control(text: str) -> bool:
    return any(char < " " or char == "\x7f" for char in text)
