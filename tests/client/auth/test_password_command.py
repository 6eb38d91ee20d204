"""Tests the shell command that prints a password: its environment, its output, and its failures."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.client.harness import CANARY
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.auth import password_command
from tunnelctl.client.auth.password_command import MAX_OUTPUT, first_line
from tunnelctl.engine.kernel import Nursery, move_on_after, run
from tunnelctl.errors import SettingsError


def line(command: str) -> bytes:
    return run(first_line, command, 100)


def failure(command: str) -> str:
    with pytest.raises(SettingsError) as caught:
        line(command)
    error = caught.value
    assert error.what == "password command"
    assert CANARY not in f"{error!r} {error} {hint_of(error)} {error.detail} {error.__cause__} {error.__context__}"
    return error.cause


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("echo secret", b"secret"),
        ("printf secret", b"secret"),
        ("printf 'two words \\nmore\\n'", b"two words "),
        ("printf 'a\\r\\n'", b"a\r"),
        ("true", b""),
        ("echo first; echo second", b"first"),
        ("printf %0200d 0", b"0" * 100),
        (f"head -c {MAX_OUTPUT} /dev/zero | tr '\\0' x", b"x" * 100),
        ("printf se; printf cret", b"secret"),
    ],
)
def test_the_first_line_of_output_is_the_password(command: str, printed: bytes) -> None:
    assert line(command) == printed


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (f"echo {CANARY}; exit 3", "exited with status 3"),
        (f"echo {CANARY}; kill -TERM $$", "killed by signal 15"),
        ("exec /nonexistent 2>/dev/null", "exited with status 127"),
        ("yes", f"printed more than {MAX_OUTPUT} bytes"),
    ],
)
def test_a_failing_command_is_reported_without_its_output(command: str, cause: str) -> None:
    assert failure(command) == cause


def test_a_missing_shell_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", none)
    assert failure("true") == "no such file or directory"


def test_the_command_inherits_no_descriptors(tmp_path: Path) -> None:
    """stdin is empty, stdout is our pipe, and no other descriptor is passed on."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        names = line(f"ls /proc/self/fd > {tmp_path}/open; readlink /proc/self/fd/0; cat")
        assert names == b"/dev/null"
        assert set((tmp_path / "open").read_text().split()) <= {"0", "1", "2", "3"}, "3 is what ls reads"
    finally:
        os.close(reader)
        os.close(writer)


def test_the_commands_stderr_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert line("echo unlock the ring >&2; echo secret") == b"secret"
    assert capfd.readouterr() == ("", "unlock the ring\n")


def test_background_processes_of_the_command_are_not_waited_for(tmp_path: Path) -> None:
    """As pass(1) leaves a gpg-agent that holds our pipe open. This one lives until the test releases it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert line(f"(read word < {fifo}) & echo secret") == b"secret"
    fifo.write_text("go\n")


def test_a_command_that_exceeds_the_time_limit_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(password_command, "SECONDS", 2.0)
    assert failure(f"echo $$ > {tmp_path}/pid; echo {CANARY}; exec sleep 60") == "still running after 2 s"
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()


def test_cancelling_the_caller_ends_the_command(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)

    async def leave() -> None:
        with move_on_after(20) as scope:
            async with Nursery() as nursery:
                nursery.start_soon(first_line, f"echo $$ > {fifo}; exec sleep 60", 100)
                from tunnelctl.engine.wakeup import to_thread

                pids.append(int(await to_thread(os.read, held, 100)))
                scope.cancel()

    pids: list[int] = []
    try:
        run(leave)
    finally:
        os.close(held)
    assert not Path(f"/proc/{pids[0]}").exists()
