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
from tunnelctl.engine.limiter import FairLimiter, Owner
from tunnelctl.engine.outside import to_thread
from tunnelctl.errors import SettingsError
from tunnelctl.proto.auth.digest_server import SALT as NONCE_SALT
from tunnelctl.proto.auth.digest_server import Answer, DigestServer, Login, Nonces, Verdict, is_realm, make_login
from tunnelctl.proto.refusal import REALM, Refusal, basic_challenge, client_busy, limit_reached, too_many_wrong_logins
from tunnelctl.server.access.throttle import LoginThrottle, TooManyWrongLogins
from tunnelctl.server.access.used_answers import UsedAnswers
from tunnelctl.server.process.shared_counters import MASK, SharedTimes
from tunnelctl.server.reloadable import counted
from tunnelctl.server.text_file import read_text

# One of the settings that OWASP's password storage cheat sheet takes as equal: of those the one with the least memory, 16 MiB a
# check, because a proxy on a small machine may have several under way. Measured: 0.2 s on one core.
COST_N, COST_R, COST_P = 1 << 14, 8, 5
MAX_N, MAX_R, MAX_P = 1 << 20, 32, 16  # what a line of the file may ask for: memory is 128·N·r bytes
MAX_FILE = 16 << 20  # bytes, some hundred thousand users; a wrong path may be a device without an end
SALT, KEY = 16, 32  # bytes
NOT_OURS = "it is not what `tunnelctl hash-password` prints"
AT_ONCE = 2  # hashes under way: each holds a core and its memory
WAITING = 64  # logins of one client network that wait for one; as many users behind one address may come at once after a restart

WAITING_IN_ALL = 100  # logins of all networks that wait in one process: more cannot be hashed within the 10 s of --head-timeout

REMEMBERED = 1 << 13  # passwords that were right, and challenges that were answered rightly; the bound is memory


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
    goes into the digest: a password that it has changed, or a user that it no longer has, is not among them. Of Digest, the nonces
    are kept that were answered rightly, each with the user.

    Workers that are forked afterwards share all of it but the places for hashes, of which each has its own.
    """

    def __init__(self) -> None:
        self.nonces = Nonces(os.urandom(KEY), UsedAnswers().first_use)
        self.hashing = FairLimiter(AT_ONCE, AT_ONCE, WAITING, in_all=WAITING_IN_ALL)
        self.throttle = LoginThrottle()
        self._secret = os.urandom(KEY)
        self.passwords, self.answered = SharedTimes(REMEMBERED), SharedTimes(REMEMBERED)

    def digest(self, *facts: object) -> int:
        """A key for them: 64 bits that only this program, with its workers, can compute."""
        return int.from_bytes(hmac.digest(self._secret, repr(facts).encode(), "sha256")[:8], "big") & MASK or 1


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

    def challenges(self, stale: Answer | None = None) -> tuple[str, ...]:
        """What a client may log in with, the strongest first. stale: an answer that was right and came too late, whose user goes on
        with the new nonce (RFC 7616 section 3.3)"""
        basic = (basic_challenge(REALM if self.digest is None else self.digest.realm),) if self._offers_basic else ()
        if self.digest is None:
            return basic
        now, salt = monotonic(), os.urandom(NONCE_SALT)
        if stale is not None:
            self._kept.answered.set(self._of(stale, self._kept.nonces.make(int(now * 1000), salt)), now)
        return self.digest.challenges(now, salt, stale is not None) + basic

    async def check(self, user: str, password: str, owner: Owner) -> bool:
        """Whether this is the user's password; a no waits the longer, the more of them the client's network has had.

        owner: the network that it comes from. Raises TooManyWrongLogins; QueueFullError where too many logins of that wait for a
        hash, and BusyResourceError where too many wait in all, or there is no thread for one.
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
        """In a thread, when the login's turn has come: None if it is right, else for how long the answer is to wait.

        What comes of it counts here, for whoever has asked may have left: else those who leave could guess as fast as we hash.
        Others of the network may meanwhile have settled the matter.
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
        """By the scrypt line if there is one, else by the digest line. As far as the file has them both are computed for everybody:
        else the time would tell who has which."""
        stored = self._passwords.get(user)
        right = self.digest is not None and self.digest.verify_password(user, password) and stored is None
        if self._offers_basic:
            hashed = (stored or self._nobody).matches(password)
            right = right or (stored is not None and hashed)
        return right

    async def check_answer(self, answer: Answer, owner: Owner) -> Verdict:
        """Whose answer to a Digest challenge it is, and waiting as above where it is wrong. Raises TooManyWrongLogins.

        Who has answered the challenge rightly before is not kept out by the others of the network.
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
        """The key of the nonce with the user of the answer, as the client gives it."""
        return self._kept.digest("nonce", nonce, answer.user, answer.user_is_hash)
