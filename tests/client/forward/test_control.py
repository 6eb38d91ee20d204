"""Tests the control socket of `forward`: its files, its names, and who may use it."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.client.forwarding import Forwarding, half_close, is_turned_away, via
from tests.peers.instances import PATIENT
from tests.peers.process import ended_within, wait_until
from tests.peers.program import SOON, Forward, Serve, run, started
from tests.peers.scripted import Conversation, ScriptedServer, echo
from tests.server.harness import Client
from tunnelctl.cli.render.hints import hint_of, line_of
from tunnelctl.control.directory import Published
from tunnelctl.control.listener import open_control
from tunnelctl.errors import ListenError, UsageProblem
from tunnelctl.proto.http1.render import CONTINUE, ESTABLISHED
from tunnelctl.status import ExitStatus

NOBODY = 65534

ELSEWHERE = "set XDG_RUNTIME_DIR to another directory, one that belongs to you, for `forward` and `connect` alike"


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory for XDG_RUNTIME_DIR. The one of tmp_path would be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as directory:
        yield Path(directory)


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        echo(peer)

    with ScriptedServer(script) as server:
        yield server


def env(runtime: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(runtime)}


def files(runtime: Path) -> dict[str, int]:
    """The files in the directory, with their modes."""
    return {file.name: file.stat().st_mode & 0o777 for file in (runtime / "tunnelctl").iterdir()}


def ask(path: str, target: str = "target.test:22") -> Client:
    client = Client(path)
    client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return client


# --- tunnels


def test_a_request_is_answered_at_once_and_then_by_the_proxy(proxy: ScriptedServer) -> None:
    with Forwarding(name="work", proxy=via(proxy)) as forwarding, ask(forwarding.control) as client:
        assert client.exactly(len(CONTINUE + ESTABLISHED)) == CONTINUE + ESTABLISHED
        client.send(b"hello")
        assert client.exactly(5) == b"hello"
        half_close(client)
        assert client.rest() == b""
        (ended,) = forwarding.ended_tunnels()
    assert (ended["target"], ended["sent"], ended["received"], ended["cause"]) == ("target.test:22", 5, 5, "eof")
    assert forwarding.events("control") == [{"name": "work", "address": f"unix:{forwarding.runtime.name}/tunnelctl/work.sock"}]
    assert not forwarding.events("listening")


def test_it_requires_no_login_where_a_dynamic_port_does(proxy: ScriptedServer) -> None:
    async def check(*_: str) -> bool:
        return False

    with Forwarding(dynamic=("0",), check=check, proxy=via(proxy)) as forwarding, ask(forwarding.control) as client:
        assert client.exactly(len(CONTINUE + ESTABLISHED)) == CONTINUE + ESTABLISHED


def test_its_connections_count_against_the_limit(proxy: ScriptedServer) -> None:
    with Forwarding(dynamic=("0",), max_connections=1, proxy=via(proxy)) as forwarding, ask(forwarding.control) as client:
        assert client.exactly(len(CONTINUE)) == CONTINUE
        assert is_turned_away(forwarding)
        with ask(forwarding.control) as second:
            assert second.rest() == b""
        assert len(forwarding.failures(2)) == 2


def test_a_refusal_is_that_of_a_dynamic_port() -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        with Forwarding(name="work", proxy=via(proxy)) as forwarding, ask(forwarding.control) as client:
            answer = client.rest()
    assert answer.startswith(CONTINUE + b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nProxy-Status: tunnelctl; error=" in answer


# --- files


def test_only_the_user_has_access_and_the_files_are_removed_at_the_end(runtime: Path) -> None:
    with Forward("--name", "work", "-x", "http://anna:canary@proxy.test", env=env(runtime)) as forward:
        assert (runtime / "tunnelctl").stat().st_mode & 0o777 == 0o700
        assert files(runtime) == {"work.sock": 0o600, "work.route": 0o600}
        assert "canary" not in (runtime / "tunnelctl/work.route").read_text()
        assert "tunnelctl: control: tunnelctl connect --via work HOST PORT\n" in forward.log()
    assert files(runtime) == {}


def test_the_first_without_a_name_is_called_forward_and_others_have_their_process_id(runtime: Path) -> None:
    with Forward("-D", "0", env=env(runtime)), Forward("-D", "0", env=env(runtime)) as second:
        names = {"forward", f"forward-{second.process.pid}"}
        assert {name.partition(".")[0] for name in files(runtime)} == names
    with started("forward", "-D", "0", "-q", env=env(runtime)):  # -q hides the line, not the socket
        wait_until(lambda: (runtime / "tunnelctl/forward.sock").exists())


def test_two_that_start_at_once_do_not_remove_each_others_socket(runtime: Path) -> None:
    for _ in range(3):
        with started("forward", "-D", "0", env=env(runtime)) as one, started("forward", "-D", "0", env=env(runtime)) as other:
            for process in (one, other):
                while b"control:" not in process.stderr.readline():
                    pass
            sockets = [name for name in files(runtime) if name.endswith(".sock")]
            assert "forward.sock" in sockets
            assert len(sockets) == 2
            for name in sockets:
                with Client(str(runtime / "tunnelctl" / name)):
                    pass


def test_a_name_in_use_is_an_error(runtime: Path) -> None:
    with Forward("--name", "work", env=env(runtime)) as forward:
        done = run("forward", "--name", "work", env=env(runtime), program=PATIENT)
        assert done.returncode == ExitStatus.CANNOT_LISTEN
        expected = (
            f"tunnelctl: --name work: forward (process {forward.process.pid}) has this name\n"
            "hint: choose another --name, or end it: tunnelctl stop work\n"
        )
        assert done.stderr.decode() == expected
        assert set(files(runtime)) == {"work.sock", "work.route"}


def test_a_stale_socket_is_replaced(runtime: Path) -> None:
    with started("forward", "--name", "work", "-x", "http://old.test", env=env(runtime)) as process:
        assert b"control:" in process.stderr.readline()
        process.kill()
        process.wait(SOON)
    assert set(files(runtime)) == {"work.sock", "work.route"}
    with Forward("--name", "work", "-x", "http://new.test", env=env(runtime)) as forward:
        with Client(str(runtime / "tunnelctl/work.sock")):
            assert "http://new.test" in (runtime / "tunnelctl/work.route").read_text()
        assert forward.process.poll() is None
    assert files(runtime) == {}


def killed(runtime: Path, *commands: tuple[str, ...]) -> list[int]:
    """Starts forwards, and kills them all. Returns their process ids."""
    with ExitStack() as stack:
        processes = [stack.enter_context(started("forward", *words, env=env(runtime))) for words in commands]
        for process in processes:
            while b"control:" not in process.stderr.readline():
                pass
        for process in processes:
            process.kill()
            process.wait(SOON)
        return [process.pid for process in processes]


def test_the_files_of_killed_forwards_are_removed_by_the_next_one(runtime: Path) -> None:
    with Forward("-D", "0", env=env(runtime)):
        _, pid, _ = killed(runtime, ("--name", "one"), ("-D", "0"), ("--name", "two"))
        names = ("forward", "one", f"forward-{pid}", "two")
        assert set(files(runtime)) == {f"{name}{end}" for name in names for end in (".sock", ".route")}
        (runtime / "tunnelctl/one.route").unlink()  # as if it had been killed before it wrote it
        with Forward("--name", "next", env=env(runtime)):
            assert set(files(runtime)) == {"forward.sock", "forward.route", "next.sock", "next.route"}
        with Client(str(runtime / "tunnelctl/forward.sock")):
            pass


def test_what_is_no_socket_of_a_killed_forward_stays(runtime: Path) -> None:
    """Other files, and a socket that is bound, and about to listen: as yet no client could connect to it."""
    directory = runtime / "tunnelctl"
    directory.mkdir(mode=0o700)
    for name in ("file.sock", "file.route", "notes"):
        (directory / name).write_text("")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "bound.sock"))
        open_control("forward", "work", env(runtime), Published()).close()
        assert set(files(runtime)) == {"file.sock", "file.route", "notes", "bound.sock"}


def occupied(runtime: Path, kind: str) -> str:
    """Makes the directory unusable in some way; returns the cause that is reported."""
    place = runtime / "tunnelctl"
    if kind == "file":
        place.write_text("")
        return "it is not a directory"
    if kind == "link":
        (runtime / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(runtime / "elsewhere")
        return "it is not a directory"
    place.mkdir()
    place.chmod(0o750)
    return "other users have access to it (mode 0750)"


@pytest.mark.parametrize("kind", ["file", "link", "mode"])
def test_without_a_safe_directory_forward_goes_on_unless_it_has_a_name(runtime: Path, kind: str) -> None:
    cause = occupied(runtime, kind)
    with Forward("-D", "0", env=env(runtime)) as forward:
        pass
    warnings = [line for line in forward.log().splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"tunnelctl: warning: there is no control socket: control directory {runtime}/tunnelctl: {cause}")
    assert "control: " not in forward.log().replace("control socket: ", "")
    done = run("forward", "-D", "0", "--name", "work", env=env(runtime))
    assert done.returncode == ExitStatus.CANNOT_LISTEN
    assert done.stderr.decode().startswith(f"tunnelctl: control directory {runtime}/tunnelctl: {cause}\nhint: ")


def hint_about(runtime: Path) -> str:
    with pytest.raises(ListenError) as caught:
        open_control("forward", "work", env(runtime), Published())
    assert caught.value.code == "control-directory"
    return hint_of(caught.value)


def test_the_hint_about_the_mode_of_the_directory_mends_it(runtime: Path) -> None:
    occupied(runtime, "mode")
    command = f"chmod 700 {runtime}/tunnelctl"
    assert hint_about(runtime) == f"{command} shuts them out"
    subprocess.run(command.split(), check=True, timeout=SOON)
    open_control("forward", "work", env(runtime), Published()).close()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_chmod_cannot_mend_has_another_hint(runtime: Path, kind: str) -> None:
    occupied(runtime, kind)
    assert hint_about(runtime) == ELSEWHERE


def test_a_path_that_is_too_long_is_an_error_with_a_name(runtime: Path) -> None:
    deep = runtime / ("x" * 100)
    deep.mkdir()
    with pytest.raises(ListenError, match="path too long"):
        open_control("forward", "work", env(deep), Published())


@pytest.mark.parametrize("name", ["auto", "a/b", "-"])
def test_a_name_that_is_none(runtime: Path, name: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        open_control("forward", name, env(runtime), Published())
    assert line_of(caught.value) == f"--name '{name}': it cannot be the name of a control socket"
    assert hint_of(caught.value)


def test_a_route_that_cannot_be_written_closes_the_socket(runtime: Path) -> None:
    (runtime / "tunnelctl").mkdir(mode=0o700)
    (runtime / "tunnelctl/work.route").symlink_to(runtime / "victim")
    with pytest.raises(ListenError, match="cannot listen"):
        open_control("forward", "work", env(runtime), Published())
    assert not (runtime / "victim").exists()
    assert "work.sock" not in files(runtime)


def test_a_directory_that_cannot_be_made(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ListenError) as caught:
        open_control("forward", "work", env(runtime), Published())
    assert line_of(caught.value) == f"control directory {runtime}/tunnelctl: permission denied"
    assert hint_of(caught.value) == ELSEWHERE


def test_without_a_name_forward_needs_a_local_port(runtime: Path) -> None:
    done = run("forward", env=env(runtime))
    assert done.returncode == ExitStatus.USAGE
    assert b"--name NAME" in done.stderr


# --- other users

ATTEMPT = """
import os, socket, sys
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})
path = {path!r}
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(20)
    try:
        sock.connect(path)
        sock.sendall(b"CONNECT target.test:22 HTTP/1.1\\r\\nHost: target.test:22\\r\\n\\r\\n")
        print("got", sock.recv(1000))
    except OSError as error:
        print(type(error).__name__)
"""


def as_nobody(path: str) -> str:
    """What another user gets from a socket."""
    code = ATTEMPT.format(nobody=NOBODY, path=path)
    return subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, timeout=SOON, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; test_control_socket tests the check itself")
def test_another_user_gets_nothing(proxy: ScriptedServer, runtime: Path) -> None:
    """The directory keeps others out. Where a mode was widened afterwards, the uid does."""
    with Forward("--name", "work", "-x", proxy.url, "-v", env=env(runtime)) as forward:
        path = str(runtime / "tunnelctl/work.sock")
        assert as_nobody(path) == "PermissionError"
        for place in (runtime, runtime / "tunnelctl"):
            place.chmod(0o755)
        Path(path).chmod(0o666)
        assert as_nobody(path) in ("got b''", "ConnectionResetError", "BrokenPipeError")
        with ask(path) as client:  # the user's own requests go on
            assert client.exactly(len(CONTINUE + ESTABLISHED)) == CONTINUE + ESTABLISHED
    assert len(proxy.conversations) == 1
    assert "#2" not in forward.log(), "a connection of another user is no connection"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_of_another_user_is_refused(runtime: Path) -> None:
    (runtime / "tunnelctl").mkdir(mode=0o700)
    os.chown(runtime / "tunnelctl", NOBODY, NOBODY)
    with pytest.raises(ListenError, match="it belongs to another user") as caught:
        open_control("forward", "work", env(runtime), Published())
    assert hint_of(caught.value) == ELSEWHERE


def test_after_a_signal_its_tunnels_may_end_and_its_name_is_free(proxy: ScriptedServer, runtime: Path) -> None:
    with Forward("--name", "work", "-x", proxy.url, env=env(runtime)) as forward:
        with ask(str(runtime / "tunnelctl/work.sock")) as client:
            assert client.exactly(len(CONTINUE + ESTABLISHED)) == CONTINUE + ESTABLISHED
            forward.process.terminate()
            wait_until(lambda: "draining" in forward.log())
            retired = f"work-{forward.process.pid}"
            assert files(runtime) == {f"{retired}.sock": 0o600}
            listed = run("status", retired, env=env(runtime)).stdout.decode()
            assert re.search(rf"^{retired} .*\n(?s:.*)    draining$", listed, re.MULTILINE), listed
            with ask(str(runtime / f"tunnelctl/{retired}.sock")) as late:
                assert late.rest() == b""
            client.send(b"still here")
            assert client.exactly(10) == b"still here"
        assert ended_within(forward.process.pid, SOON)
        assert files(runtime) == {}
        forward.ended_on_purpose = True
    assert re.search(r"draining: 1 open", forward.log())


def test_json_names_the_socket(runtime: Path) -> None:
    with Forward("--name", "work", "--json", env=env(runtime)) as forward:
        assert f'"address": "unix:{runtime}/tunnelctl/work.sock"' in forward.log()


def test_a_proxy_of_ours_answers_a_control_socket_as_any_client(runtime: Path) -> None:
    """SOCKS and plain http:// requests work as at a dynamic port; there is no 100 for them."""
    with Serve() as serve, ScriptedServer(echo) as target, Forward("--name", "work", "-x", serve.url, env=env(runtime)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SOON)
            sock.connect(str(runtime / "tunnelctl/work.sock"))
            sock.sendall(b"\x04\x01" + target.port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + b"\0")
            assert sock.recv(8)[:2] == b"\0\x5a"
            sock.sendall(b"echo")
            assert sock.recv(4) == b"echo"
