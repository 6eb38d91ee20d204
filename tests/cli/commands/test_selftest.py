"""`selftest`: every check passes in a sound program, and fails if what it checks is broken."""

import hashlib
import json
import re
import signal
import subprocess
import sys

import pytest

from man.source.events import keys_of
from tests.peers.events import check_events
from tests.peers.program import environment, run
from tunnelctl.cli.commands import selftest
from tunnelctl.cli.events import SELFTEST
from tunnelctl.cli.render.console import Console, write_stdout
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import ListenError
from tunnelctl.events import name_of
from tunnelctl.proto import refusal
from tunnelctl.proto.http1.connect_client import ConnectClient, Established
from tunnelctl.server import http1
from tunnelctl.stream.listen import ListenAddress
from tunnelctl.stream.own_ports import OwnAddresses
from tunnelctl.stream.socket_stream import SocketStream

NAMES = [name for name, _, _ in selftest.CHECKS]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Enough data to be spliced; one test runs the command with the amount that users get."""
    monkeypatch.setattr(selftest, "BULK", 2 * selftest.MIB)


def verdicts(capfd) -> tuple[int, dict[str, dict[str, object]]]:
    """Returns the status and the object of each check by its name."""
    status = selftest.run_selftest(True, Console(json=True))
    out, err = capfd.readouterr()
    assert err == ""
    check_events(out.encode())
    objects = [json.loads(line) for line in out.splitlines()]
    assert [o["event"] for o in objects] == ["start", *["check"] * len(NAMES), "summary"]
    assert [o["name"] for o in objects[1:-1]] == NAMES
    held = sum(o["ok"] for o in objects[1:-1])
    assert (objects[-1]["held"], objects[-1]["checks"], objects[-1]["ok"]) == (held, len(NAMES), held == len(NAMES))
    return status, {o["name"]: o for o in objects[1:-1]}


def failed(capfd) -> dict[str, str]:
    """Returns the causes of the failed checks by name; asserts that the status agrees."""
    status, checks = verdicts(capfd)
    causes = {name: str(check["cause"]) for name, check in checks.items() if not check["ok"]}
    assert status == (70 if causes else 0)
    return causes


def test_the_report_of_a_passing_selftest():
    done = run("selftest")
    assert (done.returncode, done.stderr) == (0, b"")
    first, *checks, summary = done.stdout.decode().splitlines()
    assert re.fullmatch(r"tunnelctl [\d.]+, Python 3\.[\d.]+, Linux \S+; proxy on 127\.0\.0\.1:\d+", first)
    assert [line[:5] for line in checks if not line.startswith(" ")] == ["ok   "] * len(NAMES)
    assert re.search(r"^ok   64 MiB each way .*, [\d,]+ MiB/s in all$", done.stdout.decode(), re.MULTILINE)
    assert re.fullmatch(rf"{len(NAMES)} of {len(NAMES)} checks passed in [\d.]+ s", summary)
    heads = [line.strip() for line in checks if line.strip()[:1] in ("<", ">")]
    assert [head.split()[1] for head in heads] == ["CONNECT", "Host:", "User-Agent:", "HTTP/1.1"]


def test_json_prints_one_object_a_line_on_stdout():
    done = run("selftest", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    data = next(o for o in objects if o.get("name") == "data")
    assert data["bytes"] == 128 * selftest.MIB
    assert data["bytes_per_second"] > 0
    refused = {o["name"]: o["status"] for o in objects if "status" in o}
    assert refused == {"policy": 403, "loop": 502, "closed-port": 502}
    assert objects[1]["request"]["target"].startswith("127.0.0.1:")
    assert ["Host", objects[1]["request"]["target"]] in objects[1]["request"]["fields"]
    assert (objects[1]["response"]["status"], objects[1]["response"]["version"]) == (200, "HTTP/1.1")


def test_the_manual_documents_every_key(capfd, monkeypatch):
    monkeypatch.setattr(selftest, "RULES", ("127.0.0.0/8:*",))  # one check fails, so that its keys appear
    selftest.run_selftest(True, Console(json=True))
    documented = {name_of(kind): keys_of(kind) for kind in SELFTEST}
    sometimes = {key.name for key in documented["check"] if key.sometimes}
    assert sometimes == {"request", "response", "bytes", "bytes_per_second", "status", "message", "cause"}
    seen = set()
    for line in capfd.readouterr().out.splitlines():
        keys = set(json.loads(line))
        event = documented[json.loads(line)["event"]]
        assert keys - sometimes == {"event", *(key.name for key in event if not key.sometimes)}
        seen |= keys & sometimes
    assert seen == sometimes


def test_selftest_passes_and_restores_signal_handlers(capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert failed(capfd) == {}
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_response_that_is_not_http_fails_the_tunnel_checks(capfd, monkeypatch):
    monkeypatch.setattr(http1, "ESTABLISHED", b"\x1b[31mHELLO\r\n\r\n")
    causes = failed(capfd)
    assert set(causes) == {"connect", "early-data", "data", "half-close"}
    assert "not HTTP" in causes["connect"]
    assert selftest.run_selftest(False, Console()) == 70
    out, _ = capfd.readouterr()
    assert "\nFAIL CONNECT opens a tunnel\n       > CONNECT 127.0.0.1:" in out
    assert "\x1b" not in out
    assert out.endswith("s\n")


def test_lost_early_data_fails_its_check(capfd, monkeypatch):
    def forgetful(self, data):
        answer = feed(self, data)
        return answer._replace(leftover=b"") if isinstance(answer, Established) else answer

    feed = ConnectClient.feed
    monkeypatch.setattr(ConnectClient, "feed", forgetful)
    assert set(failed(capfd)) == {"early-data"}


def test_changed_bytes_fail_the_data_check(capfd, monkeypatch):
    class Swapping:
        """A checksum as computed at the far end of a tunnel that swaps bytes."""

        def __init__(self, number):
            self.sum, self.swap = hashlib.new("sha256"), number == 0

        def update(self, data):
            self.sum.update(data[1:] + data[:1] if self.swap else data)

        def hexdigest(self):
            return self.sum.hexdigest()

    made = iter(range(8))  # for the check over HTTP/1.1, and for that over HTTP/2, which is left alone
    monkeypatch.setattr(hashlib, "sha256", lambda: Swapping(next(made)))
    causes = failed(capfd)
    assert set(causes) == {"data"}
    assert causes["data"].startswith("the checksum at the ")


def test_an_eof_that_is_not_forwarded_fails_the_half_close_check(capfd, monkeypatch):
    monkeypatch.setattr(selftest, "LIMIT", 0.2)
    monkeypatch.setattr(SocketStream, "send_eof", lambda self: None)
    causes = failed(capfd)
    assert causes["half-close"] == "not done after 0.2 s"
    assert "policy" not in causes


def test_rules_that_allow_too_much_fail_the_policy_check(capfd, monkeypatch):
    monkeypatch.setattr(selftest, "RULES", ("127.0.0.0/8:*",))
    causes = failed(capfd)
    assert set(causes) == {"policy"}
    assert causes["policy"].startswith("expected 403 destination_ip_prohibited, got")


def test_a_proxy_that_connects_to_itself_fails_the_loop_check(capfd, monkeypatch):
    monkeypatch.setattr(OwnAddresses, "contains", lambda self, host, port: False)
    assert failed(capfd) == {"loop": "expected 502 proxy_loop_detected, got a tunnel"}


def test_a_wrong_refusal_fails_the_check_of_a_closed_port(capfd, monkeypatch):
    monkeypatch.setattr(refusal, "connection_refused", refusal.connection_timeout)
    assert set(failed(capfd)) == {"closed-port"}


def test_a_fault_fails_only_its_check(capfd, monkeypatch):
    def fault(listener):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(selftest, "_read_all", fault)
    assert failed(capfd) == dict.fromkeys(("early-data", "http2", "half-close"), "ZeroDivisionError: by chance")


def test_warnings_of_the_proxy_are_printed_on_stderr(capfd, monkeypatch):
    def fault(self, host, port):
        raise ZeroDivisionError

    monkeypatch.setattr(OwnAddresses, "contains", fault)  # called for each target that the rules allow
    assert selftest.run_selftest(False, Console()) == 70
    out, err = capfd.readouterr()
    assert out.count("\nok   ") == 1
    assert err.count("tunnelctl: warning: fault in a tunnel: ZeroDivisionError") == len(NAMES) - 1


def test_without_an_address_to_listen_on_selftest_reports_an_error(capfd, monkeypatch):
    """The machine is at fault then, and the error says so; nothing that looks like a verdict is printed."""
    monkeypatch.setattr(selftest, "LOOPBACK", ListenAddress("192.0.2.1", 0))
    with pytest.raises(ListenError, match="cannot listen on"):
        selftest.run_selftest(False, Console())
    assert capfd.readouterr() == ("", "")


async def _for_ever(client):
    write_stdout("waiting\n")
    await sleep(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_selftest_at_once(number):
    """Also while its proxy runs, which would otherwise handle the signal."""
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.cli.commands import test_selftest as t\n"
        "from tunnelctl.cli.main import main\n"
        "t.selftest.CHECKS = (('x', 'x', t._for_ever),)\nmain(['selftest'])"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment(), **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"tunnelctl ")
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-number, b"")


def test_a_closed_reader_of_stdout_ends_the_selftest_without_an_error():
    shell = f"{sys.executable} -m tunnelctl selftest | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=30, env=environment())
    assert done.stderr == b""
    assert done.stdout.splitlines()[1:] == [b"0"]
