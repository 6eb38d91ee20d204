"""Tests `run` as the real program: the command's environment, signals and exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.peers.program import MODULE, RUN_SECONDS, Serve, environment, run, started
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Client, basic, connect_request

SHOW = "import json, os, sys; json.dump(dict(os.environ), sys.stdout)"


def run_python(code: str, *flags: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return run("run", "-x", "direct", *flags, "--", sys.executable, "-c", code, env=env)


def test_the_command_gets_proxy_and_port_variables_but_no_secrets() -> None:
    secret = {"TUNNELCTL_PROXY_PASSWORD": "S3cret", "TUNNELCTL_PROXY": "direct", "KEPT": "1"}
    done = run_python(SHOW, "-L", "0:h.test:1", "-L", "0:h.test:2", env=secret)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    urls = {found[name] for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
    assert len(urls) == 1
    (url,) = urls
    assert url.startswith("http://tunnelctl:")
    assert url.endswith(f"@127.0.0.1:{found['TUNNELCTL_PORT']}")
    ports = {found[name] for name in ("TUNNELCTL_PORT", "TUNNELCTL_PORT_1", "TUNNELCTL_PORT_2")}
    assert len(ports) == 3
    assert found["KEPT"] == "1"
    assert found["TUNNELCTL_PROXY"] == url
    assert "TUNNELCTL_PROXY_PASSWORD" not in found
    assert url.encode() not in done.stderr


def test_each_run_has_its_own_password() -> None:
    urls = {json.loads(run_python(SHOW).stdout)["http_proxy"].partition("@")[0] for _ in range(2)}
    assert len(urls) == 2
    assert all(len(url.rpartition(":")[2]) == 24 for url in urls)


WAIT = "import os, sys; print(os.environ['http_proxy'], flush=True); sys.stdin.read()"


def test_the_port_accepts_only_the_commands_login() -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with started("run", "-x", proxy.url, "--", sys.executable, "-c", WAIT) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            url = process.stdout.readline().decode().strip()
            login, _, address = url.removeprefix("http://").partition("@")
            port = int(address.rpartition(":")[2])
            refusals = [
                connect_request(target.authority),
                connect_request(target.authority, basic("tunnelctl", "wrong")),
                f"GET http://{target.authority}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            ]
            for request in refusals:
                with Client(("127.0.0.1", port)) as client:
                    client.send(request)
                    assert client.answer().status == 407
            with Client(("127.0.0.1", port)) as client:
                client.send(b"\x05\x01\x00")
                assert client.rest() == b"\x05\xff"
            with Client(("127.0.0.1", port)) as client:
                client.send(b"\x04\x01\x00\x16\x7f\x00\x00\x01\x00")
                assert client.rest()[1] == 93
            user, _, password = login.partition(":")
            with Client(("127.0.0.1", port)) as client:
                assert client.tunnel(target.authority, basic(user, password)).echoes()
            process.stdin.close()
            assert process.wait(RUN_SECONDS) == 0


@pytest.mark.parametrize("status", [0, 1, 7, 126, 200, 255])
def test_the_exit_status_is_the_commands(status: int) -> None:
    assert run("run", "-x", "direct", "--", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_death_by_a_signal_gives_status_128_plus_its_number(number: signal.Signals) -> None:
    assert run("run", "-x", "direct", "--", "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
    with started("run", "-x", "direct", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"got\n"
        assert process.wait(RUN_SECONDS) == 3


# Counts the SIGINTs until SIGUSR1. A handler might run too late: the signal can arrive just before a system call that then waits.
COUNT = """
import signal
awaited = {signal.SIGINT, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print("ready", flush=True)
count = 0
while signal.sigwait(awaited) == signal.SIGINT:
    count += 1
    print("got", count, flush=True)
print(count, "in all", flush=True)
"""


def test_ctrl_c_reaches_the_command_once() -> None:
    """The terminal signals the whole process group; many programs treat a second SIGINT as "stop at once"."""
    words = [*MODULE[1:], "run", "-x", "direct", "--", sys.executable, "-c", COUNT]
    child = pexpect.spawn(MODULE[0], words, env=environment(), timeout=20)
    try:
        child.expect("ready")
        child.sendintr()
        child.expect("got 1")
        # `run` passes this on after everything that it received before.
        os.kill(child.pid, signal.SIGUSR1)
        child.expect("([0-9]+) in all")
        assert child.match.group(1) == b"1"
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


def test_a_missing_command_gives_127_and_an_unexecutable_one_126(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    missing, refused = (
        run("run", "-x", "http://127.0.0.1:1", "--", "/nonexistent"),
        run("run", "-x", "direct", "--", os.fspath(text)),
    )
    assert (missing.returncode, missing.stderr) == (127, b"tunnelctl: cannot run /nonexistent: no such file or directory\n")
    assert (refused.returncode, refused.stderr) == (126, f"tunnelctl: cannot run {text}: permission denied\n".encode())


def test_a_port_beyond_loopback_requires_open_proxy() -> None:
    done = run_python("", "-L", "*:0:h.test:1")
    assert done.returncode == 2
    assert b"a port that leads to one target cannot require a login" in done.stderr
    done = run_python("", "-L", "*:0:h.test:1", "--open-proxy")
    assert done.returncode == 0
    assert b"can be reached from other machines" in done.stderr


def test_no_command_is_a_usage_error() -> None:
    done = run("run", "-x", "direct")
    assert done.returncode == 2
    assert done.stderr.startswith(b"tunnelctl: run: missing argument COMMAND\n")


def test_flags_after_the_command_belong_to_the_command() -> None:
    done = run("run", "-x", "direct", "echo", "-x", "-v", "--help")
    assert (done.returncode, done.stdout) == (0, b"-x -v --help\n")


def test_a_failed_connection_is_one_line_and_the_command_continues() -> None:
    code = (
        "import os, socket\n"
        "try: socket.create_connection(('127.0.0.1', int(os.environ['TUNNELCTL_PORT_1']))).recv(1)\n"
        "except ConnectionResetError: print('reset')  # even before the connection was made"
    )
    done = run_python(code, "-L", "0:127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, b"reset\n")
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("tunnelctl: client 127.0.0.1:")
    assert lines[0].endswith("cannot connect to target 127.0.0.1:1: connection refused")


NEVER_USED = b"tunnelctl: warning: 'sh' did not use the proxy: any connections that it made bypassed it\n"


def test_a_command_that_has_not_used_the_proxy_is_named_at_the_end() -> None:
    done = run("run", "-x", "http://127.0.0.1:1", "--", "sh", "-c", "echo hi; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hi\n", NEVER_USED)


def test_the_name_of_that_command_is_escaped(tmp_path: Path) -> None:
    hostile = tmp_path / "x\x1b[31m"
    hostile.symlink_to("/bin/true")
    done = run("run", "-x", "http://127.0.0.1:1", "--", os.fspath(hostile))
    assert b"x\\x1b[31m' did not use the proxy" in done.stderr
    assert b"\x1b" not in done.stderr


def test_nothing_is_said_with_q_nor_of_a_command_that_used_it_or_did_not_start() -> None:
    assert run("run", "-q", "-x", "http://127.0.0.1:1", "--", "true").stderr == b""
    knock = "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['TUNNELCTL_PORT']))).close()"
    assert run_python(knock).stderr == b""
    assert b"did not use" not in run("run", "-x", "http://127.0.0.1:1", "--", "/nonexistent").stderr


def test_a_connect_below_the_command_uses_its_proxy_whatever_the_settings_file_names(tmp_path: Path) -> None:
    settings = tmp_path / "tunnelctl" / "config.toml"
    settings.parent.mkdir()
    settings.write_text('[defaults]\nproxy = "http://127.0.0.1:1"\n')
    with ScriptedServer(echo) as target, Serve() as proxy:
        words = ("run", "-v", "-x", proxy.url, "--", *MODULE, "connect", *target.authority.rsplit(":", 1))
        done = run(*words, stdin=b"hello", env={"XDG_CONFIG_HOME": os.fspath(tmp_path), "no_proxy": "", "NO_PROXY": ""})
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
    assert f"tunnel to {target.authority} open".encode() in done.stderr
