"""The access log: valid JSON whatever a client sends, no record lost without a warning, and no tunnel lost because of the log."""

import errno
import json
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.harness import TraceLog
from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Proxy, basic, connect_request, users_file
from tunnelctl.engine.kernel import BusyResourceError, Nursery, checkpoint, run, sleep
from tunnelctl.errors import SettingsError
from tunnelctl.server.events import ACCESS_LOG, Closed, Interim, Opened, Refused
from tunnelctl.server.observe import access_log
from tunnelctl.server.observe.access_log import AccessLog, open_log
from tunnelctl.server.observe.record import CUT, TunnelRecord
from tunnelctl.server.policy.inspection import FirstBytes
from tunnelctl.status import ExitStatus
from tunnelctl.stream.relay import Outcome

COMMON = ["event", "time", "timestamp", "connection", "tunnel", "client", "user", "method", "target"]
OPENED = [*COMMON, "address", "local", "status", "rule", "reports", "phases"]
REFUSED = [*COMMON, "status", "rule", "reports", "error", "details", "phase", "phases"]
INTERIM = [*COMMON, "seconds", "sent", "received"]
CLOSED = [*INTERIM, "idle", "closed_by", "cause", "error", "phase"]
SEEN = [*CLOSED, "seen", "sni", "cut_by", "reports"]
EOF = Outcome(0, 0, "left", "eof", None)


def account(connection: str = "1-2", **known: Any) -> TunnelRecord:
    one = TunnelRecord(connection, f"{connection}.1", "192.0.2.1:5")
    one.enter("answer")
    for name, value in known.items():
        setattr(one, name, value)
    return one


def end(log: AccessLog, session: str) -> None:
    log.closed(account(session), 0.0, None, EOF)


def written(write: Callable[[AccessLog], None]) -> bytes:
    """Returns what arrives at the other end of a pipe."""
    reader, writer = os.pipe()
    trace = TraceLog()

    async def main() -> None:
        log = AccessLog(writer, trace)
        write(log)
        await log.close()

    try:
        run(main)
        os.close(writer)
        with os.fdopen(reader, "rb", closefd=False) as pipe:
            return pipe.read()
    finally:
        os.close(reader)
        assert trace.events == []


# --- records


def test_the_keys_of_each_line_are_those_of_its_event() -> None:
    """The lines are formatted by hand: this test keeps them consistent with the event records, and so with the manual."""
    keys = ["event", "time", "timestamp"]
    kinds = {Opened: OPENED, Refused: REFUSED, Interim: INTERIM, Closed: SEEN}
    assert set(kinds) == set(ACCESS_LOG)
    for kind, listed in kinds.items():
        assert [*keys, *kind.__annotations__] == listed


def test_time_and_timestamp_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    for now in (1796055709.123456, 1796055709.999999, 1796055710.0, 1796055710.05, 0.0):
        monkeypatch.setattr(access_log, "time", lambda now=now: now)
        record = json.loads(written(lambda log: log.interim(account(), 1.0)))
        shown.append((record["time"], record["timestamp"]))
        assert datetime.fromisoformat(record["timestamp"]).timestamp() == record["time"]
    assert shown[:3] == [
        (1796055709.123, "2026-11-30T16:21:49.123Z"),
        (1796055709.999, "2026-11-30T16:21:49.999Z"),
        (1796055710.0, "2026-11-30T16:21:50.000Z"),
    ]


def test_the_record_of_an_opened_tunnel() -> None:
    known = {
        "user": "alice",
        "method": "CONNECT",
        "target": "target.test:443",
        "address": "198.51.100.1:443",
        "local": "192.0.2.9:1",
    }
    reports = ("report *:22", 'report "*":1 (\u2028)')
    one = account(**known, reports=reports, rule="allow *:443", phases=(("head", 0.25), ("connect", 0.5)))
    line = written(lambda log: log.opened(one, 200))
    record = json.loads(line)
    assert line.endswith(b"\n")
    assert list(record) == OPENED
    assert isinstance(record.pop("time"), float)
    assert isinstance(record.pop("timestamp"), str)
    expected = {"event": "opened", "connection": "1-2", "tunnel": "1-2.1", "client": "192.0.2.1:5", "status": 200}
    expected |= {**known, "reports": list(reports), "rule": "allow *:443", "phases": {"head": 0.25, "connect": 0.5}}
    assert record == expected


@pytest.mark.parametrize("status", [400, 403, 407, 429, 502, 503, 504])
def test_the_record_of_a_refusal(status: int) -> None:
    one = account(phases=(("head", 0.25), ("auth", 0.5)))
    record = json.loads(written(lambda log: log.refused(one, status, "e", "why")))
    assert list(record) == REFUSED
    assert (record["event"], record["status"], record["error"], record["details"]) == ("refused", status, "e", "why")
    assert (record["phase"], record["phases"]) == ("auth", {"head": 0.25, "auth": 0.5})


def test_the_record_of_a_closed_tunnel() -> None:
    error = ConnectionResetError(errno.ECONNRESET, "x")
    outcome = Outcome(10, 20, "left", "reset", error)
    record = json.loads(written(lambda log: log.closed(account(moved=(10, 20), phase="tunnel"), 1.5, 0.25, outcome)))
    assert list(record) == CLOSED
    assert isinstance(record.pop("time"), float)
    assert isinstance(record.pop("timestamp"), str)
    values = ["closed", "1-2", "1-2.1", "192.0.2.1:5", "", "", "", 1.5, 10, 20, 0.25, "client", "reset", "ECONNRESET", "tunnel"]
    assert list(record.values()) == values


def test_the_record_of_a_closed_tunnel_with_inspection() -> None:
    one = account(seen=FirstBytes("TLS", 'a"b\x1b', "allow *:1", ("report *:2", "report *:3")))
    record = json.loads(written(lambda log: log.closed(one, 1.5, None, CUT)))
    assert list(record) == SEEN
    assert list(record.values())[-4:] == ["TLS", 'a"b\x1b', "allow *:1", ["report *:2", "report *:3"]]


def test_the_interim_record_of_an_open_tunnel() -> None:
    record = json.loads(written(lambda log: log.interim(account(moved=(10, 20)), 1.5)))
    assert list(record) == INTERIM
    assert [record[key] for key in ("event", "seconds", "sent", "received")] == ["interim", 1.5, 10, 20]


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_v17_no_value_breaks_out_of_its_json_string(user: str, target: str, rule: str, details: str) -> None:
    line = written(lambda log: log.refused(account(user=user, target=target, rule=rule), 403, "e", details))
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert all(octet >= 0x20 for octet in line[:-1])
    record = json.loads(line)
    assert (record["user"], record["target"], record["rule"], record["details"]) == (user, target, rule, details)


CONTROL = "\x1b[2J"
HOSTILE = ['a"b', "a\\b", 'a","event=forged', CONTROL, "naïve", "‮evil", "\x80", "'; --", "%s{}", "a" * 4096]


@pytest.mark.parametrize("user", [user for user in HOSTILE if user != CONTROL])
@pytest.mark.usefixtures("cheap_hashes")
def test_v17_hostile_user_names_in_requests(tmp_path: Path, user: str) -> None:
    """A user in the file may have any name; the name of an unknown user is not logged."""
    with Proxy(users=users_file(tmp_path, **{user: "secret"})) as proxy:
        assert proxy.refusal("10.0.0.1:99", basic(user, "secret")).status == 403
        assert proxy.refusal("10.0.0.1:99", basic(user + "x", "secret")).status == 407
        records = proxy.wait_for_records(2)
    assert [(record["user"], record["status"]) for record in records] == [(user, 403), ("", 407)]


@pytest.mark.usefixtures("cheap_hashes")
def test_v17_a_user_name_with_a_control_character_is_not_logged(tmp_path: Path) -> None:
    from base64 import b64encode

    with Proxy(users=users_file(tmp_path, alice="secret")) as proxy:
        credentials = b64encode(f"{CONTROL}:secret".encode()).decode()
        assert proxy.refusal("10.0.0.1:99", f"Proxy-Authorization: Basic {credentials}").status == 407
        (record,) = proxy.wait_for_records(1)
    assert record["user"] == ""


@pytest.mark.parametrize(
    "target",
    [
        "a\rb:443",
        "a\nb:443",
        "a\0b:443",
        'a"b:443',
        "a\\b:443",
        "a\x1b[2J:443",
        "a\xffb:443",
        "a" * 4096 + ":443",
        "a b:443",
        "{}:443",
    ],
)
def test_v17_hostile_targets_in_requests(target: str) -> None:
    with Proxy() as proxy:
        answer = proxy.refusal(target)
        assert answer.status == 400
        (record,) = proxy.wait_for_records(1)
    assert answer.raw.isascii()
    assert b"\x1b" not in answer.raw
    assert (record["status"], record["target"], record["error"]) == (400, "", "http_request_error")


def test_decision_and_end_share_the_id_of_their_tunnel() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy:
        for size in (5, 0):
            with proxy.tunnel(target.authority) as client:
                if size:
                    client.echoes(b"x" * size)
                client.sock.shutdown(1)
                assert client.rest() == b""
        proxy.refusal("127.0.0.1:0")
        records = proxy.wait_for_records(5)
        port = target.port
    by_id: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_id.setdefault(record["tunnel"], []).append(record)
    first, second, third = by_id.values()
    assert [record["event"] for record in first] == ["opened", "closed"]
    where = f"127.0.0.1:{port}"
    assert [first[0][key] for key in ("target", "address", "rule")] == [where, where, "allow 127.0.0.1:*"]
    assert [first[1][key] for key in ("sent", "received", "closed_by", "cause")] == [5, 5, "client", "eof"]
    assert [record["event"] for record in second] == ["opened", "closed"]
    assert (second[1]["sent"], second[1]["received"]) == (0, 0)
    assert [record["event"] for record in third] == ["refused"]


def test_ids_differ_between_two_runs_with_the_same_pid() -> None:
    """In a container the process has the same pid after each restart, and the log is continued."""
    ids = []
    for _ in range(2):
        with Proxy() as proxy:
            proxy.refusal("127.0.0.1:0")
            ids.append(proxy.wait_for_records(1)[0]["connection"])
    assert ids[0] != ids[1]


# --- writing outside of the event loop


class SlowDisk:
    """Makes writes to one descriptor wait until `let`; `os.write` works as usual for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
        self._go, self._fd, self._write = threading.Event(), fd, os.write
        self.begun = threading.Event()
        monkeypatch.setattr(os, "write", self)

    def __call__(self, fd: int, data: bytes) -> int:
        if fd == self._fd:
            self.begun.set()
            assert self._go.wait(10)
        return self._write(fd, data)

    def let(self) -> None:
        self._go.set()


def logging(fd: int, work: Callable[[AccessLog], Awaitable[None]]) -> tuple[AccessLog, TraceLog]:
    """Runs `work` beside a log that writes, and closes the log."""
    trace = TraceLog()

    async def main() -> AccessLog:
        log = AccessLog(fd, trace)
        async with Nursery() as nursery:
            nursery.start_soon(log.run)
            await work(log)
            nursery.cancel_scope.cancel()
        await log.close()
        return log

    return run(main), trace


def ids(path: Path) -> list[str]:
    return [json.loads(line)["connection"] for line in path.read_text().splitlines()]


def test_records_are_collected_and_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd, calls = open_log(str(tmp_path / "log")), []
    write = os.write
    monkeypatch.setattr(os, "write", lambda where, data: (calls.append(where), write(where, data))[1])

    async def work(log: AccessLog) -> None:
        for number in range(3):
            end(log, str(number))
            assert os.fstat(fd).st_size == 0, "the event loop must not write"

    try:
        logging(fd, work)
        assert ids(tmp_path / "log") == ["0", "1", "2"]
        assert calls.count(fd) == 1
    finally:
        os.close(fd)


def test_a_slow_disk_blocks_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = open_log(str(tmp_path / "log"))
    disk = SlowDisk(monkeypatch, fd)

    async def work(log: AccessLog) -> None:
        end(log, "0")
        while not disk.begun.is_set():
            await sleep(0.001)
        for number in range(1, 100):
            end(log, str(number))
            await checkpoint()  # the loop runs although a write has not finished
        disk.let()

    try:
        log, trace = logging(fd, work)
        assert (log.dropped, trace.events) == (0, [])
        assert ids(tmp_path / "log") == [str(number) for number in range(100)], "all records, in order, each once"
    finally:
        os.close(fd)


def test_the_records_that_wait_for_a_slow_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_WAITING", 1000)
    fd = open_log(str(tmp_path / "log"))
    disk = SlowDisk(monkeypatch, fd)

    async def work(log: AccessLog) -> None:
        end(log, "0")
        while not disk.begun.is_set():
            await sleep(0.001)
        for number in range(1, 100):
            end(log, str(number))
        disk.let()

    try:
        log, trace = logging(fd, work)
        kept = ids(tmp_path / "log")
    finally:
        os.close(fd)
    assert kept == [str(number) for number in range(len(kept))]
    assert log.dropped == 100 - len(kept) > 0
    assert trace.events == [("warning", {"text": "access log: the last write has not completed: 1 records lost so far"})]


def test_a_hanging_disk_delays_the_shutdown_only_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LAST_SECONDS", 0.05)
    fd = open_log(str(tmp_path / "log"))
    disk = SlowDisk(monkeypatch, fd)

    async def work(log: AccessLog) -> None:
        end(log, "0")
        while not disk.begun.is_set():
            await sleep(0.001)

    try:
        _, trace = logging(fd, work)
        disk.let()
        wait_until(lambda: len(ids(tmp_path / "log")) == 1, 10, "the pending write")
    finally:
        os.close(fd)
    assert trace.events == [("warning", {"text": "access log: the last write has not completed: 1 records may be lost"})]


def test_records_wait_while_no_thread_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups at a dead name service may occupy all threads for a while."""
    monkeypatch.setattr(access_log, "PAUSE_SECONDS", 0.001)
    fd, refusals = open_log(str(tmp_path / "log")), [3]

    async def to_thread(fn: Callable[..., Any], *args: object) -> Any:
        if refusals[0]:
            refusals[0] -= 1
            raise BusyResourceError("128 threads are already under way")
        return fn(*args)

    async def work(log: AccessLog) -> None:
        end(log, "0")
        while refusals[0]:
            await sleep(0.001)
        end(log, "1")

    monkeypatch.setattr(access_log, "to_thread", to_thread)
    try:
        log, trace = logging(fd, work)
    finally:
        os.close(fd)
    assert (ids(tmp_path / "log"), log.dropped, trace.events) == (["0", "1"], 0, [])


def test_a_stalled_reader_blocks_nothing_and_gets_all_records_later() -> None:
    reader, writer = full_pipe()

    async def work(log: AccessLog) -> None:
        for number in range(100):
            end(log, str(number))
            await checkpoint()
        os.read(reader, 1 << 20)

    try:
        log, trace = logging(writer, work)
        assert (log.dropped, trace.events) == (0, [])
        lines = os.read(reader, 1 << 20).splitlines()
        assert [json.loads(line)["connection"] for line in lines if line] == [str(number) for number in range(100)]
    finally:
        os.close(reader)
        os.close(writer)


def full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    return reader, writer


def test_a_pipe_that_another_process_made_non_blocking() -> None:
    reader, writer = full_pipe()
    os.set_blocking(writer, False)

    async def work(log: AccessLog) -> None:
        end(log, "0")
        await sleep(0.01)
        os.read(reader, 1 << 20)

    try:
        log, trace = logging(writer, work)
        assert (log.dropped, trace.events) == (0, [])
        assert json.loads(os.read(reader, 1 << 20).strip())["connection"] == "0"
    finally:
        os.close(reader)
        os.close(writer)


# --- write errors


def failing(*fds: int) -> tuple[AccessLog, TraceLog]:
    """Runs a log whose descriptor becomes the next one after each record."""
    trace = TraceLog()

    async def main() -> AccessLog:
        log = AccessLog(fds[0], trace)
        for number, fd in enumerate(fds):
            log._file._fd = fd
            end(log, str(number))
            await log.close()
        return log

    return run(main), trace


def test_a_full_disk_is_counted_and_reported_once() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        log, trace = failing(fd, fd, fd)
    finally:
        os.close(fd)
    assert log.dropped == 3
    assert trace.events == [("warning", {"text": "access log: No space left on device: 1 records lost so far"})]


def test_a_disk_that_fills_up_again_is_reported_again(tmp_path: Path) -> None:
    full, good = os.open("/dev/full", os.O_WRONLY), open_log(str(tmp_path / "log"))
    try:
        log, trace = failing(full, full, full, good, full, full)
    finally:
        os.close(full)
        os.close(good)
    assert log.dropped == 5
    assert [fields["text"] for fields in trace.named("warning")] == [
        "access log: No space left on device: 1 records lost so far",
        "access log: No space left on device: 4 records lost so far",
    ]


def test_a_closed_pipe_is_counted_and_reported_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        log, trace = failing(writer, writer, writer)
    finally:
        os.close(writer)
    assert log.dropped == 3
    assert len(trace.named("warning")) == 1


def test_records_that_an_abandoned_write_has_lost_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, a thread that nobody waits for any more may take all that is left, so that the last write finds nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    disk, trace = SlowDisk(monkeypatch, writer), TraceLog()

    async def main() -> AccessLog:
        log = AccessLog(writer, trace)
        async with Nursery() as nursery:
            nursery.start_soon(log.run)
            end(log, "0")
            while not disk.begun.is_set():
                await sleep(0.001)
            nursery.cancel_scope.cancel()
        end(log, "1")
        async with Nursery() as nursery:
            nursery.start_soon(log.close)
            while not log._file.queue:
                await sleep(0.001)
            disk.let()
        return log

    try:
        assert run(main).dropped == 2
    finally:
        os.close(writer)
    assert len(trace.named("warning")) == 1


def test_a_truncated_record_does_not_corrupt_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk fills up in the middle of a line. The next record must not be appended to the incomplete one."""
    fd = open_log(str(tmp_path / "log"))
    room = [20]  # bytes left on the disk
    write = os.write

    def limited(where: int, data: bytes) -> int:
        if where != fd:
            return write(where, data)
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(where, data[: room[0]])
        room[0] -= written
        return written

    async def main() -> AccessLog:
        log = AccessLog(fd, TraceLog())
        for name in ("cut", "lost"):
            end(log, name)
            await log.close()
        room[0] = 1 << 20
        for name in ("whole", "whole too"):
            end(log, name)
            await log.close()
        return log

    monkeypatch.setattr(os, "write", limited)
    try:
        assert run(main).dropped == 2
    finally:
        os.close(fd)
    cut, *whole = (tmp_path / "log").read_text().splitlines()
    assert len(cut) == 20
    assert [json.loads(line)["connection"] for line in whole] == ["whole", "whole too"]


# --- with the whole server


def test_phases_and_ends_of_real_requests() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy:
        with proxy.tunnel(target.authority) as client:
            client.echoes()
            local = "{}:{}".format(*target.conversations[0].sock.getpeername())
        proxy.refusal("target.test:1")
        decision, *others = proxy.wait_for_records(3)
    assert (decision["event"], list(decision["phases"])) == ("opened", ["head", "dns", "connect"])
    assert all(0 <= seconds < SECONDS for seconds in decision["phases"].values())
    assert decision["local"] == local
    ended, refused = sorted(others, key=lambda record: str(record["event"]))
    assert (refused["event"], refused["phase"], list(refused["phases"])) == ("refused", "dns", ["head", "dns"])
    assert ended["tunnel"] == decision["tunnel"] == f"{decision['connection']}.1" != refused["tunnel"]
    assert (ended["phase"], ended["client"], ended["target"]) == ("tunnel", decision["client"], decision["target"])


def test_sighup_reopens_the_log(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with ScriptedServer(echo) as target, Proxy(access_log=str(path)) as proxy, proxy.tunnel(target.authority):
        wait_until(lambda: path.exists() and len(ids(path)) == 1, SECONDS, "the decision")
        path.rename(moved)
        proxy.hang_up()
        wait_until(path.exists, SECONDS, "the new file")
        proxy.refusal("127.0.0.1:0")
        wait_until(lambda: len(ids(path)) == 1, SECONDS, "the record")
        assert len(ids(moved)) == 1


def test_a_log_that_cannot_be_reopened_stays_in_use(tmp_path: Path) -> None:
    path = tmp_path / "dir" / "log"
    path.parent.mkdir()
    with Proxy(access_log=str(path)) as proxy:
        path.parent.rename(tmp_path / "away")
        proxy.hang_up()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
        proxy.refusal("127.0.0.1:0")
        wait_until(lambda: len(ids(tmp_path / "away" / "log")) == 1, SECONDS, "the record")
    assert proxy.warnings == [f"access log {path}: no such file or directory: the old one stays in use"]


def test_stdout_is_not_reopened() -> None:
    async def main() -> None:
        await AccessLog(1, TraceLog()).reopen()

    run(main)


def test_tunnels_continue_when_the_disk_is_full() -> None:
    with ScriptedServer(echo) as target, Proxy(access_log="/dev/full") as proxy:
        for _ in range(3):
            with proxy.tunnel(target.authority) as client:
                assert client.echoes()
        wait_until(lambda: bool(proxy.warnings), SECONDS, "the warning")
    assert len(proxy.warnings) == 1
    assert "access log: No space left" in proxy.warnings[0]


# --- the file


def test_the_file_is_appended_to_and_not_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "log"
    mask = os.umask(0)
    try:
        os.close(open_log(str(path)))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # V30
    path.write_text("before\n")
    fd = open_log(str(path))
    os.write(fd, b"after\n")
    os.close(fd)
    assert path.read_text() == "before\nafter\n"


def test_a_dash_means_stdout() -> None:
    fd = open_log("-")
    try:
        assert fd != 1, "closing the log would close stdout"
        assert os.path.sameopenfile(fd, 1)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("path", "cause"), [("/", "is a directory"), ("/nonexistent/log", "no such file or directory")])
def test_a_log_that_cannot_be_opened_is_an_error(path: str, cause: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_log(path)
    assert (caught.value.exit_status, caught.value.what, caught.value.cause) == (ExitStatus.SETTINGS, f"access log {path}", cause)


def test_header_fields_and_early_data_are_not_logged() -> None:
    with Proxy() as proxy:
        proxy.ask(connect_request("target.test:1", "Cookie: canary", "X: canary") + b"canary")
        proxy.wait_for_records(1)
        assert "canary" not in proxy.log()


def test_a_reopening_after_the_end_leaves_the_descriptor_alone(tmp_path: Path) -> None:
    """The thread of a reopening is not waited for: by then, the number may be that of another file."""
    log = tmp_path / "log"
    file = access_log._File(fd := open_log(str(log)))
    file.finish()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.dup2(other, fd)
    try:
        file.reopen(str(log))
        os.write(fd, b"here")
        assert os.pread(other, 9, 0) == b"here"
    finally:
        os.close(other)
        os.close(fd)
