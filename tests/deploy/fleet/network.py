"""The network of a fleet: this program goes into namespaces of its own, in which loopback has the addresses of the documentation.

So the files in deploy/ are used as they are, and their ports are free. All of it ends with the first process in them.
"""

import subprocess
import sys
from pathlib import Path

from tests.peers.process import path_of
from tests.peers.program import environment

ROOT = Path(__file__).parents[3]
BALANCER = "192.0.2.10"  # the first address, so it is also the source of connections between the others
MACHINES = ("192.0.2.11", "192.0.2.12", "192.0.2.13")
CLIENT = "192.0.2.77"
PORT, ADMIN_PORT = 3128, 9128

# With --kill-child, nothing in them survives a scene that has taken too long. It reads /proc, which must have the new process IDs.
UNSHARE = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
SECONDS = 180.0  # for a scene

# As docs/fleet.md says for a balancer. Without the second, a port is free again only a minute after its tunnel has ended.
SETTINGS = {"ip_local_port_range": "10000 65535", "tcp_tw_reuse": "1"}


def available() -> bool:
    return not subprocess.run([path_of("unshare"), *UNSHARE, "true"], capture_output=True).returncode


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of the tests in the network, to its end."""
    command = [path_of("unshare"), *UNSHARE, sys.executable, "-m", module, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=environment())


def prepare() -> None:
    """Sets up the namespace that this process is in. /run becomes a directory of our own, for HAProxy's control socket."""
    _ip("link", "set", "lo", "up")
    for address in (BALANCER, *MACHINES, CLIENT):
        _ip("address", "add", f"{address}/24", "dev", "lo")
    for name, value in SETTINGS.items():
        Path("/proc/sys/net/ipv4", name).write_text(value)
    subprocess.run([path_of("mount"), "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/haproxy").mkdir()


def _ip(*words: str) -> None:
    subprocess.run([path_of("ip"), *words], check=True)
