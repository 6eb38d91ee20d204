"""What is read from files, and again on SIGHUP while the server runs: the rules, the users, the certificate.

Each is taken whole or not at all: a file with one mistake changes nothing. What begins from then on goes by the new one, and what
is under way by the one that it began with.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tunnelctl.errors import TunnelctlError
from tunnelctl.trace import Trace

T = TypeVar("T")


class InForce(Generic[T]):
    """What new sessions go by."""

    def __init__(self, what: str, load: Callable[[], T], describe: Callable[[T], str] = str) -> None:
        """what: its name in messages; load: reads it, or raises TunnelctlError; describe: what is told of one read again"""
        self._what, self._load, self._describe = what, load, describe
        self.now = load()

    def reload(self, trace: Trace) -> None:
        """Puts what the files say now in the place of the old one, unless there is a mistake in them."""
        try:
            self.now = self._load()
        except (TunnelctlError, OSError) as error:  # OSError: a file went while it was read
            hint = f" (hint: {error.hint})" if isinstance(error, TunnelctlError) and error.hint else ""
            trace("warning", text=f"the old {self._what} stays in force: {error}{hint}")
        else:
            trace("reloaded", what=self._what, now=self._describe(self.now))


def counted(number: int, thing: str) -> str:
    """As in `3 rules`."""
    return f"{number} {thing}{'s' * (number != 1)}"


def reload_all(several: Iterable[InForce[Any]], trace: Trace) -> None:
    """Reads each of them again. They are independent: a mistake in one does not keep the others from being taken."""
    for one in several:
        one.reload(trace)
