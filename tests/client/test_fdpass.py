"""Tests passing the connection to ssh: one NUL byte and one descriptor, or nothing on failure."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client.harness import TARGET, TraceLog, descriptor_is, next_head
from tests.options import connect_options
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, refusing_port, sample
from tests.portable.removal import of_linux
from tunnelctl.cli.render.hints import hint_of, line_of
from tunnelctl.client.connect import run_connect
from tunnelctl.errors import Refused, TunnelBroken, TunnelctlError, Unreachable, UsageProblem
from tunnelctl.proto.address import Address


@contextmanager
def ssh_end() -> Iterator[socket.socket]:
    """Makes our stdin and stdout one end of a socket pair, as ssh does; yields the other."""
    ours, ssh = socket.socketpair()
    with ssh:
        ssh.settimeout(20)
        with ours, descriptor_is(0, ours.fileno()), descriptor_is(1, ours.fileno()):
            ours.close()
            yield ssh


def fdpass(*proxies: str, target: Address = TARGET, **others: Any) -> TraceLog:
    trace = TraceLog()
    assert run_connect(connect_options(target, proxies, fdpass=True, **others), {}, trace) == 0
    return trace


def leave() -> None:
    """Closes our end of the pair, as the end of the process does."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)


def passed(ssh: socket.socket) -> socket.socket:
    """Returns the socket that ssh gets: exactly one NUL byte and one descriptor. Call it after our end has been closed."""
    data, descriptors, _, _ = socket.recv_fds(ssh, 100, 10)
    assert data == b"\0"
    assert len(descriptors) == 1
    assert ssh.recv(100) == b""
    sock = socket.socket(fileno=descriptors[0])
    sock.settimeout(20)
    return sock


def test_no_byte_behind_the_head_is_lost() -> None:
    """No byte behind the head was read: the banner and all later data are still in the socket."""
    banner = b"SSH-2.0-x\r\n" + sample(200_000)

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + banner)
        assert peer.read_exactly(5) == b"hello"
        peer.send(b"bye")

    with ScriptedServer(script) as proxy, ssh_end() as ssh:
        trace = fdpass(proxy.url)
        leave()
        with passed(ssh) as tunnel:
            tunnel.sendall(b"hello")
            data = b""
            while piece := tunnel.recv(65536):
                data += piece
    assert data == banner + b"bye"
    assert trace.names[-1] == "opened"


def test_the_passed_socket_is_blocking_with_keepalive_and_nodelay() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.wait_gone()

    with ScriptedServer(script) as proxy, ssh_end() as ssh:
        fdpass(proxy.url, keepalive=77.0)
        _, descriptors, _, _ = socket.recv_fds(ssh, 1, 1)
        with socket.socket(fileno=descriptors[0]) as tunnel:
            assert os.get_blocking(tunnel.fileno())
            assert tunnel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert tunnel.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_KEEPIDLE")) == 77
            assert tunnel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("dribbled", [False, True])
def test_passing_through_a_chain_with_interim_responses(dribbled: bool) -> None:
    def script(peer: Conversation) -> None:
        for _ in range(2):
            next_head(peer)
            answer = b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.0 200\n\n"
            peer.dribble(answer) if dribbled else peer.send(answer)
        peer.send(b"banner")
        peer.wait_gone()

    with ScriptedServer(script) as proxy, ssh_end() as ssh:
        fdpass(proxy.url, "http://b.test:1")
        _, descriptors, _, _ = socket.recv_fds(ssh, 1, 1)
        with socket.socket(fileno=descriptors[0]) as tunnel:
            tunnel.settimeout(20)
            assert tunnel.recv(100) == b"banner"


def test_passing_a_connection_without_a_proxy() -> None:
    def script(peer: Conversation) -> None:
        peer.send(b"banner")
        peer.wait_gone()

    with ScriptedServer(script) as target, ssh_end() as ssh:
        fdpass("direct", target=Address(target.host, target.port))
        _, descriptors, _, _ = socket.recv_fds(ssh, 1, 1)
        with socket.socket(fileno=descriptors[0]) as tunnel:
            tunnel.settimeout(20)
            assert tunnel.recv(100) == b"banner"


# --- failures


def test_stdout_that_is_not_a_socket_is_refused_before_connecting(tmp_path: Path) -> None:
    def script(peer: Conversation) -> None:
        peer.wait_gone()

    reader, writer = os.pipe()
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    null = os.open(os.devnull, os.O_WRONLY)
    with ScriptedServer(script) as proxy:
        for descriptor in (writer, file, null):
            with descriptor_is(1, descriptor), pytest.raises(UsageProblem) as caught:
                fdpass(proxy.url)
            assert line_of(caught.value) == "--fdpass: stdout is not a unix socket"
            assert "ProxyUseFdpass" in hint_of(caught.value)
    assert proxy.conversations == []
    for descriptor in (reader, writer, file, null):
        os.close(descriptor)


def test_stdout_that_is_a_network_socket_is_refused() -> None:
    """Only unix sockets can carry descriptors."""
    listener = socket.create_server(("127.0.0.1", 0))
    refused = pytest.raises(UsageProblem, match="stdout is not a unix socket")
    with listener, socket.create_connection(listener.getsockname()) as ours, descriptor_is(1, ours.fileno()), refused:
        fdpass("http://127.0.0.1:9")


def sends_nothing(kind: type[TunnelctlError], *proxies: str, **others: Any) -> None:
    with ssh_end() as ssh:
        with pytest.raises(kind):
            fdpass(*proxies, **others)
        leave()
        assert ssh.recv(1) == b""


def test_a_refusal_passes_nothing() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")

    with ScriptedServer(script) as proxy:
        sends_nothing(Refused, proxy.url)


def test_an_unreachable_proxy_passes_nothing() -> None:
    held, port = refusing_port()
    with held:
        sends_nothing(Unreachable, f"http://127.0.0.1:{port}")


def test_a_timeout_passes_nothing() -> None:
    """ssh itself would wait forever: its ConnectTimeout does not apply here."""

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        sends_nothing(Unreachable, proxy.url, timeout=0.2)


def test_a_closed_ssh_is_an_error_and_the_connection_is_closed() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        assert peer.wait_gone() == b""

    with ScriptedServer(script) as proxy, ssh_end() as ssh:
        ssh.close()
        with pytest.raises(TunnelBroken, match="cannot hand the connection over"):
            fdpass(proxy.url)
