"""`--password-command`: a shell command that prints the password, as pass(1) and keyring tools do."""

import os
import subprocess

from tunnelctl.engine.descriptor import Descriptor
from tunnelctl.engine.kernel import Nursery, TooSlowError, fail_after
from tunnelctl.errors import SettingsError, reason
from tunnelctl.stream.process import wait_ended

SECONDS = 60.0  # a person may have to unlock a keyring
MAX_OUTPUT = 1 << 16  # bytes; more is no password, and would fill the memory
WHAT = "password command"


async def first_line(command: str, limit: int) -> bytes:
    """Returns the first line that the command prints, cut to `limit` bytes. Raises SettingsError, which never quotes the output."""
    child = _start(command)
    assert child.stdout is not None
    output = bytearray()
    try:
        with fail_after(SECONDS):
            await _collect(child, child.stdout.fileno(), output)
    except TooSlowError as error:
        raise SettingsError(WHAT, f"still running after {SECONDS:g} s", "command-late") from error
    finally:
        # Not a process group of its own: a command that prompts on the terminal must stay in the group that may read from it.
        child.kill()
        status = child.wait()
        child.stdout.close()
    if len(output) > MAX_OUTPUT:
        raise SettingsError(WHAT, f"printed more than {MAX_OUTPUT} bytes", "command-output")
    if status:
        raise SettingsError(WHAT, f"exited with status {status}" if status > 0 else f"killed by signal {-status}", "command-failed")
    return bytes(output).partition(b"\n")[0][:limit]


def _start(command: str) -> "subprocess.Popen[bytes]":
    """Starts the command with our stderr, for its prompts and errors, but without our stdin and stdout, which may be the tunnel."""
    try:
        words = ["/bin/sh", "-c", command]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        raise SettingsError(WHAT, reason(error), "command-not-run") from error


async def _collect(child: "subprocess.Popen[bytes]", fd: int, output: bytearray) -> None:
    """Collects the output until the command ends. A background process that it leaves may hold the pipe open for longer."""
    os.set_blocking(fd, False)  # the reading end is ours alone
    pipe = Descriptor(fd)
    try:
        async with Nursery() as nursery:
            nursery.start_soon(_read, pipe, output, child)
            await wait_ended(child.pid)
            nursery.cancel_scope.cancel()
        _read_available(fd, output)
    finally:
        pipe.forget()


async def _read(pipe: Descriptor, output: bytearray, child: "subprocess.Popen[bytes]") -> None:
    while True:
        pipe.readable = False
        await pipe.wait_readable()
        if not _read_available(pipe.fd, output):
            return
        if len(output) > MAX_OUTPUT:
            child.kill()
            return


def _read_available(fd: int, output: bytearray) -> bool:
    """Reads what is there. True if more may come."""
    while len(output) <= MAX_OUTPUT:
        try:
            piece = os.read(fd, MAX_OUTPUT)
        except BlockingIOError:
            return True
        if not piece:
            return False
        output += piece
    return True
