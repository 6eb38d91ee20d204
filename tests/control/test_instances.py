"""The running programs of a user, found by their control sockets."""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.peers.instances import Patient
from tests.peers.program import Forward, Serve
from tests.server.harness import SECONDS
from tunnelctl.cli.render.hints import hint_of, line_of
from tunnelctl.control.instances import Instance, named, running
from tunnelctl.errors import Unreachable


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        (Path(directory) / "tunnelctl").mkdir(0o700)
        yield Path(directory)


def env(runtime: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(runtime)}


def listener(runtime: Path, name: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(runtime / f"tunnelctl/{name}.sock"))
    found.listen(8)
    return found


def test_running_programs_are_listed_by_name_and_killed_ones_are_not(runtime: Path) -> None:
    assert running(env(runtime)) == []
    listener(runtime, "killed").close()
    (runtime / "tunnelctl/zzz.route").touch()
    with Forward("-x", "direct", "--name", "b", env=env(runtime)) as forward, Serve("--name", "a", env=env(runtime)) as serve:
        found = [Patient(*one) for one in running(env(runtime))]
        assert [one.name for one in found] == ["a", "b"]
        assert [one.pid() for one in found] == [serve.process.pid, forward.process.pid]
        assert [one.described() for one in found] == [("serve", str(serve.process.pid)), ("forward", str(forward.process.pid))]
        assert named(["b"], env(runtime)) == found[1:]
        assert named([], env(runtime)) == found


def test_the_pid_of_several_workers_is_that_of_their_supervisor(runtime: Path) -> None:
    with Serve("--name", "a", "--workers", "2", env=env(runtime)) as serve:
        (found,) = running(env(runtime))
        assert found.pid() == Patient(*found).status().pid == serve.process.pid


def test_without_a_directory_nothing_runs(tmp_path: Path) -> None:
    assert running({"XDG_RUNTIME_DIR": str(tmp_path)}) == []


def test_a_directory_of_others_is_not_looked_at(runtime: Path) -> None:
    with closing(listener(runtime, "a")):
        (runtime / "tunnelctl").chmod(0o777)
        assert running(env(runtime)) == []


def test_an_unknown_name_is_an_error_that_lists_what_runs(runtime: Path) -> None:
    with pytest.raises(Unreachable) as nothing:
        named(["x"], env(runtime))
    assert hint_of(nothing.value) == "nothing is running"
    with closing(listener(runtime, "a")), closing(listener(runtime, "b")), pytest.raises(Unreachable) as other:
        named(["x\x1b[2J"], env(runtime))
    assert line_of(other.value) == "x\x1b[2J: no running process has this name"
    assert hint_of(other.value) == "these are running: a, b"


def test_a_program_that_hangs_is_not_waited_for_long(runtime: Path) -> None:
    with closing(listener(runtime, "a")):
        (found,) = running(env(runtime))
        with pytest.raises(Unreachable, match=r"a: no answer within 0.05 s"):
            found.status(0.05)
        assert found.pid() == os.getpid()


def test_a_program_that_has_gone_does_not_answer(runtime: Path) -> None:
    gone = Instance("a", str(runtime / "tunnelctl/a.sock"))
    for ask in (gone.status, gone.tunnels, gone.recent, gone.pid):
        with pytest.raises(Unreachable, match="a: it does not answer"):
            ask()


@pytest.mark.parametrize("body", [b"{}", b"[", b'{"certificate": 1}', b"\xff"])
def test_an_answer_of_another_version_is_an_error(runtime: Path, body: bytes) -> None:

    with closing(listener(runtime, "a")) as a:

        def answer() -> None:
            peer, _ = a.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable, match="it is another version of tunnelctl"):
            Patient(*running(env(runtime))[0]).status()
        thread.join(SECONDS)
