"""Several worker processes behind one address."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from errno import EADDRINUSE, ECONNREFUSED, ENOENT
from pathlib import Path

import pytest

from tests.client.harness import TraceLog
from tests.peers import certificates
from tests.peers.manager import Manager
from tests.peers.process import ended_within, opening, wait_until
from tests.peers.program import environment, patched, started
from tests.peers.scripted import ScriptedServer, black_hole_port, echo
from tests.server.harness import (
    SECONDS,
    Client,
    basic,
    connect_request,
    digest_users_file,
    users_file,
)
from tests.server.process.running import LOOPBACK, SERVE, Workers, workers
from tests.server.process.sharing import held
from tunnelctl.proto.auth.challenge import parse_challenges
from tunnelctl.proto.auth.digest import DigestClient
from tunnelctl.server.access.limits import SharedCaps
from tunnelctl.server.access.throttle import BURST
from tunnelctl.server.access.users import MAX_CONCURRENT_HASHES
from tunnelctl.server.observe.metrics import SharedCounters
from tunnelctl.server.process import supervisor as under_test
from tunnelctl.server.process.supervisor import Supervisor
from tunnelctl.server.serve import TICK_SECONDS


def ids(path: Path) -> set[str]:
    """Returns the parts of the record ids that name the process."""
    return {json.loads(line)["connection"].partition("-")[0] for line in path.read_text().splitlines()}


@pytest.mark.parametrize("kind", ["port", "unix"])
def test_both_workers_serve_at_one_address(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    listen = "127.0.0.1:0" if kind == "port" else f"unix:{tmp_path / 'proxy'}"
    with ScriptedServer(echo) as target, workers("--access-log", str(log), listen=listen) as serve:
        assert len(serve.pids()) == 2

        def both_have() -> bool:
            for _ in range(20):
                with serve.client() as client:
                    assert client.tunnel(target.authority).echoes()
            return len(ids(log)) == 2

        if kind == "port":  # at a shared unix socket the kernel may wake the same worker each time
            wait_until(both_have, SECONDS, "a tunnel through each worker")
        else:
            both_have()
        serve.process.terminate()
        assert serve.rest() == "tunnelctl: stopped\n"
        assert serve.process.wait(SECONDS) == 0
    assert not (tmp_path / "proxy").exists()


def test_every_record_is_whole_although_two_workers_write(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with workers("--access-log", str(log)) as serve:
        clients = [serve.client() for _ in range(200)]
        for client in clients:
            client.send(b"NONSENSE\r\n\r\n")
        for client in clients:
            assert client.answer().status == 400
            client.sock.close()
        wait_until(lambda: len(log.read_text().splitlines()) == 200, SECONDS, "the records")
        assert len({json.loads(line)["connection"] for line in log.read_text().splitlines()}) == 200


def test_every_record_is_whole_in_a_pipe_as_well() -> None:
    """Each worker has more to write at once than a pipe takes in one piece."""
    with workers("--access-log", "-") as serve:
        lines: list[bytes] = []

        def read() -> None:
            assert serve.process.stdout is not None
            while (piece := serve.process.stdout.read(1 << 20)) and len(b"".join([*lines, piece]).splitlines()) < 1000:
                lines.append(piece)
            lines.append(piece or b"")

        reader = threading.Thread(target=read)
        clients = [serve.client() for _ in range(1000)]
        for client in clients:
            client.send(b"NONSENSE\r\n\r\n")
        for client in clients:
            assert client.answer().status == 400
            client.sock.close()
        reader.start()  # only now: records that did not fit have waited
        reader.join(SECONDS)
        assert not reader.is_alive()
    assert len({json.loads(line)["connection"] for line in b"".join(lines).splitlines()}) == 1000


@pytest.mark.parametrize("kind", ["port", "unix"])
def test_a_dead_worker_is_replaced_and_the_others_continue(kind: str, tmp_path: Path) -> None:
    listen = "127.0.0.1:0" if kind == "port" else f"unix:{tmp_path / 'proxy'}"
    with ScriptedServer(echo) as target, workers("--drain", "0", listen=listen) as serve:
        clients = [serve.client().tunnel(target.authority) for _ in range(10)]
        before = serve.pids()
        os.kill(before[0], signal.SIGKILL)
        assert f"worker {before[0]} ended with status -9: another takes its place" in serve.line()
        wait_until(lambda: len(set(serve.pids()) - {before[0]}) == 2, SECONDS, "the replacement")
        left = [client for client in clients if not broken(client)]
        assert all(client.echoes() for client in left)
        for _ in range(10):
            with serve.client() as client:
                assert client.tunnel(target.authority).echoes()
        for client in clients:
            client.sock.close()
        serve.process.terminate()
        assert serve.process.wait(SECONDS) == 0, "a replaced worker is not a failure of serve"


def broken(client: Client) -> bool:
    client.sock.setblocking(False)
    try:
        return client.sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        client.sock.settimeout(SECONDS)
        return False
    except ConnectionResetError:
        return True


def test_workers_that_keep_dying_end_the_server() -> None:
    with workers("--drain", "0") as serve:
        seen: set[int] = set()
        while len(seen) <= under_test.MOST_CRASHES:
            wait_until(lambda: set(serve.pids()) - seen, SECONDS, "the replacement")
            fresh = next(pid for pid in serve.pids() if pid not in seen)
            seen.add(fresh)
            os.kill(fresh, signal.SIGKILL)
        assert serve.process.wait(SECONDS) == 70
        said = serve.rest()
    assert "as 10 others have in the last minute: stopping" in said


def test_pauses_before_a_restart_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor([], [], 0.0, lambda *_: 0, SharedCounters(1), TraceLog(), None, {})
    pauses = []
    for _ in range(under_test.MOST_CRASHES):
        supervisor._crashed(1, 0, 1)
        pauses.append(supervisor._due[0] - supervisor._crashes[-1])
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert max(pauses) == pytest.approx(under_test.LONGEST_PAUSE)


def test_h4_a_dead_worker_is_uncounted_before_its_replacement_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a third process holds the lock."""
    started, shared = list[int](), SharedCaps(2)
    assert shared.lock is not None
    supervisor = Supervisor([], [], 0.0, lambda *_: 0, SharedCounters(2), TraceLog(), None, {}, shared)
    monkeypatch.setattr(supervisor, "_start", started.append)
    monkeypatch.setattr(under_test, "FORGET_SECONDS", 0.01)
    monkeypatch.setattr(under_test, "FIRST_PAUSE", 0.0)
    assert shared.table.add(1, 1, 5)
    with supervisor._signals:
        with held(shared.lock):
            supervisor._ended(4711, 1, 1)
            for _ in range(3):
                supervisor._turn()
            assert (started, shared.table.count(1)) == ([], 1)
        while not started:
            supervisor._turn()
    assert (started, shared.table.count(1)) == ([1], 0)


def test_workers_end_when_their_supervisor_is_killed() -> None:
    with workers("--drain", "0") as serve:
        pids = serve.pids()
        serve.process.kill()
        assert all(ended_within(pid, SECONDS) for pid in pids)


def test_tunnels_drain_after_their_supervisor_is_killed() -> None:
    with ScriptedServer(echo) as target, workers("--drain", "60") as serve, serve.client() as client:
        client.tunnel(target.authority)
        pids = serve.pids()
        serve.process.kill()
        wait_until(lambda: nobody_listens(serve), SECONDS, "the drain")
        deadline = time.monotonic() + 2.5 * TICK_SECONDS  # each tick could send a second signal
        while time.monotonic() < deadline:
            assert client.echoes()
            time.sleep(0.05)
        client.sock.close()
        assert all(ended_within(pid, SECONDS) for pid in pids)


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_new_server_may_bind_the_unix_path_of_a_draining_one(count: str, tmp_path: Path) -> None:
    """It keeps the path when the old server ends, whose socket is no longer there."""
    path = tmp_path / "proxy"
    listen = f"unix:{path}"
    with ScriptedServer(echo) as target, workers("--workers", count, listen=listen) as old, old.client() as client:
        client.tunnel(target.authority)
        old.process.terminate()
        wait_until(lambda: not path.exists(), SECONDS, "the drain")
        with workers("--workers", count, listen=listen) as new:
            assert client.echoes()
            client.sock.close()
            assert old.process.wait(SECONDS) == 0
            with new.client() as other:
                assert other.tunnel(target.authority).echoes()


def test_sighup_reaches_every_worker(tmp_path: Path) -> None:
    log, moved = tmp_path / "log", tmp_path / "log.1"
    with workers("--access-log", str(log)) as serve:
        wait_until(lambda: len(serve.pids()) == 2, SECONDS, "both workers")

        def both_have(path: Path) -> bool:
            for _ in range(20):
                with serve.client() as client:
                    client.send(b"NONSENSE\r\n\r\n")
                    assert client.answer().status == 400
            return path.exists() and len(ids(path)) == 2

        wait_until(lambda: both_have(log), SECONDS, "a record of each worker")
        log.rename(moved)
        serve.process.send_signal(signal.SIGHUP)
        wait_until(lambda: both_have(log), SECONDS, "a record of each worker in the new file")


def test_sighup_without_a_log_ends_the_server() -> None:
    with workers() as serve:
        pids = serve.pids()
        serve.process.send_signal(signal.SIGHUP)
        assert serve.process.wait(SECONDS) == -signal.SIGHUP, "the status must be that of a single process"
        assert all(ended_within(pid, SECONDS) for pid in pids)


def test_sighup_to_one_worker_alone_replaces_it() -> None:
    with workers() as serve:
        victim = serve.pids()[0]
        wait_until(lambda: catches(victim, signal.SIGHUP), SECONDS, "the start of the worker")
        os.kill(victim, signal.SIGHUP)
        assert f"worker {victim} ended with status 129: another takes its place" in serve.line()
        wait_until(lambda: len(serve.pids()) == 2, SECONDS, "the replacement")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, and does not block it (proc_pid_status(5))."""
    masks = dict(re.findall(r"^(Sig\w+):\t([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.M))
    return bool((int(masks["SigCgt"], 16) & ~int(masks["SigBlk"], 16)) >> number - 1 & 1)


def test_a_hanging_worker_is_killed_if_there_is_a_watchdog(tmp_path: Path) -> None:
    with Manager(tmp_path) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "3000000"}  # longer than a busy machine delays a heartbeat
        with started(*SERVE, *LOOPBACK, "--listen", "127.0.0.1:0", "--drain", "0", env=environ) as process:
            serve = Workers(process)
            assert manager.wait_for("READY=1")[0].startswith("STATUS=serving 127.0.0.1:")
            manager.wait_for("WATCHDOG=1")
            victim = serve.pids()[0]
            os.kill(victim, signal.SIGSTOP)
            assert f"worker {victim} hangs: killing it" in serve.line()
            wait_until(lambda: len(set(serve.pids()) - {victim}) == 2, SECONDS, "the replacement")
            manager.wait_for("WATCHDOG=1")
            process.terminate()
            manager.wait_for("STOPPING=1")


def test_a_supervisor_that_stood_still_goes_on(tmp_path: Path) -> None:
    """Ctrl-Z and fg, or a debugger: neither is a signal to stop or to read files again."""
    with Manager(tmp_path) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "1000000"}
        with started(*SERVE, *LOOPBACK, "--listen", "127.0.0.1:0", "--drain", "0", env=environ) as process:
            manager.wait_for("WATCHDOG=1")
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.7)  # its wait of half the watchdog's time passes meanwhile
            process.send_signal(signal.SIGCONT)
            for _ in range(3):
                manager.wait_for("WATCHDOG=1")
            with Workers(process).client() as client:
                client.send(b"NONSENSE\r\n\r\n")
                assert client.answer().status == 400


def test_a_second_signal_ends_the_drain_of_all_workers() -> None:
    with ScriptedServer(echo) as target, workers("--drain", "60") as serve, serve.client() as client:
        client.tunnel(target.authority)
        serve.process.terminate()
        wait_until(lambda: nobody_listens(serve), SECONDS, "the drain")
        assert client.echoes()
        wait_until(lambda: len(serve.pids()) == 1, SECONDS, "the end of the idle worker")
        time.sleep(0.6)  # signals within a short time count as one (see the next test); this one is to count as a second
        serve.process.terminate()
        assert serve.process.wait(SECONDS) == -signal.SIGTERM
        with pytest.raises(ConnectionResetError):
            client.rest()


def nobody_listens(serve: Workers) -> bool:
    family = socket.AF_UNIX if isinstance(serve.address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(serve.address) in (ECONNREFUSED, ENOENT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_counts_as_one(number: signal.Signals) -> None:
    """Ctrl-C and systemd's SIGTERM reach every process, and the first forwards the signal as well. The workers drain anyway."""
    program = patched(f"from tunnelctl.server.process import worker; worker.DEBOUNCE_SECONDS = {SECONDS}")
    with ScriptedServer(echo) as target, workers("--drain", "60", program=program) as serve, serve.client() as client:
        client.tunnel(target.authority)
        for pid in serve.pids():
            os.kill(pid, number)
        wait_until(lambda: len(serve.pids()) == 1, SECONDS, "the end of the idle worker")
        serve.process.send_signal(number)
        for _ in range(5):
            assert client.echoes()
            time.sleep(0.02)
        client.sock.close()
        assert serve.process.wait(SECONDS) == 0


def test_a_unix_socket_refuses_connections_during_a_drain(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    with ScriptedServer(echo) as target, workers("--drain", "60", listen=f"unix:{path}") as serve:
        with serve.client() as client:
            client.tunnel(target.authority)
            serve.process.terminate()
            wait_until(lambda: nobody_listens(serve), SECONDS, "the drain")
            assert client.echoes()
        assert serve.process.wait(SECONDS) == 0
    assert not path.exists()


def test_a_signal_right_after_the_start_ends_the_server() -> None:
    """Before the workers have installed their signal handlers."""
    for _ in range(2):
        with workers() as serve:
            serve.process.terminate()
            assert serve.process.wait(SECONDS) == 0
            assert "warning" not in serve.rest()


def test_a_port_in_use_without_reuseport_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with started(*SERVE, "--listen", where) as process:
            assert process.wait(SECONDS) == 71
            assert process.stderr is not None
            assert process.stderr.read().decode().startswith(f"tunnelctl: cannot listen on {where}: address already in use\n")


# --- the port while workers die


def somebody_else_binds(address: tuple[str, int] | str) -> bool:
    """Whether another program can bind the port with SO_REUSEADDR, as servers do."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(address)
            other.listen()
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
            return False
        return True


def test_l7_clients_are_served_although_all_workers_die() -> None:
    """The port stays bound, and clients that connect meanwhile wait in the supervisor's queue for the next worker.

    Except those of the few milliseconds before the supervisor listens: they were in the queue of the worker that died.
    """
    with ScriptedServer(echo) as target, workers("--drain", "0") as serve:
        for _ in range(3):
            before = serve.pids()
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            for _ in before:
                assert "another takes its place" in serve.line()
            with serve.client() as client:  # both workers were dead when those lines were printed
                assert not somebody_else_binds(serve.address)
                assert client.tunnel(target.authority).echoes()
            wait_until(lambda: len(set(serve.pids()) - set(before)) == 2, SECONDS, "both replacements")  # noqa: B023


def test_l7_a_dead_worker_never_leaves_the_port_free() -> None:
    taken, stop = [], threading.Event()

    def try_to_take(address: tuple[str, int] | str) -> None:
        while not stop.is_set():
            taken.append(somebody_else_binds(address))

    with workers("--drain", "0") as serve:
        thief = threading.Thread(target=try_to_take, args=(serve.address,))
        thief.start()
        try:
            for _ in range(3):
                before = serve.pids()
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                for _ in before:
                    serve.line()
                wait_until(lambda: len(set(serve.pids()) - set(before)) == 2, SECONDS, "both replacements")  # noqa: B023
        finally:
            stop.set()
            thief.join()
    assert taken
    assert not any(taken)


def test_a_new_server_may_bind_the_port_of_a_draining_one() -> None:
    with ScriptedServer(echo) as target, workers() as old, old.client() as client:
        client.tunnel(target.authority)
        old.process.terminate()
        wait_until(lambda: nobody_listens(old), SECONDS, "the drain")
        with workers(listen=old.where) as new, new.client() as other:
            assert other.tunnel(target.authority).echoes()
            assert client.echoes()


# --- shared counts


def opened(serve: Workers, target: ScriptedServer, count: int, *fields: str) -> tuple[list[Client], list[int]]:
    """Requests `count` tunnels; returns the clients of those that were granted, and all statuses."""
    clients, statuses = [], []
    for _ in range(count):
        client = serve.client()
        client.send(connect_request(target.authority, *fields))
        statuses.append(int(client.head()[9:12]))
        if statuses[-1] == 200:
            clients.append(client)
        else:
            client.sock.close()
    return clients, statuses


@pytest.mark.parametrize(("flag", "refusal"), [("--max-tunnels", 503), ("--max-per-client", 429), ("--max-per-target", 503)])
def test_caps_apply_across_all_workers(flag: str, refusal: int) -> None:
    """The places of a killed worker become free again."""
    with ScriptedServer(echo) as target, workers("--workers", "3", "--drain", "0", flag, "5") as serve:
        clients, statuses = opened(serve, target, 20)
        assert statuses == [200] * 5 + [refusal] * 15
        clients.pop().sock.close()
        wait_until(lambda: free(serve, target), SECONDS, "the free place")
        victim = serve.pids()[0]
        os.kill(victim, signal.SIGKILL)
        serve.line()
        left = [client for client in clients if not broken(client)]
        again, statuses = opened(serve, target, 20)
        assert len(left) + len(again) == 5
        assert statuses.count(200) == len(again)
        for client in (*clients, *again):
            client.sock.close()


def test_a_cap_per_user_applies_across_all_workers(tmp_path: Path) -> None:
    flags = ("--max-per-user", "3", "--users", users_file(tmp_path, alice="a-pw", bob="b-pw"))
    with ScriptedServer(echo) as target, workers("--workers", "3", "--drain", "0", *flags) as serve:
        alices, statuses = opened(serve, target, 12, basic("alice", "a-pw"))
        assert statuses == [200] * 3 + [429] * 9
        bobs, statuses = opened(serve, target, 4, basic("bob", "b-pw"))
        assert statuses == [200] * 3 + [429]
        for client in (*alices, *bobs):
            client.sock.close()


def test_a_cap_on_dials_applies_across_all_workers() -> None:
    with ScriptedServer(echo) as target, black_hole_port() as port, ExitStack() as stack:
        serve = stack.enter_context(workers("--workers", "3", "--drain", "0", "--max-dials", "2"))
        before = opening(port)
        for _ in range(2):
            client = serve.client()
            stack.callback(client.sock.close)
            client.send(connect_request(f"127.0.0.1:{port}"))
        wait_until(lambda: opening(port) == before + 2, SECONDS, "both dials")
        assert opened(serve, target, 12)[1] == [503] * 12


def free(serve: Workers, target: ScriptedServer) -> bool:
    clients, statuses = opened(serve, target, 1)
    for client in clients:
        client.sock.close()
    return statuses == [200]


def test_m7_a_digest_response_is_valid_once_across_all_workers(tmp_path: Path) -> None:
    path = digest_users_file(tmp_path, alice="secret")
    with workers("--workers", "4", "--users", path, "--drain", "0") as serve:
        with serve.client() as client:
            client.send(connect_request("127.0.0.1:1"))
            challenges = parse_challenges([client.answer().fields["proxy-authenticate"]])
        login = DigestClient(challenges[0], "alice", "secret", "c").authorize("CONNECT", "127.0.0.1:1")
        statuses = []
        for _ in range(40):
            with serve.client() as client:
                client.send(connect_request("127.0.0.1:1", f"Proxy-Authorization: {login}"))
                statuses.append(client.answer().status)
    assert statuses == [502] + [407] * 39


@pytest.mark.usefixtures("cheap_hashes")
def test_h4_workers_share_wrong_logins_and_remembered_good_ones(tmp_path: Path) -> None:
    path = users_file(tmp_path, alice="secret")

    def ask(password: str, count: int) -> list[int]:
        clients = [serve.client() for _ in range(count)]
        for client in clients:
            client.send(connect_request("127.0.0.1:1", basic("alice", password)))
        statuses = [client.answer().status for client in clients]
        for client in clients:
            client.sock.close()
        return statuses

    with workers("--workers", "4", "--users", path, "--drain", "0") as serve:
        assert ask("secret", 1) == [502]
        statuses = ask("wrong", 60)
        assert set(statuses) == {407, 429}
        assert BURST <= statuses.count(407) < BURST + 4 * MAX_CONCURRENT_HASHES
        assert ask("secret", 20) == [502] * 20


# --- files that block


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("flag", ["--policy", "--users", "--tls-cert"])
def test_m6_a_file_replaced_by_a_pipe_is_a_warning_and_loses_no_signal(
    count: str,
    flag: str,
    tmp_path: Path,
    cheap_hashes: None,
) -> None:
    """Opening a FIFO blocks until another process opens it for writing, possibly forever."""
    path = tmp_path / "file"
    flags = [flag, str(path)]
    if flag == "--policy":
        path.write_text("[[allow]]\ntargets = ['127.0.0.1:*']\n")
    elif flag == "--users":
        Path(users_file(tmp_path, alice="x")).rename(path)
    else:
        files = certificates.make(tmp_path)
        path.write_bytes(Path(files.server[0]).read_bytes())
        flags += ["--tls-key", str(files.server[1])]
    with workers("--workers", count, *flags) as serve:
        before = serve.pids()
        path.unlink()
        os.mkfifo(path)
        for _ in range(2):
            serve.process.send_signal(signal.SIGHUP)
            line = serve.line()
            assert line.startswith("tunnelctl: warning: the old "), line
            assert f"{path}: " in line
            assert "pipe" in line
        if count == "2":
            os.kill(before[0], signal.SIGKILL)
            assert "another takes its place" in serve.line()
            wait_until(lambda: len(set(serve.pids()) - {before[0]}) == 2, SECONDS, "the replacement")
        serve.process.terminate()
        assert serve.process.wait(SECONDS) == 0


IMPATIENT = """
import sys
from tunnelctl.server import text_file
from tunnelctl.stream import reloadable as in_force
from tunnelctl.server.process import supervisor
in_force.READ_SECONDS = supervisor.READ_SECONDS = 0.2
text_file.PIPE_SECONDS = 3.0
from tunnelctl.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("count", ["1", "2"])
def test_m6_a_slow_file_is_reported_and_takes_effect_when_it_arrives(count: str, tmp_path: Path) -> None:
    """The server keeps serving clients and handling signals meanwhile."""
    path = tmp_path / "policy"
    path.write_text("[[allow]]\ntargets = ['127.0.0.1:*']\n")
    words = ["serve", "--listen", "127.0.0.1:0", "--workers", count, "--policy", str(path)]
    with subprocess.Popen([sys.executable, "-c", IMPATIENT, *words], stderr=subprocess.PIPE, env=environment()) as process:
        try:
            serve = Workers(process)
            path.unlink()
            os.mkfifo(path)
            writer = os.open(path, os.O_RDWR)
            process.send_signal(signal.SIGHUP)
            late = "reading the files again takes longer than 0.2 s: what was read before stays in force until it ends"
            assert serve.line() == f"tunnelctl: warning: {late}\n"
            with ScriptedServer(echo) as target, serve.client() as client:
                assert client.tunnel(target.authority).echoes()
            process.send_signal(signal.SIGHUP)
            assert "the files are still being read after an earlier SIGHUP" in serve.line()
            os.write(writer, b"[[allow]]\ntargets = ['127.0.0.1:*', '*:22']\n")
            os.close(writer)
            # With two workers three processes read, and only one of them gets what comes through a pipe.
            assert re.match("tunnelctl: (the policy was read again: |warning: the old policy stays in force: )", serve.line())
            process.terminate()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
