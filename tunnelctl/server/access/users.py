"""The users file: those who may use the proxy. Passwords are stored as scrypt, and checking one never blocks the event loop.

A line is `name:scrypt:N:r:p:SALT:HASH`, salt and hash in base64, or `name:digest:REALM:SHA256:MD5`, the hashes in hex; a user may
have one of each. Blank lines and lines that begin with # are skipped.

A digest line holds what Digest requires. In this realm, whoever reads it can use it like the password.
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
from tunnelctl.engine.limiter import FairLimiter, Owner
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.errors import SettingsError
from tunnelctl.proto.auth.digest_server import SALT as NONCE_SALT
from tunnelctl.proto.auth.digest_server import Answer, DigestServer, Login, Nonces, Verdict, is_realm, make_login
from tunnelctl.proto.refusal import REALM, Refusal, basic_challenge, client_busy, limit_reached, too_many_wrong_logins
from tunnelctl.server.access.throttle import LoginThrottle, TooManyWrongLogins
from tunnelctl.server.access.used_answers import UsedAnswers
from tunnelctl.server.process.shared_counters import MASK, SharedTimes
from tunnelctl.server.text_file import read_text
from tunnelctl.stream.reloadable import counted

# Of the settings that OWASP's password storage cheat sheet considers equal, the one with the least memory: 16 MiB per check,
# because a proxy on a small machine may have several under way. Measured: 0.2 s on one core.
COST_N, COST_R, COST_P = 1 << 14, 8, 5
MAX_N, MAX_R, MAX_P = 1 << 20, 32, 16  # limits for a line of the file: memory is 128·N·r bytes
MAX_FILE = 16 << 20  # bytes, some hundred thousand users; a wrong path may be an endless device
SALT, KEY = 16, 32  # bytes
NOT_OURS = "not a line that `tunnelctl hash-password` prints"
MAX_CONCURRENT_HASHES = 2  # hashes under way: each occupies a core and its memory
WAITING = 64  # logins of one client network that wait for a hash: after a restart, many users behind one address may come at once

WAITING_IN_ALL = 100  # logins of all networks that wait in one process: more cannot be hashed within the 10 s of --head-timeout

REMEMBERED = 1 << 13  # right passwords, and nonces with a right response; the bound is memory


class StoredPassword(NamedTuple):
    """One password as stored in the file."""

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(_derive(password, self.salt, self.n, self.r, self.p), self.key)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # OpenSSL requires a memory limit; it needs a little over 128·N·r.
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_memory(n, r), dklen=KEY)


def _memory(n: int, r: int) -> int:
    return 128 * n * (r + 2) + (1 << 20)


def hash_password(user: str, password: str) -> str:
    """Returns a line for the users file, with a new salt."""
    salt = os.urandom(SALT)
    key = _derive(password, salt, COST_N, COST_R, COST_P)
    return f"{user}:scrypt:{COST_N}:{COST_R}:{COST_P}:{_encode(salt)}:{_encode(key)}"


def digest_line(user: str, realm: str, password: str) -> str:
    """Returns a line for the users file with what Digest requires. Raises ValueError if this OpenSSL lacks a hash."""
    login = make_login(user, realm, password)
    return f"{user}:digest:{realm}:{login.sha_256}:{login.md5}"


def _encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


class CredentialCache:
    """State that outlives a reload of the file: nonces, hashes under way, right passwords, and wrong logins.

    The passwords are kept as keyed digests, so that a browser's hundred tunnels cost one scrypt. The digest covers all that the
    file has of the user: it no longer matches once the file changes the password or drops the user. For Digest, the nonces with a
    right response are kept, each with the user.

    Workers forked later share all of it except the places for hashes: each has its own.
    """

    def __init__(self) -> None:
        self.nonces = Nonces(os.urandom(KEY), UsedAnswers().first_use)
        self.hashing = FairLimiter(MAX_CONCURRENT_HASHES, MAX_CONCURRENT_HASHES, WAITING, in_all=WAITING_IN_ALL)
        self.throttle = LoginThrottle()
        self._secret = os.urandom(KEY)
        self.passwords, self.answered = SharedTimes(REMEMBERED), SharedTimes(REMEMBERED)

    def digest(self, *facts: object) -> int:
        """Returns a key for the facts: 64 bits that only this program, with its workers, can compute."""
        return int.from_bytes(hmac.digest(self._secret, repr(facts).encode(), "sha256")[:8], "big") & MASK or 1


def load_users(path: str, kept: CredentialCache | None = None) -> "Users":
    """Reads a users file. Raises SettingsError that names the line. kept: that of the version being replaced"""
    kept = kept or CredentialCache()
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
            raise SettingsError(where, "an earlier line has this user already", "user-twice")
        if scheme == "digest":
            logins[user] = _parse_login(user, fields, where)
            realms.add(fields[0])
        else:
            passwords[user] = _parse_password(user, scheme, fields, where)
        if len(realms) > 1:
            raise SettingsError(where, "its realm differs from that of earlier lines: a proxy has only one", "realm-differs")
    digest = DigestServer(realms.pop(), logins, kept.nonces) if logins else None
    return Users(passwords, logins, digest, kept)


def describe_users(users: "Users") -> str:
    """Describes the users for the message that they were read again."""
    return counted(users.count, "user")


def _parse_login(user: str, fields: list[str], where: str) -> Login:
    if len(fields) != 3 or not user:
        raise SettingsError(where, NOT_OURS, "not-hash-password")
    realm, sha_256, md5 = fields
    if not is_realm(realm) or [len(text) for text in fields[1:]] != [64, 32] or (sha_256 + md5).strip("0123456789abcdef"):
        raise SettingsError(where, "invalid realm or hash", "user-damaged")
    return Login(sha_256, md5)


def _parse_password(user: str, scheme: str, fields: list[str], where: str) -> StoredPassword:
    if len(fields) != 5 or scheme != "scrypt" or not user:
        raise SettingsError(where, NOT_OURS, "not-hash-password")
    try:
        n, r, p = (int(text) for text in fields[:3])
        salt, key = (a2b_base64(text, strict_mode=True) for text in fields[3:])
    except (ValueError, Base64Error) as error:
        raise SettingsError(where, "invalid number or base64", "user-damaged") from error
    if not (_affordable(n, r, p) and len(key) == KEY):
        raise SettingsError(where, "its scrypt cost is out of range", "user-cost")
    return StoredPassword(n, r, p, salt, key)


def _affordable(n: int, r: int, p: int) -> bool:
    """Whether OpenSSL would accept the cost: otherwise the user could not log in, and only the log would show why."""
    if not (1 < n <= MAX_N and n & (n - 1) == 0 and 0 < r <= MAX_R and 0 < p <= MAX_P):
        return False
    return n < 1 << 16 * r and _memory(n, r) < 1 << 31  # RFC 7914 section 2; the limit on memory is an int


UNCHECKED = (TooManyWrongLogins, BusyResourceError)  # raised when a login is not checked


def refuse_unchecked(error: Exception) -> Refusal:
    """Returns the refusal for a client whose login was not checked. error: one of UNCHECKED"""
    if isinstance(error, TooManyWrongLogins):
        return too_many_wrong_logins(error.seconds)
    if isinstance(error, QueueFullError):
        return client_busy("too many logins from this network wait to be checked")
    return limit_reached()


class Users:
    """Checks passwords. Unknown users cost as much as the file's first scrypt line, so that the time does not reveal who exists.

    digest: checks the responses to Digest challenges; None if no user has a line for that
    """

    def __init__(
        self, passwords: dict[str, StoredPassword], logins: Mapping[str, Login], digest: DigestServer | None, kept: CredentialCache
    ) -> None:
        self._passwords, self._logins, self.digest, self._kept = passwords, logins, digest, kept
        self._offers_basic = bool(passwords) or digest is None
        costs = next(iter(passwords.values()), StoredPassword(COST_N, COST_R, COST_P, b"", b""))
        self._nobody = costs._replace(salt=os.urandom(SALT), key=b"\0" * KEY)
        self.count = len(passwords.keys() | logins.keys())

    def challenges(self, stale: Answer | None = None) -> tuple[str, ...]:
        """Returns the challenges for a client, the strongest first. stale: a response that was right but came too late; its user
        continues with the new nonce (RFC 7616 section 3.3)"""
        basic = (basic_challenge(REALM if self.digest is None else self.digest.realm),) if self._offers_basic else ()
        if self.digest is None:
            return basic
        now, salt = monotonic(), os.urandom(NONCE_SALT)
        if stale is not None:
            self._kept.answered.set(self._of(stale, self._kept.nonces.make(int(now * 1000), salt)), now)
        return self.digest.challenges(now, salt, stale is not None) + basic

    async def check(self, user: str, password: str, owner: Owner) -> bool:
        """Whether this is the user's password. False is delayed, the longer the more wrong logins the client's network has had.

        owner: the client's network. Raises TooManyWrongLogins; QueueFullError if too many logins of that network wait for a hash,
        and BusyResourceError if too many wait in all, or there is no thread.
        """
        kept = self._kept
        known = kept.digest("password", user, password, self._passwords.get(user, ()), tuple(self._logins.get(user, ())))
        if kept.passwords.get(known):
            return True
        kept.throttle.admit(owner)
        judge = partial(self._judge, user, password, owner, known)
        delay = await to_thread(judge, limiter=kept.hashing, owner=owner) if self._offers_basic else judge()
        if delay is not None:
            await sleep(delay)
        return delay is None

    def _judge(self, user: str, password: str, owner: Owner, known: int) -> float | None:
        """Checks a login, in a thread for scrypt, when its turn has come. Returns None if it is right, else the response's delay.

        The result counts here, because the client may have left: otherwise clients that leave could guess as fast as we hash. The
        first checks are repeated, because other logins of the network may have changed their result meanwhile.
        """
        kept = self._kept
        if kept.passwords.get(known):
            return None
        kept.throttle.admit(owner)
        if not self._matches(user, password):
            return kept.throttle.wrong(owner)
        kept.passwords.set(known, monotonic())
        return None

    def _matches(self, user: str, password: str) -> bool:
        """Uses the scrypt line if there is one, else the digest line. If the file has lines of both kinds, both are computed for
        everybody: otherwise the time would reveal who has which."""
        stored = self._passwords.get(user)
        right = self.digest is not None and self.digest.verify_password(user, password) and stored is None
        if self._offers_basic:
            hashed = (stored or self._nobody).matches(password)
            right = right or (stored is not None and hashed)
        return right

    async def check_answer(self, answer: Answer, owner: Owner) -> Verdict:
        """Returns whose response to a Digest challenge it is, with a delay as in `check` if it is wrong. Raises TooManyWrongLogins.

        A user with a right response to the same nonce before is not locked out by others of the network.
        """
        assert self.digest is not None
        kept = self._kept
        known = self._of(answer, answer.terms.nonce)
        was_right = bool(kept.answered.get(known))
        if not was_right:
            kept.throttle.admit(owner)
        verdict = self.digest.check(answer, monotonic())
        if not verdict.user:
            await sleep(kept.throttle.wrong(owner))
        elif not was_right:
            kept.answered.set(known, monotonic())
        return verdict

    def _of(self, answer: Answer, nonce: str) -> int:
        """Returns the key of the nonce with the user of the response, as the client gives it."""
        return self._kept.digest("nonce", nonce, answer.user, answer.user_is_hash)
