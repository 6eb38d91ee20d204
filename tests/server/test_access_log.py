"""The access log: valid JSON whatever a client sends, nothing lost in silence, and no tunnel lost over it."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.harness import Recorder
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, basic, cheap_hashes, connect_request, users_file  # noqa: F401
from tunnelctl.engine.kernel import Nursery, checkpoint, run, sleep
from tunnelctl.errors import SettingsError
from tunnelctl.server import access_log
from tunnelctl.server.access_log import RETRY_SECONDS, AccessLog, open_log
from tunnelctl.status import ExitStatus

DECISION = ("1-2", "192.0.2.1:5", "alice", "target.test:443", "198.51.100.1:443", 200, "allow *:443", "")
KEYS = ["event", "time", "id", "client", "user", "target", "address", "allowed", "status", "rule", "error"]
END_KEYS = ["event", "time", "id", "seconds", "sent", "received", "ended_by", "cause"]


def written(write: Callable[[AccessLog], None]) -> bytes:
    """What comes out at the other end of a pipe."""
    reader, writer = os.pipe()
    trace = Recorder()

    async def main() -> None:
        log = AccessLog(writer, trace)
        write(log)
        log.flush()

    try:
        run(main)
        os.close(writer)
        with os.fdopen(reader, "rb", closefd=False) as pipe:
            return pipe.read()
    finally:
        os.close(reader)
        assert trace.events == []


# --- records


def test_a_decision() -> None:
    line = written(lambda log: log.decision(*DECISION))
    record = json.loads(line)
    assert line.endswith(b"\n")
    assert list(record) == KEYS
    assert isinstance(record.pop("time"), float)
    assert list(record.values()) == ["decision", *DECISION[:5], True, *DECISION[5:]]


@pytest.mark.parametrize("status", [400, 403, 407, 502, 503, 504])
def test_only_200_is_allowed(status: int) -> None:
    assert json.loads(written(lambda log: log.decision("1", "c", "", "", "", status, "", "e")))["allowed"] is False


def test_an_end() -> None:
    record = json.loads(written(lambda log: log.end("1-2", 1.5, 10, 20, "client", "eof")))
    assert list(record) == END_KEYS
    assert isinstance(record.pop("time"), float)
    assert list(record.values()) == ["end", "1-2", 1.5, 10, 20, "client", "eof"]


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_v17_no_text_breaks_out_of_its_string(user: str, target: str, rule: str) -> None:
    line = written(lambda log: log.decision("1", "c", user, target, "", 403, rule, "e"))
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert all(octet >= 0x20 for octet in line[:-1])
    record = json.loads(line)
    assert (record["user"], record["target"], record["rule"]) == (user, target, rule)


CONTROL = "\x1b[2J"
HOSTILE = ['a"b', "a\\b", 'a","event=forged', CONTROL, "naïve", "‮evil", "\x80", "'; --", "%s{}", "a" * 4096]


@pytest.mark.parametrize("user", [user for user in HOSTILE if user != CONTROL])
@pytest.mark.usefixtures("cheap_hashes")
def test_v17_hostile_users_over_the_wire(tmp_path: Path, user: str) -> None:
    """A user of the file may have any name; one that is not in it appears nowhere."""
    with Proxy(users=users_file(tmp_path, **{user: "secret"})) as proxy:
        assert proxy.refusal("10.0.0.1:99", basic(user, "secret")).status == 403
        assert proxy.refusal("10.0.0.1:99", basic(user + "x", "secret")).status == 407
        records = proxy.wait_for_records(2)
    assert [(record["user"], record["status"]) for record in records] == [(user, 403), ("", 407)]


@pytest.mark.usefixtures("cheap_hashes")
def test_v17_a_user_with_a_control_character(tmp_path: Path) -> None:
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
def test_v17_hostile_targets_over_the_wire(target: str) -> None:
    with Proxy() as proxy:
        answer = proxy.refusal(target)
        assert answer.status == 400
        (record,) = proxy.wait_for_records(1)
    assert answer.raw.isascii()
    assert b"\x1b" not in answer.raw
    assert (record["status"], record["target"], record["error"]) == (400, "", "http_request_error")


def test_decision_and_end_are_joined_by_id() -> None:
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
        by_id.setdefault(record["id"], []).append(record)
    first, second, third = by_id.values()
    assert [record["event"] for record in first] == ["decision", "end"]
    where = f"127.0.0.1:{port}"
    assert [first[0][key] for key in ("target", "address", "rule")] == [where, where, "allow 127.0.0.1:*"]
    assert [first[1][key] for key in ("sent", "received", "ended_by", "cause")] == [5, 5, "client", "eof"]
    assert [record["event"] for record in second] == ["decision", "end"]
    assert (second[1]["sent"], second[1]["received"]) == (0, 0)
    assert [record["event"] for record in third] == ["decision"]


def test_ids_differ_between_two_runs_of_one_process_number() -> None:
    """In a container the process has the same number after each restart, and the log goes on."""
    ids = []
    for _ in range(2):
        with Proxy() as proxy:
            proxy.refusal("127.0.0.1:0")
            ids.append(proxy.wait_for_records(1)[0]["id"])
    assert ids[0] != ids[1]


# --- when it cannot be written


def test_records_of_a_turn_are_written_together(tmp_path: Path) -> None:
    fd = open_log(str(tmp_path / "log"))

    async def main() -> None:
        log = AccessLog(fd, Recorder())
        async with Nursery() as nursery:
            nursery.start_soon(log.run)
            for number in range(3):
                log.end(str(number), 0, 0, 0, "", "")
                assert os.fstat(fd).st_size == 0
            for _ in range(3):
                await checkpoint()
            assert os.fstat(fd).st_size > 0
            log.end("3", 0, 0, 0, "", "")
            nursery.cancel_scope.cancel()
        log.flush()

    try:
        run(main)
        assert [json.loads(line)["id"] for line in (tmp_path / "log").read_text().splitlines()] == ["0", "1", "2", "3"]
    finally:
        os.close(fd)


def failing(fd: int, *recover: int) -> tuple[AccessLog, Recorder]:
    """A log whose descriptor fails three times, and then becomes another."""
    trace, log = Recorder(), None

    async def main() -> AccessLog:
        log = AccessLog(fd, trace)
        for number in range(3):
            log.end(str(number), 0, 0, 0, "", "")
            log.flush()
        for good in recover:
            log._fd = good
            log.end("later", 0, 0, 0, "", "")
            log.flush()
        return log

    log = run(main)
    return log, trace


def test_a_full_disk_is_counted_and_said_once() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        log, trace = failing(fd)
    finally:
        os.close(fd)
    assert log.dropped == 3
    assert trace.events == [("warning", {"text": "access log: No space left on device: 1 records lost so far"})]


def test_a_disk_that_fills_up_again_is_said_again(tmp_path: Path) -> None:
    full, good = os.open("/dev/full", os.O_WRONLY), open_log(str(tmp_path / "log"))
    try:
        log, trace = failing(full, good, full, full)
    finally:
        os.close(full)
        os.close(good)
    assert log.dropped == 5
    assert [fields["text"] for fields in trace.named("warning")] == [
        "access log: No space left on device: 1 records lost so far",
        "access log: No space left on device: 4 records lost so far",
    ]


def test_a_vanished_reader_is_counted_and_said_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        log, trace = failing(writer)
    finally:
        os.close(writer)
    assert log.dropped == 3
    assert len(trace.named("warning")) == 1


def test_a_record_that_was_cut_short_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk fills up in the middle of a line. The next record must not be appended to the rest of it."""
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
        log = AccessLog(fd, Recorder())
        for name in ("cut", "lost"):
            log.end(name, 0, 0, 0, "", "")
            log.flush()
        room[0] = 1 << 20
        for name in ("whole", "whole too"):
            log.end(name, 0, 0, 0, "", "")
            log.flush()
        return log

    monkeypatch.setattr(os, "write", limited)
    try:
        assert run(main).dropped == 2
    finally:
        os.close(fd)
    cut, *whole = (tmp_path / "log").read_text().splitlines()
    assert len(cut) == 20
    assert [json.loads(line)["id"] for line in whole] == ["whole", "whole too"]


def test_a_reader_who_stalls_stops_nobody_and_gets_it_all_later() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)

    async def main() -> None:
        trace = Recorder()
        log = AccessLog(writer, trace)
        async with Nursery() as nursery:
            nursery.start_soon(log.run)
            for number in range(100):
                log.end(str(number), 0, 0, 0, "", "")
                await checkpoint()
            os.read(reader, 1 << 20)
            await sleep(3 * RETRY_SECONDS)
            nursery.cancel_scope.cancel()
        assert (log.dropped, trace.events) == (0, [])

    try:
        run(main)
        assert [json.loads(line)["id"] for line in os.read(reader, 1 << 20).splitlines()] == [str(number) for number in range(100)]
    finally:
        os.close(reader)
        os.close(writer)


def test_what_is_kept_for_a_reader_who_stalls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_REST", 1000)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    try:
        log, trace = failing(writer, *[writer] * 100)
        os.read(reader, 1 << 20)
        log.flush()
        lines = os.read(reader, 1 << 20).decode().splitlines()
    finally:
        os.close(reader)
        os.close(writer)
    assert [json.loads(line)["event"] for line in lines] == ["end"] * len(lines)
    assert log.dropped == 103 - len(lines) > 0
    (warning,) = trace.named("warning")
    assert "nobody reads it" in str(warning["text"])


def test_tunnels_go_on_when_the_disk_is_full() -> None:
    with ScriptedServer(echo) as target, Proxy(access_log="/dev/full") as proxy:
        for _ in range(3):
            with proxy.tunnel(target.authority) as client:
                assert client.echoes()
    assert len(proxy.warnings) == 1
    assert "access log: No space left" in proxy.warnings[0]


# --- where it is


def test_the_file_is_appended_to_and_not_for_everybody(tmp_path: Path) -> None:
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


def test_a_dash_is_stdout() -> None:
    fd = open_log("-")
    try:
        assert fd != 1, "whoever closes it would close stdout"
        assert os.path.sameopenfile(fd, 1)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("path", "cause"), [("/", "is a directory"), ("/nonexistent/log", "no such file or directory")])
def test_a_file_that_cannot_be_opened(path: str, cause: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_log(path)
    assert (caught.value.status, caught.value.what, caught.value.cause) == (ExitStatus.SETTINGS, f"access log {path}", cause)


def test_the_client_s_bytes_are_nowhere_in_it() -> None:
    with Proxy() as proxy:
        proxy.ask(connect_request("target.test:1", "Cookie: canary", "X: canary") + b"canary")
        proxy.wait_for_records(1)
        assert "canary" not in proxy.log()
