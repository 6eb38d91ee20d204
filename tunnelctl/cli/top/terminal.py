"""The terminal while `top` uses it: the alternate screen, raw key input, and signals. It is restored in every case.

Ctrl-C, SIGTERM and SIGHUP raise Ended at once, even in a write to a terminal that takes nothing. SIGWINCH, SIGTSTP and SIGCONT
wake the loop. With SIGTSTP (Ctrl-Z) the terminal is given back before the process stops, and taken again when it continues.
"""

import os
import select
import signal
import termios
from types import FrameType
from typing import Any

from tunnelctl.cli.top.keys import Keys
from tunnelctl.cli.top.screen import BAD, HEAD, ODD, PLAIN, SORTED, TITLE, Line

STDIN, STDOUT = 0, 1

# The alternate screen, whose lines do not wrap, without a cursor; and back. xterm's control sequences, which all terminals follow.
ENTER = b"\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[2J"
LEAVE = b"\x1b[0m\x1b[?25h\x1b[?7h\x1b[999;1H\x1b[?1049l"  # the last line is for terminals without an alternate screen
LEAVE_SECONDS = 0.5  # for a terminal that takes nothing: then the modes alone are restored

MONOCHROME = {PLAIN: "", TITLE: "1", HEAD: "7", SORTED: "1;7", ODD: "1", BAD: "1"}
COLOURED = {**MONOCHROME, SORTED: "1;30;46", ODD: "33", BAD: "31"}

ESCAPE_SECONDS = 0.05  # after which an escape character alone is the key Esc

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAKING = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class Ended(BaseException):
    """A signal ends the program; no handler of ordinary exceptions may keep it from that."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class TerminalGone(Exception):
    """The terminal has hung up."""


class Terminal:
    """The terminal at stdin and stdout, as a context: it is taken in its body. coloured: whether colours are welcome"""

    def __init__(self, coloured: bool) -> None:
        self._styles = COLOURED if coloured else MONOCHROME
        self._keys = Keys()
        self._shown: list[str] = []  # the lines on the screen
        self._taken = False
        self._signals: set[int] = set()
        self._handlers: dict[int, Any] = {}
        self._woken, self._waker = -1, -1

    def __enter__(self) -> "Terminal":
        self._modes = termios.tcgetattr(STDIN)
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        for number in (*ENDING, *WAKING):
            if signal.getsignal(number) is not signal.SIG_IGN:  # ignored from the start on, as by nohup
                self._handlers[number] = signal.signal(number, self._end if number in ENDING else self._note)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for number in self._handlers:
                signal.signal(number, signal.SIG_IGN)  # nothing interrupts what follows
        finally:  # a second signal may come just before
            self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        waker, self._waker = self._waker, -1  # a thread may still be about to wake
        os.close(self._woken)
        os.close(waker)

    @staticmethod
    def _end(number: int, _: FrameType | None) -> None:
        raise Ended(number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.add(number)
        self.wake()

    def wake(self) -> None:
        """Ends a `wait`. Any thread may call it."""
        try:
            os.write(self._waker, b"\0")
        except OSError:  # full: it wakes anyway; or closed: too late
            pass

    def _take(self) -> None:
        try:
            modes = termios.tcgetattr(STDIN)
            modes[0] &= ~termios.IXON  # Ctrl-S would freeze the picture
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(STDIN, termios.TCSANOW, modes)  # stops a process in the background until it is in the foreground
        except termios.error as error:
            raise TerminalGone from error
        self._taken = True
        self._shown = []
        _write(ENTER)

    def _give_back(self) -> None:
        if not self._taken:
            return
        self._taken = False
        try:
            if select.select([], [STDOUT], [], LEAVE_SECONDS)[1]:
                _write(LEAVE)
            termios.tcsetattr(STDIN, termios.TCSANOW, self._modes)
        except (TerminalGone, termios.error):
            pass

    def size(self) -> os.terminal_size:
        """Returns the size of the terminal; 80 x 24 if it does not know it, as some serial lines do not."""
        try:
            columns, lines = os.get_terminal_size(STDOUT)
        except OSError as error:
            raise TerminalGone from error
        return os.terminal_size((columns or 80, lines or 24))

    def wait(self, seconds: float) -> list[str]:
        """Waits for keys, a signal or `wake`, at most for the time. Returns the keys. Raises TerminalGone."""
        if self._keys.pending:
            seconds = min(seconds, ESCAPE_SECONDS)
        ready = select.select([STDIN, self._woken], [], [], max(0.0, seconds))[0]
        if self._woken in ready:
            os.read(self._woken, 4096)
        self._obey_signals()
        if STDIN in ready:
            return self._read()
        return self._keys.flush() if not ready else []

    def _read(self) -> list[str]:
        try:
            data = os.read(STDIN, 4096)
        except OSError as error:
            raise TerminalGone from error
        if not data:
            raise TerminalGone
        return self._keys.feed(data)

    def _obey_signals(self) -> None:
        signals, self._signals = self._signals, set()
        if signal.SIGTSTP in signals:
            self._give_back()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process continues
            signal.signal(signal.SIGTSTP, self._note)
            self._signals.discard(signal.SIGCONT)  # of that
        if signals & {signal.SIGTSTP, signal.SIGCONT}:
            self._take()  # after SIGSTOP as well, as the shell has changed the modes
        if signals:
            self._shown = []

    def show(self, lines: list[Line]) -> None:
        """Draws the lines that differ from those on the screen."""
        painted = [self._paint(line) for line in lines]
        old = self._shown if len(self._shown) == len(painted) else [None] * len(painted)
        out = "" if self._shown else "\x1b[2J"
        for place, (line, before) in enumerate(zip(painted, old, strict=True), 1):
            if line != before:
                out += f"\x1b[{place};1H\x1b[2K{line}"
        self._shown = painted
        _write(out.encode("utf-8", "backslashreplace"))

    def _paint(self, line: Line) -> str:
        return "".join(self._painted(text, self._styles[style]) for text, style in line if text)

    @staticmethod
    def _painted(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _write(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(STDOUT, data) :]
    except OSError as error:
        raise TerminalGone from error
