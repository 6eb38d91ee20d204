"""A program on a terminal, and the screen of that terminal as pyte emulates it."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

import pexpect
import pyte
from rich.text import Text

from tests.peers.program import MODULE, environment

SECONDS = 20.0
# Octets or characters that are read at once. A busy machine passes on a picture in pieces: so small, a test that takes one for the
# whole fails always, and not once in a thousand runs.
PIECE = 200


class Window:
    """tunnelctl in a window of its own.

    `rows` are the lines on the screen that are not empty; `output` is all that the program has written
    """

    def __init__(
        self, *words: str, columns: int = 80, lines: int = 24, command: Sequence[str] = MODULE, env: Mapping[str, str] | None = None
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        self.output = ""
        terminal = {"TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})}
        self.child = pexpect.spawn(
            command[0], [*command[1:], *words], env=environment(terminal), encoding="utf-8", timeout=SECONDS,
            dimensions=(lines, columns),
        )  # fmt: skip
        self.child.delaybeforesend = None

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *failure: object) -> None:
        self.child.close(force=True)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display if row.strip()]

    def colour(self, text: str) -> str:
        """The colour of the first character of a text on the screen."""
        place, row = next((place, row) for place, row in enumerate(self._screen.display) if text in row)
        return str(self._screen.buffer[place][row.index(text)].fg)

    def text(self) -> Text:
        """What is on the screen, with its colours."""
        text = Text()
        for place, row in enumerate(self._screen.display):
            for column, character in enumerate(row.rstrip()):
                cell = self._screen.buffer[place][column]
                colour = "" if cell.fg == "default" else cell.fg
                text.append(character, f"bold {colour}" if cell.bold else colour)
            text.append("\n")
        text.rstrip()
        return text

    def _read(self) -> bool:
        """Reads what the program has written within a moment; False after its last output."""
        try:
            text = self.child.read_nonblocking(PIECE, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += text
        self._stream.feed(text)
        return True

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Waits until the rows on the screen are as described, and returns them."""
        until = time.monotonic() + SECONDS
        while not condition(self.rows):
            assert self._read() or condition(self.rows), f"the program has ended: {self.rows}"
            assert time.monotonic() < until, f"not on the screen: {self.rows}"
        return self.rows

    def send(self, keys: str) -> None:
        self.child.send(keys)

    def resize(self, columns: int, lines: int) -> None:
        """Resizes the window while the program stands still and its output is on the screen, as on a terminal that keeps up.

        A program moves up by the rows that its lines take, in the size that it knows: pictures of the old size that a busy machine
        passes on after the new one was set would leave pieces that no program can know of.
        """
        self.child.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, self.child.pid, os.WSTOPPED)
        shown = -1
        while shown < len(self.output):
            shown = len(self.output)
            self._read()
        self._screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)
        self.child.kill(signal.SIGCONT)

    def end(self) -> int:
        """Waits for the end of the program, and returns its status as a shell has it."""
        until = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < until, f"the program goes on: {self.rows}"
        self.child.close()
        return self.child.exitstatus if self.child.signalstatus is None else 128 + self.child.signalstatus
