"""The password prompt on a terminal, inside this process. tests/tty/test_ask_password.py covers what a user sees."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from tunnelctl.engine.kernel import Nursery, move_on_after, run
from tunnelctl.errors import UsageProblem
from tunnelctl.stream import tty_prompt as terminal
from tunnelctl.stream.tty_prompt import ask, ask_now


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Opens the far end of the terminal that prompts: bytes written here are typed there."""
    far, near = pty.openpty()
    monkeypatch.setattr(terminal, "DEVICE", os.ttyname(near))
    yield far
    os.close(far)
    os.close(near)


def echoes(far: int) -> bool:
    return bool(termios.tcgetattr(far)[3] & termios.ECHO)


async def typed(far: int, text: bytes) -> str:
    """Types `text` once the prompt is shown. Returns the answer."""
    answers: list[str] = []

    async def answer() -> None:
        answers.append(await ask("test", "word: "))

    async with Nursery() as nursery:
        nursery.start_soon(answer)
        from tunnelctl.engine.wakeup import to_thread

        shown = b""
        while not shown.endswith(b"word: "):
            shown += await to_thread(os.read, far, 100)
        assert not echoes(far)
        os.write(far, text)
    assert echoes(far)
    return answers[0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [(b"secret\n", "secret"), (b"  a b \r", "  a b "), ("ключ\n".encode(), "ключ"), (b"\n", ""), (b"ab\x7fc\n", "ac")],
)
def test_a_typed_line_is_returned_without_its_newline(keys: int, text: bytes, answer: str) -> None:
    assert run(typed, keys, text) == answer


@pytest.mark.parametrize(
    ("text", "cause"), [(b"\x04", "no password was given on the terminal"), (b"\xff\n", "the password is not UTF-8")]
)
def test_end_of_input_or_invalid_utf_8_is_an_error(keys: int, text: bytes, cause: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        run(typed, keys, text)
    assert str(caught.value) == f"test: {cause}"
    assert echoes(keys)


def test_a_raw_terminal_serves_as_well_and_is_raw_again_afterwards(keys: int) -> None:
    near = os.open(terminal.DEVICE, os.O_RDWR | os.O_NOCTTY)
    raw = termios.tcgetattr(near)
    raw[0] &= ~termios.ICRNL
    raw[3] &= ~(termios.ICANON | termios.ISIG)
    termios.tcsetattr(near, termios.TCSANOW, raw)
    assert run(typed, keys, b"secret\r") == "secret"
    assert termios.tcgetattr(near)[3] == raw[3]
    os.close(near)


def test_a_cancelled_prompt_restores_the_echo(keys: int) -> None:
    async def leave() -> bool:
        with move_on_after(0) as scope:
            await ask("test", "word: ")
        return scope.cancelled_caught

    assert run(leave)
    assert echoes(keys)


def test_a_prompt_without_a_terminal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "DEVICE", "/nonexistent")
    with pytest.raises(UsageProblem, match="test: there is no terminal to ask on"):
        ask_now("test", "word: ")


def test_a_device_that_cannot_hide_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "DEVICE", "/dev/null")
    with pytest.raises(UsageProblem, match="does not hide what is typed"):
        ask_now("test", "word: ")
