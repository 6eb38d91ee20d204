"""The exit statuses, one table. Scripts rely on the numbers; the manual and the README print the meanings from here.

After 0 and 2 (what every shell tool uses for success and wrong use) the numbers are those of sysexits.h, because they tell a
script whether a retry can help: 75 may pass, the others need a change somewhere. 126 and 127 are those of env(1) and the shell.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import IntEnum
else:

    class _Members(type):
        """Makes a member of each name in capitals in a class body. `enum` does so too, and takes 14 % of a start of `connect`."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            made = super().__new__(cls, name, (int,), body)
            made.members = []
            for key in filter(str.isupper, body):
                member = made(*body[key])
                member.name = key
                setattr(made, key, member)
                made.members.append(member)
            return made

        def __iter__(cls) -> object:
            return iter(cls.members)

    IntEnum = type.__new__(_Members, "IntEnum", (), {})


class ExitStatus(IntEnum):
    """An exit status; `meaning` is its line in the manual."""

    meaning: str

    OK = 0, "the tunnel ended cleanly, or the reader of stdout left, or the terminal or ssh hung up (SIGHUP)"
    USAGE = 2, "usage error: an unknown flag, a malformed host, port, URL or rule"
    NAME_NOT_FOUND = 68, "a host name cannot be resolved"
    REFUSED = 69, "the proxy refused the target (403, 502 and the like), or `check-policy` predicts a refusal"
    FAULT = 70, "a fault in tunnelctl itself"
    CANNOT_LISTEN = 71, "a listening address cannot be used"
    BROKEN = 74, "the tunnel broke after it was established, or stdin or stdout failed"
    UNREACHABLE = 75, "the proxy or the target cannot be reached, or a time limit passed: a retry may help"
    MALFORMED = 76, "the response was not HTTP, or was malformed"
    AUTHENTICATION = 77, "authentication is required (407), fails or is impossible; or TLS failed, mostly because of a certificate"
    SETTINGS = 78, "a settings or other file is wrong, a password command failed, a log cannot be opened, or this is Windows"
    CANNOT_RUN = 126, "the command of `run` cannot be executed; otherwise `run` ends with the status of its command"
    COMMAND_NOT_FOUND = 127, "the command of `run` does not exist"

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        member = int.__new__(cls, value)
        member.meaning = meaning
        return member
