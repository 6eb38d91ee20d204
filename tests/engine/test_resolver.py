"""Lookups: addresses need none, names are looked up in a thread, and a stuck lookup is abandoned while others go on."""

import _socket
import errno
import math
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engine.tools import bounded, settle
from tunnelctl.engine import resolver, wakeup
from tunnelctl.engine.kernel import Nursery, QueueFullError, current_kernel, move_on_after, sleep
from tunnelctl.engine.limiter import Owner
from tunnelctl.engine.resolver import SocketAddress, complete_names_only, literal_family, resolve

V4, V6 = socket.AF_INET, socket.AF_INET6
GREEDY, OTHER, ANOTHER = (Owner(name, name) for name in ("greedy", "other", "another"))

Answer = list[tuple[int, int, int, str, tuple[Any, ...]]]


def answer(*hosts: str) -> Answer:
    """Returns the result of getaddrinfo for these addresses."""
    stream = socket.SOCK_STREAM
    return [(V6, stream, 6, "", (host, 80, 0, 0)) if ":" in host else (V4, stream, 6, "", (host, 80)) for host in hosts]


@pytest.fixture
def no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object) -> Answer:
        raise AssertionError("asked the system")

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)


@pytest.mark.usefixtures("no_lookup")
@pytest.mark.parametrize(
    ("host", "family"),
    [("127.0.0.1", V4), ("0.0.0.0", V4), ("::1", V6), ("2001:db8::1", V6), ("::ffff:192.0.2.1", V6)],
)
def test_an_address_needs_no_thread(host: str, family: int) -> None:
    async def main() -> None:
        assert await resolve(host, 80) == [SocketAddress(family, host, 80)]
        assert await resolve(host, 80, family) == [SocketAddress(family, host, 80)]
        assert current_kernel().wakeup is None

    bounded(main)


@pytest.mark.usefixtures("no_lookup")
@pytest.mark.parametrize("scope", ["lo", str(socket.if_nametoindex("lo"))])
def test_a_scope_id_is_the_name_or_number_of_an_interface(scope: str) -> None:
    assert bounded(resolve, f"fe80::1%{scope}", 80) == [SocketAddress(V6, "fe80::1", 80, socket.if_nametoindex("lo"))]


@pytest.mark.usefixtures("no_lookup")
def test_a_scope_id_of_no_interface_is_an_error() -> None:
    with pytest.raises(OSError, match="there is no such network interface") as caught:
        bounded(resolve, "fe80::1%nope", 80)
    assert caught.value.errno == errno.ENODEV


def test_the_scope_id_of_a_looked_up_address_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a neighbour's name, from mDNS or /etc/hosts: without its scope ID, a link-local address cannot be connected to."""
    found = [(V6, socket.SOCK_STREAM, 6, "", ("fe80::1", 80, 0, 7)), *answer("2001:db8::1", "192.0.2.1")]
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: found)
    expected = [SocketAddress(V6, "fe80::1", 80, 7), SocketAddress(V6, "2001:db8::1", 80), SocketAddress(V4, "192.0.2.1", 80)]
    assert bounded(resolve, "neighbour.local", 80) == expected


@pytest.mark.usefixtures("no_lookup")
@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", V6), ("::1", V4)])
def test_an_address_of_the_other_family_is_an_error(host: str, family: int) -> None:
    with pytest.raises(socket.gaierror, match="address family"):
        bounded(resolve, host, 80, family)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "1.2.3.4 ", "::1%lo", "[::1]"]
)
def test_text_that_is_not_a_strict_address_is_a_name(text: str) -> None:
    assert literal_family(text) is None


def test_a_name_is_looked_up() -> None:
    found = bounded(resolve, "localhost", 80)
    assert found
    assert {address.host for address in found} <= {"127.0.0.1", "::1"}
    assert {address.port for address in found} == {80}
    assert all(address.family == (V6 if ":" in address.host else V4) for address in found)


def test_a_name_is_looked_up_in_one_family() -> None:
    assert bounded(resolve, "localhost", 80, V4) == [SocketAddress(V4, "127.0.0.1", 80)]


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(socket.gaierror):
        bounded(resolve, "a" * 64 + ".invalid", 80)  # A label of 64 octets is too long: getaddrinfo refuses it without a query.


def test_the_order_of_addresses_is_kept_and_duplicates_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ("192.0.2.7", "2001:db8::7", "192.0.2.7", "192.0.2.1", "2001:db8::7")
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: answer(*hosts))
    expected = [SocketAddress(V4, "192.0.2.7", 80), SocketAddress(V6, "2001:db8::7", 80), SocketAddress(V4, "192.0.2.1", 80)]
    assert bounded(resolve, "name.example", 80) == expected


def test_the_arguments_of_getaddrinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def lookup(*arguments: object) -> Answer:
        asked.append(arguments)
        return answer("192.0.2.1")

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)
    bounded(resolve, "xn--bcher-kva.example", 443, V4)
    assert asked == [(b"xn--bcher-kva.example", 443, V4, socket.SOCK_STREAM)]


def test_the_codec_for_names_is_not_imported() -> None:
    """It costs 3 ms of the 15 that a lean connect takes."""
    program = (
        "import sys\n"
        "from tunnelctl.engine.kernel import run\n"
        "from tunnelctl.engine.resolver import resolve\n"
        "run(resolve, 'localhost', 80)\n"
        "print('encodings.idna' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "False\n"


def test_a_stuck_lookup_is_abandoned_at_its_deadline_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()

    def lookup(host: bytes, *_: object) -> Answer:
        if host == b"stuck.example":
            assert stuck.wait(5)
        return answer("192.0.2.1")

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)

    async def main() -> None:
        ended: list[str] = []

        async def slow() -> None:
            with move_on_after(0.02) as scope:
                await resolve("stuck.example", 80)
            assert scope.cancelled_caught
            ended.append("slow")

        async def quick() -> None:
            for _ in range(5):
                await resolve("name.example", 80)
            ended.append("quick")

        async with Nursery() as nursery:
            nursery.start_soon(slow)
            nursery.start_soon(quick)
        assert sorted(ended) == ["quick", "slow"]

    try:
        bounded(main)
    finally:
        stuck.set()


def test_lookups_without_an_owner_queue_and_leave_threads_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    asked = []

    def lookup(host: bytes, *_: object) -> Answer:
        asked.append(host)
        assert stuck.wait(5)
        return answer("192.0.2.1")

    monkeypatch.setattr(resolver, "MAX_LOOKUPS", 4)
    monkeypatch.setattr(_socket, "getaddrinfo", lookup)

    async def main() -> None:
        found = []

        async def ask() -> None:
            found.append((await resolve("name.example", 80))[0].host)

        async with Nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await settle()
            with move_on_after(0) as scope:
                await resolve("left.example", 80)
            assert scope.cancelled_caught
            assert len(asked) <= 4
            assert await wakeup.to_thread(int, "7") == 7, "a login still gets a thread"
            assert await resolve("127.0.0.1", 80)
            stuck.set()
        assert found == ["192.0.2.1"] * 20
        assert b"left.example" not in asked

    try:
        bounded(main)
    finally:
        stuck.set()


def test_more_lookups_at_once_than_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a burst of connections at `forward`, each of which looks up its proxy."""
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: answer("192.0.2.1"))
    found = []

    async def ask() -> None:
        found.append((await resolve("proxy.example", 3128))[0].host)

    async def main() -> None:
        async with Nursery() as nursery:
            for _ in range(3 * wakeup.MAX_THREADS):
                nursery.start_soon(ask)

    bounded(main)
    assert found == ["192.0.2.1"] * 3 * wakeup.MAX_THREADS


class Stuck:
    """A name service in which every name except `good.example` waits for `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        self.under_way = 0
        monkeypatch.setattr(_socket, "getaddrinfo", self)

    def __call__(self, host: bytes, *_: object) -> Answer:
        if host != b"good.example":
            self.under_way += 1
            assert self.release.wait(5)
        return answer("192.0.2.1")


def test_one_owner_cannot_use_up_the_lookups_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(monkeypatch)

    async def main() -> None:
        async with Nursery() as nursery:
            for number in range(3 * resolver.LOOKUPS_OF_ONE):
                nursery.start_soon(lambda name=f"n{number}.dead.example": resolve(name, 80, owner=GREEDY))
            while stuck.under_way < resolver.LOOKUPS_OF_ONE:
                await sleep(0.001)
            for owner in (OTHER, ANOTHER):
                assert await resolve("good.example", 80, owner=owner)
            with move_on_after(0) as waited:
                await resolve("good.example", 80, owner=GREEDY)
            assert waited.cancelled_caught
            assert stuck.under_way == resolver.LOOKUPS_OF_ONE
            stuck.release.set()

    try:
        bounded(main)
    finally:
        stuck.release.set()


def test_h4_networks_of_one_site_cannot_use_up_the_lookups_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 /48 contains 65,536 networks from which to connect."""
    stuck = Stuck(monkeypatch)

    async def main() -> None:
        async with Nursery() as nursery:
            for number in range(resolver.MAX_LOOKUPS):
                owner = Owner("2001:db8::/48", f"2001:db8:0:{number // resolver.LOOKUPS_OF_ONE:x}::/64")
                nursery.start_soon(lambda owner=owner: resolve("dead.example", 80, owner=owner))
            while stuck.under_way < resolver.LOOKUPS_OF_A_GROUP:
                await sleep(0.001)
            assert await resolve("good.example", 80, owner=OTHER)
            assert stuck.under_way == resolver.LOOKUPS_OF_A_GROUP
            assert resolver.has_its_share(owner)
            assert not resolver.has_its_share(OTHER)
            nursery.cancel_scope.cancel()
            stuck.release.set()

    try:
        bounded(main)
    finally:
        stuck.release.set()


def test_the_callback_is_called_when_a_lookup_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it is requested: at that time the owner's share may be in use."""
    monkeypatch.setattr(resolver, "LOOKUPS_OF_ONE", 1)
    stuck, begun = Stuck(monkeypatch), list[str]()

    async def main() -> None:
        async with Nursery() as nursery:
            for name in ("dead.example", "good.example"):
                nursery.start_soon(lambda name=name: resolve(name, 80, owner=GREEDY, begun=lambda: begun.append(name)))
            while not stuck.under_way:
                await sleep(0.001)
            assert begun == ["dead.example"]
            stuck.release.set()
        assert begun == ["dead.example", "good.example"]

    try:
        bounded(main)
    finally:
        stuck.release.set()


def test_an_abandoned_lookup_still_counts_against_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends its thread: a client that leaves at once and comes again would otherwise use up all threads."""
    stuck = Stuck(monkeypatch)

    async def main() -> None:
        for _ in range(3 * resolver.LOOKUPS_OF_ONE):
            with move_on_after(0.001):
                await resolve("dead.example", 80, owner=GREEDY)
        while stuck.under_way < resolver.LOOKUPS_OF_ONE:  # a thread is counted where it begins, and that may be later
            await sleep(0.001)
        assert stuck.under_way == resolver.LOOKUPS_OF_ONE
        assert await resolve("good.example", 80, owner=OTHER)
        stuck.release.set()
        assert await resolve("good.example", 80, owner=GREEDY)

    try:
        bounded(main)
    finally:
        stuck.release.set()


def test_the_queue_of_one_owner_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUPS_OF_ONE", 1)
    monkeypatch.setattr(resolver, "WAITING_OF_ONE", 2)
    stuck = Stuck(monkeypatch)

    async def main() -> None:
        async with Nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lambda: resolve("dead.example", 80, owner=GREEDY))
            with move_on_after(0.01):
                await sleep(math.inf)
            with pytest.raises(QueueFullError):
                await resolve("dead.example", 80, owner=GREEDY)
            stuck.release.set()

    try:
        bounded(main)
    finally:
        stuck.release.set()


@pytest.mark.parametrize("owner", [None, OTHER])
def test_a_lack_of_descriptors_is_not_reported_as_an_unknown_name(owner: Owner | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that case getaddrinfo itself reports that there is no such name."""

    def lookup(*_: object) -> Answer:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    class NoSocket:
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)
    with pytest.raises(socket.gaierror):
        bounded(lambda: resolve("gone.example", 80, owner=owner))
    monkeypatch.setattr(_socket, "socket", NoSocket)
    with pytest.raises(OSError, match="Too many open files") as caught:
        bounded(lambda: resolve("gone.example", 80, owner=owner))
    assert not isinstance(caught.value, socket.gaierror)


NAME_SERVER = """
import os, socket, threading
from tunnelctl.engine.kernel import run
from tunnelctl.engine.limiter import Owner
from tunnelctl.engine.resolver import complete_names_only, resolve

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.77", 53))
asked = []

def serve():
    while True:
        question, client = server.recvfrom(512)
        labels, at = [], 12
        while size := question[at]:
            labels.append(question[at + 1 : at + 1 + size].decode())
            at += 1 + size
        asked.append(".".join(labels))
        server.sendto(question[:2] + b"\\x81\\x83" + question[4:6] + bytes(6) + question[12 : at + 5], client)

threading.Thread(target=serve, daemon=True).start()
complete_names_only()
for owner in (None, Owner("client", "client")):
    for name in ("secret", "secret.corp", "www.example.com"):
        try:
            run(resolve, name, 80, socket.AF_UNSPEC, owner)
        except socket.gaierror:
            pass
    print(*sorted(set(asked)))
    print(*(address.host for name in ("localhost", "one-label") for address in run(resolve, name, 80, socket.AF_INET, owner)))
"""


@pytest.mark.peer("unshare")
def test_a_search_list_completes_no_name(tmp_path: Path) -> None:
    """Whatever resolv.conf contains. Names in /etc/hosts are still found."""
    (tmp_path / "resolv.conf").write_text("search corp.test sub.test\noptions ndots:5\nnameserver 127.0.0.77\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n127.0.0.9 a.b One-Label # comment\n")
    (tmp_path / "program.py").write_text(NAME_SERVER)
    mounts = [f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "hosts")]
    script = f'{" && ".join(mounts)} && exec "$@"'
    command = ["unshare", "-rmn", "sh", "-c", f"ip link set lo up && {script}", "sh", sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines() == 2 * ["secret secret.corp www.example.com", "127.0.0.1 127.0.0.9"], done.stderr


@pytest.mark.parametrize("owner", [None, OTHER])
def test_a_complete_name_of_one_label_is_looked_up_with_a_trailing_dot(
    owner: Owner | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is in /etc/hosts, where names have no trailing dot."""
    asked: list[bytes] = []

    def lookup(host: bytes, *_: object) -> Answer:
        asked.append(host)
        return answer("192.0.2.1")

    monkeypatch.setattr(_socket, "getaddrinfo", lookup)
    monkeypatch.setattr(resolver, "HOSTS", str(tmp_path / "hosts"))
    monkeypatch.delenv("LOCALDOMAIN", raising=False)
    bounded(lambda: resolve("db", 80, owner=owner))
    monkeypatch.setenv("LOCALDOMAIN", "")  # so that monkeypatch restores the variable afterwards
    complete_names_only()
    for name in ("db", "db.example"):
        bounded(lambda name=name: resolve(name, 80, owner=owner))
    (tmp_path / "hosts").write_text("# db\n192.0.2.1\tfirst DB\n")
    bounded(lambda: resolve("db", 80, owner=owner))
    assert asked == [b"db", b"db.", b"db.example", b"db"]
