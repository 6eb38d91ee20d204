"""The Digest scheme (RFC 7616), the server's half: challenges, and the responses to them. `digest` has the computations of both.

A nonce carries the time it was made and a keyed hash of that, so the server keeps no state for a nonce to which no client responds.
Each response is valid once: an eavesdropper could otherwise open the same tunnel again until the nonce is too old. The caller
remembers which responses were used (see FirstUse), for all processes of the server.
"""

import hmac
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.auth.digest import Hash, Terms, hash_of, login_hash, proof, user_hash, wire
from tunnelctl.proto.headers import TOKEN
from tunnelctl.proto.proxy_status import quote

OFFERED = ("SHA-256", "MD5")  # in order of preference (section 3.3); MD5 for the many clients that support nothing else

MAX_REALM = 100  # characters: clients show it when they prompt for the password

# Long enough for a browser that reuses the nonce. A later client receives stale=true, and responds anew without prompting.
NONCE_SECONDS = 300.0

SALT = 12  # octets that distinguish the nonces of one moment
_STAMP, _MAC = 6, 18  # octets: milliseconds of a clock that never goes back, and a hash; with SALT no padding in base64

_PARAMETER = re.compile(
    rf"""[ \t]*([{re.escape(TOKEN)}]+)[ \t]*=[ \t]*(?:([{re.escape(TOKEN)}]+)|"((?:[^"\\]|\\.)*)")[ \t]*(?:,|\Z)""", re.DOTALL
)
_USER_STAR = re.compile(r"(?i:utf-8)'[A-Za-z0-9-]*'((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*)")  # RFC 8187 section 3.2.1


class Login(NamedTuple):
    """The stand-in for a password: H(user:realm:password) with each hash of OFFERED, in hex. It suffices to log in."""

    sha_256: str
    md5: str

    def __repr__(self) -> str:
        return "Login(***)"


class Answer(NamedTuple):
    """A well-formed Proxy-Authorization. user is as on the wire, or its hash."""

    algorithm: str
    user: str
    user_is_hash: bool
    realm: str
    terms: Terms
    response: str

    def __repr__(self) -> str:
        """Omits all that could be used again, or to try passwords on."""
        return f"Answer({self.algorithm}, uri={self.terms.uri!a})"


class Verdict(NamedTuple):
    """user: the proven user, "" if none; stale: whether the proof came too late or for a second time"""

    user: str = ""
    stale: bool = False


def is_realm(text: str) -> bool:
    """True if the text can be a realm here: printable ASCII, without characters that need a backslash in a header (programs differ
    on what they then hash), and without the colon, which ends the realm in a users file."""
    fits = 0 < len(text) <= MAX_REALM and text.isascii() and text.isprintable()
    return fits and text == text.strip() and not set(':"\\') & set(text)


def make_login(user: str, realm: str, password: str) -> Login:
    """Hashes a password. Raises ValueError if this OpenSSL lacks one of the hashes: MD5 in FIPS mode."""
    hashes = [hash_of(algorithm) for algorithm in OFFERED]
    return Login(*(login_hash(_have(digest), wire(user), realm, wire(password)) for digest in hashes))


def parse_answer(value: str, method: str = "CONNECT") -> Answer | None:
    """Parses the Proxy-Authorization of a request with this method.

    None for another scheme, bad grammar, or a response to no challenge of this server.
    """
    scheme, blank, rest = value.partition(" ")
    params = _parse_parameters(rest) if scheme.lower() == "digest" and blank else None
    if params is None:
        return None
    user = _user(params)
    algorithm = next((name for name in OFFERED if name.lower() == params.get("algorithm", "MD5").lower()), "")
    nc = params.get("nc", "")
    if user is None or not algorithm or params.get("qop") != "auth" or len(nc) != 8 or nc.strip("0123456789abcdefABCDEF"):
        return None
    try:
        terms = Terms(method, params["uri"], params["nonce"], nc, params["cnonce"], "auth")
        hidden = params.get("userhash", "false").lower() == "true"
        return Answer(algorithm, user, hidden, params["realm"], terms, params["response"])
    except KeyError:
        return None


# Whether a response is used for the first time; False if that is no longer known. Its parameters are a number that identifies the
# response, the time when its nonce was made, and the present time, both in milliseconds.
FirstUse = Callable[[int, int, int], bool]


class Nonces:
    """Makes nonces, and detects reused responses. One serves all processes that share the listening addresses."""

    def __init__(self, secret: bytes, first_use: FirstUse) -> None:
        self._secret, self._first_use = secret, first_use

    def make(self, made: int, salt: bytes) -> str:
        """Returns a nonce. made: now, in milliseconds; salt: SALT random octets"""
        stamp = made.to_bytes(_STAMP, "big") + salt
        return b2a_base64(stamp + self._mac(stamp)[:_MAC], newline=False).decode("ascii")

    def is_new(self, terms: Terms, now: int) -> bool:
        """True if the nonce is ours and not too old, and this count on it is used for the first time. 0 is no count (3.4)."""
        try:
            octets = a2b_base64(terms.nonce.encode("ascii"), strict_mode=True)
        except (Base64Error, UnicodeEncodeError):
            return False
        stamp, count = octets[: _STAMP + SALT], int(terms.nc, 16)
        made = int.from_bytes(stamp[:_STAMP], "big")
        if not hmac.compare_digest(octets[_STAMP + SALT :], self._mac(stamp)[:_MAC]):
            return False
        if not made <= now <= made + NONCE_SECONDS * 1000 or not count:
            return False
        number = int.from_bytes(self._mac(stamp + count.to_bytes(4, "big"))[:8], "big")
        return self._first_use(number, made, now)

    def _mac(self, octets: bytes) -> bytes:
        return hmac.digest(self._secret, octets, "sha256")


class DigestServer:
    """Makes challenges and checks the responses."""

    def __init__(self, realm: str, logins: Mapping[str, Login], nonces: Nonces) -> None:
        """nonces: those of the server that this one replaces, if it replaces one"""
        self.realm = realm
        self._logins = logins
        self._nonces = nonces
        self._hashes = {algorithm: digest for algorithm in OFFERED if (digest := hash_of(algorithm)) is not None}
        self._names = {user_hash(digest, wire(user), realm): user for digest in self._hashes.values() for user in logins}

    def challenges(self, now: float, salt: bytes, stale: bool = False) -> tuple[str, ...]:
        """Returns values for Proxy-Authenticate, the preferred one first. salt: SALT random octets"""
        nonce = self._nonces.make(int(now * 1000), salt)
        rest = f'qop="auth", nonce="{nonce}", charset=UTF-8, userhash=true{", stale=true" if stale else ""}'
        return tuple(f"Digest realm={quote(self.realm)}, algorithm={algorithm}, {rest}" for algorithm in self._hashes)

    def check(self, answer: Answer, now: float) -> Verdict:
        """Identifies the user. Takes the same effort for an unknown user as for a known one. Leaves the target to `is_for`."""
        digest = self._hashes.get(answer.algorithm)
        if digest is None or answer.realm != self.realm:
            return Verdict()
        user = self._names.get(answer.user, "") if answer.user_is_hash else _name(answer.user)
        login = self._logins.get(user)
        key = _NOBODY if login is None else login.sha_256 if answer.algorithm == OFFERED[0] else login.md5
        expected = proof(digest, key, session=False, terms=answer.terms)
        right = hmac.compare_digest(expected.encode("ascii"), answer.response.lower().encode("latin-1"))
        if login is None or not right:
            return Verdict()
        return Verdict(user, stale=not self._nonces.is_new(answer.terms, int(now * 1000)))

    def verify_password(self, user: str, password: str) -> bool:
        """Checks the password of a client that sends it unhashed. Takes the same effort for unknown users."""
        digest = _have(self._hashes.get(OFFERED[0]))
        login = self._logins.get(user)
        given = login_hash(digest, wire(user), self.realm, wire(password))
        return hmac.compare_digest(given, _NOBODY if login is None else login.sha_256) and login is not None


_NOBODY = "0" * 64  # has the length of a hash, and is that of no known password


def is_for(answer: Answer, target: Address) -> bool:
    """True if the response is for this target; otherwise an on-path attacker may have changed the request line (section 3.4.6)."""
    try:
        return parse_authority(answer.terms.uri) == target
    except AddressError:
        return False


def _have(digest: Hash | None) -> Hash:
    if digest is None:
        raise ValueError("this OpenSSL lacks a hash")
    return digest


def _parse_parameters(text: str) -> dict[str, str] | None:
    """Returns the parameters by name; None unless the whole text is a list of parameters without duplicates."""
    params: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None or found[1].lower() in params:
            return None
        params[found[1].lower()] = found[2] if found[2] is not None else re.sub(r"\\(.)", r"\1", found[3], flags=re.DOTALL)
        at = found.end()
    return params


def _user(params: dict[str, str]) -> str | None:
    """Reads username or, encoded, username*; None unless exactly one is present (section 3.4) and well-formed."""
    if ("username" in params) == ("username*" in params):
        return None
    if "username" in params:
        return params["username"]
    encoded = _USER_STAR.fullmatch(params["username*"])
    return None if encoded is None else re.sub("%(..)", lambda octet: chr(int(octet[1], 16)), encoded[1])


def _name(octets: str) -> str:
    return octets.encode("latin-1").decode("utf-8", "surrogateescape")
