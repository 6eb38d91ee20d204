"""The Digest scheme (RFC 7616), the server's half: challenges, and what comes back. `digest` has what both ends compute.

A nonce carries the time it was made and a keyed hash of that, so nothing is kept for one that nobody answers. An answer is good
once: an eavesdropper could otherwise open the same tunnel again until the nonce is too old. Whoever runs the server remembers
which answers were used (see FirstUse), for all of its processes.
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

OFFERED = ("SHA-256", "MD5")  # in the order of preference (section 3.3); MD5 for the many clients that know nothing else

MAX_REALM = 100  # characters: clients show it when they ask for the password

# Long enough for a browser that reuses it; a client that comes later is told so, and answers anew without asking anybody.
NONCE_SECONDS = 300.0

SALT = 12  # octets that keep apart the nonces of one moment
_STAMP, _MAC = 6, 18  # octets: milliseconds of a clock that never turns back, and a hash; with SALT no padding in base64

_PARAMETER = re.compile(
    rf"""[ \t]*([{re.escape(TOKEN)}]+)[ \t]*=[ \t]*(?:([{re.escape(TOKEN)}]+)|"((?:[^"\\]|\\.)*)")[ \t]*(?:,|\Z)""", re.DOTALL
)
_USER_STAR = re.compile(r"(?i:utf-8)'[A-Za-z0-9-]*'((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*)")  # RFC 8187 section 3.2.1


class Login(NamedTuple):
    """What stands for a password: H(user:realm:password) with each hash of OFFERED, in hex. Who has it can log in."""

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
        """Without what could be used again, or to try passwords on."""
        return f"Answer({self.algorithm}, uri={self.terms.uri!a})"


class Verdict(NamedTuple):
    """user: who it is, "" if it is not proven; stale: it is, but by an answer that came too late or for a second time"""

    user: str = ""
    stale: bool = False


def is_realm(text: str) -> bool:
    """Whether it can be a realm of ours: printable ASCII without what needs a backslash in a header, of which programs differ on
    what is hashed, and without the colon that ends it in a users file."""
    fits = 0 < len(text) <= MAX_REALM and text.isascii() and text.isprintable()
    return fits and text == text.strip() and not set(':"\\') & set(text)


def make_login(user: str, realm: str, password: str) -> Login:
    """Raises ValueError where this OpenSSL lacks one of the hashes: MD5 in FIPS mode."""
    hashes = [hash_of(algorithm) for algorithm in OFFERED]
    return Login(*(login_hash(_have(digest), wire(user), realm, wire(password)) for digest in hashes))


def parse_answer(value: str) -> Answer | None:
    """None for another scheme, for bad grammar, and for what does not answer a challenge of ours."""
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
        terms = Terms("CONNECT", params["uri"], params["nonce"], nc, params["cnonce"], "auth")
        hidden = params.get("userhash", "false").lower() == "true"
        return Answer(algorithm, user, hidden, params["realm"], terms, params["response"])
    except KeyError:
        return None


# Whether an answer is used for the first time; False where that is not known any more. It is asked with a number that stands for
# the answer, with the time when the nonce was made, and with the present time, both in milliseconds.
FirstUse = Callable[[int, int, int], bool]


class Nonces:
    """Makes nonces, and knows which answers were used. One for all processes that share the listening addresses."""

    def __init__(self, secret: bytes, first_use: FirstUse) -> None:
        self._secret, self._first_use = secret, first_use

    def make(self, made: int, salt: bytes) -> str:
        """made: now, in milliseconds; salt: SALT random octets"""
        stamp = made.to_bytes(_STAMP, "big") + salt
        return b2a_base64(stamp + self._mac(stamp)[:_MAC], newline=False).decode("ascii")

    def is_new(self, terms: Terms, now: int) -> bool:
        """Whether the nonce is ours and not too old, and this count on it is seen for the first time. 0 is no count (3.4)."""
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
    """Makes challenges and checks the answers."""

    def __init__(self, realm: str, logins: Mapping[str, Login], nonces: Nonces) -> None:
        """nonces: those of the server that this one takes the place of, if it does"""
        self.realm = realm
        self._logins = logins
        self._nonces = nonces
        self._hashes = {algorithm: digest for algorithm in OFFERED if (digest := hash_of(algorithm)) is not None}
        self._names = {user_hash(digest, wire(user), realm): user for digest in self._hashes.values() for user in logins}

    def challenges(self, now: float, salt: bytes, stale: bool = False) -> tuple[str, ...]:
        """Values for Proxy-Authenticate, the preferred one first. salt: SALT random octets"""
        nonce = self._nonces.make(int(now * 1000), salt)
        rest = f'qop="auth", nonce="{nonce}", charset=UTF-8, userhash=true{", stale=true" if stale else ""}'
        return tuple(f"Digest realm={quote(self.realm)}, algorithm={algorithm}, {rest}" for algorithm in self._hashes)

    def check(self, answer: Answer, now: float) -> Verdict:
        """Whose answer it is. An unknown user costs what a known one does. The target is for `is_for` to compare."""
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
        """For a client that sends the password itself. The same cost for unknown users."""
        digest = _have(self._hashes.get(OFFERED[0]))
        login = self._logins.get(user)
        given = login_hash(digest, wire(user), self.realm, wire(password))
        return hmac.compare_digest(given, _NOBODY if login is None else login.sha_256) and login is not None


_NOBODY = "0" * 64  # as long as a hash, and the hash of no password that anybody knows


def is_for(answer: Answer, target: Address) -> bool:
    """Whether the answer is for this target: else somebody has changed the request line (section 3.4.6)."""
    try:
        return parse_authority(answer.terms.uri) == target
    except AddressError:
        return False


def _have(digest: Hash | None) -> Hash:
    if digest is None:
        raise ValueError("this OpenSSL lacks a hash")
    return digest


def _parse_parameters(text: str) -> dict[str, str] | None:
    """By name; None unless all of it is a list of parameters, none of them twice."""
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
    """From username or, encoded, username*; None unless there is one of them (section 3.4)."""
    if ("username" in params) == ("username*" in params):
        return None
    if "username" in params:
        return params["username"]
    encoded = _USER_STAR.fullmatch(params["username*"])
    return None if encoded is None else re.sub("%(..)", lambda octet: chr(int(octet[1], 16)), encoded[1])


def _name(octets: str) -> str:
    return octets.encode("latin-1").decode("utf-8", "surrogateescape")
