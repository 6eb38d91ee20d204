"""Small files that people write: read up to a bound, for a wrong path may be a device without an end, and decoded.

Editors of Windows put a byte order mark (BOM) before UTF-8. It is no part of the text, and is cut off.
"""

from __future__ import annotations

import os

from tunnelctl.errors import SettingsError, reason
from tunnelctl.namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its marks; PowerShell 5 writes it by default


class Content(NamedTuple):
    """What a file has. mode: its st_mode, which tells who else can read it"""

    octets: bytes
    mode: int


def read_file(path: str, what: str, most: int) -> Content:
    """The whole file. Raises SettingsError, also for more than `most` bytes. what: begins the errors"""
    content = _read(path, what, lambda file: file.read(most + 1))
    if len(content.octets) > most:
        raise SettingsError(what, f"it is larger than {most >> 10} KiB")
    return content


def read_first_line(path: str, what: str, most: int) -> Content:
    """The first line with its end, and nothing of the others: a pipe may have more to come. Raises SettingsError as above."""
    content = _read(path, what, lambda file: file.readline(most + 1))
    if len(content.octets) > most:
        raise SettingsError(what, f"its first line is longer than {most} bytes")
    return content


def _read(path: str, what: str, take: Callable[[BufferedReader], bytes]) -> Content:
    try:
        with open(path, "rb") as file:
            return Content(take(file), os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise SettingsError(what, reason(error)) from error
    except ValueError as error:
        raise SettingsError(what, "its name has a NUL in it") from error


def decode(octets: bytes, what: str) -> str:
    """UTF-8 as text, without a byte order mark. Raises SettingsError, which shows nothing of it. what: begins the errors"""
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        cause = "it is UTF-16, and has to be UTF-8" if octets.startswith(_UTF_16) else "it is not UTF-8"
        raise SettingsError(what, cause) from None
