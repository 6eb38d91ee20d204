"""A network namespace in which every address is local: one listener accepts connections to all of them.

Every address that the proxy dials is therefore reached and recorded, over real sockets: 10.0.0.1 as well as 8.8.8.8.
`ask` starts this module in such a namespace; the rest runs inside it.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers.process import path_of
from tests.server.harness import Names, Proxy, connect_request

SECONDS = 60.0
ROUTES = (("-4", "0.0.0.0/0"), ("-6", "::/0"))


class Outcome(NamedTuple):
    """answers: by target, (status, error type) of each answer in order; reached: the addresses on which the listener accepted."""

    answers: dict[str, list[tuple[int, str]]]
    reached: list[str]


def ask(
    hosts: Sequence[str],
    rules: Sequence[str] = ("*:*",),
    deny: Sequence[str] = (),
    names: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Outcome:
    """Sends a proxy with these rules a request per host, on the listener's port. names: successive answers of the name service."""
    if subprocess.run([path_of("unshare"), "-rn", "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not available here")
    question = json.dumps({"hosts": list(hosts), "rules": list(rules), "deny": list(deny), "names": dict(names or {})})
    command = [path_of("unshare"), "-rn", sys.executable, "-m", "tests.security.everywhere"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=SECONDS, cwd=root)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Outcome({host: [tuple(answer) for answer in answers] for host, answers in found["answers"].items()}, found["reached"])


def main() -> None:
    question = json.load(sys.stdin)
    subprocess.run([path_of("ip"), "link", "set", "lo", "up"], check=True)
    for family, everything in ROUTES:
        subprocess.run([path_of("ip"), family, "route", "add", "local", everything, "dev", "lo"], check=True)
    reached: list[str] = []
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    threading.Thread(target=accept, args=(listener, reached), daemon=True).start()
    answers: dict[str, list[tuple[int, str]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        if question["names"]:
            Names(patch, **question["names"])
        with Proxy(*question["rules"], deny=tuple(question["deny"])) as proxy:
            for host in question["hosts"]:
                answers.setdefault(host, []).append(answer(proxy, f"{host}:{listener.getsockname()[1]}"))
    json.dump({"answers": answers, "reached": reached}, sys.stdout)


def accept(listener: socket.socket, reached: list[str]) -> None:
    while True:
        sock, _ = listener.accept()
        address = ip_address(sock.getsockname()[0])
        reached.append(str(getattr(address, "ipv4_mapped", None) or address))
        sock.sendall(b"here")  # its arrival proves that the tunnel reaches the listener
        sock.close()


def answer(proxy: Proxy, target: str) -> tuple[int, str]:
    with proxy.client() as client:
        client.send(connect_request(target))
        head = client.head()
        status = int(head[9:12])
        if status == 200:
            assert client.exactly(4) == b"here"
        return status, head.partition(b"error=")[2].partition(b";")[0].decode()


if __name__ == "__main__":
    main()
