"""The protocols of a service manager: the sockets that it passes, and the notifications that it receives."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.manager import ACTIVATE, Manager
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Client
from tunnelctl.errors import ListenError
from tunnelctl.stream import service_manager as systemd
from tunnelctl.stream.service_manager import inherited_socket, notify, watchdog_seconds


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Opens a listening socket, with the numbering moved so that it is the first one passed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(systemd, "FIRST", listener.fileno())
        yield listener


def settings(count: str = "1", names: str = "db", pid: int = 0) -> dict[str, str]:
    return {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}


@pytest.mark.parametrize("by", ["name", "number"])
def test_an_inherited_socket_is_found_by_name_or_number(passed: socket.socket, by: str) -> None:
    found = inherited_socket("db" if by == "name" else str(passed.fileno()), settings())
    assert found.getsockname() == passed.getsockname()
    assert not found.getblocking()
    assert not os.get_inheritable(found.fileno())
    found.detach()


@pytest.mark.parametrize(
    "environ",
    [{}, settings(pid=1), {"LISTEN_FDS": "1"}, *map(settings, ("", "x", "0", "-1", "²", "99999999999"))],
    ids=range(9),
)
def test_no_inherited_socket(passed: socket.socket, environ: dict[str, str]) -> None:
    with pytest.raises(ListenError, match="none was passed") as raised:
        inherited_socket("db", environ)
    assert raised.value.exit_status == 71


def test_no_inherited_socket_of_that_name(passed: socket.socket) -> None:
    with pytest.raises(ListenError, match=f"no such socket; the sockets passed are {passed.fileno()}, db"):
        inherited_socket("web", settings())


def test_an_inherited_descriptor_that_is_closed_or_not_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a manager whose count is wrong, or that has closed one of them."""
    with open(tmp_path / "file", "w") as file:
        monkeypatch.setattr(systemd, "FIRST", file.fileno())
        with pytest.raises(ListenError, match=r"inherited socket 'db': .*socket") as raised:
            inherited_socket("db", settings())
        assert raised.value.exit_status == 71
    gone = os.open(os.devnull, os.O_RDONLY)
    os.close(gone)
    monkeypatch.setattr(systemd, "FIRST", gone)
    with pytest.raises(ListenError, match="inherited socket 'db': bad file descriptor"):
        inherited_socket("db", settings())


def test_an_inherited_socket_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as idle:
        monkeypatch.setattr(systemd, "FIRST", idle.fileno())
        with pytest.raises(ListenError, match="does not listen"):
            inherited_socket("db", settings())
        idle.getsockname()  # still open, since it belongs to the caller


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_manager_is_notified(tmp_path: Path, abstract: bool) -> None:
    name = f"@tunnelctl-test-{os.getpid()}" if abstract else os.fspath(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(20)
        notify("READY=1", {"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/at/all"])
def test_a_missing_manager_is_not_an_error(path: str) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": path})


def still_open(listener: socket.socket) -> None:
    """Clients that come after the end of the program wait for the next one that the manager starts."""
    socket.create_connection(listener.getsockname(), 5).close()


def test_forward_started_by_a_manager(tmp_path: Path) -> None:
    """A client that connects before the program has started is served, as with any activation. The manager is notified of
    readiness and of stopping."""
    notified = os.fspath(tmp_path / "notify")
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.create_connection(listener.getsockname(), 10) as client,
    ):
        manager.bind(notified)
        manager.settimeout(20)
        target.settimeout(20)
        target_port = target.getsockname()[1]
        spec = f"fd:db:127.0.0.1:{target_port}"
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), "forward", "-x", "direct", "-L", spec]
        child = subprocess.Popen(
            command, pass_fds=[listener.fileno()], env={**os.environ, "NOTIFY_SOCKET": notified}, stderr=subprocess.PIPE
        )
        try:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            assert manager.recv(200) == f"READY=1\nSTATUS=forwarding {address}".encode()
            served, _ = target.accept()
            with served:
                client.sendall(b"hello")
                assert served.recv(5) == b"hello"
                child.terminate()
                assert manager.recv(200).startswith(b"STOPPING=1\n")
            client.recv(1)
            client.close()
            assert child.wait(20) == 0
            still_open(listener)
        finally:
            child.kill()
            _, said = child.communicate(timeout=20)
    assert f"listening on {address} -> 127.0.0.1:{target_port}, directly (-x)\n".encode() in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_proxy_started_by_a_manager(tmp_path: Path, workers: str) -> None:
    """The same for serve: one process, or several that share the inherited socket."""
    with (
        Manager(tmp_path) as manager,
        ScriptedServer(echo) as target,
        socket.create_server(("127.0.0.1", 0)) as listener,
        Client(listener.getsockname()) as early,
    ):
        options = ["--listen", "fd:db", "--allow", "127.0.0.1:*", "--workers", workers, "--access-log", str(tmp_path / "log")]
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), "serve", *options]
        environ = {**os.environ, **manager.environ, "WATCHDOG_USEC": "400000"}
        child = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environ, stderr=subprocess.PIPE)
        try:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            assert manager.wait_for("READY=1") == [f"STATUS=serving {address}"]
            assert early.tunnel(target.authority).echoes()
            manager.wait_for("WATCHDOG=1")
            manager.wait_for("WATCHDOG=1")
            child.send_signal(signal.SIGHUP)
            (when,) = manager.wait_for("RELOADING=1")
            assert 0 < int(when.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            manager.wait_for("READY=1")
            child.terminate()
            assert manager.wait_for("STOPPING=1")[0].startswith("STATUS=draining")
            assert early.echoes()
            early.sock.close()
            assert child.wait(20) == 0
            still_open(listener)
        finally:
            child.kill()
            _, said = child.communicate(timeout=20)
    assert f"listening on {address}\n".encode() in said


@pytest.mark.parametrize("words", ["serve --listen fd:db", "forward -x direct -D fd:db"])
def test_an_inherited_public_socket_requires_users_too(words: str) -> None:
    """The program learns its address only after start."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), *words.split()]
        done = subprocess.run(command, pass_fds=[listener.fileno()], capture_output=True, timeout=20)
    assert done.returncode == 2
    assert b"it would be an open proxy" in done.stderr
    assert b"listening on" not in done.stderr, "the line that reports that it accepts connections"


def test_an_inherited_socket_given_twice_is_refused() -> None:
    """Its number and its name denote the same socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), "serve", "--listen", "fd:db", "--listen", "fd:3"]
        done = subprocess.run(command, pass_fds=[listener.fileno()], capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (2, b"tunnelctl: --listen: the same inherited socket is named twice\n")


def test_an_inherited_unix_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as listener, Manager(tmp_path) as manager:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), "serve", "--listen", "fd:db"]
        child = subprocess.Popen(
            command, pass_fds=[listener.fileno()], env={**os.environ, **manager.environ}, stderr=subprocess.PIPE
        )
        try:
            assert manager.wait_for("READY=1") == [f"STATUS=serving unix:{path}"]
            child.terminate()
            assert child.wait(20) == 0
        finally:
            child.kill()
            child.communicate(timeout=20)
        assert path.exists(), "the socket file belongs to the manager"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "9" * 400}, 0.0),  # more than a float holds
        ({"WATCHDOG_USEC": "9" * 5000}, 0.0),  # more than int() takes
    ],
)
def test_the_watchdog_applies_to_the_process_that_it_names(environ: dict[str, str], seconds: float) -> None:
    assert watchdog_seconds(environ) == seconds
