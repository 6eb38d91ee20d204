"""`top` on a terminal: what pyte, a terminal in Python, shows of it, and whether the terminal is as before afterwards."""

import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pexpect
import pyte
import pytest

from tests.peers.instances import PATIENT, STATUS, TUNNEL, Facts, many, mute, published, trickling
from tests.peers.process import scratch_directory, wait_until
from tests.peers.program import MODULE, Forward, Serve, environment, patched
from tests.peers.targets import echo_for_many
from tests.peers.window import PIECE
from tunnelctl.cli.top.terminal import ENTER, LEAVE
from tunnelctl.control.snapshot import Tunnels

SECONDS = 20.0
UP, DOWN, PAGE_DOWN, ESCAPE = "\x1b[A", "\x1b[B", "\x1b[6~", "\x1b"


@pytest.fixture
def directory() -> Iterator[Path]:
    with scratch_directory() as path:
        yield path


class Seen:
    """A program on a terminal of its own, and what that shows.

    A picture comes in pieces, so all that a test expects of one is a condition to wait for.
    """

    def __init__(self, child: "pexpect.spawn[bytes]", columns: int, lines: int) -> None:
        self.child = child
        self.raw = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)

    def read(self, seconds: float = 0.05) -> bool:
        """Takes what the program has written within the time. Returns whether there was anything."""
        if self.child.child_fd < 0 or not select.select([self.child.child_fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.child.child_fd, PIECE)
        except OSError:  # it has ended
            return False
        before = self.raw.count(LEAVE)
        self.raw += data
        if self.raw.count(LEAVE) > before:  # pyte has no alternate screen: what follows is on another one
            self._screen.reset()
            self._stream = pyte.ByteStream(self._screen)  # the old one may be inside the sequence, which comes in pieces
            data = self.raw[self.raw.rindex(LEAVE) + len(LEAVE) :]
        self._stream.feed(data)
        return True

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, condition: Callable[[str], object]) -> str:
        """Reads until the text on the screen fulfils the condition, and returns it."""
        deadline = time.monotonic() + SECONDS
        while not condition(self.text):
            assert time.monotonic() < deadline, f"it shows:\n{self.text}"
            self.read()
        return self.text

    def until_shown(self, *texts: str) -> str:
        return self.until(lambda screen: all(text in screen for text in texts))

    def until_gone(self, text: str) -> str:
        return self.until(lambda screen: text not in screen)

    def press(self, keys: str) -> None:
        self.child.send(keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)

    def end(self) -> tuple[int | None, int | None]:
        """Reads to the end. Returns the exit status and the signal."""
        deadline = time.monotonic() + SECONDS
        while self.child.isalive():
            assert time.monotonic() < deadline, f"it does not end, and shows:\n{self.text}"
            self.read()
        while self.read(0):
            pass
        return self.child.exitstatus, self.child.signalstatus


@contextmanager
def on_terminal(
    directory: Path, *words: str, columns: int = 80, lines: int = 24, program: Sequence[str] = PATIENT, **env: str
) -> Iterator[Seen]:
    """Runs `top` on a terminal, with a look each 0.2 seconds unless `words` says otherwise."""
    surroundings = environment({"XDG_RUNTIME_DIR": str(directory), "TERM": "xterm", "LC_ALL": "C.UTF-8", **env})
    command = [*program, "top", *(words or ("--interval", "0.2"))]
    child = pexpect.spawn(command[0], command[1:], env=surroundings, timeout=SECONDS, dimensions=(lines, columns))
    child.delaybeforesend = None
    try:
        yield Seen(child, columns, lines)
    finally:
        child.close(force=True)


def rows(screen: str) -> list[str]:
    """Returns the targets of the table's visible rows, in order."""
    return re.findall(r"host-\d+\.test", screen)


# --- the real thing


def test_real_tunnels_appear_count_up_and_disappear(directory):
    env = {"XDG_RUNTIME_DIR": str(directory)}
    with echo_for_many() as target, Serve("--name", "far", env=env) as serve, on_terminal(directory) as seen:
        seen.until_shown("far", "serve", "no open tunnels", "1 process, 0 tunnels")
        forward = Forward("--name", "near", "-x", serve.url, "-L", f"0:{target.host}:{target.port}", env=env)
        with forward, socket.create_connection(("127.0.0.1", forward.port), timeout=SECONDS) as client:
            seen.until_shown("2 processes, 2 tunnels", f"127.0.0.1:{forward.port} -> ")
            seen.until(lambda screen: screen.count(f"{target.host}:{target.port}") >= 2)
            seen.until(lambda screen: {line.partition(" ")[0] for line in screen.splitlines()[6:8]} == {"near", "far"})
            client.sendall(b"x" * 2048)
            seen.until(lambda screen: screen.count("2.0K") >= 2)
            client.shutdown(socket.SHUT_WR)
            seen.until_shown("no open tunnels", "2 processes, 0 tunnels")
            seen.press("e")
            seen.until_shown("RESULT", "ended")
        seen.until_shown("1 process")
        seen.press("q")
        assert seen.end() == (0, None)


# --- keys


def test_keys_sort_filter_scroll_pause_and_help(directory):
    with published(directory, "db", Facts(*many(40))) as facts, on_terminal(directory) as seen:
        seen.until(lambda screen: rows(screen)[:2] == ["host-39.test", "host-38.test"])
        seen.press("r")
        seen.until(lambda screen: rows(screen)[:1] == ["host-0.test"])
        seen.press("r" + DOWN)
        seen.until(lambda screen: rows(screen)[:1] == ["host-38.test"])
        seen.press(PAGE_DOWN)
        seen.until(lambda screen: rows(screen)[:1] == ["host-20.test"])
        seen.press("/host-7\r")
        seen.until(lambda screen: "filter: host-7  <" in screen and rows(screen) == ["host-7.test"])
        seen.press(ESCAPE)
        seen.until_gone("filter: host-7")
        seen.press("<")
        seen.until_shown("sort: SENT/s")
        seen.press("?")
        seen.until_shown("show this help")
        seen.press("x")
        seen.until_gone("show this help")
        seen.press("p")
        seen.until_shown("PAUSED")
        facts.tunnels = facts.tunnels._replace(tunnels=[])
        seen.press("e")
        seen.until_shown("it is internal")
        seen.press("pe")
        seen.until_shown("no open tunnels")


def test_space_looks_at_once(directory):
    with published(directory, "db", Facts()) as facts, on_terminal(directory, "--interval", "600") as seen:
        seen.until_shown("no open tunnels")
        facts.tunnels = facts.tunnels._replace(tunnels=[TUNNEL])
        seen.press(" ")
        seen.until_shown(TUNNEL.target)


# --- processes that come, go and hang


def test_a_process_that_does_not_answer_is_asked_again_soon_whatever_the_interval(directory):
    with ExitStack() as stack:
        silent = stack.enter_context(ExitStack())
        silent.enter_context(mute(directory, "db"))
        seen = stack.enter_context(on_terminal(directory, "--interval", "600", program=MODULE))
        seen.until_shown("no answer within 1 s")
        silent.close()
        stack.enter_context(published(directory, "db", Facts(TUNNEL)))
        seen.until_shown(TUNNEL.target)


def test_an_answer_without_end_is_overdue_soon_whatever_the_interval(directory):
    with trickling(directory, "db"), on_terminal(directory, "--interval", "600", program=MODULE) as seen:
        seen.until_shown("no answer within 1 s")


def test_a_process_that_hangs_is_shown_as_such_and_delays_no_other(directory):
    with (
        mute(directory, "stuck"),
        published(directory, "db", Facts(TUNNEL)) as facts,
        on_terminal(directory, program=MODULE) as seen,
    ):
        seen.until_shown("no answer within 1 s", TUNNEL.client)
        for number in range(3):  # while each answer of the other one is due
            facts.tunnels = facts.tunnels._replace(tunnels=[TUNNEL._replace(client=f"192.0.2.9:{number + 1000}")])
            seen.until_shown(f"192.0.2.9:{number + 1000}", "no answer within 1 s")


def test_named_processes_alone_are_followed_even_before_they_start(directory):
    with published(directory, "other", Facts(TUNNEL)), on_terminal(directory, "db", "--interval", "0.2") as seen:
        assert "other" not in seen.until_shown("db", "not running")
        with published(directory, "db", Facts(TUNNEL)):
            seen.until_shown(TUNNEL.client)
        seen.until(lambda screen: "not running" in screen and TUNNEL.client not in screen)


def test_nothing_runs_yet(directory):
    with on_terminal(directory) as seen:
        seen.until_shown("0 processes", "nothing is running")
        with published(directory, "db", Facts()):
            seen.until_shown("1 process", "no open tunnels")


# --- sizes and terminals


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (40, 10)])
def test_the_screen_is_full_and_nothing_wraps(directory, columns, lines):
    with published(directory, "db", Facts(*many(5000))), on_terminal(directory, columns=columns, lines=lines) as seen:
        seen.until(lambda screen: len(rows(screen)) == lines - (6 if lines > 10 else 5))
        seen.until_shown("host-4999.test")
        seen.until(lambda screen: screen.startswith("tunnelctl top") and screen.splitlines()[-1].startswith("q quit"))


def test_it_follows_the_size_of_the_terminal(directory):
    with published(directory, "db", Facts(*many(50))), on_terminal(directory, "--interval", "600") as seen:
        seen.until(lambda screen: len(rows(screen)) == 18)
        seen.resize(120, 40)
        seen.until(lambda screen: len(rows(screen)) == 34 and "ADDRESS" in screen)
        seen.resize(40, 10)
        seen.until(lambda screen: "CLIENT" not in screen and screen.splitlines()[-1].startswith("q quit"))


def test_v55_texts_of_peers_reach_no_terminal_raw(directory):
    hostile = TUNNEL._replace(target="\x1b]0;gotcha\x07\x1b[2J", user="\u202eeve", client="\x9b31m")
    status = STATUS._replace(route=["\x1b[2Jroute"])
    with published(directory, "db", Facts(hostile, status=status)), on_terminal(directory, columns=160) as seen:
        seen.until_shown("\\x1b]0;gotcha", "\\u202eeve", "\\x9b31m", "\\x1b[2Jroute")
        assert b"\x1b]0" not in seen.raw
        assert "\u202e".encode() not in seen.raw


def colours(raw: bytes) -> set[bytes]:
    return {code for codes in re.findall(rb"\x1b\[([0-9;]*)m", raw) for code in codes.split(b";")} - {b"", b"0", b"1", b"7"}


@pytest.mark.parametrize(("value", "coloured"), [("", True), ("1", False)])
def test_no_color(directory, value, coloured):
    with mute(directory, "stuck"), on_terminal(directory, program=MODULE, NO_COLOR=value) as seen:
        seen.until_shown("no answer within 1 s")
        assert bool(colours(seen.raw)) == coloured


def test_the_c_locale_gets_ascii(directory):
    with published(directory, "db", Facts(TUNNEL._replace(target="漢字.test:443"))), on_terminal(directory, LC_ALL="C") as seen:
        seen.until_shown("\\u6f22\\u5b57.test")
        assert seen.raw.isascii()


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_be_drawn_on_gets_one_look(directory, term):
    with published(directory, "db", Facts(TUNNEL)), on_terminal(directory, TERM=term) as seen:
        assert seen.end() == (0, None)
        assert TUNNEL.target in seen.text
        assert b"\x1b" not in seen.raw


# --- the terminal is given back


@contextmanager
def watched(
    directory: Path, *words: str, program: Sequence[str] = PATIENT, facts: Facts | None = None, columns: int = 80
) -> Iterator[tuple[Seen, Callable[[], int]]]:
    """Runs `top` below a shell, which keeps the terminal open. Yields what is seen, and a function for the process id."""
    file = directory / "pid"
    script = f'stty -a > {directory}/before; (echo $BASHPID > {file}; exec "$@"); echo "status=$?"; stty -a > {directory}/after'
    shell = ("bash", "-c", script, "bash", *program)
    with (
        published(directory, "db", facts or Facts(TUNNEL)),
        on_terminal(directory, *words, program=shell, columns=columns, lines=60) as seen,
    ):
        seen.until_shown("q quit", ".test:")
        yield seen, lambda: int(file.read_text())


def assert_given_back(seen: Seen, directory: Path) -> None:
    assert seen.raw.count(ENTER) == seen.raw.count(LEAVE) >= 1
    assert seen.raw.rindex(LEAVE) > seen.raw.rindex(ENTER)
    assert (directory / "after").read_text() == (directory / "before").read_text()


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_quitting_gives_the_terminal_back(directory, key):
    with watched(directory) as (seen, _):
        seen.press(key)
        seen.until_shown("status=0")
        seen.end()
        assert_given_back(seen, directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_gives_the_terminal_back(directory, number):
    with watched(directory) as (seen, pid):
        os.kill(pid(), number)
        seen.until_shown(f"status={128 + number}")
        seen.end()
        assert_given_back(seen, directory)


def test_a_fault_gives_the_terminal_back_before_its_message(directory):
    broken = patched(
        "import tunnelctl.cli.top.live as live\n"
        "old = live.picture\n"
        "def picture(scene, size):\n"
        "    if scene.view.filter: raise RuntimeError('broken on purpose')\n"
        "    return old(scene, size)\n"
        "live.picture = picture"
    )
    with watched(directory, program=broken) as (seen, _):
        seen.press("/x")
        seen.until_shown("status=70")
        seen.end()
        assert_given_back(seen, directory)
        assert seen.raw.rindex(b"broken on purpose") > seen.raw.rindex(LEAVE)


class Busy(Facts):
    """A process whose tunnels differ at each look."""

    @property
    def tunnels(self) -> Tunnels:
        self.looks += 1
        return Tunnels([tunnel._replace(sent=self.looks) for tunnel in many(100)], 0)

    @tunnels.setter
    def tunnels(self, _: Tunnels) -> None:
        self.looks = 0


def test_a_terminal_that_takes_nothing_does_not_keep_it_from_ending(directory):
    with watched(directory, "--interval", "0.1", facts=Busy(), columns=200) as (seen, pid):
        process = Path(f"/proc/{pid()}")  # nobody reads what it draws
        wait_until(lambda: "0x1" in (process / "syscall").read_text().split()[1:2], what="a write that waits for the terminal")
        os.kill(pid(), signal.SIGTERM)
        wait_until(lambda: not process.exists(), what="its end")
        seen.until_shown(f"status={128 + signal.SIGTERM}")
        seen.end()
        assert (directory / "after").read_text() == (directory / "before").read_text()


def test_control_s_does_not_freeze_it(directory):
    with watched(directory) as (seen, _):
        seen.press("\x13/x")
        seen.until_shown("filter: x")


def test_a_terminal_that_hangs_up_ends_it(directory):
    with published(directory, "db", Facts(TUNNEL)), on_terminal(directory) as seen:
        seen.until_shown(TUNNEL.client)
        seen.child.ptyproc.fileobj.close()
        seen.child.closed = seen.child.ptyproc.closed = True
        wait_until(lambda: not seen.child.isalive())
        assert seen.child.signalstatus == signal.SIGHUP or seen.child.exitstatus == 0


def test_control_z_gives_the_terminal_back_and_fg_takes_it_again(directory):
    env = environment({"XDG_RUNTIME_DIR": str(directory), "TERM": "xterm", "PS1": "shell> "})
    child = pexpect.spawn("bash", ["--norc", "-i"], env=env, timeout=SECONDS, dimensions=(24, 80))
    child.delaybeforesend = None
    seen = Seen(child, 80, 24)
    try:
        with published(directory, "db", Facts(TUNNEL)):
            seen.until_shown("shell>")
            seen.press(f"{' '.join(MODULE)} top --interval 0.2\r")
            seen.until_shown(TUNNEL.client)
            seen.press("\x1a")
            seen.until_shown("Stopped")
            assert seen.raw.endswith(LEAVE) or seen.raw.rindex(LEAVE) > seen.raw.rindex(ENTER)
            seen.press("stty -a | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo | tr '\\n' +\r")
            seen.until_shown("icanon+echo+")
            seen.press("fg\r")
            seen.until_shown(TUNNEL.client, "q quit")
            assert seen.raw.count(ENTER) == 2
            seen.press("q")
            seen.until_shown("shell>")
            seen.press("exit\r")
            assert seen.end() == (0, None)
    finally:
        child.close(force=True)


def test_without_a_keyboard_it_takes_one_look(directory):
    """With stdin from elsewhere there would be no key to quit with."""
    with published(directory, "db", Facts(TUNNEL)):
        shell = ("sh", "-c", '"$@" < /dev/null', "sh", *PATIENT)
        with on_terminal(directory, program=shell) as seen:
            assert seen.end() == (0, None)
            assert TUNNEL.target in seen.text
