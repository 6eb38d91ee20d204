"""Properties of `connect` with pipes, files and signals on which its callers rely, such as ssh or a shell."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.peers.program import MODULE, SOON, environment, read_soon, started
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, sample

TARGET = "target.test 22"
BANNER = b"SSH-2.0-Banner_1.0\r\n"
MIB = 1 << 20


def greet(peer: Conversation) -> None:
    """A proxy that sends a banner in the tunnel and waits for the client to leave."""
    peer.accept_tunnel(ESTABLISHED + BANNER)
    peer.wait_gone()


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGHUP, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_ends_connect_at_once_and_silently(sent: signal.Signals, status: int) -> None:
    with ScriptedServer(greet) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, len(BANNER)) == BANNER
        process.send_signal(sent)
        assert process.wait(SOON) == status
        assert process.stderr.read() == b""


def test_regular_files_as_stdin_and_stdout(tmp_path: Path) -> None:
    """epoll refuses regular files."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(sample(3 * MIB))

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        echo(peer)

    with ScriptedServer(script) as proxy, source.open("rb") as stdin, copy.open("wb") as stdout:
        command = [*MODULE, "connect", "-x", proxy.url, *TARGET.split()]
        done = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment(), timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert copy.read_bytes() == source.read_bytes()


def test_standard_descriptors_keep_their_flags() -> None:
    """O_NONBLOCK lives in the open file description, which the shell and its other children share."""
    with ScriptedServer(greet) as proxy, started("connect", "-x", proxy.url, *TARGET.split()) as process:
        assert read_soon(process.stdout, len(BANNER)) == BANNER
        assert os.get_blocking(process.stdin.fileno())
        assert [flags_of(process.pid, number) & os.O_NONBLOCK for number in (0, 1, 2)] == [0, 0, 0]
        process.stdin.close()
        assert process.wait(SOON) == 0


def flags_of(pid: int, number: int) -> int:
    lines = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
    return next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
