"""`--ask-password` as a person meets it: on the terminal, whatever stdin and stdout are, and with the echo back afterwards."""

import base64
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.peers.process import wait_until
from tests.peers.program import MODULE, environment
from tests.peers.scripted import Conversation, ScriptedServer

SECRET = "swordfish-7f3a"
FIELD = base64.b64encode(f"alice:{SECRET}".encode())
PROMPT = "password for alice at proxy {}: "


COMMAND_LINES: list[bytes] = []  # of every process while the tunnel stood


def tunnel(peer: Conversation) -> None:
    peer.accept_tunnel()
    COMMAND_LINES[:] = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    peer.send(b"hello from the target\n")
    peer.end_output()
    peer.read_to_end()


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    with ScriptedServer(tunnel) as server:
        yield server


def line(proxy: ScriptedServer, *more: str) -> str:
    login = ["--auth", "basic", "--proxy-user", "alice", "--ask-password"]
    words = ["connect", "-x", f"http://{proxy.authority}", *login, *more, "target.test", "22"]
    return shlex.join([*MODULE, *words])


@contextmanager
def asked(proxy: ScriptedServer, script: str) -> "Iterator[pexpect.spawn[str]]":
    """A shell script on a terminal of its own, once the prompt stands there."""
    child = pexpect.spawn("/bin/sh", ["-c", script], env=environment(), timeout=20, encoding="utf-8", dimensions=(24, 200))
    child.delaybeforesend = None
    try:
        child.expect_exact(PROMPT.format(proxy.authority))
        yield child
    finally:
        child.close(force=True)


def echoes(settings: str) -> bool:
    return re.search(r"(?<!\S)echo\b", settings) is not None


def test_stdin_and_stdout_are_the_tunnel_all_the_while(proxy: ScriptedServer, tmp_path: Path) -> None:
    """The prompt is no byte of it; and what a person types is nowhere but in the request."""
    script = f"echo from stdin | {line(proxy, '-vv')} > {tmp_path}/out; echo status $?; stty -a"
    with asked(proxy, script) as child:
        child.sendline(SECRET)
        child.expect_exact("status 0")
        shown = child.before
        child.expect(pexpect.EOF)
        assert echoes(child.before)
    assert (tmp_path / "out").read_text() == "hello from the target\n"
    assert FIELD in proxy.heads[0]
    for form in (SECRET, FIELD.decode()):
        assert form not in shown
        assert not any(form.encode() in words for words in COMMAND_LINES)
    assert any(b"--ask-password" in words for words in COMMAND_LINES)
    assert "Proxy-Authorization: Basic ***" in shown


def test_below_ssh_there_is_a_terminal_as_well(proxy: ScriptedServer) -> None:
    """ssh runs a ProxyCommand with two pipes, by way of the shell and exec."""
    with asked(proxy, f"sh -c {shlex.quote('exec ' + line(proxy))} < /dev/null | cat; echo the end") as child:
        child.sendline(SECRET)
        child.expect_exact("the end")
        assert "hello from the target" in child.before
    assert FIELD in proxy.heads[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_echo_is_back_after_every_signal(proxy: ScriptedServer, tmp_path: Path, number: signal.Signals) -> None:
    script = f"trap : INT; sh -c 'echo $$ > {tmp_path}/pid; exec {line(proxy)}'; echo status $?; stty -a; echo the end"
    with asked(proxy, script) as child:
        assert subprocess.run(["kill", f"-{number:d}", (tmp_path / "pid").read_text().strip()], timeout=10).returncode == 0
        child.expect_exact(f"status {0 if number == signal.SIGHUP else 128 + number}")  # ssh says goodbye with that one
        assert "Traceback" not in child.before
        assert "tunnelctl:" not in child.before
        child.expect_exact("the end")
        assert echoes(child.before)
    assert proxy.heads == []


def test_control_c(proxy: ScriptedServer) -> None:
    with asked(proxy, f"trap : INT; {line(proxy)}; echo status $?; stty -a; echo the end") as child:
        child.sendintr()
        child.expect_exact("status 130")
        assert "tunnelctl:" not in child.before
        child.expect_exact("the end")
        assert echoes(child.before)


def test_stopped_and_resumed_it_asks_again(proxy: ScriptedServer) -> None:
    """With the terminal as it was in between, for the shell that one comes back to."""
    with asked(proxy, f"set -m; {line(proxy)}; stty -a; echo stopped; fg; echo status $?") as child:
        child.send("\x1a")
        child.expect_exact("stopped")
        assert echoes(child.before)
        child.expect_exact(PROMPT.format(proxy.authority))
        child.sendline(SECRET)
        child.expect_exact("status 0")
    assert FIELD in proxy.heads[0]


@pytest.mark.parametrize("keys", ["\x04", "half\x04\x04"])
def test_the_end_of_input_is_no_password(proxy: ScriptedServer, keys: str) -> None:
    with asked(proxy, f"{line(proxy)}; echo status $?; stty -a; echo the end") as child:
        child.send(keys)
        child.expect_exact("status 2")
        assert f"tunnelctl: password for proxy {proxy.authority}: no password was given on the terminal" in child.before
        child.expect_exact("the end")
        assert echoes(child.before)
    assert proxy.heads == []


def test_an_empty_password_is_none(proxy: ScriptedServer) -> None:
    with asked(proxy, f"{line(proxy)}; echo status $?") as child:
        child.sendline("")
        child.expect_exact("status 2")
        assert f"tunnelctl: password for proxy {proxy.authority}: the password is empty" in child.before


def test_what_was_typed_before_the_question_is_no_answer(proxy: ScriptedServer, tmp_path: Path) -> None:
    script = f"stty -echo; echo ready; read go < {tmp_path}/go; stty echo; {line(proxy)}; echo status $?"
    (tmp_path / "go").touch()
    (tmp_path / "go").unlink()
    subprocess.run(["mkfifo", tmp_path / "go"], check=True)
    child = pexpect.spawn("/bin/sh", ["-c", script], env=environment(), timeout=20, encoding="utf-8", dimensions=(24, 200))
    try:
        child.expect_exact("ready")
        child.sendline("typed ahead")
        (tmp_path / "go").write_text("go\n")
        child.expect_exact(PROMPT.format(proxy.authority))
        child.sendline(SECRET)
        child.expect_exact("status 0")
    finally:
        child.close(force=True)
    assert FIELD in proxy.heads[0]


def test_without_a_terminal_it_says_so(proxy: ScriptedServer) -> None:
    done = subprocess.run(
        shlex.split(line(proxy)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=20,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    first, hint = done.stderr.decode().splitlines()
    assert first == f"tunnelctl: password for proxy {proxy.authority}: there is no terminal to ask on (no such device or address)"
    assert hint.startswith("hint: a password file")
    assert proxy.heads == []


def test_a_prompt_that_is_waited_for_costs_nothing(proxy: ScriptedServer, tmp_path: Path) -> None:
    """It sleeps until a key comes: no poll in a loop."""
    with asked(proxy, f"echo $$ > {tmp_path}/pid; exec {line(proxy)}"):
        status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "S", 10)
