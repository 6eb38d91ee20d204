"""`--ask-password` in use: it prompts on the terminal, whatever stdin and stdout are, and restores the echo afterwards."""

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


COMMAND_LINES: list[bytes] = []  # of every process while the tunnel was open


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
    """Runs a shell script on a terminal of its own. The body starts when the prompt is shown."""
    child = pexpect.spawn("/bin/sh", ["-c", script], env=environment(), timeout=20, encoding="utf-8", dimensions=(24, 200))
    child.delaybeforesend = None
    try:
        child.expect_exact(PROMPT.format(proxy.authority))
        yield child
    finally:
        child.close(force=True)


def echoes(settings: str) -> bool:
    return re.search(r"(?<!\S)echo\b", settings) is not None


def test_the_prompt_leaves_stdin_and_stdout_to_the_tunnel(proxy: ScriptedServer, tmp_path: Path) -> None:
    """The prompt is not part of the output, and the typed password is nowhere but in the request."""
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


def test_the_prompt_works_in_a_proxycommand_of_ssh(proxy: ScriptedServer) -> None:
    """ssh runs a ProxyCommand with two pipes, by way of the shell and exec."""
    with asked(proxy, f"sh -c {shlex.quote('exec ' + line(proxy))} < /dev/null | cat; echo the end") as child:
        child.sendline(SECRET)
        child.expect_exact("the end")
        assert "hello from the target" in child.before
    assert FIELD in proxy.heads[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_signal_restores_the_echo(proxy: ScriptedServer, tmp_path: Path, number: signal.Signals) -> None:
    script = f"trap : INT; sh -c 'echo $$ > {tmp_path}/pid; exec {line(proxy)}'; echo status $?; stty -a; echo the end"
    with asked(proxy, script) as child:
        assert subprocess.run(["kill", f"-{number:d}", (tmp_path / "pid").read_text().strip()], timeout=10).returncode == 0
        child.expect_exact(f"status {0 if number == signal.SIGHUP else 128 + number}")  # ssh ends a ProxyCommand with SIGHUP
        assert "Traceback" not in child.before
        assert "tunnelctl:" not in child.before
        child.expect_exact("the end")
        assert echoes(child.before)
    assert proxy.heads == []


def test_control_c_ends_the_prompt_and_restores_the_echo(proxy: ScriptedServer) -> None:
    with asked(proxy, f"trap : INT; {line(proxy)}; echo status $?; stty -a; echo the end") as child:
        child.sendintr()
        child.expect_exact("status 130")
        assert "tunnelctl:" not in child.before
        child.expect_exact("the end")
        assert echoes(child.before)


def test_the_prompt_is_repeated_after_stop_and_resume(proxy: ScriptedServer) -> None:
    """While the program is stopped, the shell has the terminal as it was before."""
    with asked(proxy, f"set -m; {line(proxy)}; stty -a; echo stopped; fg; echo status $?") as child:
        child.send("\x1a")
        child.expect_exact("stopped")
        assert echoes(child.before)
        child.expect_exact(PROMPT.format(proxy.authority))
        child.sendline(SECRET)
        child.expect_exact("status 0")
    assert FIELD in proxy.heads[0]


@pytest.mark.parametrize("keys", ["\x04", "half\x04\x04"])
def test_end_of_input_is_an_error(proxy: ScriptedServer, keys: str) -> None:
    with asked(proxy, f"{line(proxy)}; echo status $?; stty -a; echo the end") as child:
        child.send(keys)
        child.expect_exact("status 2")
        assert f"tunnelctl: password for proxy {proxy.authority}: no password was given on the terminal" in child.before
        child.expect_exact("the end")
        assert echoes(child.before)
    assert proxy.heads == []


def test_an_empty_password_is_an_error(proxy: ScriptedServer) -> None:
    with asked(proxy, f"{line(proxy)}; echo status $?") as child:
        child.sendline("")
        child.expect_exact("status 2")
        assert f"tunnelctl: password for proxy {proxy.authority}: the password is empty" in child.before


def test_input_typed_before_the_prompt_is_discarded(proxy: ScriptedServer, tmp_path: Path) -> None:
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


def test_the_prompt_without_a_terminal_is_an_error_with_a_hint(proxy: ScriptedServer) -> None:
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
    assert hint == "hint: --proxy-password-file FILE and --password-command COMMAND need no terminal"
    assert proxy.heads == []


def test_a_waiting_prompt_uses_no_processor_time(proxy: ScriptedServer, tmp_path: Path) -> None:
    """It sleeps until a key is pressed, and does not poll in a loop."""
    with asked(proxy, f"echo $$ > {tmp_path}/pid; exec {line(proxy)}"):
        status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "S", 10)
