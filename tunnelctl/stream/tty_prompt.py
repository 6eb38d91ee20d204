"""Password prompts on the terminal device itself, since stdin and stdout may be the tunnel."""

import os
import signal
import termios
from types import TracebackType
from typing import Any

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import CancelScope, Nursery, run, sleep
from tunnelctl.engine.wakeup import SignalReceiver, open_signal_receiver
from tunnelctl.errors import UsageProblem, reason

DEVICE = "/dev/tty"
MAX_LINE = 4096  # bytes: the longest line in the kernel's line mode (N_TTY)

# Signals that end or stop a program at a prompt. They take effect only after the terminal's echo is restored.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
GRACE = 5.0  # seconds for the handler of such a signal to cancel the prompt


async def ask(who: str, prompt: str) -> str:
    """Reads a line typed without echo. Raises UsageProblem, which names `who` asked, if there is no terminal or no line."""
    while True:
        answer = await _ask_once(who, prompt)
        if isinstance(answer, bytes):
            return _decode(who, answer)
        os.kill(os.getpid(), answer)  # with the previous handler, or none
        if answer != signal.SIGTSTP:  # after SIGTSTP, the user has come back
            await sleep(GRACE)
            raise UsageProblem(who, "no password was given on the terminal", "no-password-typed")


def ask_now(who: str, prompt: str) -> str:
    """Like `ask`, for a caller outside the event loop."""
    return run(ask, who, prompt)


async def _ask_once(who: str, prompt: str) -> bytes | int:
    """Returns the line, or the number of the signal that arrived instead."""
    answers: list[bytes | int] = []
    with open_signal_receiver(*SIGNALS) as signals, _Terminal(who) as terminal:
        async with Nursery() as nursery:
            nursery.start_soon(_listen, signals, answers, nursery.cancel_scope)
            answers.append(await terminal.ask(prompt))
            nursery.cancel_scope.cancel()
    return answers[0]


async def _listen(signals: SignalReceiver, answers: list[bytes | int], scope: CancelScope) -> None:
    async for number in signals:
        answers.append(number)
        scope.cancel()


def _decode(who: str, line: bytes) -> str:
    if not line.endswith(b"\n"):  # Ctrl-D, or the terminal has gone; half a password is none
        raise UsageProblem(who, "no password was given on the terminal", "no-password-typed")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError:
        raise UsageProblem(who, "the password is not UTF-8", "password-not-utf8") from None


class _Terminal:
    """The terminal, opened anew, and without echo until the block ends."""

    def __init__(self, who: str) -> None:
        self._who = who

    def __enter__(self) -> "_Terminal":
        try:
            # An open file of our own: its O_NONBLOCK affects nobody else.
            self._fd = os.open(DEVICE, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise UsageProblem(self._who, f"there is no terminal to ask on ({reason(error)})", "no-terminal") from error
        try:
            self._saved = termios.tcgetattr(self._fd)
            # FLUSH: discards what was typed before the prompt.
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, _silent(self._saved))
        except termios.error as error:
            os.close(self._fd)
            raise UsageProblem(self._who, "the terminal does not hide what is typed", "terminal-echo") from error
        self._descriptor = Descriptor(self._fd)
        self._descriptor.readable = False
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._descriptor.forget()
        try:
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._saved)
            self._write("\n")  # in place of the one that was typed
        except termios.error:  # the terminal has gone
            pass
        os.close(self._fd)

    async def ask(self, prompt: str) -> bytes:
        """Returns the line with its newline; without one if the terminal ended first."""
        self._write(prompt)
        line = b""
        while not line.endswith(b"\n"):
            await self._descriptor.wait_readable()
            try:
                piece = os.read(self._fd, MAX_LINE)
            except BlockingIOError:
                self._descriptor.readable = False
                continue
            except OSError:  # hung up
                break
            if not piece:
                break
            line += piece
        return line

    def _write(self, text: str) -> None:
        """Writes without waiting: a terminal that is stopped with Ctrl-S, or gone, shows no prompt."""
        try:
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


def _silent(attributes: Any) -> Any:
    """Returns attributes with line mode, keyboard signals and no echo, even if a full-screen program left the terminal raw."""
    changed = list(attributes)
    changed[0] |= termios.ICRNL
    changed[3] = changed[3] & ~termios.ECHO | termios.ICANON | termios.ISIG
    return changed
