"""Follows changes of a real network: two links to another network namespace, where the proxies are.

The outer test starts this module in a namespace of its own, which `main` furnishes. `office` and `vpn` are the links.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.peers import program
from tests.peers.process import end, path_of, wait_until
from tests.server.harness import Client

ROOT = Path(__file__).parents[2]
SECONDS = 90.0

OFFICE, VPN = "10.1.0", "10.2.0"  # networks: .1 is in the other namespace, .2 here
PROXY, OTHER_PROXY, TARGET = 3128, 3129, 7  # ports

PAC = f"""function FindProxyForURL(url, host) {{
    return isInNet(myIpAddress(), "{VPN}.0", "255.255.255.0") ? "PROXY {VPN}.1:{OTHER_PROXY}" : "PROXY {OFFICE}.1:{PROXY}";
}}"""

SCENES = ("warm", "pac", "direct")


@pytest.mark.peer("unshare", "nsenter", "ip")
@pytest.mark.parametrize("scene", SCENES)
def test_the_network_changes(scene: str, tmp_path: Path) -> None:
    if subprocess.run([path_of("unshare"), "-rn", "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not available here")
    command = [path_of("unshare"), "-rn", sys.executable, "-m", "tests.client.test_follow_network", scene, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=program.environment())
    assert done.returncode == 0, done.stderr


# -- in the namespaces -----------------------------------------------------------------------------------------------------------


def ip(*words: str) -> None:
    subprocess.run([path_of("ip"), *words], check=True, timeout=20)


def is_running(link: str) -> bool:
    """Whether the kernel has reported that a link has a carrier, which it does up to a second after the link is used."""
    done = subprocess.run([path_of("ip"), "-json", "link", "show", link], check=True, capture_output=True, timeout=20)
    return bool(json.loads(done.stdout)[0]["operstate"] == "UP")


class Beyond:
    """The other namespace, with two proxies and a target that echoes. `heard` is where each connection came from, and its port."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.heard: list[tuple[str, int]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            host, port = json.loads(line)
            self.heard.append((host, port))

    def ip(self, *words: str) -> None:
        command = [path_of("nsenter"), "-n", "-t", str(self.process.pid), path_of("ip"), *words]
        subprocess.run(command, check=True, timeout=20)

    def wait(self, count: int, host: str, port: int = PROXY) -> None:
        """Waits until `count` connections came from the host to the port, and not more. What tells of them may come late."""
        wait_until(lambda: self.heard.count((host, port)) >= count, what=f"{count} from {host} to {port}, in {self.heard}")
        assert self.heard.count((host, port)) == count


@contextmanager
def two_links() -> Iterator[Beyond]:
    """Furnishes both namespaces."""
    command = [path_of("unshare"), "-n", sys.executable, "-m", "tests.client.test_follow_network", "beyond"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline()) == "there"
        beyond = Beyond(process)
        ip("link", "set", "lo", "up")
        for link, network in (("office", OFFICE), ("vpn", VPN)):
            ip("link", "add", link, "type", "veth", "peer", "name", link, "netns", str(process.pid))
            # Without IPv6, whose addresses become usable some seconds later: a change that a test would take for its own.
            ip("link", "set", link, "addrgenmode", "none")
            beyond.ip("link", "set", link, "addrgenmode", "none")
            beyond.ip("address", "add", f"{network}.1/24", "dev", link)
            beyond.ip("link", "set", link, "up")
            ip("address", "add", f"{network}.2/24", "dev", link)
            ip("link", "set", link, "up")
        ip("route", "add", "default", "via", f"{OFFICE}.1")
        process.stdin.write("listen\n")
        process.stdin.flush()
        wait_until(lambda: answers((f"{OFFICE}.1", TARGET)))
        wait_until(lambda: is_running("office") and is_running("vpn"))
        yield beyond
    finally:
        end(process)


def answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 5).close()
    except OSError:
        return False
    return True


class Events:
    """What a forward says with --json."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.all: list[dict[str, object]] = []
        threading.Thread(target=self._listen, args=(pipe,), daemon=True).start()

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.all.append(json.loads(line))

    def named(self, name: str) -> list[dict[str, object]]:
        return [event for event in self.all if event["event"] == name]

    def wait(self, name: str, count: int) -> dict[str, object]:
        wait_until(lambda: len(self.named(name)) >= count, what=f"{count} events {name}, in {self.all}")
        return self.named(name)[count - 1]

    def dropped(self) -> int:
        """Idle connections that were dropped so far."""
        return sum(int(str(event["dropped"])) for event in self.named("network"))

    def wait_for_dropped(self, count: int) -> None:
        """Waits until `count` were dropped, and not more. Which event says so is open: late reports of a link are changes too."""
        wait_until(lambda: self.dropped() >= count, what=f"{count} dropped, in {self.all}")
        assert self.dropped() == count


@contextmanager
def forward(*words: str) -> Iterator[tuple[Events, Callable[[], Client]]]:
    """Runs a forward with a port that leads to the target; yields its events, and a function that opens a connection."""
    target = f"0:{VPN}.1:{TARGET}"
    with program.started("forward", "--json", "-L", target, "--drain", "0", *words, env={"XDG_RUNTIME_DIR": ""}) as process:
        events = Events(process.stderr)
        port = int(str(events.wait("listening", 1)["address"]).rpartition(":")[2])
        yield events, lambda: Client(("127.0.0.1", port))


def settled(events: Events, change: Callable[[], object]) -> None:
    """Makes a change, and waits until the forward says something about the network."""
    before = len(events.named("network"))
    change()
    events.wait("network", before + 1)


def warm(beyond: Beyond, directory: Path) -> None:
    """An idle connection is dropped when its route has changed, and replaced on the new one; a tunnel goes on."""
    with forward("-x", f"http://{OFFICE}.1:{PROXY}", "--warm", "1") as (events, open_client):
        beyond.wait(1, f"{OFFICE}.2")
        with open_client() as client:
            assert client.echoes()
            beyond.wait(2, f"{OFFICE}.2")
            # What does not concern the route leaves the idle connection alone, and a repetition says nothing.
            settled(events, lambda: ip("address", "add", "10.9.0.1/24", "dev", "vpn"))
            assert events.dropped() == 0
            ip("address", "change", "10.9.0.1/24", "dev", "vpn")
            detour = (f"{OFFICE}.1/32", "via", f"{VPN}.1", "src", f"{VPN}.2")
            ip("route", "add", *detour)
            events.wait_for_dropped(1)
            beyond.wait(1, f"{VPN}.2")
            ip("route", "del", *detour)
            events.wait_for_dropped(2)
            beyond.wait(3, f"{OFFICE}.2")
            assert client.echoes()
            ip("link", "set", "office", "down")
            events.wait_for_dropped(3)
            ip("link", "set", "office", "up")
            ip("route", "add", "default", "via", f"{OFFICE}.1")
            beyond.wait(4, f"{OFFICE}.2")
            assert client.echoes()
        # Seven changes; the carrier of a link may be reported later than it.
        assert len(events.named("network")) <= 12


def pac(beyond: Beyond, directory: Path) -> None:
    """The script is asked anew although its result is seconds old, and its proxy still works."""
    file = directory / "proxy.pac"
    file.write_text(PAC)
    with forward("--pac", str(file)) as (events, open_client):
        with open_client() as client:
            assert client.echoes()
        beyond.wait(1, f"{OFFICE}.2")
        settled(events, lambda: ip("route", "replace", "default", "via", f"{VPN}.1"))
        with open_client() as client:
            assert client.echoes()
        beyond.wait(1, f"{VPN}.2", OTHER_PROXY)


def direct(beyond: Beyond, directory: Path) -> None:
    """Away from the office the target is reached directly, and through the proxy as soon as the link is back."""
    with forward("-x", f"http://{OFFICE}.1:{PROXY},direct") as (events, open_client):
        settled(events, lambda: ip("link", "set", "office", "down"))
        for _ in range(2):
            with open_client() as client:
                assert client.echoes()
        beyond.wait(2, f"{VPN}.2", TARGET)
        said = events.wait("warning", 1)
        assert len(events.named("warning")) == 1
        assert str(said["text"]).endswith("tunnels go directly to their targets until a proxy can be reached")
        settled(events, lambda: ip("link", "set", "office", "up"))
        with open_client() as client:
            assert client.echoes()
        beyond.wait(1, f"{OFFICE}.2")
        assert "can be reached again" in str(events.wait("warning", 2)["text"])


def listen_beyond() -> None:
    """Runs in the other namespace."""
    subprocess.run([path_of("ip"), "link", "set", "lo", "up"], check=True)
    print(json.dumps("there"), flush=True)
    sys.stdin.readline()
    for port, is_proxy in ((PROXY, True), (OTHER_PROXY, True), (TARGET, False)):
        threading.Thread(target=serve, args=(socket.create_server(("", port)), is_proxy)).start()


def serve(listener: socket.socket, is_proxy: bool) -> None:
    while True:
        sock, (host, _) = listener.accept()
        print(json.dumps([host, listener.getsockname()[1]]), flush=True)
        threading.Thread(target=echo, args=(sock, is_proxy)).start()


def echo(sock: socket.socket, is_proxy: bool) -> None:
    with sock:
        if is_proxy and sock.recv(4096):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while data := sock.recv(4096):
            sock.sendall(data)


def main() -> None:
    scene, *rest = sys.argv[1:]
    if scene == "beyond":
        listen_beyond()
        return
    with two_links() as beyond:
        globals()[scene](beyond, Path(rest[0]))
    os._exit(0)  # not after the threads that listen


if __name__ == "__main__":
    main()
