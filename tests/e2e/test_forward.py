"""`forward` as a program: a thousand connections at once, clients that never read, its output on a terminal, and shutdown."""

import hashlib
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pexpect
import pytest

from tests.peers.process import wait_until
from tests.peers.program import MODULE, SOON, Forward, Serve, environment, started, without_start_lines
from tests.peers.scripted import Conversation, ScriptedServer, echo, refusing_port, sample
from tests.server.harness import Client
from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.engine.resolver import resolve
from tunnelctl.proto.auth.basic import encode_basic
from tunnelctl.stream.dial import dial

MANY = 1000
PIECE = 20_000  # bytes that each connection sends


@pytest.fixture
def _descriptors() -> Iterator[None]:
    """Raises the limit on open files, so that both ends of a thousand connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MANY
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard) if hard > 0 else wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_descriptors")
def test_a_thousand_connections_at_once_each_with_a_checksum() -> None:
    data = sample(PIECE + MANY)
    with ScriptedServer(echo) as target, Serve() as proxy:
        with Forward("-x", proxy.url, "-L", f"0:{target.authority}", "-D", "0", "--json") as forward:
            assert run(exchange_many, forward.ports[0], data) == [
                hashlib.sha256(data[number : number + PIECE]).digest() for number in range(MANY)
            ]
            wait_until(lambda: forward.log().count('"closed"') == MANY)
    events = [json.loads(line) for line in forward.log().splitlines()]
    assert sum(event["event"] == "opened" for event in events) == MANY
    ended = [event for event in events if event["event"] == "closed"]
    assert {(event["sent"], event["received"], event["cause"]) for event in ended} == {(PIECE, PIECE, "eof")}
    assert len({event["connection"] for event in ended}) == MANY


async def exchange_many(port: int, data: bytes) -> list[bytes]:
    """Opens all connections, then lets each send and receive its own piece. Returns the checksums of the data received."""
    (address,) = await resolve("127.0.0.1", port)
    streams = [await dial([address], 0) for _ in range(MANY)]
    digests = [b""] * MANY

    async def exchange(number: int) -> None:
        stream, digest = streams[number], hashlib.sha256()

        async def send() -> None:
            await stream.send_all(data[number : number + PIECE])
            stream.send_eof()

        async with Nursery() as nursery:
            nursery.start_soon(send)
            while piece := await stream.receive_some():
                digest.update(piece)
        digests[number] = digest.digest()

    async with Nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(exchange, number)
    for stream in streams:
        stream.close()
    return digests


def resident(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    with open(f"/proc/{pid}/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmRSS:")))


def flood(peer: Conversation) -> None:
    """Sends until the client accepts no more: every buffer on the path is full then."""
    peer.sock.settimeout(1)
    with suppress(ConnectionError):
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                peer.send(bytes(1 << 20))
        peer.sock.settimeout(20)
        peer.wait_gone()


def test_clients_that_never_read_do_not_grow_memory() -> None:
    """Thirty clients, and a server that would send a gigabyte to each. A pipe or a chunk per client is all that forward holds."""
    with ScriptedServer(flood) as target, Serve("--drain", "0") as proxy, ExitStack() as open_ones:
        forward = open_ones.enter_context(Forward("-x", proxy.url, "-L", f"0:{target.authority}", "--drain", "0"))
        with socket.create_connection(("127.0.0.1", forward.port), 10) as first:
            first.recv(1)  # after that the code is loaded, and the pool has its pipes
        before = resident(forward.process.pid)
        clients = [open_ones.enter_context(socket.create_connection(("127.0.0.1", forward.port), 10)) for _ in range(30)]
        for client in clients:
            client.settimeout(20)
            assert client.recv(1) == b"\0"
        wait_until(lambda: all(thread_is_stuck(peer) for peer in target.conversations[1:]))
        assert resident(forward.process.pid) - before < 30 * 128


def thread_is_stuck(peer: Conversation) -> bool:
    """Whether the flood has run into its time limit."""
    return peer.sock.gettimeout() == 20


def test_progress_on_a_terminal_is_interrupted_by_a_message() -> None:
    with ScriptedServer(echo) as target:
        words = [*MODULE[1:], "forward", "-x", "direct", "-L", f"0:{target.authority}", "-L", "0:127.0.0.1:1", "--progress"]
        child = pexpect.spawn(MODULE[0], words, env=environment(), timeout=20, dimensions=(24, 60))
        try:
            ports = []
            for _ in range(2):
                child.expect(r"listening on 127.0.0.1:(\d+) [^\r]*\r\n")
                ports.append(int(child.match.group(1)))
            with socket.create_connection(("127.0.0.1", ports[0]), 10) as client:
                client.sendall(bytes(3000))
                child.expect(r"\r\x1b\[K1 open, sent 2\.9 KiB \([^)]*\)")
                with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", ports[1]), 10) as refused:
                    refused.recv(1)  # if the reset has not arrived before connect(2) returned
                # The live line is erased, the message has a line of its own, and the live line comes back below it.
                child.expect(r"\r\x1b\[Ktunnelctl: client [^\r]*: connection refused\r\n")
                child.expect(r"\r\x1b\[K\d open")
            child.expect(r"\r\x1b\[K0 open, sent 2\.9 KiB")
            child.sendintr()
            child.expect("stopped\r\n")
            child.expect(pexpect.EOF)
        finally:
            child.close()
    assert child.exitstatus == 0


def test_progress_is_not_shown_in_a_pipe() -> None:
    with ScriptedServer(echo) as target, Forward("-x", "direct", "-L", f"0:{target.authority}", "--progress") as forward:
        with socket.create_connection(("127.0.0.1", forward.port), 10) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    assert "sent" not in forward.log()


def test_verbose_lines_name_the_connection() -> None:
    with ExitStack() as stack:
        target, proxy = stack.enter_context(ScriptedServer(echo)), stack.enter_context(Serve())
        forward = stack.enter_context(Forward("-vv", "-x", proxy.url, "-L", f"0:{target.authority}"))
        with socket.create_connection(("127.0.0.1", forward.port), 10) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        wait_until(lambda: "ended by" in forward.log())
    log = forward.log()
    stages = ("route: ", "connecting to ", "answer: 200", r"client 127\.0\.0\.1:\d+: tunnel to .* open after ")
    for stage in stages:
        assert re.search(rf"^tunnelctl: \[\d\.\d+s\] #1 {stage}", log, re.M), (stage, log)
    assert f"> CONNECT {target.authority} HTTP/1.1" in log


def test_the_password_does_not_appear_in_any_output() -> None:
    """The password for the proxy is in the request, and in no output of forward, whatever fails."""
    secret = "pl4nted-s3cret"

    def refuse(peer: Conversation) -> None:
        head = peer.read_head()
        peer.send(b"HTTP/1.1 407 No\r\nContent-Type: text/plain\r\n\r\nyou sent: " + head)

    for flags in (["-vv"], ["-vv", "--json"], []):
        with ExitStack() as stack:
            proxy = stack.enter_context(ScriptedServer(refuse))
            env = {"TUNNELCTL_PROXY": f"http://anna@{proxy.authority}", "TUNNELCTL_PROXY_PASSWORD": secret}
            forward = stack.enter_context(Forward(*flags, "-D", "0", "--auth", "basic", env=env))
            for request in (b"\x05\x01\x00\x05\x01\x00\x01\x7f\0\0\1\0\x16", b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", forward.port), 10) as client:
                    client.sendall(request)
                    answer = b""
                    while piece := client.recv(65536):
                        answer += piece
                    assert secret.encode() not in answer
            encoded = encode_basic("anna", secret)
            assert encoded.encode() in proxy.heads[0]
        assert "407" in forward.log()
        for text in (secret, encoded.removeprefix("Basic ")):
            assert text not in forward.log()


# Starts tunnelctl with its standard input as its terminal.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "tunnelctl", *sys.argv[1:]])
"""


@pytest.mark.parametrize("command", ["forward", "serve"])
def test_a_closed_terminal_ends_the_program_at_once_and_removes_its_socket(command: str, tmp_path: Path) -> None:
    """SIGHUP with a tunnel open: there is no user to see a drain. Data that was cut off must not look complete at the target."""
    path, aborted = tmp_path / "s", threading.Event()

    def script(peer: Conversation) -> None:
        peer.send(peer.read())
        try:
            peer.read()
        except ConnectionResetError:
            aborted.set()

    with ScriptedServer(script) as target, ExitStack() as stack:
        flags = {"forward": ("-x", "direct", "-L", f"{path}:{target.authority}"), "serve": ("--listen", f"unix:{path}")}
        rules = ("--allow", "127.0.0.1:*") if command == "serve" else ()
        ours, terminal = os.openpty()
        stack.callback(os.close, terminal)
        on_terminal = (sys.executable, "-c", ON_A_TERMINAL)
        process = stack.enter_context(started(command, *flags[command], *rules, program=on_terminal, stdin=terminal))
        assert process.stderr.readline().split()[:3] == [b"listening", b"on", f"unix:{path}".encode()]
        client = stack.enter_context(Client(str(path)))
        assert (client if command == "forward" else client.tunnel(target.authority)).echoes()
        os.close(ours)
        assert process.wait(SOON) == -signal.SIGHUP
        assert without_start_lines(process.stderr.read().decode()) == "tunnelctl: stopped\n"
        assert not path.exists()
        assert aborted.wait(SOON)


# --- no proxy


UNSET = dict.fromkeys(("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"), "")


@pytest.mark.parametrize("verbose", [True, False])
def test_a_failure_mentions_the_ignored_variable_http_proxy(verbose: bool) -> None:
    """The failure mentions it, once; with -v the start does as well."""
    held, port = refusing_port()
    words = ("-L", f"0:127.0.0.1:{port}", *(["-v"] if verbose else []))
    with held, Forward(*words, env={**UNSET, "HTTP_PROXY": "http://proxy.test:3128"}) as forward:
        for count in (1, 2):
            with suppress(ConnectionResetError):  # the reset may come before connect(2) returns
                socket.create_connection(("127.0.0.1", forward.port), SOON).close()
            wait_until(lambda count=count: forward.log().count("connection refused") == count, SOON, "a failure")
    hint = "hint: HTTP_PROXY is set, but tunnelctl ignores it: set https_proxy, or give -x URL\n"
    assert forward.log().count(hint) == 1
    route = "route: no proxy (no proxy is configured: HTTP_PROXY is set, but ignored)\n"
    assert forward.log().count(route) == (1 if verbose else 0)
