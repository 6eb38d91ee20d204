"""Unpacks the packages of the .pyz: once for each user and version, or again after they were deleted."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn
from zipfile import ZipFile

from _bootstrap import FileLock, extract_site_packages  # type: ignore[import-not-found]  # shiv's

UNPACK_SECONDS = 60  # in one place, with the wait for another process that does the same; it takes 1 s
SETTINGS = 78  # tunnelctl.status.ExitStatus, which is still packed

Places = Iterable[tuple[tuple[str, ...], str]]
IsSafe = Callable[[tuple[str, ...], tuple[str, ...]], bool]
IsComplete = Callable[[str], bool]


def unpack(name: str, places: Places, is_safe: IsSafe, is_complete: IsComplete) -> str:
    """Unpacks in the first of the places where that is possible, and returns the directory. Ends the process if there is none."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is for `forward … &` in a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C
    failures = []
    for above, root in places:
        try:
            make(above, root)
            require(is_safe(above, (root,)))
            directory = os.path.join(root, name)
            extract(Path(directory), is_complete)
            require(is_safe(above, (root, directory)))  # it may have been there before
            return directory
        except OSError as error:
            failures.append(f"{root}: {error.strerror or error}")
    sys.stderr.write(f"tunnelctl: cannot unpack itself: {'; '.join(failures)}\n")
    sys.stderr.write("hint: set XDG_CACHE_HOME to a directory in which only you can write\n")
    sys.exit(SETTINGS)


def require(safe: bool) -> None:
    if not safe:
        raise PermissionError(0, "another user can change it")


def make(above: tuple[str, ...], root: str) -> None:
    """Makes the directories that are missing, but no home, which is the first of two."""
    for path in [*(above[1:] or above), root]:
        try:
            os.mkdir(path, 0o755 if path == root else 0o700)  # the latter as the XDG Base Directory Specification says
        except FileExistsError:
            pass


def extract(directory: Path, is_complete: IsComplete) -> None:
    """Unpacks beside the directory, and renames. Others wait for that; what a killed process has left is overwritten."""
    mask = os.umask(0o022)
    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(UNPACK_SECONDS)
    try:
        with FileLock(directory.with_name(f".{directory.name}_lock")):  # the lock of extract_site_packages
            if directory.exists() and not is_complete(str(directory)):  # another process may have unpacked it meanwhile
                shutil.rmtree(directory)
        with ZipFile(sys.argv[0]) as outer, outer.open("packages.zip") as packed, ZipFile(packed) as inner:
            extract_site_packages(inner, directory)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        os.umask(mask)


def give_up(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"not unpacked within {UNPACK_SECONDS} s")
