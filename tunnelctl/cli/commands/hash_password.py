"""`tunnelctl hash-password USER`: reads a password and makes a line for the users file. No password is ever on a command line."""

import os
import stat
import sys
from fcntl import F_GETFL, fcntl
from typing import NamedTuple

from tunnelctl.errors import UsageProblem
from tunnelctl.proto.auth.digest_server import MAX_REALM, is_realm
from tunnelctl.proto.headers import has_control
from tunnelctl.proto.refusal import REALM

MAX_PASSWORD = 1024  # bytes; nobody types more, and a wrong pipe must not fill the memory


class LineOptions(NamedTuple):
    """The options of one `hash-password`."""

    digest: bool = False
    realm: str | None = None  # None: REALM


def users_line(user: str, options: LineOptions) -> str:
    """Reads the password and returns the line to print: a scrypt hash, or what Digest needs for its realm. Raises UsageProblem."""
    digest, realm = options
    if not user or ":" in user or not user.isprintable() or user[0] == "#":
        cause = "a user name must not be empty, begin with #, or contain a colon or control characters"
        raise UsageProblem("hash-password", cause, "user-name")
    if realm is not None and not digest:
        raise UsageProblem("--realm", "only a digest line has a realm", "realm-without-digest")
    if realm is not None and not is_realm(realm):
        raise UsageProblem(
            "--realm",
            f"it has at most {MAX_REALM} ASCII characters, no quotes, colons, backslashes or controls",
            "realm-characters",
        )
    from tunnelctl.server.access.users import digest_line, hash_password

    password = ask(user) if sys.__stdin__ is not None and sys.__stdin__.isatty() else read_line()
    if not password:
        raise UsageProblem("hash-password", "the password is empty", "password-empty")
    # RFC 7617 section 2: user-id and password must not contain controls, so such a password could never be sent.
    if has_control(password):
        raise UsageProblem("hash-password", "the password has control characters", "password-control-character")
    if not digest:
        return separator() + hash_password(user, password) + "\n"
    try:
        return separator() + digest_line(user, realm or REALM, password) + "\n"
    except ValueError:
        raise UsageProblem("hash-password", "this system's OpenSSL refuses MD5, which a digest line has too", "no-md5") from None


def separator(stdout: int = 1) -> str:
    """Returns the text to print before the line: a line end if stdout appends to a file whose last line lacks one, else "".

    Without it, the two lines would be one that belongs to no user, and `serve` would refuse the whole file.
    """
    try:
        there = os.fstat(stdout)
        if not (stat.S_ISREG(there.st_mode) and there.st_size and fcntl(stdout, F_GETFL) & os.O_APPEND):
            return ""
        with open(f"/dev/fd/{stdout}", "rb") as file:  # reopened: the shell opened it for writing only
            file.seek(-1, os.SEEK_END)
            return "" if file.read() == b"\n" else "\n"
    except OSError:
        return "\n"  # harmless: an empty line in the file is skipped


def ask(user: str) -> str:
    """Reads the password twice, without echo, from the terminal device."""
    from tunnelctl.stream.tty_prompt import ask_now

    password = ask_now("hash-password", f"password for {user}: ")
    if ask_now("hash-password", "once more: ") != password:
        raise UsageProblem("hash-password", "the two passwords differ", "passwords-differ")
    return password


def read_line() -> str:
    """Returns the first line of stdin, without its line end."""
    try:
        with open(0, "rb", closefd=False) as stdin:
            line = stdin.readline(MAX_PASSWORD + 2)
        return fit(line.removesuffix(b"\n").removesuffix(b"\r")).decode("utf-8-sig")
    except OSError as error:
        raise UsageProblem("hash-password", f"stdin cannot be read: {error.strerror}", "stdin-unreadable") from None
    except UnicodeDecodeError:
        raise UsageProblem("hash-password", "the password is not UTF-8", "password-not-utf8") from None


def fit(line: bytes) -> bytes:
    if len(line) > MAX_PASSWORD:
        raise UsageProblem("hash-password", f"the password is longer than {MAX_PASSWORD} bytes", "password-too-long")
    return line
