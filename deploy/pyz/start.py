"""`__main__` of the .pyz: starts tunnelctl from the directory into which its packages have been unpacked, or unpacks them first.

shiv's own bootstrap does the same, but loads zipfile, json, shutil and subprocess to find that directory.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "@NAME@"  # of the directory: the version, and a hash of all that is in it
# Cleaners of temporary directories delete file by file what nobody has read for long: modules of which the compiled ones are used,
# too. Nothing reads this one, so nothing goes before it.
MARKER = "site-packages/tunnelctl/py.typed"


def places() -> "Iterator[tuple[tuple[str, ...], str]]":
    """Yields directories for the unpacked versions, best first. Before each, those above it that must not be another user's."""
    home, cache = os.environ.get("HOME", ""), os.environ.get("XDG_CACHE_HOME", "")
    if cache[:1] == "/":
        yield (cache,), cache + "/tunnelctl"
    elif home[:1] == "/":
        yield (home, home + "/.cache"), home + "/.cache/tunnelctl"
    for shared in ("/var/tmp", "/tmp"):  # for a service that has no home
        yield (), f"{shared}/tunnelctl-{os.geteuid()}"


def is_safe(above: "tuple[str, ...]", own: "tuple[str, ...]") -> bool:
    """Whether directories exist, and nobody but this user and root can change them or put others in their place.

    That would run another's code: in /tmp anybody can create ours before we do, and sudo may keep the HOME of who calls it.
    """
    trusted = 0, os.geteuid()
    try:
        for path in above:  # a home may be a symbolic link
            found = os.stat(path)
            if found.st_uid not in trusted or found.st_mode & 0o022:
                return False
        for path in own:
            found = os.lstat(path)
            if found.st_uid not in trusted or found.st_mode & 0o170022 != 0o040000:
                return False
    except OSError:
        return False
    return True


def is_complete(directory: str) -> bool:
    return os.path.exists(f"{directory}/{MARKER}")


def unpacked() -> str:
    """Returns the directory with the packages."""
    for above, root in places():
        if is_safe(above, (root, f"{root}/{NAME}")) and is_complete(f"{root}/{NAME}"):
            return f"{root}/{NAME}"
    from unpack import unpack  # type: ignore[import-not-found]  # beside this file in the .pyz

    directory: str = unpack(NAME, places(), is_safe, is_complete)
    return directory


def refuse(needs: str) -> None:
    sys.stderr.write(f"tunnelctl: cannot run {needs}\n")
    sys.exit(78)


if sys.platform == "win32":
    refuse("on Windows: it needs Linux, macOS or a BSD, for example Linux in WSL (wsl --install)")
if sys.version_info < (3, 11):  # noqa: UP036 - the file does not stop anybody from starting it with an older one
    refuse(f"with {sys.executable}, which is Python {sys.version_info[0]}.{sys.version_info[1]}: it needs 3.11 or later")
sys.path[0] = unpacked() + "/site-packages"  # in place of the .pyz
# The variable PYTHONDONTWRITEBYTECODE is about other directories. If it applied to this one, each start would compile.
sys.dont_write_bytecode = False
from tunnelctl.cli.main import main  # noqa: E402

sys.exit(main())
