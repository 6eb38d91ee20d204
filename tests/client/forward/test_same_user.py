"""Tests the port of `run --java`: it requires no login, and serves only this user. tests/interop/test_java.py has a real JVM."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.process import wait_until
from tests.peers.program import RUN_SECONDS, Serve, patched, run, started
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Client

ANOTHER = 4711

SHOW = "import json, os, sys; json.dump(dict(os.environ), sys.stdout)"
SHOW_AND_WAIT = "import os, sys; print(os.environ['JAVA_TOOL_OPTIONS'], flush=True); sys.stdin.read()"

linux = pytest.mark.linux("the table of /proc")


def java_port(options: str) -> int:
    found = re.search(r"-Dhttps\.proxyPort=(\d+)", options)
    assert found, options
    return int(found[1])


@linux
def test_the_options_follow_those_of_the_user_and_have_no_login() -> None:
    env = {"JAVA_TOOL_OPTIONS": "-Xmx64m", "no_proxy": "corp.test, 10.0.0.0/8, <local>"}
    done = run("run", "-x", "direct", "-L", "0:h.test:1", "--java", "--", sys.executable, "-c", SHOW, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    options = found["JAVA_TOOL_OPTIONS"].split(" ")
    port = java_port(found["JAVA_TOOL_OPTIONS"])
    assert options == [
        "-Xmx64m",
        "-Dhttp.proxyHost=127.0.0.1",
        "-Dhttps.proxyHost=127.0.0.1",
        f"-Dhttp.proxyPort={port}",
        f"-Dhttps.proxyPort={port}",
        "-Dhttp.nonProxyHosts=localhost|*.localhost|127.0.0.1|[::1]|corp.test|*.corp.test|10.*",
    ]
    assert str(port) not in (found["TUNNELCTL_PORT"], found["TUNNELCTL_PORT_1"])
    assert "TUNNELCTL_PORT_2" not in found
    assert found["http_proxy"].endswith(f"@127.0.0.1:{found['TUNNELCTL_PORT']}")


def test_without_the_flag_the_variable_stays() -> None:
    env = {"JAVA_TOOL_OPTIONS": "-Xmx64m"}
    done = run("run", "-x", "direct", "--", sys.executable, "-c", SHOW, env=env)
    assert json.loads(done.stdout)["JAVA_TOOL_OPTIONS"] == "-Xmx64m"


ATTEMPT = """
import os, socket
os.setgroups([])
os.setgid({user})
os.setuid({user})
with socket.socket() as sock:
    sock.settimeout(20)
    try:
        sock.connect(("127.0.0.1", {port}))
        sock.sendall(b"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n")
        print("got", sock.recv(1000))
    except OSError as error:
        print(type(error).__name__)
"""


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_v56_another_user_gets_nothing() -> None:
    with ScriptedServer(echo) as target, Serve() as proxy:
        with started("run", "-x", proxy.url, "--java", "--", sys.executable, "-c", SHOW_AND_WAIT) as process:
            assert process.stdout is not None
            port = java_port(process.stdout.readline().decode())
            code = ATTEMPT.format(user=ANOTHER, port=port, target=target.authority)
            attempt = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=RUN_SECONDS)
            assert attempt.stdout.strip() in ("got b''", "ConnectionResetError", "BrokenPipeError"), attempt.stderr
            assert not target.conversations
            with Client(("127.0.0.1", port)) as client:
                assert client.tunnel(target.authority).echoes()
            _, stderr = process.communicate(timeout=RUN_SECONDS)
    warning, *more = stderr.decode().splitlines()
    assert re.fullmatch(
        rf"tunnelctl: warning: closed the connection from 127\.0\.0\.1:\d+ to 127\.0\.0\.1:{port}: "
        rf"it belongs to user id {ANOTHER}, and the port is for 0",
        warning,
    )
    assert more == []
    assert process.returncode == 0


# CLONE_NEWUSER, which requires no privilege, and CLONE_NEWNET; then SIOCSIFFLAGS with IFF_UP, for its loopback interface.
ELSEWHERE = """
import ctypes, fcntl, socket, struct, sys
if ctypes.CDLL(None).unshare(0x10000000 | 0x40000000):
    sys.exit("unshare")
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 1))
    sock.settimeout(20)
    print(sock.connect_ex(("127.0.0.1", {port})))
"""


@linux
def test_v56_a_process_in_another_network_namespace_does_not_reach_the_port() -> None:
    """Its loopback interface is another one. There the port may belong to anybody, and the table that is read has no row of it."""
    with ScriptedServer(echo) as target:
        with started("run", "-x", "direct", "--java", "--", sys.executable, "-c", SHOW_AND_WAIT) as process:
            assert process.stdout is not None
            port = java_port(process.stdout.readline().decode())
            attempt = subprocess.run(
                [sys.executable, "-I", "-c", ELSEWHERE.format(port=port)], capture_output=True, text=True, timeout=RUN_SECONDS
            )
            if attempt.stderr.strip() == "unshare":
                pytest.skip("this system creates no namespaces for its users")
            assert attempt.stdout.strip() == str(errno.ECONNREFUSED), attempt.stderr
            with Client(("127.0.0.1", port)) as client:
                assert client.tunnel(target.authority).echoes()
            _, stderr = process.communicate(timeout=RUN_SECONDS)
    assert (process.returncode, stderr) == (0, b"")


CLOSE_AND_STAY = """
import os, re, socket, sys
request = b"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n"
port = int(re.search("proxyPort=([0-9]+)", os.environ["JAVA_TOOL_OPTIONS"])[1])
with socket.create_connection(("127.0.0.1", port), 20) as closed:
    closed.sendall(request)
open({marker!r}, "w").close()
sys.stdin.readline()
with socket.create_connection(("127.0.0.1", port), 20) as kept:
    kept.sendall(request)
    print(kept.recv(1000).split()[1].decode())
"""


@linux
def test_v56_a_client_that_has_closed_its_socket_gets_nothing(tmp_path: Path) -> None:
    """Whose it was, the kernel no longer knows: it shows such a socket as one of root."""
    marker = str(tmp_path / "closed")
    late = patched(
        "import os, time; from tunnelctl.stream import tcp_owner as t; real = t.look_up\n"
        f"def late(*ends):\n    while not os.path.exists({marker!r}): time.sleep(0.01)\n    return real(*ends)\n"
        "t.look_up = late"
    )
    with ScriptedServer(echo) as target:
        code = CLOSE_AND_STAY.format(target=target.authority, marker=marker)
        with started("run", "-x", "direct", "--java", "--", sys.executable, "-c", code, program=late) as process:
            assert process.stderr.readline().endswith(b": its owner is unknown\n")
            process.stdin.write(b"\n")
            assert process.stdout.readline() == b"200\n"
            assert process.stderr.read() == b""
        wait_until(lambda: target.conversations)
        assert len(target.conversations) == 1


def test_a_system_that_does_not_show_users_is_a_usage_error() -> None:
    command = patched("from tunnelctl.client.forward import run_command as r; r.is_available = lambda: False")
    done = subprocess.run([*command, "run", "-x", "direct", "--java", "--", "true"], capture_output=True, timeout=RUN_SECONDS)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "tunnelctl: --java: this system does not show which user owns a connection",
        "hint: tunnelctl forward -D PORT opens a port for Java, and tunnelctl setup java -D PORT prints its settings",
    ]
