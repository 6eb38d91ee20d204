"""Every kind of standard input and output, and every way to end connect, as with a shell, ssh, Node.js or a user at a terminal."""

import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.peers.process import end, tcp_rows, wait_until
from tests.peers.program import MODULE, RUN_SECONDS, SOON, environment, started
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, black_hole_port, echo, sample

TARGET = ("target.test", "22")
BANNER = b"SSH-2.0-Banner_1.0\r\n"
MIB = 1 << 20
AT_ONCE = 4.0  # less than the limit of 5 s after the remote EOF, so that this limit cannot be the cause


def tunnel_with_echo(peer: Conversation) -> None:
    peer.accept_tunnel()
    echo(peer)


def tunnel_with_banner(peer: Conversation) -> None:
    peer.accept_tunnel(ESTABLISHED + BANNER)
    peer.wait_gone()


def shell(proxy: ScriptedServer, redirections: str) -> "subprocess.CompletedProcess[bytes]":
    """Runs connect with the redirections of a shell command."""
    words = " ".join([*MODULE, "connect", "-x", proxy.url, *TARGET])
    command = ["/bin/sh", "-c", f"exec {words} {redirections}"]
    return subprocess.run(command, capture_output=True, env=environment(), timeout=RUN_SECONDS)


# --- kinds of stdin and stdout


def test_regular_files_as_stdin_and_stdout(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(sample(3 * MIB))
    with ScriptedServer(tunnel_with_echo) as proxy:
        done = shell(proxy, f"< {tmp_path}/in > {tmp_path}/out")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == sample(3 * MIB)


def test_appending_to_a_file_keeps_its_content(tmp_path: Path) -> None:
    """splice(2) refuses a file that is open for appending."""
    (tmp_path / "in").write_bytes(sample(MIB))
    (tmp_path / "out").write_bytes(b"before")
    with ScriptedServer(tunnel_with_echo) as proxy:
        done = shell(proxy, f"< {tmp_path}/in >> {tmp_path}/out")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"before" + sample(MIB)


def test_a_file_is_read_from_its_offset_and_left_after_the_last_byte(tmp_path: Path) -> None:
    """A shell script that shares its stdin with connect continues after the last byte that connect has read."""
    (tmp_path / "in").write_bytes(b"first line\nsecond line\n")
    with ScriptedServer(tunnel_with_echo) as proxy:
        words = " ".join([*MODULE, "connect", "-x", proxy.url, *TARGET])
        script = f"(read line; {words}; cat) < {tmp_path}/in"
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env=environment(), timeout=RUN_SECONDS)
    assert (done.stdout, done.stderr) == (b"second line\n", b"")


@pytest.mark.parametrize("null", ["< /dev/null", "<&-"])
def test_empty_or_closed_stdin_is_eof_at_once(null: str) -> None:
    """A closed stdin as well: the tunnel is half-closed, and the response still arrives."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        assert peer.read_to_end() == b""
        peer.send(b"answer")

    with ScriptedServer(script) as proxy:
        done = shell(proxy, null)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"answer", b"")


def test_output_to_the_null_device() -> None:
    with ScriptedServer(tunnel_with_banner) as proxy:
        done = shell(proxy, "< /dev/null > /dev/null")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("sink", "cause"), [(">&-", "bad file descriptor"), ("> /dev/full", "no space left on device")])
def test_output_that_cannot_be_written_is_an_error(sink: str, cause: str) -> None:
    with ScriptedServer(tunnel_with_banner) as proxy:
        done = shell(proxy, f"< /dev/zero {sink}" if sink == ">&-" else f"{sink} < /dev/null")
    assert done.returncode == 74
    assert done.stderr.decode().splitlines() == [f"tunnelctl: stdout: {cause}"]


def test_a_closed_stdout_is_no_error_while_nothing_is_written() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        assert peer.read_to_end() == b""

    with ScriptedServer(script) as proxy:
        done = shell(proxy, "< /dev/null >&-")
    assert (done.returncode, done.stderr) == (0, b"")


def test_all_standard_descriptors_closed() -> None:
    with ScriptedServer(tunnel_with_echo) as proxy:
        done = shell(proxy, "<&- >&- 2>&-")
    assert done.returncode == 0


@contextmanager
def on_sockets(proxy: ScriptedServer, one: bool) -> "Iterator[tuple[subprocess.Popen[bytes], socket.socket, socket.socket]]":
    """Starts connect with sockets as stdin and stdout: one for both, as inetd does, or two, as Node.js does."""
    with ExitStack() as stack:
        ours_in, theirs_in = (stack.enter_context(end) for end in socket.socketpair())
        ours_out, theirs_out = (ours_in, theirs_in) if one else (stack.enter_context(end) for end in socket.socketpair())
        process = stack.enter_context(
            started("connect", "-x", proxy.url, *TARGET, stdin=theirs_in.fileno(), stdout=theirs_out.fileno())
        )
        theirs_in.close()
        theirs_out.close()
        ours_in.settimeout(SOON)
        ours_out.settimeout(SOON)
        yield process, ours_in, ours_out


@pytest.mark.parametrize("one", [True, False], ids=["one", "two"])
def test_sockets_as_stdin_and_stdout(one: bool) -> None:
    with ScriptedServer(tunnel_with_echo) as proxy, on_sockets(proxy, one) as (process, stdin, stdout):
        writer = threading.Thread(target=lambda: (stdin.sendall(sample(3 * MIB)), stdin.shutdown(socket.SHUT_WR)))
        writer.start()
        data = bytearray()
        while piece := stdout.recv(MIB):
            data += piece
        writer.join()
        assert process.wait(SOON) == 0
        assert process.stderr.read() == b""
    assert data == sample(3 * MIB)


@pytest.mark.parametrize("one", [True, False], ids=["one", "two"])
def test_a_socket_as_stdout_that_closes_ends_connect_at_once(one: bool) -> None:
    """Even though nothing is written, and even though stdin, if it is another socket, stays open."""
    with ScriptedServer(tunnel_with_banner) as proxy, on_sockets(proxy, one) as (process, _, stdout):
        assert stdout.recv(100) == BANNER
        stdout.close()
        assert process.wait(AT_ONCE) == 0
        assert process.stderr.read() == b""


# --- flags of inherited files


def standard_files(kind: str, directory: Path, stack: ExitStack) -> tuple[int, int]:
    """Opens descriptors for stdin and stdout, of which the caller keeps these copies, as a shell does."""
    if kind == "pipes":
        (source, writer), (reader, sink) = os.pipe(), os.pipe()
        for other in (writer, reader):
            stack.callback(os.close, other)
    elif kind == "files":
        source = os.open("/dev/zero", os.O_RDONLY)
        sink = os.open(directory / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    elif kind == "terminal":
        master, source = pty.openpty()
        sink = os.dup(source)
        stack.callback(os.close, master)
    else:
        near, far = socket.socketpair()
        stack.enter_context(far)
        source = near.detach()
        sink = os.dup(source)
    stack.callback(os.close, source)
    stack.callback(os.close, sink)
    return source, sink


@pytest.mark.parametrize("kind", ["pipes", "files", "terminal", "socket"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP])
def test_flags_of_inherited_files_never_change(kind: str, how: signal.Signals, tmp_path: Path) -> None:
    """O_NONBLOCK is in the open file description: a shell exits if its stdin is non-blocking. If killed, connect cannot undo it."""
    established = threading.Event()

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        established.set()
        peer.wait_gone()

    with ScriptedServer(script) as proxy, ExitStack() as stack:
        files = standard_files(kind, tmp_path, stack)
        flags = [fcntl.fcntl(number, fcntl.F_GETFL) for number in files]
        with started("connect", "-x", proxy.url, *TARGET, stdin=files[0], stdout=files[1]) as process:
            assert established.wait(SOON)
            wait_until(lambda: threads_parked(process.pid), SOON)
            assert [fcntl.fcntl(number, fcntl.F_GETFL) for number in files] == flags
            process.send_signal(how)
            process.wait(SOON)
        assert [fcntl.fcntl(number, fcntl.F_GETFL) for number in files] == flags


def threads_parked(pid: int) -> bool:
    """Whether the process waits (or, with an endless stdin, is running)."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "SR"


# --- signals, in each phase

SIGNALS = [(signal.SIGHUP, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]


def connecting_to(port: int, pid: int) -> bool:
    """Whether a socket of that process is in SYN_SENT (02) to that port."""
    inodes = set()
    for number in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(os.readlink(number))
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" and f"socket:[{row[9]}]" in inodes for row in tcp_rows())


def ends_at_once(process: "subprocess.Popen[bytes]", sent: signal.Signals, status: int) -> None:
    process.send_signal(sent)
    assert process.wait(AT_ONCE) == status
    assert process.stderr.read() == b""


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
def test_signal_while_connecting(sent: signal.Signals, status: int) -> None:
    with black_hole_port() as port, started("connect", "-x", f"http://127.0.0.1:{port}", *TARGET) as process:
        wait_until(lambda: connecting_to(port, process.pid), SOON, "SYN_SENT")
        ends_at_once(process, sent, status)


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
def test_signal_while_waiting_for_the_response(sent: signal.Signals, status: int) -> None:
    asked = threading.Event()

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 ")
        asked.set()
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET) as process:
        assert asked.wait(SOON)
        ends_at_once(process, sent, status)


class Flood:
    """A target that sends until the client accepts no more: stdout and every buffer on the path to it are full then."""

    def __init__(self) -> None:
        self.stuck = threading.Event()

    def __call__(self, peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.sock.settimeout(0.2)
        with suppress(TimeoutError):
            while True:
                peer.send(b"\n" * 65536)
        self.stuck.set()
        peer.sock.settimeout(SOON)
        peer.wait_gone()


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
def test_signal_while_stdout_is_not_read(sent: signal.Signals, status: int) -> None:
    flood = Flood()
    with ScriptedServer(flood) as proxy, started("connect", "-x", proxy.url, *TARGET) as process:
        assert flood.stuck.wait(SOON)
        ends_at_once(process, sent, status)


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
def test_signal_while_the_target_does_not_read(sent: signal.Signals, status: int) -> None:
    accepted, stalled = threading.Event(), threading.Event()

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        accepted.set()
        assert stalled.wait(SOON)
        peer.wait_gone()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET) as process:
        assert accepted.wait(SOON)  # a pipe that stays full may also mean that the interpreter is still starting
        os.set_blocking(process.stdin.fileno(), False)
        while select.select([], [process.stdin], [], 0.2)[1]:
            process.stdin.write(bytes(65536))
        ends_at_once(process, sent, status)
        stalled.set()


@pytest.mark.parametrize("phase", ["connecting", "relaying"])
def test_a_signal_ignored_at_start_stays_ignored(phase: str) -> None:
    """As with nohup, and with a shell's `&`."""
    with ExitStack() as stack:
        if phase == "connecting":
            port = stack.enter_context(black_hole_port())
        else:
            port = stack.enter_context(ScriptedServer(tunnel_with_banner)).port
        words = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *MODULE, "connect", "-x", f"http://127.0.0.1:{port}", *TARGET]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        stack.callback(process.stdin.close)
        stack.callback(process.stdout.close)
        stack.callback(end, process)
        if phase == "connecting":
            wait_until(lambda: connecting_to(port, process.pid), SOON, "SYN_SENT")
        else:
            assert process.stdout.read(len(BANNER)) == BANNER
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.terminate()
        assert process.wait(AT_ONCE) == -signal.SIGTERM


# --- last bytes


def test_last_bytes_of_ssh_before_sighup_arrive_with_a_clean_end() -> None:
    """ssh writes, closes both pipes and sends SIGHUP, all at once. The server would log a reset after every session."""
    seen = []

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        seen.append(peer.read_to_end())

    with ScriptedServer(script) as proxy:
        for _ in range(5):
            with started("connect", "-x", proxy.url, *TARGET) as process:
                assert process.stdout.read(len(BANNER)) == BANNER
                process.stdin.write(b"disconnected by user")
                process.stdout.close()
                process.stdin.close()
                process.send_signal(signal.SIGHUP)
                # If this test was slow, the tunnel has ended by now, and SIGHUP comes while the program exits.
                assert process.wait(AT_ONCE) in (0, -signal.SIGHUP)
                assert process.stderr.read() == b""
    assert seen == [b"disconnected by user"] * 5


def test_a_vanished_reader_of_stdout_with_stdin_open_is_an_abort() -> None:
    """The upload was cut off, and must not look complete at the target."""
    aborted = threading.Event()

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + BANNER)
        assert peer.read_exactly(4) == b"half"
        try:
            peer.read(1)
        except ConnectionResetError:
            aborted.set()

    with ScriptedServer(script) as proxy, started("connect", "-x", proxy.url, *TARGET) as process:
        assert process.stdout.read(len(BANNER)) == BANNER
        process.stdin.write(b"half")
        process.stdout.close()
        assert process.wait(AT_ONCE) == 0
        assert process.stderr.read() == b""
        assert aborted.wait(SOON)


# --- a terminal


class Terminal:
    """connect as a user starts it: on a terminal of its own, which is its controlling terminal."""

    def __init__(self, proxy: ScriptedServer, redirections: Callable[[int], dict[str, int]] = lambda slave: {}) -> None:
        self.master, slave = pty.openpty()
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, **redirections(slave)}
        words = ["setsid", "--ctty", *MODULE, "connect", "-x", proxy.url, *TARGET]
        self.process = subprocess.Popen(words, env=environment(), **streams)
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def shows(self, text: bytes) -> bytes:
        """Waits until `text` has appeared or the output ends. Returns all output."""
        data = b""
        until = time.monotonic() + SOON
        while text not in data and select.select([self.master], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                data += os.read(self.master, 65536)
            except OSError:  # the last process has exited
                break
        return data

    def close(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def __exit__(self, *failure: object) -> None:
        end(self.process)
        self.close()


def test_conversation_on_a_terminal() -> None:
    """A usable netcat: each line is sent when entered, Ctrl-D ends our direction, and the rest of the response still arrives."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        assert peer.read() == b"hello\n"
        peer.send(b"HELLO\n")
        assert peer.read_to_end() == b""
        peer.send(b"BYE\n")

    with ScriptedServer(script) as proxy, Terminal(proxy) as terminal:
        terminal.type(b"hello\n")
        assert b"HELLO\r\n" in terminal.shows(b"HELLO\r\n")
        terminal.type(b"\x04")
        assert b"BYE\r\n" in terminal.shows(b"BYE\r\n")
        assert terminal.process.wait(AT_ONCE) == 0


def test_a_target_that_closes_ends_connect_at_once_on_a_terminal() -> None:
    """The user need not press a key first."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(b"bye\n")

    with ScriptedServer(script) as proxy, Terminal(proxy) as terminal:
        assert b"bye\r\n" in terminal.shows(b"bye\r\n")
        assert terminal.process.wait(AT_ONCE) == 0


def test_ctrl_c_on_a_terminal_leaves_no_traceback() -> None:
    with ScriptedServer(tunnel_with_banner) as proxy, Terminal(proxy) as terminal:
        assert BANNER[:-2] in terminal.shows(BANNER[:-2])
        terminal.type(b"\x03")
        assert terminal.process.wait(AT_ONCE) == -signal.SIGINT
        assert b"Traceback" not in terminal.shows(b"Traceback")


def test_a_closed_terminal_ends_connect_silently() -> None:
    with ScriptedServer(tunnel_with_banner) as proxy, Terminal(proxy) as terminal:
        assert BANNER[:-2] in terminal.shows(BANNER[:-2])
        terminal.close()
        assert terminal.process.wait(AT_ONCE) == 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_signal_while_the_terminal_is_not_read(sent: signal.Signals) -> None:
    """Each newline becomes two bytes, so a write may block although the terminal has room for a part of it; and a blocked write
    holds up every signal as well."""
    flood = Flood()
    with ScriptedServer(flood) as proxy, Terminal(proxy) as terminal:
        assert flood.stuck.wait(SOON)
        terminal.process.send_signal(sent)
        assert terminal.process.wait(AT_ONCE) == (0 if sent == signal.SIGHUP else -sent)


def test_output_to_a_slow_terminal_is_complete() -> None:
    text = b"".join(b"line %d\n" % number for number in range(20_000))

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.send(text)

    with ScriptedServer(script) as proxy, Terminal(proxy) as terminal:
        shown = terminal.shows(b"line 19999\r\n")
        assert shown == text.replace(b"\n", b"\r\n")
        assert terminal.process.wait(AT_ONCE) == 0


def test_input_from_a_terminal_with_output_to_a_pipe() -> None:
    reader, writer = os.pipe()
    try:
        with ScriptedServer(tunnel_with_echo) as proxy, Terminal(proxy, lambda slave: {"stdout": writer}) as terminal:
            os.close(writer)
            terminal.type(b"to the pipe\n")
            assert os.read(reader, 100) == b"to the pipe\n"
            terminal.type(b"\x04")
            assert os.read(reader, 100) == b""
            assert terminal.process.wait(AT_ONCE) == 0
    finally:
        os.close(reader)
