"""`tunnelctl stop`."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from errno import EPERM

import pytest

from tests.peers.instances import PATIENT
from tests.peers.program import Forward, Serve, next_line, run, started
from tests.peers.scripted import ScriptedServer, echo
from tests.portable.pollers import use_poller
from tests.server.harness import SECONDS, Client
from tunnelctl.cli.commands import stop as under_test
from tunnelctl.status import ExitStatus


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        yield {"XDG_RUNTIME_DIR": directory}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_returns_when_the_last_tunnel_has_ended(env: dict[str, str], workers: str) -> None:
    with ScriptedServer(echo) as target, Serve("--name", "edge", "--workers", workers, env=env, program=PATIENT) as serve:
        serve.ended_on_purpose = True
        with (
            Client(("127.0.0.1", serve.port)).tunnel(target.authority) as client,
            started("stop", "edge", env=env, program=PATIENT) as stop,
        ):
            assert next_line(stop.stderr) == "tunnelctl: edge: draining, 1 tunnel open\n"
            assert client.echoes()
            assert stop.poll() is None
            client.sock.close()
            assert stop.wait(SECONDS) == 0
        assert serve.process.wait(SECONDS) == 0


def test_several_are_stopped_at_once(env: dict[str, str]) -> None:
    with Serve("--name", "a", env=env) as serve, Forward("-x", "direct", "--name", "b", env=env) as forward:
        serve.ended_on_purpose = forward.ended_on_purpose = True
        done = run("stop", "b", "a", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert serve.process.wait(0.1) == forward.process.wait(0.1) == 0


def test_an_unknown_name_stops_nothing(env: dict[str, str]) -> None:
    with Serve("--name", "a", env=env) as serve:
        done = run("stop", "a", "other", env=env)
        assert done.returncode == ExitStatus.UNREACHABLE
        assert done.stderr == b"tunnelctl: other: no running process has this name\nhint: these are running: a\n"
        assert serve.process.poll() is None


def test_a_name_is_required(env: dict[str, str]) -> None:
    done = run("stop", env=env)
    assert done.returncode == ExitStatus.USAGE
    assert b"missing argument NAME" in done.stderr


@pytest.fixture(params=["pidfd", "kqueue", "nothing"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to wait for the end of a process. Linux may have none either: in a sandbox."""
    if request.param == "kqueue":
        use_poller(monkeypatch, "kqueue")
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)
    elif request.param == "nothing":

        def refused(pid: int) -> None:
            raise PermissionError(EPERM, os.strerror(EPERM))

        monkeypatch.setattr(under_test, "end_of", refused)


def test_the_end_of_a_process_is_waited_for(env: dict[str, str], kernel: None) -> None:
    with Serve("--name", "a", env=env) as serve:
        serve.ended_on_purpose = True
        pid = serve.process.pid
        process = under_test._Process(pid, under_test._end_of(pid))
        process.terminate()
        collected = threading.Thread(target=serve.process.wait)  # until then, it exists
        collected.start()
        process.wait()
        collected.join()
        assert serve.process.returncode == 0
        with pytest.raises(ProcessLookupError):
            under_test._end_of(pid)


def test_a_process_that_ends_before_the_signal_is_no_error(env: dict[str, str], kernel: None) -> None:
    with Serve("--name", "a", env=env) as serve:
        serve.ended_on_purpose = True
        pid = serve.process.pid
        process = under_test._Process(pid, under_test._end_of(pid))
        serve.process.terminate()
        serve.process.wait()
        process.terminate()
        process.wait()
