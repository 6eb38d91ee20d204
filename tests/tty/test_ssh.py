"""At a terminal: an ssh session through the tunnel, connect as a netcat, Ctrl-C, and the processes left when ssh exits."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.peers.openssh import HOST, Sshd, gives_terminals, sshd
from tests.peers.process import ended_within, wait_until
from tests.peers.program import MODULE, Serve, environment, proxy_command
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo

SECONDS = 20
SOON = 15.0
needs_ssh = pytest.mark.peer("ssh", "sshd", "ssh-keygen")
needs_terminal = pytest.mark.skipif(not gives_terminals(), reason="sshd cannot open a terminal here without root")
PLAIN_SHELL = "PS1='ready> ' exec sh -i"


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as running:
        yield running


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with Serve() as running:
        yield running


@contextmanager
def at_terminal(command: list[str]) -> Iterator["pexpect.spawn[str]"]:
    """Runs a program on a terminal of its own, and ends it at the end of the body."""
    program, *words = command
    session = pexpect.spawn(program, words, timeout=SECONDS, env=environment(), encoding="utf-8", dimensions=(24, 200))
    session.delaybeforesend = None
    try:
        yield session
    finally:
        session.close(force=True)


@contextmanager
def ssh_session(server: Sshd, serve: Serve, *options: str, flags: str = "") -> Iterator["pexpect.spawn[str]"]:
    """Starts an interactive ssh session. The body starts at its prompt."""
    settings = [f"ProxyCommand {proxy_command(serve.url, options=flags)}", "LogLevel INFO", *options]
    with at_terminal([*server.client("ssh", *settings), "-tt", HOST, PLAIN_SHELL]) as session:
        session.expect_exact("ready> ")
        yield session


def descendants(pid: int) -> list[int]:
    """Returns the processes below `pid`, from the kernel's list of children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def tunnels_below(pid: int) -> list[int]:
    return [child for child in descendants(pid) if b"tunnelctl" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_status(session: "pexpect.spawn[str]") -> int:
    """Returns the status as a shell shows it: 128 plus the signal number if a signal ended it."""
    session.expect(pexpect.EOF)
    session.wait()
    return session.exitstatus if session.signalstatus is None else 128 + session.signalstatus


# --- ssh


@needs_ssh
@needs_terminal
@pytest.mark.parametrize("fdpass", [False, True], ids=["relayed", "passed"])
def test_an_interactive_ssh_session(server: Sshd, serve: Serve, fdpass: bool) -> None:
    options, flags = (["ProxyUseFdpass yes"], "--fdpass") if fdpass else ([], "")
    with ssh_session(server, serve, *options, flags=flags) as session:
        session.sendline("echo $((6 * 7)) $SSH_TTY")
        session.expect(r"42 /dev/\S+")
        session.sendline("exit 5")
        assert wait_status(session) == 5


@needs_ssh
@needs_terminal
def test_control_c_in_the_session_goes_to_the_remote_side(server: Sshd, serve: Serve) -> None:
    with ssh_session(server, serve) as session:
        session.sendline("cat")
        session.sendline("typed")
        session.expect(r"typed\r\ntyped")
        session.sendcontrol("c")
        session.expect_exact("ready> ")
        session.sendline("exit")
        session.expect(pexpect.EOF)


@needs_ssh
@needs_terminal
def test_closing_ssh_leaves_no_process_and_no_message(server: Sshd, serve: Serve) -> None:
    with ssh_session(server, serve) as session:
        tunnels = tunnels_below(session.pid)
        assert len(tunnels) == 1
        session.sendline("exit")
        session.expect(pexpect.EOF)
        assert "tunnelctl" not in session.before
        assert "Traceback" not in session.before
        assert ended_within(tunnels[0], SOON)


@needs_ssh
@needs_terminal
def test_killing_ssh_leaves_no_process(server: Sshd, serve: Serve) -> None:
    """tunnelctl notices it only by the end of its stdin."""
    with ssh_session(server, serve) as session:
        tunnels = tunnels_below(session.pid)
        assert len(tunnels) == 1
        os.kill(session.pid, signal.SIGKILL)
        assert ended_within(tunnels[0], SOON)


@needs_ssh
@needs_terminal
def test_no_process_remains_during_the_session_after_fd_passing(server: Sshd, serve: Serve) -> None:
    with ssh_session(server, serve, "ProxyUseFdpass yes", flags="--fdpass") as session:
        assert tunnels_below(session.pid) == []
        session.sendline("exit")
        session.expect(pexpect.EOF)


@needs_ssh
@needs_terminal
def test_the_escape_that_ends_ssh_at_once(server: Sshd, serve: Serve) -> None:
    """With `~.` ssh exits without notifying the remote side: SIGHUP and closed pipes together."""
    with ssh_session(server, serve) as session:
        tunnels = tunnels_below(session.pid)
        session.send("\r~.")
        session.expect(pexpect.EOF)
        assert "tunnelctl" not in session.before
        assert ended_within(tunnels[0], SOON)


@needs_ssh
def test_control_c_while_ssh_still_waits_for_the_proxy(server: Sshd) -> None:
    """Before the terminal is in raw mode, Ctrl-C goes to ssh and tunnelctl alike."""
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as silent:
        settings = f"ProxyCommand {proxy_command(silent.url)}"
        with at_terminal([*server.client("ssh", settings), "-tt", HOST, "true"]) as session:
            wait_until(lambda: bool(silent.conversations), SOON, "a connection to the proxy")
            tunnels = tunnels_below(session.pid)
            session.sendcontrol("c")
            session.expect(pexpect.EOF)
            assert "Traceback" not in session.before
            assert all(ended_within(tunnel, SOON) for tunnel in tunnels)


# --- connect itself at a terminal


def talkative(peer: Conversation) -> None:
    peer.accept_tunnel(ESTABLISHED + b"welcome\n")
    echo(peer)


@contextmanager
def connect_at_terminal(proxy: ScriptedServer) -> Iterator["pexpect.spawn[str]"]:
    with at_terminal([*MODULE, "connect", "-x", proxy.url, "target.test", "7"]) as session:
        yield session


def test_connect_is_usable_as_a_netcat() -> None:
    with ScriptedServer(talkative) as proxy, connect_at_terminal(proxy) as session:
        session.expect_exact("welcome\r\n")
        session.setecho(False)
        session.waitnoecho()
        session.sendline("a typed line")
        session.expect_exact("a typed line\r\n")
        session.sendeof()
        assert wait_status(session) == 0
        assert session.before == ""


def test_control_d_passes_on_eof_and_the_response_is_still_shown() -> None:
    def answer_at_the_end(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"welcome\n")
        peer.send(b"you said %d bytes\n" % len(peer.read_to_end()))

    with ScriptedServer(answer_at_the_end) as proxy, connect_at_terminal(proxy) as session:
        session.expect_exact("welcome\r\n")
        session.sendline("12345")
        session.sendeof()
        session.expect_exact("you said 6 bytes")
        assert wait_status(session) == 0


def test_control_c_ends_a_tunnel_at_once() -> None:
    with ScriptedServer(talkative) as proxy, connect_at_terminal(proxy) as session:
        session.expect_exact("welcome\r\n")
        session.sendcontrol("c")
        assert wait_status(session) == 130
        assert session.before.replace("^C", "").strip() == ""


def test_control_c_ends_the_wait_for_a_response_at_once() -> None:
    with ScriptedServer(lambda peer: peer.wait_gone() and None) as proxy, connect_at_terminal(proxy) as session:
        wait_until(lambda: bool(proxy.conversations), SOON, "a connection to the proxy")
        session.sendcontrol("c")
        assert wait_status(session) == 130
        assert session.before.replace("^C", "").strip() == ""


def test_control_c_in_a_shell_script_is_status_130() -> None:
    """The value of `$?` afterwards, which a script reads."""
    with ScriptedServer(talkative) as proxy:
        script = "trap : INT; " + " ".join([*MODULE, "connect", "-x", proxy.url, "target.test", "7"]) + "; echo status=$?"
        with at_terminal(["/bin/sh", "-c", script]) as session:
            session.expect_exact("welcome\r\n")
            session.sendcontrol("c")
            session.expect_exact("status=130")
            session.expect(pexpect.EOF)


def test_hanging_up_the_terminal_leaves_no_process() -> None:
    with ScriptedServer(talkative) as proxy, connect_at_terminal(proxy) as session:
        session.expect_exact("welcome\r\n")
        session.ptyproc.fileobj.close()
        assert ended_within(session.pid, SOON)
