"""Faults on purpose, with figures: what breaks around `serve`, and how it takes that.

    python -m tests.bench.faults [NAME...]

from the project's directory, with the environment of the tests. All of it is on loopback and bounded; a minute or two in all. What
must hold is asserted; the figures are for a reader. The suite has the same faults where they are quick.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.samples.proxies import cpu_seconds, resident_kib
from tests.bench.workshop import Workshop, raise_descriptor_limit
from tests.peers.process import end, ended_within, wait_until
from tests.peers.program import MODULE, environment
from tests.peers.scripted import ScriptedServer, black_hole_port, echo
from tests.server.harness import Client, basic, connect_request, users_file

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
SLOW_HEADS, IDLE, VANISHING, OTHERS = 5_000, 9_000, 1_000, 5


class Serve:
    """The real program, and what the system knows of it."""

    def __init__(self, *options: str, before: tuple[str, ...] = (), descriptors: int = 0, rules: tuple[str, ...] = ()) -> None:
        """before: words in front of the command; descriptors: the hard limit of those, if not ours"""
        allow = [word for rule in ("127.0.0.0/8:*", *rules) for word in ("--allow", rule)]
        self._command = [*before, *MODULE, "serve", "--listen", "127.0.0.1:0", *allow, *options]
        self._descriptors = descriptors

    def __enter__(self) -> "Serve":
        def limit() -> None:
            if self._descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, self._descriptors))

        self.said: list[str] = []
        # No thread of ours is inside the fork: they only wait.
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE, env=environment(), preexec_fn=limit)
        assert self.process.stderr is not None
        self.port = int(self.process.stderr.readline().decode().rpartition(":")[2])
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.decode().rstrip())

    def __exit__(self, *_: object) -> None:
        end(self.process, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self.process.pid

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def client(self, source: str = "") -> Client:
        return Client(("127.0.0.1", self.port), source)

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def latencies(serve: Serve, target: str, count: int) -> list[float]:
    """Milliseconds from connecting to the first byte back through a tunnel, in order of size."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        with serve.client() as client:
            assert client.tunnel(target).echoes(b"x")
        found.append((time.perf_counter() - begun) * 1000)
    return sorted(found)


def shown(times: list[float]) -> str:
    return f"median {times[len(times) // 2]:.1f} ms, worst {times[-1]:.1f} ms"


@contextmanager
def measured(workshop: Workshop) -> Iterator[tuple[Path, ScriptedServer]]:
    with tempfile.TemporaryDirectory() as directory, ScriptedServer(echo) as target:
        yield Path(directory), target


# ---- the faults ----


def descriptors(workshop: Workshop) -> str:
    """Out of descriptors: those inside go on, the loop does not spin, and it recovers."""
    with measured(workshop) as (_, target), Serve(descriptors=100) as serve, ExitStack() as stack:
        inside = stack.enter_context(serve.client()).tunnel(target.authority)
        crowd = [serve.client() for _ in range(300)]
        wait_until(lambda: any("no new connections" in line for line in serve.said), SECONDS, "the limit")
        before, begun = cpu_seconds(serve.pid), time.monotonic()
        while time.monotonic() - begun < 2.0:
            assert inside.echoes()
            time.sleep(0.01)
        cpu = (cpu_seconds(serve.pid) - before) / 2.0
        for client in crowd:
            client.sock.close()
        begun = time.monotonic()
        latencies(serve, target.authority, 1)
        warned = sum("no new connections" in line for line in serve.said)
        return f"CPU {cpu:.0%} of a core while at the limit; {warned} warning; a tunnel {time.monotonic() - begun:.2f} s after it"


@contextmanager
def dead_name_server(directory: Path) -> Iterator[tuple[str, ...]]:
    """The words in front of a command that has a name server which takes all questions and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.77", 53))
        (directory / "resolv.conf").write_text("nameserver 127.0.0.77\n")
        script = f'mount --bind {directory}/resolv.conf /etc/resolv.conf && exec "$@"'
        yield "unshare", "-m", "sh", "-c", script, "sh"


def resolver(workshop: Workshop) -> str:
    """A name server that never answers: lookups end at their limit, further ones are refused, addresses go on."""
    with measured(workshop) as (directory, target), dead_name_server(directory) as before:
        with Serve("--dial-timeout", "3", before=before, rules=("*.test:*",)) as serve, ExitStack() as stack:
            base = latencies(serve, target.authority, 50)
            asking = [stack.enter_context(serve.client()) for _ in range(400)]
            begun = time.monotonic()
            for number, client in enumerate(asking):
                client.send(connect_request(f"n{number}.test:443"))
            during = latencies(serve, target.authority, 50)
            answers = [client.answer() for client in asking]
            seconds = time.monotonic() - begun
        timed_out = sum(answer.error == "dns_timeout" for answer in answers)
        busy = sum(answer.error == "connection_limit_reached" for answer in answers)
        assert timed_out + busy == 400
        return (
            f"{timed_out} lookups timed out, {busy} refused at once with 503, all within {seconds:.1f} s; "
            f"a good client meanwhile: {shown(during)} (before: {shown(base)})"
        )


def dead_names(workshop: Workshop) -> str:
    """One client asks for such names and leaves, 140 at once and 20 more a second: others have their names, logins and records."""
    with measured(workshop) as (directory, target), dead_name_server(directory) as before, ExitStack() as stack:
        log, users = directory / "log", users_file(directory, **{f"user{number}": "secret" for number in range(OTHERS)})
        options = ("--users", users, "--access-log", str(log))
        serve = stack.enter_context(Serve(*options, before=before, rules=("*.test:*", "localhost:*")))
        serve.client("127.0.0.9").tunnel(target.authority, basic("user0", "secret")).sock.close()  # it asks as one who is known

        def ask(number: int) -> None:
            with serve.client("127.0.0.9") as client:
                client.send(connect_request(f"n{number}.test:443", basic("user0", "secret")))

        for number in range(140):
            ask(number)
        with repeated(ask, 20):
            times = first_logins(serve, f"localhost:{target.port}")
        wait_until(lambda: log.read_text().count(f'"localhost:{target.port}"') >= OTHERS, SECONDS, "the records")
        return f"first logins of {OTHERS} others, to a name: {shown(times)}; all their records are written"


def login_flood(workshop: Workshop) -> str:
    """Wrong logins from one address, with scrypt as it is: others log in for the first time."""
    told = []
    for rate in (30, 300):
        with measured(workshop) as (directory, target), ExitStack() as stack:
            users = users_file(directory, **{f"user{number}": "secret" for number in range(OTHERS)})
            serve = stack.enter_context(Serve("--users", users))
            alone = first_logins(serve, target.authority, 1)

            def ask(number: int, serve: Serve = serve) -> None:
                with serve.client("127.0.0.9") as client:
                    client.send(connect_request("127.0.0.1:1", basic("user1", f"wrong{number}")))

            with repeated(ask, rate):
                time.sleep(3.0)  # until the flood has taken what it can get
                before, begun = cpu_seconds(serve.pid), time.monotonic()
                times = first_logins(serve, target.authority, OTHERS)
                cpu = (cpu_seconds(serve.pid) - before) / (time.monotonic() - begun)
            told.append(f"{rate}/s: first logins of others: {shown(times)} (one alone: {alone[0]:.0f} ms); CPU {cpu:.0%} of a core")
    return "; ".join(told)


@contextmanager
def repeated(ask: Callable[[int], None], rate: int) -> Iterator[None]:
    """Calls it so many times a second, in a thread of its own, until the end of the body."""
    over = threading.Event()

    def run() -> None:
        begun, number = time.monotonic(), 1000
        while not over.is_set():
            ask(number)
            number += 1
            over.wait(max(0.0, begun + (number - 1000) / rate - time.monotonic()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


def first_logins(serve: Serve, target: str, count: int = 0) -> list[float]:
    """Milliseconds until each of the users has a tunnel, each from an address of its own, a second apart; in order of size."""
    found = []
    for number in range(count or OTHERS):
        begun = time.perf_counter()
        with serve.client(f"127.0.1.{number + 1}") as client:
            assert client.tunnel(target, basic(f"user{number}", "secret")).echoes(b"x")
        found.append((time.perf_counter() - begun) * 1000)
        time.sleep(1.0)
    assert max(found) <= 2000, f"the worst took {max(found):.0f} ms"
    return sorted(found)


def black_hole(workshop: Workshop) -> str:
    """A target that swallows every SYN."""
    with measured(workshop) as (_, target), black_hole_port() as port, Serve("--dial-timeout", "2") as serve, ExitStack() as stack:
        asking = [stack.enter_context(serve.client()) for _ in range(500)]
        begun = time.monotonic()
        for client in asking:
            client.send(connect_request(f"127.0.0.1:{port}"))
        during = latencies(serve, target.authority, 100)
        answers = [client.answer() for client in asking]
        assert {answer.error for answer in answers} == {"connection_timeout"}
        return f"500 dials answered 504 after {time.monotonic() - begun:.1f} s; a good client meanwhile: {shown(during)}"


def full_disk(workshop: Workshop) -> str:
    """The log's disk is full, and later is not."""
    with measured(workshop) as (directory, target):
        log = directory / "log"
        with Serve("--access-log", str(log)) as serve:
            resource.prlimit(serve.pid, resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
            times = latencies(serve, target.authority, 500)
            wait_until(lambda: any("records lost" in line for line in serve.said), SECONDS, "the warning")
            resource.prlimit(serve.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            time.sleep(0.3)
            latencies(serve, target.authority, 5)
            serve.process.terminate()
            serve.process.wait(SECONDS)
            warned = [line for line in serve.said if "records lost" in line]
        whole = broken = 0
        for line in log.read_text().splitlines():
            try:
                json.loads(line)
                whole += 1
            except ValueError:
                broken += 1
        assert broken <= 1
        return f"500 tunnels: {shown(times)}; {whole} of 1010 records written, {broken} line cut, {len(warned)} warning"


def worker(workshop: Workshop) -> str:
    """One of two workers is killed."""
    with measured(workshop) as (_, target), Serve("--workers", "2") as serve, ExitStack() as stack:
        held = [stack.enter_context(serve.client()).tunnel(target.authority) for _ in range(100)]
        victim, begun = serve.children()[0], time.monotonic()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len([pid for pid in serve.children() if pid != victim]) == 2, SECONDS, "another")
        seconds, alive = time.monotonic() - begun, sum(map(_echoes, held))
        latencies(serve, target.authority, 20)
        return f"another after {seconds:.2f} s; {alive} of 100 tunnels were the other's, and went on"


def _echoes(client: Client) -> bool:
    try:
        return client.echoes()
    except (OSError, AssertionError):
        return False


def slow_heads(workshop: Workshop) -> str:
    """Thousands who send a byte of a head, and then nothing."""
    with measured(workshop) as (_, target), Serve("--head-timeout", "20") as serve:
        base, memory = latencies(serve, target.authority, 200), resident_kib(serve.pid)
        crowd = [serve.client() for _ in range(SLOW_HEADS)]
        for client in crowd:
            client.sock.settimeout(SECONDS)
            client.send(b"C")
        during = latencies(serve, target.authority, 200)
        grown = resident_kib(serve.pid) - memory
        begun = time.monotonic()
        assert all(client.rest().startswith(b"HTTP/1.1 408 ") for client in crowd)
        seconds = time.monotonic() - begun
        for client in crowd:
            client.sock.close()
        return (
            f"a good client among {SLOW_HEADS:,}: {shown(during)} (before: {shown(base)}); {grown / SLOW_HEADS:.1f} KiB each; "
            f"all answered 408 within {seconds:.0f} s more"
        )


def idle(workshop: Workshop) -> str:
    """Thousands of tunnels that lie still, and one that does not."""
    with measured(workshop) as (_, target), Serve() as serve:
        base, memory = latencies(serve, target.authority, 200), resident_kib(serve.pid)
        command = [str(workshop.load), "hold", str(serve.port), "32"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            holder.stdin.write(b"%d\n" % IDLE)
            assert holder.stdout.readline() == b"%d\n" % IDLE
            each = (resident_kib(serve.pid) - memory) / IDLE
            during = latencies(serve, target.authority, 200)
            before = cpu_seconds(serve.pid)
            time.sleep(2.0)
            resting = (cpu_seconds(serve.pid) - before) / 2
        finally:
            end(holder)
            holder.stdin.close()
            holder.stdout.close()
        return f"{each:.1f} KiB each; a good client among them: {shown(during)} (before: {shown(base)}); CPU at rest {resting:.1%}"


def vanish(workshop: Workshop) -> str:
    """Clients that leave in each phase, a thousand times each."""
    limits = ("--dial-timeout", "2", "--half-close-timeout", "2")
    with measured(workshop) as (_, target), black_hole_port() as port, Serve(*limits) as serve:

        def reset_after(data: bytes, granted: bool = False) -> Callable[[], None]:
            def leave() -> None:
                client = serve.client()
                if data:
                    client.send(data)
                if granted:
                    client.head()
                client.reset()

            return leave

        request = connect_request(target.authority)
        phases = {
            "before a head": reset_after(b""),
            "inside a head": reset_after(request[:20]),
            "while it is dialled": reset_after(connect_request(f"127.0.0.1:{port}")),
            "before its answer": reset_after(request),
            "in the tunnel": reset_after(request, granted=True),
            "with bytes under way": reset_after(request + bytes(1 << 16), granted=True),
        }
        for leave in phases.values():  # so many at once, and the interpreter keeps the room for the next time
            for _ in range(VANISHING):
                leave()
        settled(serve, 0)
        files, memory, lines = serve.open_files(), resident_kib(serve.pid), []
        for phase, leave in phases.items():
            for _ in range(VANISHING):
                leave()
            seconds = settled(serve, files)
            lines.append(f"{phase}: back at {files} descriptors after {seconds:.1f} s, {resident_kib(serve.pid) - memory:+d} KiB")
        latencies(serve, target.authority, 10)
        return "; ".join(lines)


def settled(serve: Serve, files: int) -> float:
    """Waits until no more descriptors are open than that, or for 0 until their number has stopped falling; how long it took."""
    begun = time.monotonic()
    if files:
        wait_until(lambda: serve.open_files() <= files, SECONDS, "the base line")
        return time.monotonic() - begun
    time.sleep(4.0)
    return 4.0


def orphans(workshop: Workshop) -> str:
    """The first process is killed: its workers do not outlive it."""
    with Serve("--workers", "2", "--drain", "0") as serve:
        pids, begun = serve.children(), time.monotonic()
        os.kill(serve.pid, signal.SIGKILL)
        assert all(ended_within(pid, SECONDS) for pid in pids)
        return f"both workers had ended {time.monotonic() - begun:.1f} s after it"


FAULTS: dict[str, Callable[[Workshop], str]] = {
    "descriptors": descriptors,
    "resolver": resolver,
    "dead-names": dead_names,
    "login-flood": login_flood,
    "black-hole": black_hole,
    "full-disk": full_disk,
    "worker": worker,
    "orphans": orphans,
    "slow-heads": slow_heads,
    "idle": idle,
    "vanish": vanish,
}


def main(names: list[str]) -> int:
    raise_descriptor_limit()
    failed = 0
    with Workshop(ROOT) as workshop:
        for name in names or FAULTS:
            try:
                print(f"{name}: {FAULTS[name](workshop)}", flush=True)
            except (AssertionError, OSError) as failure:
                failed += 1
                print(f"{name}: FAILED: {type(failure).__name__}: {failure}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
