"""`tunnelctl stop`."""

import tempfile
from collections.abc import Iterator

import pytest

from tests.peers.instances import PATIENT
from tests.peers.program import Forward, Serve, next_line, run, started
from tests.peers.scripted import ScriptedServer, echo
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


def test_without_pidfd_it_polls(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.pidfd_open")
    with Serve("--name", "a", env=env) as serve:
        serve.ended_on_purpose = True
        process = under_test._Process(serve.process.pid)
        process.terminate()
        assert serve.process.wait(SECONDS) == 0
        process.wait()
        process.terminate()  # it has ended meanwhile: no error
