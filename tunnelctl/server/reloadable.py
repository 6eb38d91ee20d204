"""What is read from files, and again on SIGHUP while the server runs: the rules, the users, the certificate.

Each is taken whole or not at all: a file with one mistake changes nothing. What begins from then on goes by the new one, and what
is under way by the one that it began with.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tunnelctl.errors import TunnelctlError
from tunnelctl.trace import Trace

T = TypeVar("T")

READ_SECONDS = 10.0  # that reading takes on a busy machine, at most; what takes longer hangs


class InForce(Generic[T]):
    """What new sessions go by."""

    def __init__(
        self,
        what: str,
        load: Callable[[], T],
        describe: Callable[[T], str] = str,
        warn: Callable[[Trace], None] = lambda _: None,
    ) -> None:
        """
        what: its name in messages; load: reads it, or raises TunnelctlError; describe: what is told of one read again
        warn: tells what is wrong with one although it is taken
        """
        self._what, self._load, self._describe, self.warn = what, load, describe, warn
        self.now = load()

    def __str__(self) -> str:
        """What is told of it."""
        return self._describe(self.now)

    def reload(self, trace: Trace) -> None:
        """Puts what the files say now in the place of the old one, unless there is a mistake in them."""
        try:
            self.now = self._load()
        except (TunnelctlError, OSError) as error:  # OSError: a file went while it was read
            hint = f" (hint: {error.hint})" if isinstance(error, TunnelctlError) and error.hint else ""
            trace("warning", text=f"the old {self._what} stays in force: {error}{hint}")
        else:
            trace("reloaded", what=self._what, now=str(self))
            self.warn(trace)


def counted(number: int, thing: str) -> str:
    """As in `3 rules`."""
    return f"{number} {thing}{'s' * (number != 1)}"


class Rereading:
    """Reads all of them again, in a thread of the caller's: a file system may hang, and then so does the thread, for good."""

    def __init__(self, several: Iterable[InForce[Any]], trace: Trace) -> None:
        self._several, self._trace = tuple(several), trace
        self.busy = False

    def begin(self) -> bool:
        """To be called before the thread is started, which then has to `run`. False, with a warning, where one still reads."""
        if self.busy:
            text = "the files are still being read because of an earlier SIGHUP, and not once more: send another one later"
            self._trace("warning", text=text)
            return False
        self.busy = True
        return True

    def run(self) -> None:
        """Reads each of them. They are independent: a mistake in one does not keep the others from being taken."""
        try:
            for one in self._several:
                one.reload(self._trace)
        finally:
            self.busy = False

    def give_up(self, why: str) -> None:
        """No thread was to be had."""
        self.busy = False
        self._trace("warning", text=f"no file was read again: {why}")

    def warn_late(self) -> None:
        """READ_SECONDS have passed, and the thread has not come back."""
        text = f"reading the files again takes longer than {READ_SECONDS:g} s: what was read before stays in force until it ends"
        self._trace("warning", text=text)
