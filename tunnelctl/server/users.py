"""The users file: who may use the proxy. Passwords are stored as scrypt, and checking one never blocks the loop.

A line is `name:scrypt:N:r:p:SALT:HASH`, salt and hash in base64, or `name:digest:REALM:SHA256:MD5`, the hashes in hex; a user may
have one of each. Blank lines and lines that begin with # are skipped.

A digest line is what Digest needs, and is worth the password itself to whoever reads it, for this realm.
"""

import hashlib
import hmac
import os
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import NamedTuple

from tunnelctl.engine.kernel import BusyResourceError, QueueFullError, sleep
from tunnelctl.engine.limiter import FairLimiter
from tunnelctl.engine.outside import to_thread
from tunnelctl.errors import SettingsError
from tunnelctl.proto.digest_server import SALT as NONCE_SALT
from tunnelctl.proto.digest_server import Answer, DigestServer, Login, Nonces, Verdict, is_realm, make_login
from tunnelctl.proto.refusal import REALM, Refusal, basic_challenge, client_busy, limit_reached, too_many_wrong_logins
from tunnelctl.server.in_force import counted
from tunnelctl.server.limits import PREFIXES, network_of
from tunnelctl.server.text_file import read_text
from tunnelctl.server.throttle import LoginThrottle, TooManyWrongLogins
from tunnelctl.server.used_answers import UsedAnswers

# One of the settings that OWASP's password storage cheat sheet takes as equal: of those the one with the least memory, 16 MiB a
# check, because a proxy on a small machine may have several under way. Measured: 0.2 s on one core.
COST_N, COST_R, COST_P = 1 << 14, 8, 5
MAX_N, MAX_R, MAX_P = 1 << 20, 32, 16  # what a line of the file may ask for: memory is 128·N·r bytes
MAX_FILE = 16 << 20  # bytes, some hundred thousand users; a wrong path may be a device without an end
SALT, KEY = 16, 32  # bytes
NOT_OURS = "it is not what `tunnelctl hash-password` prints"
AT_ONCE = 2  # hashes under way: each holds a core and its memory
WAITING = 64  # logins of one client network that wait for one; as many users behind one address may come at once after a restart

REMEMBERED = 4096  # passwords that were right; the bound is memory


class StoredPassword(NamedTuple):
    """One password as the file has it."""

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(_derive(password, self.salt, self.n, self.r, self.p), self.key)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # OpenSSL wants to be told how much memory it may take; it needs a little over 128·N·r.
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_memory(n, r), dklen=KEY)


def _memory(n: int, r: int) -> int:
    return 128 * n * (r + 2) + (1 << 20)


def hash_password(user: str, password: str) -> str:
    """A line for the users file, with a salt of its own."""
    salt = os.urandom(SALT)
    key = _derive(password, salt, COST_N, COST_R, COST_P)
    return f"{user}:scrypt:{COST_N}:{COST_R}:{COST_P}:{_encode(salt)}:{_encode(key)}"


def digest_line(user: str, realm: str, password: str) -> str:
    """A line for the users file with what Digest needs. Raises ValueError where this OpenSSL lacks a hash."""
    login = make_login(user, realm, password)
    return f"{user}:digest:{realm}:{login.sha_256}:{login.md5}"


def _encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


class Kept:
    """What outlives a file that is read again: nonces, hashes under way, passwords that were right, and wrong logins.

    The passwords are kept as keyed digests, so that a browser's hundred tunnels cost one scrypt. Whatever the file says of the user
    goes into the digest: a password that it has changed, or a user that it no longer has, is not among them.
    """

    def __init__(self, prefixes: tuple[int, int] = PREFIXES) -> None:
        """prefixes: bits of an address that make a client network, for IPv4 and IPv6"""
        self.nonces = Nonces(os.urandom(KEY), UsedAnswers().first_use)
        self.hashing = FairLimiter(AT_ONCE, AT_ONCE, WAITING)
        self.throttle = LoginThrottle()
        self._prefixes = prefixes
        self._secret = os.urandom(KEY)
        self._right: set[bytes] = set()

    def network(self, client: str) -> str:
        """The network of a client's address."""
        return network_of(client, self._prefixes)

    def digest(self, *facts: object) -> bytes:
        """Of a user, a password, and what the file says of that user."""
        return hmac.digest(self._secret, repr(facts).encode(), "sha256")

    def has(self, digest: bytes) -> bool:
        """Whether it was right before."""
        return digest in self._right

    def add(self, digest: bytes) -> None:
        """It was right."""
        if len(self._right) >= REMEMBERED:
            self._right.pop()
        self._right.add(digest)


def load_users(path: str, kept: Kept | None = None) -> "Users":
    """Reads a users file. Raises SettingsError that names the line. kept: of the one that it takes the place of"""
    kept = kept or Kept()
    text = read_text(path, "users file", MAX_FILE)
    passwords: dict[str, StoredPassword] = {}
    logins: dict[str, Login] = {}
    realms: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"users file {path}, line {number}"
        user, _, rest = line.partition(":")
        scheme, *fields = rest.split(":")
        if user in (logins if scheme == "digest" else passwords):
            raise SettingsError(where, "this user has such a line already")
        if scheme == "digest":
            logins[user] = _parse_login(user, fields, where)
            realms.add(fields[0])
        else:
            passwords[user] = _parse_password(user, scheme, fields, where)
        if len(realms) > 1:
            raise SettingsError(where, "its realm is not that of the lines before: a proxy has one")
    digest = DigestServer(realms.pop(), logins, kept.nonces) if logins else None
    return Users(passwords, logins, digest, kept)


def describe_users(users: "Users") -> str:
    """For the line that says that they were read again."""
    return counted(users.count, "user")


def _parse_login(user: str, fields: list[str], where: str) -> Login:
    if len(fields) != 3 or not user:
        raise SettingsError(where, NOT_OURS)
    realm, sha_256, md5 = fields
    if not is_realm(realm) or [len(text) for text in fields[1:]] != [64, 32] or (sha_256 + md5).strip("0123456789abcdef"):
        raise SettingsError(where, "its realm or its hashes are damaged")
    return Login(sha_256, md5)


def _parse_password(user: str, scheme: str, fields: list[str], where: str) -> StoredPassword:
    if len(fields) != 5 or scheme != "scrypt" or not user:
        raise SettingsError(where, NOT_OURS)
    try:
        n, r, p = (int(text) for text in fields[:3])
        salt, key = (a2b_base64(text, strict_mode=True) for text in fields[3:])
    except (ValueError, Base64Error) as error:
        raise SettingsError(where, "its numbers or its base64 are damaged") from error
    if not (_affordable(n, r, p) and len(key) == KEY):
        raise SettingsError(where, "its cost is out of bounds")
    return StoredPassword(n, r, p, salt, key)


def _affordable(n: int, r: int, p: int) -> bool:
    """Whether OpenSSL would do it: else the user of that line could not log in, and only the log would know why."""
    if not (1 < n <= MAX_N and n & (n - 1) == 0 and 0 < r <= MAX_R and 0 < p <= MAX_P):
        return False
    return n < 1 << 16 * r and _memory(n, r) < 1 << 31  # RFC 7914 section 2; the limit on memory is an int


UNCHECKED = (TooManyWrongLogins, BusyResourceError)  # raised where a login is not looked at


def refuse_unchecked(error: Exception) -> Refusal:
    """What a client is told whose login was not looked at. error: one of UNCHECKED"""
    if isinstance(error, TooManyWrongLogins):
        return too_many_wrong_logins(error.seconds)
    if isinstance(error, QueueFullError):
        return client_busy("too many logins from this network wait to be checked")
    return limit_reached()


class Users:
    """Checks passwords. Unknown users cost as much as known ones, so that the time does not tell who exists.

    digest: checks the answers to Digest challenges; None where no user has a line for that
    """

    def __init__(
        self, passwords: dict[str, StoredPassword], logins: Mapping[str, Login], digest: DigestServer | None, kept: Kept
    ) -> None:
        self._passwords, self._logins, self.digest, self._kept = passwords, logins, digest, kept
        self._offers_basic = bool(passwords) or digest is None
        costs = next(iter(passwords.values()), StoredPassword(COST_N, COST_R, COST_P, b"", b""))
        self._nobody = costs._replace(salt=os.urandom(SALT), key=b"\0" * KEY)
        self.count = len(passwords.keys() | logins.keys())

    def challenges(self, stale: bool = False) -> tuple[str, ...]:
        """What a client may log in with, the strongest first. stale: see RFC 7616 section 3.3"""
        basic = (basic_challenge(REALM if self.digest is None else self.digest.realm),) if self._offers_basic else ()
        digest = () if self.digest is None else self.digest.challenges(monotonic(), os.urandom(NONCE_SALT), stale)
        return digest + basic

    async def check(self, user: str, password: str, client: str) -> bool:
        """Whether this is the user's password; a no waits the longer, the more of them the client's network has had.

        client: the address that it comes from. Raises TooManyWrongLogins; QueueFullError where too many logins of its network
        wait for a hash, and BusyResourceError where there is no thread for one.
        """
        kept = self._kept
        digest = kept.digest(user, password, self._passwords.get(user, ()), tuple(self._logins.get(user, ())))
        if kept.has(digest):
            return True
        network = kept.network(client)
        kept.throttle.admit(network)
        if not await self._matches(user, password, network, digest):
            await sleep(kept.throttle.wrong(network))
            return False
        kept.add(digest)
        return True

    async def check_answer(self, answer: Answer, client: str) -> Verdict:
        """Returns whose answer it is; a wrong one is delayed as in `check`. Raises TooManyWrongLogins."""
        assert self.digest is not None
        network = self._kept.network(client)
        self._kept.throttle.admit(network)
        verdict = self.digest.check(answer, monotonic())
        if not verdict.user:
            await sleep(self._kept.throttle.wrong(network))
        return verdict

    async def _matches(self, user: str, password: str, network: str, digest: bytes) -> bool:
        """By the scrypt line if there is one, else by the digest line. As far as the file has them both are computed for everybody:
        else the time would tell who has which."""
        stored = self._passwords.get(user)
        right = self.digest is not None and self.digest.verify_password(user, password) and stored is None
        if self._offers_basic:
            hashing = partial(self._hash, stored or self._nobody, password, network, digest)
            hashed = await to_thread(hashing, limiter=self._kept.hashing, owner=network)
            right = right or (stored is not None and hashed)
        return right

    def _hash(self, stored: StoredPassword, password: str, network: str, digest: bytes) -> bool:
        """In a thread, when the login's turn has come: others of its network may meanwhile have settled the matter."""
        if self._kept.has(digest):
            return True
        self._kept.throttle.admit(network)
        return stored.matches(password)
