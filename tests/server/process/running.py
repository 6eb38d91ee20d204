"""A `serve` with two workers, run as a program."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.peers.program import next_line, started, without_start_lines
from tests.server.harness import Client

SERVE = ("serve", "--workers", "2")
LOOPBACK = ("--allow", "127.0.0.1:*")


class Workers:
    """A `serve` with two workers."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        line = self.line()
        assert line.startswith("listening on "), line
        self.where = line.removeprefix("listening on ").strip()

    def line(self) -> str:
        assert self.process.stderr is not None
        return next_line(self.process.stderr)

    def rest(self) -> str:
        """Returns the rest of its output until it ends; the caller has told it to stop."""
        assert self.process.stderr is not None
        return without_start_lines(self.process.stderr.read().decode())

    @property
    def address(self) -> tuple[str, int] | str:
        if self.where.startswith("unix:"):
            return self.where[5:]
        return "127.0.0.1", int(self.where.rpartition(":")[2])

    def pids(self) -> list[int]:
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]

    def client(self, source: str = "") -> Client:
        return Client(self.address, source)


@contextmanager
def workers(
    *arguments: str, listen: str = "127.0.0.1:0", allow: bool = True, program: Sequence[str] | None = None
) -> Iterator[Workers]:
    with started(*SERVE, *(LOOPBACK if allow else ()), "--listen", listen, *arguments, program=program) as process:
        yield Workers(process)
