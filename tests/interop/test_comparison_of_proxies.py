"""The comparison of proxies in the README: each cell is what the program does here."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from tests.peers import compared, proxies
from tests.peers.compared import NO, YES
from tests.peers.program import Serve
from tests.peers.proxies import Proxy, Rules
from tests.peers.scripted import STEP_SECONDS, Conversation, ScriptedServer, refusing_port
from tests.peers.targets import answer_after_eof

Start = Callable[..., AbstractContextManager[Proxy]]

pytestmark = pytest.mark.once
TABLE = compared.table("proxies")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")  # with empty SETTINGS, as RFC 9113 requires
SETTINGS = 4


@contextmanager
def serve(rules: Rules = proxies.ANYTHING) -> Iterator[Proxy]:
    allow = tuple(f"*:{port}" for port in rules.ports) or ("127.0.0.1:*",)
    with Serve(allow=allow) as running:
        yield Proxy(running.port)


# How each is started, with a rule on the port or for any target; and the program.
STARTS: dict[str, tuple[Start, str]] = {
    "tunnelctl serve": (serve, "python3"),
    "tinyproxy": (proxies.tinyproxy, "tinyproxy"),
    "squid": (proxies.squid, "squid"),
    "Apache": (partial(proxies.apache, http2=True), "apache2"),
    "ncat -l": (proxies.ncat, "ncat"),
}


def asked(proxy: Proxy, request: bytes, end: bool = False) -> bytes:
    """Sends octets, and the end of them if asked to; returns all that comes until the proxy closes, or says no more."""
    answer = b""
    with socket.create_connection((proxy.host, proxy.port), STEP_SECONDS) as client:
        client.settimeout(STEP_SECONDS)
        client.sendall(request)
        if end:
            client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65536):
            answer += piece
            if not end and (b"\r\n\r\n" in answer or answer[3:4] == bytes([SETTINGS])):
                break
    return answer


def connect(port: int) -> bytes:
    return b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port)


def opens_no_internal_address(start: Start) -> bool:
    """The rule is for any host on one port; the target is on loopback."""
    with ScriptedServer(Conversation.wait_gone) as target, start(Rules(ports=(target.port,))) as proxy:
        status = asked(proxy, connect(target.port)).split(b" ", 2)[1]
    assert status in (b"200", b"403")
    return status == b"403"


def tells_the_cause(start: Start) -> bool:
    reserved, port = refusing_port()
    with reserved, start() as proxy:
        head = asked(proxy, connect(port), end=False)
    return b"\r\nproxy-status: " in head.lower()


def keeps_a_late_response(start: Start) -> bool:
    with ScriptedServer(answer_after_eof) as target, start() as proxy:
        try:
            return asked(proxy, connect(target.port) + b"request", end=True).endswith(b"request"[::-1])
        except ConnectionError:
            return False


def speaks_http_2(start: Start) -> bool:
    with start() as proxy:
        try:
            return asked(proxy, PREFACE)[3:4] == bytes([SETTINGS])
        except ConnectionError:
            return False


PROBES = {
    "a rule for a port opens no internal address": opens_no_internal_address,
    "tells clients the cause of a failure (RFC 9209)": tells_the_cause,
    "keeps a response that follows the end of input": keeps_a_late_response,
    "speaks HTTP/2": speaks_http_2,
}


def test_every_cell_of_the_table_is_tested() -> None:
    assert set(TABLE) == set(PROBES)
    assert all(list(cells) == list(STARTS) for cells in TABLE.values())


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.peer(program)) for name, (_, program) in STARTS.items()])
@pytest.mark.parametrize("row", PROBES)
def test_rows(row: str, name: str) -> None:
    assert TABLE[row][name] == (YES if PROBES[row](STARTS[name][0]) else NO)
