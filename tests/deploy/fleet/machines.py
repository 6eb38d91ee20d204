"""The machines of a fleet: `serve` with the command of docs/fleet.md, at one address each."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.deploy.fleet.network import ADMIN_PORT, BALANCER, MACHINES, ROOT
from tests.peers.process import end, path_of, wait_until
from tests.peers.program import MODULE, environment

SECONDS = 20.0
POLICY = """\
[[allow]]
name = "test"
targets = ["127.0.0.0/8:*"]
clients = ["192.0.2.0/24"]
"""


def documented() -> list[str]:
    """Returns the command that the page gives for the first machine."""
    (block,) = re.findall(r"^```\n(tunnelctl serve .*?)^```$", (ROOT / "docs" / "fleet.md").read_text("utf-8"), re.M | re.S)
    return shlex.split(block.replace("\\\n", ""))


class Machine:
    """One address, and the processes that serve there, one after the other."""

    def __init__(self, address: str, directory: Path, *more: str, trusting: bool = True) -> None:
        """more: further flags; trusting: expects a PROXY header from the balancer"""
        self.address = address
        self._log, self._errors, self._policy = (directory / f"{kind}-{address}" for kind in ("log", "errors", "policy"))
        self._policy.write_text(POLICY)
        self._more, self._trusting = more, trusting
        self.process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        program, *words = documented()
        assert program == "tunnelctl"
        words = [word.replace(MACHINES[0], self.address).replace("/etc/tunnelctl/policy.toml", str(self._policy)) for word in words]
        assert words.count(str(self._policy)) == 1
        if not self._trusting:
            at = words.index("--proxy-protocol")
            assert words[at + 1] == BALANCER
            del words[at : at + 2]
        return [*MODULE, *words, *self._more]

    def start(self) -> None:
        """Starts a process, and waits until it is ready."""
        with self._log.open("ab") as log, self._errors.open("ab") as errors:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=errors, env=environment())
        wait_until(lambda: self.readiness() == 200 or self._process.poll() is not None, SECONDS, f"the start of {self.address}")
        assert self._process.poll() is None, "it has ended by itself"

    @property
    def pid(self) -> int:
        return self._process.pid

    def limit(self, share: float) -> bool:
        """Gives its process no more than this share of one processor, and that before all others; returns whether it could.

        SCHED_DEADLINE (sched(7)): that much time in each period of 20 ms. What else runs here does not matter then.
        """
        period = 20_000_000  # ns
        words = ["-d", "-R", "-T", str(int(share * period)), "-P", str(period), "-p", "0", str(self.pid)]
        return subprocess.run([path_of("chrt"), *words], stderr=subprocess.DEVNULL).returncode == 0

    def readiness(self) -> int:
        """Returns the status of /readyz; 0 if nobody answers."""
        try:
            with urlopen(f"http://{self.address}:{ADMIN_PORT}/readyz", timeout=SECONDS) as answer:
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def drain(self) -> None:
        """Asks the process to stop, and waits until it says so."""
        self._process.send_signal(signal.SIGTERM)
        wait_until(lambda: self.readiness() in (0, 503), SECONDS, f"the drain of {self.address}")

    def ended(self) -> int:
        """Waits for the end of the process; returns its status."""
        return self._process.wait(SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            print(self._errors.read_text(), end="")

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None
        return self.process

    def records(self) -> list[dict[str, Any]]:
        """Returns what its processes have logged so far. The last line may be incomplete."""
        return [json.loads(line) for line in self._log.read_text().rpartition("\n")[0].splitlines()]

    def clients(self) -> set[str]:
        """Returns the addresses of the clients that have had a tunnel here."""
        return {record["client"] for record in self.records() if record["event"] == "opened"}


@contextmanager
def machines(directory: Path, *more: str, count: int = len(MACHINES), trusting: bool = True) -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        fleet = [Machine(address, directory, *more, trusting=trusting) for address in MACHINES[:count]]
        for machine in fleet:
            stack.callback(machine.stop)
            machine.start()
        yield fleet
