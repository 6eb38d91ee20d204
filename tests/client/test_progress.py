"""Tests --progress: the figures; and, for connect, that the data is unchanged and only a terminal shows the figures."""

import json
import shlex
import threading
from pathlib import Path
from typing import IO

import pexpect
import pytest

from tests.peers.program import MODULE, connect, environment, read_soon, run, started
from tests.peers.scripted import Conversation, ScriptedServer, sample
from tunnelctl.client import progress
from tunnelctl.client.progress import report
from tunnelctl.engine.kernel import CancelScope
from tunnelctl.engine.kernel import run as run_engine
from tunnelctl.events import Event
from tunnelctl.rare_events import Progress

DATA = sample(8 << 20)


def test_progress_reports_totals_and_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    sums, told = [10, 0], []

    def trace(event: Event, /) -> None:
        told.append(event)
        sums[0] += 5
        sums[1] += 1000
        if len(told) == 2:
            scope.cancel()

    async def main() -> None:
        with scope:
            await report(trace, lambda: 3, lambda: sums)

    scope = CancelScope()
    run_engine(main)
    assert {type(event) for event in told} == {Progress}
    first, second = told[0].facts(), told[1].facts()
    assert (first["connections"], first["sent"], first["received"], first["sending"]) == (3, 10, 0, 0.0)
    assert (second["sent"], second["received"]) == (15, 1000)
    passed = second["seconds"] - first["seconds"]
    assert second["sending"] * passed == pytest.approx(5)
    assert second["receiving"] * passed == pytest.approx(1000)


class Mirror(ScriptedServer):
    """Sends the received data back once the test permits it."""

    def __init__(self) -> None:
        super().__init__(self.reflect)
        self.may = threading.Event()

    def reflect(self, peer: Conversation) -> None:
        peer.accept_tunnel()
        data = peer.read_to_end()
        assert self.may.wait(20)
        peer.send(data)


@pytest.mark.parametrize("flags", [[], ["--progress"]], ids=str)
def test_progress_changes_no_data_and_shows_nothing_on_a_pipe(flags: list[str]) -> None:
    with Mirror() as proxy:
        proxy.may.set()
        done = connect(proxy.url, "host 22", *flags, stdin=DATA)
    assert (done.returncode, done.stdout == DATA, done.stderr) == (0, True, b"")


def test_progress_figures_in_json() -> None:
    with Mirror() as proxy, started("connect", "--progress", "--json", "-x", proxy.url, "host", "22") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"12345")
        process.stdin.close()
        records = []
        while not records or records[-1]["event"] != "progress" or records[-1]["sent"] != 5:
            records.append(json.loads(read_line(process.stderr)))
        proxy.may.set()
        assert read_soon(process.stdout, 5) == b"12345"
    assert (records[-1]["received"], records[-1]["connections"]) == (0, 1)
    assert records[-1]["seconds"] > 0


def read_line(pipe: IO[bytes]) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += read_soon(pipe, 1) or b"\n"
    return line


def test_a_terminal_shows_a_live_line_and_a_final_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    with Mirror() as proxy:
        line = f"{shlex.join([*MODULE, 'connect', '--progress', '-x', proxy.url, 'host', '22'])} < data > copy"
        child = pexpect.spawn("/bin/sh", ["-c", line], cwd=tmp_path, env=environment(), timeout=20, dimensions=(24, 100))
        child.expect(r"\r\x1b\[K1 open, sent 8\.0 MiB \([^)]*\), received 0 B \([^)]*\), \d+ s")
        proxy.may.set()
        child.expect(r"\r\x1b\[Ktunnelctl: tunnel ended: eof; sent 8388608 B, received 8388608 B\r\n")
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0
    assert (tmp_path / "copy").read_bytes() == DATA


def test_fdpass_and_progress_exclude_each_other() -> None:
    done = run("connect", "--fdpass", "--progress", "host", "22")
    assert (done.returncode, done.stderr) == (2, b"tunnelctl: usage error: --fdpass and --progress cannot be used together\n")
