"""A proxy at a link-local address, reached by its scope id as with curl; in a network namespace where loopback has the address."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.peers import program
from tests.peers.process import path_of

ROOT = Path(__file__).parents[2]
ADDRESS = "fe80::1"
URLS = [f"http://[{ADDRESS}%25lo]", f"http://[{ADDRESS}%lo]", f"[{ADDRESS}%1]", f"socks5://[{ADDRESS}%25lo]"]
TARGET = "target.test:22"
SECONDS = 60.0


@pytest.mark.peer("unshare", "ip", "curl")
def test_a_proxy_with_a_scope_id_is_reached_and_not_sent_the_id() -> None:
    if subprocess.run([path_of("unshare"), "-rn", "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not available here")
    command = [path_of("unshare"), "-rn", sys.executable, "-m", "tests.interop.test_link_local"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=program.environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["statuses"] == [0, 0, 0, 0]
    heads = found["heads"]
    assert len(heads) == len(URLS)
    for head in heads[:3]:
        assert head.startswith(f"CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n")
    assert not any("%" in head or ADDRESS in head for head in heads)
    assert "curl" in found["curl"]
    assert found["missing"] == [75, "tunnelctl: cannot resolve proxy fe80::1%nope: there is no such network interface\n"]


def main() -> None:
    """Runs in the namespace: a minimal proxy, and its clients."""
    subprocess.run([path_of("ip"), "link", "set", "lo", "up"], check=True)
    subprocess.run([path_of("ip"), "address", "add", f"{ADDRESS}/64", "dev", "lo", "nodad"], check=True)
    heads: list[str] = []
    listener = socket.create_server((ADDRESS, 0, 0, socket.if_nametoindex("lo")), family=socket.AF_INET6)
    threading.Thread(target=accept, args=(listener, heads), daemon=True).start()
    port = listener.getsockname()[1]
    statuses = [program.connect(f"{url}:{port}", TARGET).returncode for url in URLS]
    ours, heads[:] = list(heads), []
    curl = [path_of("curl"), "-s", "-p", "-m", "10", "-x", f"{URLS[0]}:{port}", f"http://{TARGET}/"]
    subprocess.run(curl, env={"PATH": os.environ["PATH"]}, timeout=20)
    missing = program.connect(f"http://[{ADDRESS}%25nope]:{port}", TARGET)
    json.dump(
        {
            "statuses": statuses,
            "heads": ours,
            "curl": "".join(heads),
            "missing": [missing.returncode, missing.stderr.decode()],
        },
        sys.stdout,
    )


def accept(listener: socket.socket, heads: list[str]) -> None:
    while True:
        sock, _ = listener.accept()
        with sock:
            data = sock.recv(4096)
            if data[:1] == b"\x05":
                sock.sendall(b"\x05\x00")
                data = sock.recv(4096)
                sock.sendall(b"\x05\x00\x00\x01" + bytes(6))
            else:
                sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            heads.append(data.decode("latin-1"))


if __name__ == "__main__":
    main()
