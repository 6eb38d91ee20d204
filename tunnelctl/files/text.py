"""Small files that people write: decodes them, and reads only up to a bound, since a wrong path may name an endless device.

Windows editors put a byte order mark (BOM) before UTF-8. It is not part of the text, and is removed.
"""

from __future__ import annotations

import os

from tunnelctl.errors import SettingsError, reason
from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # BOMs of UTF-16, which PowerShell 5 writes by default


class Content(NamedTuple):
    """A file's contents. mode: its st_mode, which tells who else can read it"""

    octets: bytes
    mode: int


def read_file(path: str, what: str, most: int) -> Content:
    """Reads a whole file. Raises SettingsError, also for more than `most` bytes. what: begins the errors"""
    content = _read(path, what, lambda file: file.read(most + 1))
    if len(content.octets) > most:
        raise SettingsError(what, f"larger than {most >> 10} KiB", "too-large")
    return content


def read_first_line(path: str, what: str, most: int) -> Content:
    """Reads the first line with its newline, and does not wait for more: a pipe may stay open. Raises SettingsError likewise."""
    content = _read(path, what, lambda file: file.readline(most + 1))
    if len(content.octets) > most:
        raise SettingsError(what, f"its first line is longer than {most} bytes", "first-line-too-long")
    return content


def _read(path: str, what: str, take: Callable[[BufferedReader], bytes]) -> Content:
    try:
        with open(path, "rb") as file:
            return Content(take(file), os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise SettingsError(what, reason(error), "unreadable") from error
    except ValueError as error:
        raise SettingsError(what, "its name contains a NUL", "nul-in-name") from error


def decode(octets: bytes, what: str) -> str:
    """Decodes UTF-8, without a byte order mark. Raises SettingsError, which shows none of the text. what: begins the errors"""
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        cause = "UTF-16; it must be UTF-8" if octets.startswith(_UTF_16) else "not UTF-8"
        raise SettingsError(what, cause, "encoding") from None
