"""The users file: who may use the proxy. Passwords are stored as scrypt, and checking one never blocks the loop.

A line is `name:scrypt:N:r:p:SALT:HASH`, salt and hash in base64; blank lines and lines that begin with # are skipped.
"""

import hashlib
import hmac
import os
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import NamedTuple

from tunnelctl.engine.event import Semaphore
from tunnelctl.engine.outside import to_thread
from tunnelctl.errors import SettingsError, reason

# One of the settings that OWASP's password storage cheat sheet takes as equal: of those the one with the least memory, 16 MiB a
# check, because a proxy on a small machine may have several under way. Measured: 0.2 s on one core.
COST_N, COST_R, COST_P = 1 << 14, 8, 5
MAX_N, MAX_R, MAX_P = 1 << 20, 32, 16  # what a line of the file may ask for: memory is 128·N·r bytes
MAX_FILE = 16 << 20  # characters, some hundred thousand users; a wrong path may be a device without an end
SALT, KEY = 16, 32  # bytes
AT_ONCE = 2  # checks under way: each holds a core and its memory

# Passwords that were right, as a keyed digest, so that a browser's hundred tunnels cost one scrypt. The file is read once, so
# nothing here can become wrong; the bound is memory.
REMEMBERED = 4096


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


def _encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def load_users(path: str) -> "Users":
    """Reads a users file. Raises SettingsError that names the line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"users file {path}", reason(error) if isinstance(error, OSError) else "it is not UTF-8") from error
    if len(text) > MAX_FILE:
        raise SettingsError(f"users file {path}", f"it is longer than {MAX_FILE >> 20} MiB")
    users: dict[str, StoredPassword] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            user, stored = _parse(line, f"users file {path}, line {number}")
            if user in users:
                raise SettingsError(f"users file {path}, line {number}", "this user has a line already")
            users[user] = stored
    return Users(users)


def _parse(line: str, where: str) -> tuple[str, StoredPassword]:
    fields = line.split(":")
    if len(fields) != 7 or fields[1] != "scrypt" or not fields[0]:
        raise SettingsError(where, "it is not what `tunnelctl hash-password` prints")
    try:
        n, r, p = (int(text) for text in fields[2:5])
        salt, key = (a2b_base64(text, strict_mode=True) for text in fields[5:7])
    except (ValueError, Base64Error) as error:
        raise SettingsError(where, "its numbers or its base64 are damaged") from error
    if not (_affordable(n, r, p) and len(key) == KEY):
        raise SettingsError(where, "its cost is out of bounds")
    return fields[0], StoredPassword(n, r, p, salt, key)


def _affordable(n: int, r: int, p: int) -> bool:
    """Whether OpenSSL would do it: else the user of that line could not log in, and only the log would know why."""
    if not (1 < n <= MAX_N and n & (n - 1) == 0 and 0 < r <= MAX_R and 0 < p <= MAX_P):
        return False
    return n < 1 << 16 * r and _memory(n, r) < 1 << 31  # RFC 7914 section 2; the limit on memory is an int


class Users:
    """Checks passwords. Unknown users cost as much as known ones, so that the time does not tell who exists."""

    def __init__(self, users: dict[str, StoredPassword]) -> None:
        self._users = users
        costs = next(iter(users.values()), StoredPassword(COST_N, COST_R, COST_P, b"", b""))
        self._nobody = costs._replace(salt=os.urandom(SALT), key=b"\0" * KEY)
        self._secret = os.urandom(KEY)
        self._known: set[bytes] = set()
        self._turn = Semaphore(AT_ONCE)

    async def check(self, user: str, password: str) -> bool:
        """Whether this is the user's password."""
        digest = hmac.digest(self._secret, f"{len(user)}:{user}{password}".encode(), "sha256")
        if digest in self._known:
            return True
        stored = self._users.get(user)
        async with self._turn:
            right = await to_thread((stored or self._nobody).matches, password)
        if stored is None or not right:
            return False
        if len(self._known) >= REMEMBERED:
            self._known.pop()
        self._known.add(digest)
        return True
