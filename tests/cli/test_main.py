"""The entry point: exit statuses, the printing of failures, signals, and standard descriptors that are closed or full."""

import gc
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.peers.events import check_event
from tests.peers.program import MODULE, environment, read_soon, run
from tests.peers.scripted import ScriptedServer
from tunnelctl import events
from tunnelctl import rare_events as rare
from tunnelctl.cli.main import main, trace_for
from tunnelctl.cli.render.console import Console
from tunnelctl.errors import Refused
from tunnelctl.options import OutputOptions
from tunnelctl.status import ExitStatus


@pytest.fixture
def connect(monkeypatch):
    """Replaces the client; the test's function is called with (options, environ, trace)."""
    fake = types.ModuleType("tunnelctl.client.connect")
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return lambda body: setattr(fake, "run_connect", body)


def fail(error):
    def body(options, environ, trace):
        raise error

    return body


@pytest.mark.parametrize(
    "argv", [["connect", "h", "22"], ["connect", "-4v", "h", "22"], ["h", "22"]], ids=["direct", "typer", "short"]
)
def test_the_exit_status_is_that_of_the_client(connect, capfd, argv):
    seen = []

    def body(options, environ, trace):
        seen.append((str(options.target), environ is os.environ, callable(trace)))
        return ExitStatus.BROKEN

    connect(body)
    assert main(argv) == 74
    assert seen == [("h:22", True, True)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("argv", [["connect", "h", "22"], ["connect", "-4v", "h", "22"]], ids=["direct", "typer"])
def test_an_error_prints_a_line_and_a_hint_and_sets_the_status(connect, capfd, argv):
    connect(fail(Refused("proxy p refused h:22", "403", "busy")))
    assert main(argv) == 69
    assert capfd.readouterr() == (
        "",
        "tunnelctl: proxy p refused h:22: 403\nhint: the proxy has reached one of its limits; try again later\n",
    )


@pytest.mark.parametrize(
    "argv", [["connect", "--json", "h", "22"], ["connect", "--json", "-4v", "h", "22"]], ids=["direct", "typer"]
)
def test_an_error_is_printed_as_json(connect, capfd, argv):
    connect(fail(Refused("what", "cause", "refused", detail={"code": 403})))
    assert main(argv) == 69
    err = capfd.readouterr().err
    check_event(err)
    record = json.loads(err)
    assert {k: v for k, v in record.items() if k != "time"} == {
        "event": "error", "exit_status": 69, "what": "what", "cause": "cause", "hint": "", "code": 403,
    }  # fmt: skip


def test_a_usage_error_is_printed_as_json(capfd):
    assert main(["connect", "--json", "--retry", "x", "h", "22"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    check_event(err)
    assert json.loads(err)["what"] == "--retry"


def test_a_fault_prints_a_line_and_ends_with_status_70(connect, capfd, monkeypatch):
    monkeypatch.delenv("TUNNELCTL_DEBUG", raising=False)
    connect(fail(ZeroDivisionError("boo\x1b")))
    assert main(["connect", "h", "22"]) == 70
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        r"tunnelctl: fault in tunnelctl: ZeroDivisionError: boo\x1b",
        "hint: TUNNELCTL_DEBUG=1 in the environment shows the traceback",
    ]


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("", False), ("0", False)])
def test_a_fault_prints_its_traceback_if_tunnelctl_debug_is_set(connect, capfd, monkeypatch, value, shown):
    monkeypatch.setenv("TUNNELCTL_DEBUG", value)
    connect(fail(ZeroDivisionError()))
    assert main(["connect", "h", "22"]) == 70
    assert ("Traceback" in capfd.readouterr().err) is shown


def test_no_arguments_print_short_help_on_stderr(capfd):
    assert main([]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Usage: tunnelctl COMMAND")


BAD = [
    ["connect"], ["connect", "h"], ["connect", "h", "0"], ["connect", "h", "22", "x"], ["connect", "-4", "-6", "h", "22"],
    ["connect", "--timeout", "nan", "h", "22"], ["connect", "--timeout", "-1", "h", "22"], ["connect", "--retry", "1.5", "h", "22"],
    ["connect", "--nope", "h", "22"], ["connect", "-x"], ["nope"], ["--nope"], ["serve", "x"], ["serve", "--workers", "0"],
    ["completion"], ["completion", "csh"], ["hash-password"], ["hash-password", "a:b"], ["hash-password", ""], ["selftest", "x"],
    ["connect", "h\x1b]0;x\x07", "22"], ["connect", "\udcff", "22"], ["connect", "http://u:swordfish@h:1", "22"],
    ["h\u202e", "22"], ["swordfish:swordfish@h", "22"], ["u:swordfish@h:22"],
]  # fmt: skip


@pytest.mark.parametrize("argv", BAD, ids=[ascii(" ".join(b)) for b in BAD])
def test_a_usage_error_is_one_printable_line_without_a_password(capfd, argv):
    assert main(argv) == 2
    out, err = capfd.readouterr()
    first, *rest = err.splitlines()
    assert out == ""
    assert first.startswith("tunnelctl: ")
    assert len(rest) <= 1
    assert not rest or rest[0].startswith("hint: ")
    assert all(line.isprintable() for line in err.splitlines())
    assert ":swordfish" not in err
    assert "Traceback" not in err


HARNESS = """
import sys, types
fake = types.ModuleType("tunnelctl.client.connect")
def run_connect(options, environ, trace):
    {body}
fake.run_connect = run_connect
sys.modules[fake.__name__] = fake
from tunnelctl.cli.main import main
sys.exit(main(["connect", "h", "22"]))
"""


@pytest.mark.parametrize(
    ("body", "number"),
    [("raise KeyboardInterrupt", signal.SIGINT), ("return 143", signal.SIGTERM), ("return 130", signal.SIGINT)],
)
def test_an_end_by_signal_is_reported_as_a_signal_to_the_parent(body, number):
    """Without a traceback."""
    code = HARNESS.format(body=body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")


# --- signals and the garbage collector, only if run as a program


SLOW = """
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.write(1, b"importing")
            os.read(0, 1)
sys.meta_path.insert(0, Finder())
sys.argv = ["tunnelctl", *{words!r}]
from tunnelctl.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("tunnelctl.errors", ["connect", "h", "22"]),
        ("tunnelctl.client.connect", ["connect", "h", "22"]),
        ("typer", ["connect", "-4v", "h", "22"]),
        ("tunnelctl.server.serve", ["serve", "--listen", "127.0.0.1:0"]),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_modules_are_loaded(module, words, ignored):
    """It ends the program at once and silently, unless the caller ignores SIGINT, as a shell does for `&`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", SLOW.format(module=module, words=words)]
        process = subprocess.Popen(command, env=environment(), bufsize=0, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert read_soon(process.stdout, 9) == b"importing"
        process.send_signal(signal.SIGINT)
        if ignored:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.kill()
            process.wait(10)
        else:
            assert process.wait(10) == -signal.SIGINT
        assert process.stderr.read() == b""


COLLECTOR = HARNESS.replace('main(["connect", "h", "22"])', "main()").replace("import sys, types", "import gc, sys, types")


@pytest.mark.parametrize("words", [["connect", "h", "22"], ["connect", "-4v", "h", "22"]], ids=["direct", "typer"])
def test_the_garbage_collector_is_enabled_once_modules_are_loaded(words):
    code = COLLECTOR.format(body="return not (gc.isenabled() and gc.get_freeze_count() > 1000 and gc.get_threshold()[0] > 700)")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, env=environment(), timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")


def test_called_as_a_function_main_keeps_signals_and_collector(connect):
    def now():
        return signal.getsignal(signal.SIGINT), gc.isenabled(), gc.get_freeze_count()

    before, seen = now(), []
    connect(lambda options, environ, trace: seen.append(now()) or 0)
    assert main(["connect", "h", "22"]) == 0
    assert seen == [before] == [now()]


EVENTS = [
    events.Route([], "no proxy is configured"),
    events.Response("HTTP/1.1", 200, "OK", (("A", "b"),)),
    rare.Retry(1, 0.5, "x"),
    events.Warning("others can read it"),
    events.Closed(1, 2, 3.0, "target", "eof"),
]


VERBOSITIES = [{}, {"quiet": True}, {"verbose": 1}, {"verbose": 2}, {"json": True}, {"json": True, "quiet": True}]


@pytest.mark.parametrize("flags", VERBOSITIES, ids=str)
def test_the_light_trace_of_connect_prints_the_same_as_the_console(capfd, flags):
    """It is not a Console if only a warning could be printed."""
    start = 0.0
    trace = trace_for(OutputOptions(**flags), start)
    console = Console(**flags, start=start)
    assert isinstance(trace, Console) == bool(flags.get("verbose") or flags.get("json"))
    for event in EVENTS:
        lines = []
        for report in (trace, console):
            report(event)
            out, err = capfd.readouterr()
            assert out == ""
            lines.append([word for word in err.split() if not any(c.isdigit() for c in word)])  # all except the time
        assert lines[0] == lines[1]


def shell(line: str) -> subprocess.CompletedProcess[bytes]:
    program = " ".join(MODULE)
    return subprocess.run(["/bin/sh", "-c", line.replace("tunnelctl", program)], capture_output=True, env=environment(), timeout=20)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_or_full_stderr_does_not_change_the_status(redirection):
    done = shell(f"tunnelctl connect {redirection}")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_full_stdout_is_reported():
    done = shell("tunnelctl --version >/dev/full")
    assert done.returncode == 74
    assert done.stderr == b"tunnelctl: stdout: no space left on device\n"


def test_a_closed_stdout_is_reported():
    done = shell("tunnelctl --version >&-")
    assert done.returncode == 74
    assert done.stderr == b"tunnelctl: stdout: it is closed\n"


def test_a_closed_reader_of_stdout_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*MODULE, "--help"], stdout=writer, stderr=subprocess.PIPE, env=environment(), timeout=20)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_standard_descriptors_are_never_reused_for_a_socket(tmp_path):
    body = (
        "import os, socket; s = socket.socket(); "
        f"open({str(tmp_path / 'number')!r}, 'w').write(str(s.fileno())); s.close(); return 0"
    )
    line = f"exec {sys.executable} -c '{HARNESS.format(body=body).replace(chr(39), chr(34))}' <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", line], env=environment(), timeout=20)
    assert done.returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


def test_a_closed_stdin_counts_as_empty():
    done = shell("tunnelctl hash-password alice <&-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"tunnelctl: hash-password: the password is empty\n"


def test_connect_with_a_closed_stdin_sends_eof_and_gets_the_response():
    def answer_at_the_end(peer):
        peer.accept_tunnel()
        assert peer.read_to_end() == b""
        peer.send(b"answer")

    with ScriptedServer(answer_at_the_end) as proxy:
        done = shell(f"tunnelctl connect -x {proxy.url} target.test 22 <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"answer", b"")


def test_connect_with_a_closed_stdout_reports_the_lost_data():
    def speak(peer):
        peer.accept_tunnel()
        peer.send(b"lost")
        peer.wait_gone()

    with ScriptedServer(speak) as proxy:
        done = shell(f"tunnelctl connect -x {proxy.url} target.test 22 </dev/null >&-")
    assert (done.returncode, done.stdout) == (74, b"")
    assert done.stderr.startswith(b"tunnelctl: stdout: ")


def test_the_package_runs_as_a_module():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"tunnelctl ")


ON_WINDOWS = """
import sys
# What the standard library lacks there.
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
sys.platform, sys.argv = "win32", ["tunnelctl", *{words!r}]
exec(open({program!r}).read())
"""


@pytest.mark.parametrize("words", [[], ["connect", "-x", "http://proxy:3128", "host", "22"], ["serve"], ["--help"]], ids=str)
def test_on_windows_one_line_says_what_it_needs(words):
    program = str(Path(__file__).parents[2] / "tunnelctl/__main__.py")
    done = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS.format(words=words, program=program)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tunnelctl: cannot run on Windows: it needs Linux, macOS or a BSD")
