"""The balancers in front of a fleet, with their files in deploy/, and Prometheus."""

import csv
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.deploy.fleet.network import BALANCER, PORT, ROOT
from tests.peers.process import answers, end, path_of, wait_until

SECONDS = 30.0
DEPLOY = ROOT / "deploy"


class Balancer(NamedTuple):
    """A program to start, and the question which machines it gives tunnels to at the moment. pid: once it runs"""

    command: Sequence[str]
    used: Callable[[], set[str]]
    pid: int = 0

    def wait_for(self, *addresses: str) -> None:
        """Waits until it uses just these machines."""
        wait_until(lambda: self._uses(set(addresses)), SECONDS, f"the use of {addresses}")

    def _uses(self, addresses: set[str]) -> bool:
        try:
            return self.used() == addresses
        except OSError:  # its control port opens after the port for tunnels
            return False


def _used_by_haproxy() -> set[str]:
    """Asks HAProxy's control socket. A server that comes up slowly is in use."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(SECONDS)
        control.connect("/run/haproxy/admin.sock")
        control.sendall(b"show stat\n")
        text = b"".join(iter(lambda: control.recv(65536), b"")).decode().removeprefix("# ")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["addr"] and row["pxname"] == "fleet" and row["type"] == "2"]
    return {row["addr"].partition(":")[0] for row in rows if row["status"].startswith("UP")}


def _used_by_envoy() -> set[str]:
    """Asks Envoy's admin port. A machine has the fields of its health that are not as they should be."""
    with urlopen("http://127.0.0.1:9900/clusters?format=json", timeout=SECONDS) as answer:
        (cluster,) = json.load(answer)["cluster_statuses"]
    return {
        host["address"]["socket_address"]["address"]
        for host in cluster["host_statuses"]
        if not any(name.startswith("failed_") for name in host["health_status"])
    }


FILES = {"haproxy": DEPLOY / "haproxy" / "haproxy.cfg", "envoy": DEPLOY / "envoy" / "envoy.yaml"}
# What docs/fleet.md says to change so that all connections from one address lead to one machine.
BY_SOURCE = {
    "haproxy": {"balance leastconn": "balance source"},
    "envoy": {"cluster: fleet\n": "cluster: fleet\n                hash_policy: [{source_ip: {}}]\n", "LEAST_REQUEST": "MAGLEV"},
}


def balancer(name: str, file: Path) -> Balancer:
    if name == "haproxy":
        return Balancer((path_of("haproxy"), "-db", "-f", str(file)), _used_by_haproxy)
    words = ("--disable-hot-restart", "--log-level", "warning", "-c", str(file))
    return Balancer((path_of("envoy"), *words), _used_by_envoy)


def by_source(name: str, directory: Path) -> Path:
    """Returns a copy of the balancer's file with these changes."""
    text = FILES[name].read_text("utf-8")
    for old, new in BY_SOURCE[name].items():
        assert old in text
        text = text.replace(old, new, 1)
    copy = directory / FILES[name].name
    copy.write_text(text, "utf-8")
    return copy


@contextmanager
def balancing(name: str, *addresses: str, file: Path | None = None) -> Iterator[Balancer]:
    """Starts the balancer, and waits until it uses these machines. file: None for the one in deploy/"""
    chosen = balancer(name, file or FILES[name])
    with _running(chosen.command, lambda: answers(PORT, BALANCER)) as pid:
        chosen.wait_for(*addresses)
        yield chosen._replace(pid=pid)


@contextmanager
def _running(command: Sequence[str], ready: Callable[[], bool]) -> Iterator[int]:
    """Starts a program, and yields its process ID once it is ready."""
    # Standard output is for what the scene has counted.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
    try:
        wait_until(lambda: ready() or process.poll() is not None, SECONDS, f"the start of {command[0]}")
        yield process.pid
        assert process.poll() is None, f"{command[0]} has ended by itself"
    finally:
        end(process)


class Prometheus:
    """Prometheus, asked by its HTTP interface."""

    ADDRESS = ("127.0.0.1", 9090)

    def ask(self, query: str) -> dict[str, float]:
        """Returns the values of an instant query, by instance."""
        host, port = self.ADDRESS
        with urlopen(f"http://{host}:{port}/api/v1/query?{urlencode({'query': query})}", timeout=SECONDS) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in found}


@contextmanager
def prometheus(directory: Path) -> Iterator[Prometheus]:
    host, port = Prometheus.ADDRESS
    words = ("--config.file", str(DEPLOY / "prometheus" / "prometheus.yml"), "--storage.tsdb.path", str(directory / "prometheus"))
    command = (path_of("prometheus"), *words, "--web.listen-address", f"{host}:{port}", "--log.level", "warn")
    with _running(command, lambda: answers(port, host)):
        yield Prometheus()
