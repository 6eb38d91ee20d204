"""`serve` as a whole: its listeners, its shutdown, and the failures that it survives."""

import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.options import serve_options
from tests.peers import certificates
from tests.peers.process import wait_until
from tests.peers.program import MODULE, Serve, environment, next_line, started, without_start_lines
from tests.peers.scripted import ScriptedServer, echo, refusing_port
from tests.server.harness import SECONDS, Client, Proxy, accepted, connect_request, refused, until_reset
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.engine.kernel import BusyResourceError, park
from tunnelctl.errors import ListenError
from tunnelctl.server import http1, tunnel
from tunnelctl.server.observe import access_log
from tunnelctl.status import ExitStatus
from tunnelctl.stream import reloadable
from tunnelctl.stream.accept import ACCEPTS_A_TURN

BRIEF = 0.2  # seconds: a limit meant to expire
STOPPED_BY_TERM = 128 + signal.SIGTERM


# --- listeners


def test_port_0_and_several_listeners(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy")
    with (
        ScriptedServer(echo) as target,
        Proxy(listen=("127.0.0.1:0", "[::1]:0", f"unix:{path}", "127.0.0.2:0")) as proxy,
    ):
        first, second, third, fourth = proxy.addresses
        assert third == f"unix:{path}"
        patterns = (r"127\.0\.0\.1:(\d+)", r"\[::1\]:(\d+)", r"127\.0\.0\.2:(\d+)")
        ports = [re.fullmatch(pattern, text) for pattern, text in zip(patterns, (first, second, fourth), strict=True)]
        assert all(ports)
        for address in (("127.0.0.1", int(ports[0][1])), ("::1", int(ports[1][1])), path, ("127.0.0.2", int(ports[2][1]))):  # type: ignore[index]
            with Client(address) as client:
                assert client.tunnel(target.authority).echoes()
    assert not os.path.exists(path)


def test_a_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ListenError) as caught, Proxy(listen=(where,)):
            raise AssertionError("it started")
    assert str(caught.value) == f"cannot listen on {where}: address already in use"
    assert caught.value.exit_status is ExitStatus.CANNOT_LISTEN


def test_a_failed_listener_closes_the_others(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ListenError),
        Proxy(listen=(f"unix:{path}", f"127.0.0.1:{other.getsockname()[1]}")),
    ):
        raise AssertionError("it started")
    assert not path.exists()


def test_an_address_of_another_machine_is_reported() -> None:
    with pytest.raises(ListenError, match="cannot assign requested address"), Proxy(listen=("198.51.100.1:0",), open_proxy=True):
        raise AssertionError("it started")


@pytest.mark.parametrize("path", ["/nonexistent/proxy", "/" + "x" * 200, "/proc/proxy"])
def test_an_unusable_unix_path_is_reported(path: str) -> None:
    with pytest.raises(ListenError) as caught, Proxy(listen=(f"unix:{path}",)):
        raise AssertionError("it started")
    assert path in caught.value.what


def test_a_port_can_be_bound_again_right_after_its_tunnels_ended() -> None:
    """TIME_WAIT is on the side that closes first, which is the proxy after a refusal."""
    with Proxy() as proxy:
        where = proxy.authority
        for _ in range(3):
            proxy.refusal("127.0.0.1:0")
    with Proxy(listen=(where,)) as proxy:
        assert proxy.authority == where


def test_more_clients_at_once_than_one_accept_turn_takes() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy:
        clients = [proxy.client() for _ in range(200)]
        for client in clients:
            client.send(connect_request(target.authority))
        for client in clients:
            assert client.head().startswith(b"HTTP/1.1 200 ")
        for client in clients:
            client.sock.close()


# --- shutdown


def test_a_signal_ends_an_idle_server_at_once() -> None:
    proxy = Proxy(drain=SECONDS)
    with proxy:
        proxy.refusal("127.0.0.1:0")
    assert proxy.events("drain") == []
    assert proxy.events("stopped") == [{}]
    assert refused(("127.0.0.1", proxy.port))


def test_drain_lets_tunnels_finish_and_refuses_new_clients() -> None:
    with ScriptedServer(echo) as target, Proxy(drain=SECONDS) as proxy:
        proxy.tunnel(target.authority).sock.close()  # before this drain there was a moment without tunnels
        wait_until(lambda: len(proxy.records()) == 2, SECONDS, "the end of the first tunnel")
        with proxy.tunnel(target.authority) as client:
            proxy.signal()
            wait_until(lambda: bool(proxy.events("drain")), SECONDS, "the drain")
            assert proxy.events("drain") == [{"connections": 1, "tunnels": 1, "seconds": SECONDS}]
            assert client.echoes()
            assert refused(("127.0.0.1", proxy.port))
            assert client.echoes()
            assert proxy.events("stopped") == []
        assert proxy.ended() == ExitStatus.OK
        assert [record["cause"] for record in proxy.records() if record["event"] == "closed"] == ["eof", "eof"]


def test_a_drain_serves_a_request_that_has_begun() -> None:
    with ScriptedServer(echo) as target, Proxy(drain=SECONDS) as proxy, proxy.client() as client:
        request = connect_request(target.authority)
        client.send(request[:-2])
        wait_until(lambda: accepted(proxy), SECONDS, "the accept")
        proxy.signal()
        wait_until(lambda: bool(proxy.events("drain")), SECONDS, "the drain")
        client.send(request[-2:])
        assert client.head().startswith(b"HTTP/1.1 200 ")
        assert client.echoes()


def test_a_silent_client_delays_the_drain_by_the_head_timeout_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_SECONDS", BRIEF)
    with Proxy(drain=60.0, head_timeout=BRIEF) as proxy, proxy.client():
        wait_until(lambda: accepted(proxy), SECONDS, "the accept")
        begun = time.monotonic()
        proxy.signal()
        assert proxy.ended() == ExitStatus.OK
        assert time.monotonic() - begun < SECONDS


def test_tunnels_left_at_the_end_of_the_drain_are_aborted() -> None:
    """Both sides see an abort, not a clean end."""
    with ScriptedServer(until_reset) as target, Proxy(drain=BRIEF) as proxy, proxy.tunnel(target.authority) as client:
        begun = time.monotonic()
        proxy.signal()
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert proxy.ended() == ExitStatus.OK
        assert time.monotonic() - begun >= BRIEF
        end = proxy.records()[-1]
    assert (end["event"], end["closed_by"], end["cause"]) == ("closed", "tunnelctl", "drained")


@pytest.mark.parametrize("secure", [False, True])
def test_the_end_of_the_drain_answers_a_pending_request_with_503(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialling = threading.Event()

    async def dial(*_: object) -> None:
        dialling.set()
        await park()

    monkeypatch.setattr(tunnel, "dial", dial)
    files = certificates.make(tmp_path)
    options = {"tls_cert": str(files.server[0]), "tls_key": str(files.server[1])} if secure else {}
    with Proxy(**options) as proxy, proxy.client() as client:
        if secure:
            context = ssl.create_default_context(cafile=files.authority)
            client.sock = context.wrap_socket(client.sock, server_hostname=certificates.HOST)
        client.send(connect_request("127.0.0.1:1"))
        assert dialling.wait(SECONDS)
        proxy.signal()
        answer = client.answer()
        assert (answer.status, answer.error) == (503, "connection_limit_reached")
        assert b"this proxy is being stopped" in answer.body
        assert proxy.ended() == ExitStatus.OK
        (record,) = proxy.records()
    told = record["event"], record["target"], record["error"], record["status"], record["phase"]
    assert told == ("refused", "127.0.0.1:1", "connection_limit_reached", 503, "connect")


def test_a_client_without_a_request_at_the_end_of_the_drain_is_not_logged() -> None:
    with Proxy() as proxy, proxy.client() as client:
        client.send(b"CONNECT ")
        wait_until(lambda: accepted(proxy), SECONDS, "the accept")
        proxy.signal()
        assert proxy.ended() == ExitStatus.OK
        assert proxy.records() == []


def test_a_second_signal_ends_the_drain() -> None:
    proxy = Proxy(drain=60.0)
    with pytest.raises(AssertionError), ScriptedServer(until_reset) as target, proxy:
        with proxy.tunnel(target.authority) as client:
            proxy.signal()
            wait_until(lambda: bool(proxy.events("drain")), SECONDS, "the drain")
            proxy.signal()
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert proxy.ended() == STOPPED_BY_TERM
        raise AssertionError  # the status is not that of a successful test, which __exit__ asserts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_sigint_drain_a_process(number: signal.Signals) -> None:
    with ScriptedServer(echo) as target, started("serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*") as process:
        port = listening(process)
        with Client(("127.0.0.1", port)) as client:
            client.tunnel(target.authority)
            process.send_signal(number)
            assert read_line(process) == "tunnelctl: draining: 1 open, 30 s at most\n"
            assert client.echoes()
            assert refused(("127.0.0.1", port))
        assert process.wait(SECONDS) == 0
        assert read_line(process) == "tunnelctl: stopped\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_clients_in_the_queue_of_the_listener_are_served_before_it_closes(workers: str) -> None:
    """Their connection is open already, so a load balancer before a restart takes a reset for the answer, and does not retry."""
    words = ("serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*", "--workers", workers)
    with ScriptedServer(echo) as target, started(*words) as process, ExitStack() as stack:
        port, stopped = listening(process), family_of(process)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        clients = [stack.enter_context(Client(("127.0.0.1", port))) for _ in range(4 * ACCEPTS_A_TURN)]
        for client in clients:
            client.send(connect_request(target.authority))
        for number in (signal.SIGTERM, signal.SIGCONT):
            for pid in stopped:
                os.kill(pid, number)
        for client in clients:
            assert client.head().startswith(b"HTTP/1.1 200 ")
            assert client.echoes()
            client.sock.close()
        assert process.wait(SECONDS) == 0


def test_a_second_signal_becomes_the_status_of_a_process() -> None:
    with (
        ScriptedServer(until_reset) as target,
        started("serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*") as process,
        Client(("127.0.0.1", listening(process))) as client,
    ):
        client.tunnel(target.authority)
        process.send_signal(signal.SIGTERM)
        read_line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == -signal.SIGINT
        with pytest.raises(ConnectionResetError):
            client.rest()


def family_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """Returns the pids of a process and of its workers."""
    return [process.pid, *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]


def read_line(process: "subprocess.Popen[bytes]") -> str:
    """Reads a line of stderr; the watchdog of `started` bounds the wait."""
    assert process.stderr is not None
    return next_line(process.stderr)


def listening(process: "subprocess.Popen[bytes]") -> int:
    line = read_line(process)
    assert line.startswith("listening on 127.0.0.1:"), line
    return int(line.rpartition(":")[2])


# --- failures that it survives


def test_an_access_log_whose_reader_has_closed() -> None:
    """stdout is a closed pipe: tunnels go on, and one warning is printed."""
    reader, writer = os.pipe()
    command = [*MODULE, "serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*", "--access-log", "-"]
    process = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(), bufsize=0
    )
    os.close(writer)
    try:
        port = listening(process)
        os.close(reader)
        with ScriptedServer(echo) as target:
            for _ in range(3):
                with Client(("127.0.0.1", port)) as client:
                    assert client.tunnel(target.authority).echoes()
        process.terminate()
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        said = process.stderr.read().decode()
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    assert said.count("access log: Broken pipe") == 1
    assert "Traceback" not in said


def test_an_access_log_whose_reader_has_stalled() -> None:
    """A pager, or a terminal after Ctrl-S: an unread log must not stop the tunnels."""
    reader, writer = os.pipe()
    command = [*MODULE, "serve", "--listen", "127.0.0.1:0", "--allow", "127.0.0.1:*", "--access-log", "-"]
    process = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(), bufsize=0
    )
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"\n" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
        os.close(writer)
    try:
        port = listening(process)
        with ScriptedServer(echo) as target:
            for _ in range(3):
                with Client(("127.0.0.1", port)) as client:
                    assert client.tunnel(target.authority).echoes()
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        os.close(reader)


def test_serve_raises_its_descriptor_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    try:
        with Serve() as serve:
            assert resource.prlimit(serve.process.pid, resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_serve_prints_nothing_about_tunnels_by_default() -> None:
    with ScriptedServer(echo) as target, Serve() as serve:
        with Client(("127.0.0.1", serve.port)) as client:
            client.tunnel(target.authority).echoes()
        assert without_start_lines(serve.log()) == f"listening on 127.0.0.1:{serve.port}\n"


@pytest.mark.parametrize("flag", ["listen", "admin"])
def test_the_hint_for_a_port_in_use_names_the_flag(flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        options = {"listen": (address,)} if flag == "listen" else {"admin": address}
        with pytest.raises(ListenError) as raised, Proxy(**options):
            raise AssertionError("it started")
    assert hint_of(raised.value) == f"--{flag} 127.0.0.1:0 picks a free port"


def test_the_defaults_are_safe() -> None:
    options = serve_options()
    assert options.listen == ("127.0.0.1:3128",)
    assert options.allow == options.deny == ()
    assert not options.open_proxy
    assert min(options.head_timeout, options.dial_timeout, options.idle_timeout, options.half_close_timeout, options.drain) > 0


def test_every_client_is_told_that_the_target_refuses() -> None:
    held, port = refusing_port()
    with held, Proxy() as proxy:
        assert {proxy.refusal(f"127.0.0.1:{port}").error for _ in range(5)} == {"connection_refused"}


def test_a_clock_jump_ends_no_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sets the clock, or the machine has slept. The log shows the jump; deadlines and durations do not."""
    clock = [1e9]
    monkeypatch.setattr(access_log, "time", lambda: clock[0])
    monkeypatch.setattr(time, "time", lambda: clock[0])
    limits = {"head_timeout": SECONDS, "idle_timeout": SECONDS, "max_lifetime": 2 * SECONDS}
    with ScriptedServer(echo) as target, Proxy(**limits) as proxy:
        with proxy.client() as client:
            client.send(connect_request(target.authority)[:10])
            for jump in (86_400.0, -2 * 86_400.0):
                clock[0] += jump
                client.send(b"")
            client.send(connect_request(target.authority)[10:])
            assert client.head().startswith(b"HTTP/1.1 200 ")
            proxy.wait_for_records(1)
            for jump in (86_400.0, -3 * 86_400.0):
                clock[0] += jump
                assert client.echoes()
        decision, end = proxy.wait_for_records(2)
    assert (end["closed_by"], end["cause"]) == ("client", "eof")
    assert end["time"] - decision["time"] == -2 * 86_400
    assert 0 <= end["seconds"] < SECONDS


def test_a_log_that_does_not_open_does_not_delay_a_policy_reload(tmp_path: Path) -> None:
    """Opening a pipe without a reader blocks forever, as a hanging disk does."""
    log, policy = tmp_path / "log", tmp_path / "policy.toml"
    os.mkfifo(log)
    policy.write_text("[[allow]]\ntargets = ['*:443']\n")
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    with started("serve", "--listen", "127.0.0.1:0", "--policy", str(policy), "--access-log", str(log)) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"listening on ")
        os.close(reader)
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert read_line(process) == "tunnelctl: the policy was read again: 1 rule\n"
            told = f"tunnelctl: warning: access log {log}: opening it takes too long: the old one stays in use meanwhile\n"
            assert read_line(process) == told
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_reload_without_a_free_thread_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lookups at a dead name service may occupy all threads when SIGHUP arrives."""

    async def to_thread(*_: object) -> None:
        raise BusyResourceError("128 threads are already under way")

    policy = tmp_path / "policy.toml"
    policy.write_text("[[allow]]\ntargets = ['*:443']\n")
    monkeypatch.setattr(reloadable, "to_thread", to_thread)
    with ScriptedServer(echo) as target, Proxy(policy=str(policy)) as proxy, proxy.tunnel(target.authority) as client:
        proxy.hang_up()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
        assert client.echoes()
    assert proxy.warnings == ["no file was read again: 128 threads are already under way"]
