"""`forward --background`."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.peers.instances import PATIENT
from tests.peers.program import MODULE, SOON, Serve, environment, run
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Client, users_file
from tunnelctl.control.instances import named
from tunnelctl.status import ExitStatus


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    """Stops what the test has left."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        env = {"XDG_RUNTIME_DIR": directory}
        yield env
        for one in Path(directory).glob("tunnelctl/*.sock"):
            run("stop", one.stem, env=env)


def session_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])


def test_it_returns_when_the_ports_accept(env: dict[str, str]) -> None:
    with ScriptedServer(echo) as target:
        done = run("forward", "--background", "--name", "bg", "-x", "direct", "-L", f"0:{target.authority}", env=env)
        assert done.returncode == 0
        assert done.stdout == b""
        port = int(done.stderr.split()[2].rpartition(b":")[2])
        with Client(("127.0.0.1", port)) as client:
            assert client.echoes()
        (found,) = named(["bg"], env)
        pid = found.pid()
        assert session_of(pid) == pid, "it must not end with the terminal"
        assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
        assert run("stop", "bg", env=env).returncode == 0


def test_it_fails_with_the_error_that_it_would_have_shown(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = f"{taken.getsockname()[1]}:h:1"
        shown, hidden = (run("forward", *flags, "-x", "direct", "-L", spec, env=env) for flags in ([], ["--background"]))
    assert hidden.returncode == shown.returncode == ExitStatus.CANNOT_LISTEN
    assert hidden.stderr == shown.stderr != b""


def test_a_second_one_of_the_same_name_says_what_runs(env: dict[str, str]) -> None:
    flags = ("forward", "--background", "--name", "bg", "-x", "direct")
    assert run(*flags, env=env).returncode == 0
    (found,) = named(["bg"], env)
    done = run(*flags, env=env, program=PATIENT)
    assert done.returncode == ExitStatus.CANNOT_LISTEN
    assert done.stderr.decode() == (
        f"tunnelctl: --name bg: forward (process {found.pid()}) has this name\n"
        "hint: choose another --name, or end it: tunnelctl stop bg\n"
    )


def test_a_password_is_asked_for_first(env: dict[str, str], tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Serve("--users", users_file(tmp_path, me="secret")) as proxy:
        flags = ["-x", f"http://me@127.0.0.1:{proxy.port}", "--ask-password", "-L", f"0:{target.authority}"]
        command = [*MODULE, "forward", "--background", "--name", "bg", *flags]
        child = pexpect.spawn(command[0], command[1:], env=environment(env), timeout=SOON)
        child.expect("assword")
        child.sendline("secret")
        child.expect(r"listening on 127.0.0.1:(\d+)")
        port = int(child.match[1])
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        with Client(("127.0.0.1", port)) as client:
            assert client.echoes()
