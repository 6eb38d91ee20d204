"""The table of other tools in the manual: both commands of each line run, and neither proxy nor user sees a difference."""

import os
import re
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers.process import end, free_port, path_of, started_on_a_port
from tests.peers.program import RUN_SECONDS, SCRIPT, environment
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.spec.commands import OTHERS

HEAD = re.compile(rb"CONNECT (\S+) HTTP/1\.[01]\r\n")
LOGIN = re.compile(rb"(?i)\r\nProxy-Authorization: (Basic \S+)\r\n")
GREETING = b"the target speaks first\n"


def kind(line: str) -> str:
    if re.search(r"-listen:|-a 5432|-L 5432|forward", line, re.IGNORECASE) or line.startswith("cntlm"):
        return "port"
    return "proxy" if "serve" in line or " -l " in line else "socket" if "-F" in line or "--fdpass" in line else "stdio"


def program(line: str) -> str:
    return "nc.openbsd" if line.startswith("nc ") else line.split()[0]


ROWS = [pytest.param(*row, id=row[0], marks=pytest.mark.peer(program(row[0]))) for row in OTHERS]


def of_kind(*kinds: str) -> "pytest.MarkDecorator":
    return pytest.mark.parametrize(("theirs", "ours"), [row for row in ROWS if kind(str(row.values[0])) in kinds])


def command(line: str, proxy: ScriptedServer, tmp_path: Path, ports: dict[str, int]) -> list[str]:
    """The arguments of a line, with the proxy and file in it replaced by ours."""
    (tmp_path / "auth").write_text("alice:swordfish\n")
    (tmp_path / "auth").chmod(0o600)
    line = re.sub(r"\b(proxy|edge):3128", proxy.authority, line).replace("~/.auth", str(tmp_path / "auth"))
    line = re.sub(r"\bproxy 3128", f"{proxy.host} {proxy.port}", line)
    line = re.sub(r"PROXY:proxy:(.*),proxyport=3128", rf"PROXY:{proxy.host}:\1,proxyport={proxy.port}", line)
    for name, port in ports.items():
        line = line.replace(name, str(port), 1)
    word, *rest = shlex.split(line)
    # cntlm requires a port besides that of -L; the one in the machine's settings may be in use.
    (tmp_path / "cntlm.conf").write_text(f"Listen {free_port()}\n")
    settings = ["-c", str(tmp_path / "cntlm.conf")] if word == "cntlm" else []
    return [SCRIPT if word == "tunnelctl" else path_of(program(line)), *settings, *rest]


def env(proxy: ScriptedServer) -> dict[str, str]:
    """connect-proxy -h reads http_proxy and ours reads https_proxy; the environment also has a password for alice."""
    login = {"TUNNELCTL_PROXY_PASSWORD": "swordfish", "HTTP_PROXY_PASSWORD": "swordfish"}
    return environment({"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "https_proxy": proxy.url, **login})


def tunnels(peer: Conversation) -> None:
    """A proxy whose targets speak first, answer one line in capitals, and close; it also plays an inner proxy."""
    peer.accept_tunnel()
    if b"CONNECT inner:" in peer.head:
        peer.head = b""
        peer.accept_tunnel()
    peer.send(GREETING)
    line = b""
    while not line.endswith(b"\n"):
        line += peer.read_exactly(1)
    peer.send(line.upper())
    with suppress(OSError):  # the client may have left after reading
        peer.end_output()
        peer.wait_gone()


def tunnels_after_a_login(peer: Conversation) -> None:
    """The same with a login; most of the tools send credentials only after a challenge."""
    if LOGIN.search(peer.read_head()):
        tunnels(peer)
    else:
        peer.send(b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        peer.end_output()
        peer.wait_gone()


def seen(proxy: ScriptedServer) -> tuple[bytes, bytes]:
    """The target of the last request to the proxy, and the credentials in it."""
    target, login = HEAD.match(proxy.heads[-1]), LOGIN.search(proxy.heads[-1])
    assert target is not None, proxy.heads
    return target[1], login[1] if login else b""


def test_the_table_has_a_line_for_every_tool() -> None:
    names = {"corkscrew", "nc", "connect-proxy", "ncat", "proxytunnel", "cntlm", "socat"}
    assert {theirs.split()[0] for theirs, _ in OTHERS} == names
    assert {kind(theirs) for theirs, _ in OTHERS} == {"stdio", "socket", "port", "proxy"}
    assert all(kind(theirs) == kind(ours) for theirs, ours in OTHERS)


@of_kind("stdio")
def test_tools_relaying_stdin_and_stdout(theirs: str, ours: str, tmp_path: Path) -> None:
    proxies, login = [], re.search("alice|auth", theirs)
    for line in (theirs, ours):
        with ScriptedServer(tunnels_after_a_login if login else tunnels) as proxy:
            assert typed(command(line, proxy, tmp_path, {}), env(proxy)).endswith(b"TYPED\n")
        proxies.append(seen(proxy))
    assert proxies[0] == proxies[1]
    assert bool(proxies[1][1]) == bool(login)


def typed(words: list[str], environ: dict[str, str]) -> bytes:
    """The output of a program after one line of input. stdin stays open: some tools exit at its end and lose the answer.

    corkscrew loses a greeting that arrives with the head; other tests check that ours does not.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env=environ, bufsize=0, **pipes) as process:  # type: ignore[call-overload]
        watchdog = threading.Timer(RUN_SECONDS, process.kill)
        watchdog.start()
        process.stdin.write(b"typed\n")
        output = b""
        while not output.endswith(b"TYPED\n") and (piece := process.stdout.read(4096)):
            output += piece
        end(process)
        watchdog.cancel()
    return output


@of_kind("socket")
def test_tools_passing_the_socket(theirs: str, ours: str, tmp_path: Path) -> None:
    for line in (theirs, ours):
        with ScriptedServer(tunnels) as proxy:
            here, there = socket.socketpair()
            with here, there:
                here.settimeout(RUN_SECONDS)
                process = subprocess.Popen(
                    command(line, proxy, tmp_path, {}),
                    stdin=subprocess.DEVNULL,
                    stdout=there,
                    stderr=subprocess.PIPE,
                    env=env(proxy),
                )
                _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
                assert process.wait(RUN_SECONDS) == 0
                assert process.stderr is not None
                process.stderr.close()
            with socket.socket(fileno=descriptors[0]) as tunnel:
                tunnel.settimeout(RUN_SECONDS)
                tunnel.sendall(b"typed\n")
                assert read_to_end(tunnel) == GREETING + b"TYPED\n"
        assert seen(proxy) == (b"host:22", b"")


def read_to_end(tunnel: socket.socket) -> bytes:
    data = b""
    while piece := tunnel.recv(4096):
        data += piece
    return data


@contextmanager
def listening(line: str, proxy: ScriptedServer, tmp_path: Path) -> Iterator[int]:
    """Runs the line with a free port in place of its own."""
    name = next(name for name in ("5432", "8080", "127.0.0.1 3128", "serve") if name in line)

    def start(port: int) -> "subprocess.Popen[bytes]":
        words = command(line, proxy, tmp_path, {name: port} if name.isdigit() else {})
        words = [str(port) if word == "3128" else word for word in words]
        words += ["--listen", f"127.0.0.1:{port}"] if name == "serve" else []
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(words, env=env(proxy), start_new_session=True, **silent)

    process, port = started_on_a_port(start)
    try:
        yield port
    finally:
        end(process)
        # socat and proxytunnel leave a child per connection, which a signal from a terminal would reach too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@of_kind("port")
def test_tools_listening_on_a_local_port(theirs: str, ours: str, tmp_path: Path) -> None:
    results = []
    for line in (theirs, ours):
        with ScriptedServer(tunnels_or_nothing) as proxy, listening(line, proxy, tmp_path) as port:
            with socket.create_connection(("127.0.0.1", port), RUN_SECONDS) as local:
                local.settimeout(RUN_SECONDS)
                if "5432" not in line:  # a local proxy
                    local.sendall(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
                    assert local.recv(9) == b"HTTP/1.1 "
                local.sendall(b"typed\n")
                assert read_to_end(local).endswith(GREETING + b"TYPED\n")
        results.append(seen(proxy)[0])
    assert results == [b"db:5432"] * 2


def tunnels_or_nothing(peer: Conversation) -> None:
    """The same, but tolerates a connection caused by a probe of the local port."""
    try:
        tunnels(peer)
    except (AssertionError, ConnectionError):
        if not HEAD.match(peer.head):
            peer.head = b"CONNECT db:5432 HTTP/1.1\r\n\r\n"


@of_kind("proxy")
def test_tools_serving_as_a_proxy(theirs: str, ours: str, tmp_path: Path) -> None:
    for line in (theirs, ours):
        with ScriptedServer(tunnels) as nobody, listening(line, nobody, tmp_path) as port:
            with socket.create_connection(("127.0.0.1", port), RUN_SECONDS) as client:
                client.settimeout(RUN_SECONDS)
                client.sendall(b"CONNECT host.invalid:1 HTTP/1.1\r\nHost: host.invalid:1\r\n\r\n")
                assert client.recv(9) in (b"HTTP/1.0 ", b"HTTP/1.1 ")
