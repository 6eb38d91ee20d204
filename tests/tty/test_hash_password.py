"""`hash-password` in use: it prompts twice on the terminal, without echo."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pexpect
import pytest

from tests.peers.program import environment

SECRET = "swordfish"


@pytest.fixture
def asked() -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        sys.executable, ["-m", "tunnelctl", "hash-password", "alice"], env=environment(), timeout=20, encoding="utf-8"
    )
    child.expect_exact("password for alice: ")
    yield child
    child.close(force=True)


def answer(child: pexpect.spawn, first: str, second: str) -> str:
    """Types both passwords. Returns all output after them."""
    child.sendline(first)
    child.expect_exact("once more: ")
    child.sendline(second)
    child.expect(pexpect.EOF)
    child.close()
    return child.before


def test_the_same_password_twice_prints_a_line_without_the_password(asked):
    shown = answer(asked, SECRET, SECRET)
    assert asked.exitstatus == 0
    assert "alice:scrypt:" in shown
    assert SECRET not in shown


def test_two_passwords_that_differ_are_refused(asked):
    shown = answer(asked, SECRET, "other")
    assert asked.exitstatus == 2
    assert "tunnelctl: hash-password: the two passwords differ" in shown


def test_end_of_input_is_an_error(asked):
    asked.sendeof()
    asked.expect(pexpect.EOF)
    asked.close()
    assert asked.exitstatus == 2
    assert "no password was given" in asked.before


def test_a_terminal_that_is_not_its_own_is_an_error_with_a_hint():
    """The flags of a proxy login are not for hash-password; it reads a pipe, though."""
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "tunnelctl", "hash-password", "alice"]
    try:
        done = subprocess.run(
            words, stdin=theirs, capture_output=True, env=environment(), timeout=20, start_new_session=True, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout) == (2, b"")
    first, hint = done.stderr.decode().splitlines()
    assert first.startswith("tunnelctl: hash-password: there is no terminal to ask on (")
    assert hint == "hint: hash-password reads the password from stdin if that is not a terminal"


def test_control_c_ends_the_prompt_without_a_traceback(asked):
    asked.sendintr()
    asked.expect(pexpect.EOF)
    asked.close()
    assert asked.signalstatus == 2
    assert "Traceback" not in asked.before
