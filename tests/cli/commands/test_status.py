"""`tunnelctl status`."""

import json
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.peers.instances import PATIENT
from tests.peers.program import Forward, Serve, run
from tests.peers.scripted import ScriptedServer, echo, refusing_port
from tests.server.harness import Client
from tunnelctl.status import ExitStatus


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        yield {"XDG_RUNTIME_DIR": directory}


def status(*words: str, env: dict[str, str]) -> bytes:
    return run("status", *words, env=env, program=PATIENT).stdout


def test_it_lists_what_runs(env: dict[str, str]) -> None:
    spec = "0:db.example:5432"
    with Serve("--name", "edge", env=env) as serve, Forward("-x", serve.url, "--name", "work", "-L", spec, env=env) as forward:
        said = status(env=env).decode()
        assert f"127.0.0.1:{serve.port}" in said
        assert f"127.0.0.1:{forward.port} -> db.example:5432" in said
        assert f"via {serve.url}" in said
        assert max(map(len, said.splitlines())) <= 80
        edge, work = (json.loads(line) for line in status("--json", env=env).splitlines())
        assert (edge["name"], edge["command"], edge["pid"]) == ("edge", "serve", serve.process.pid)
        assert work["listeners"] == [{"address": f"127.0.0.1:{forward.port}", "target": "db.example:5432"}]
        assert work["answers"] is edge["answers"] is True
        only = status("work", "--json", env=env).splitlines()
        assert [json.loads(line)["name"] for line in only] == ["work"]


def whole(listing: bytes) -> str:
    """The listing in one line: long sentences are folded."""
    return " ".join(listing.decode().split())


def test_it_tells_of_a_proxy_that_was_bypassed_and_of_a_tunnel_that_failed(env: dict[str, str]) -> None:
    """Of a forward in the background, nobody sees the warnings."""
    held, port = refusing_port()
    with held, ScriptedServer(echo) as target:
        dead = f"http://127.0.0.1:{port}"
        with Forward("-x", f"{dead},direct", "-L", f"0:{target.authority}", "--name", "work", env=env) as forward:
            with Client(("127.0.0.1", forward.port)) as client:
                assert client.echoes()
            assert "tunnels go directly to their targets until a proxy can be reached" in whole(status(env=env))
        with Forward("-x", dead, "-L", f"0:{target.authority}", "--name", "work", env=env) as forward:
            with Client(("127.0.0.1", forward.port)) as client, suppress(ConnectionResetError):
                assert client.rest() == b""
            cause = f"{target.authority}: cannot connect to proxy 127.0.0.1:{port}: connection refused"
            assert re.search(rf" failed \d+s ago: {re.escape(cause)}$", whole(status(env=env)))
            assert json.loads(status("--json", env=env))["last_failure"]["text"] == cause


def test_nothing_runs(env: dict[str, str]) -> None:
    done = run("status", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"nothing is running\n", b"")
    assert run("status", "--json", env=env).stdout == b""
    assert run("status", "x", env=env).returncode == ExitStatus.UNREACHABLE


def test_a_program_that_hangs_is_listed_as_such(env: dict[str, str]) -> None:
    directory = Path(env["XDG_RUNTIME_DIR"]) / "tunnelctl"
    directory.mkdir(0o700)
    with closing(socket.socket(socket.AF_UNIX)) as hanging:
        hanging.bind(str(directory / "hanging.sock"))
        hanging.listen()
        done = run("status", env=env)
        assert b"hanging" in done.stdout
        assert b"no answer within 1 s" in done.stdout
        assert json.loads(run("status", "--json", env=env).stdout) == {"name": "hanging", "answers": False}
