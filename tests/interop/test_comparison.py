"""The comparison in the README: each cell of the table is what the program does here."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.peers import compared, guards, proxies
from tests.peers.compared import ATTEMPT_SECONDS, LINE, LOCAL, NO, STDIO, TOOLS, YES, Asked, attempt
from tests.peers.process import end, path_of
from tests.peers.program import SCRIPT
from tests.peers.proxies import Proxy, Rules
from tests.peers.scripted import Conversation, ScriptedServer, echo, refusing_port

NOT_APPLICABLE = ""
LIMIT = 1  # the time limit that a tool is given, in seconds
PATIENCE = 12.0  # how long we wait for it to act on that; its start on a busy machine is a part of it
LATE = 1.5  # how late a target answers
TICKET = b"Ticket 4711"

Probe = Callable[[str, Asked], bool]  # whether the tool does it; `Asked` has its directory

pytestmark = pytest.mark.once
TABLE = compared.table("comparison")


# --- logins, verified by squid and its helpers

GUARDED: dict[str, Callable[[], AbstractContextManager[Proxy]]] = {
    "Basic login": partial(proxies.squid, Rules(password=True)),
    "Digest login": guards.squid_digest,
    "NTLM login": guards.squid_ntlm,
}


@pytest.fixture(scope="module", params=GUARDED)
def guarded(request: pytest.FixtureRequest) -> Iterator[tuple[str, Proxy]]:
    """The label of a row, and a squid that requires this login."""
    with GUARDED[request.param]() as proxy:
        yield request.param, proxy


# --- what a scripted proxy sees, and what the user is told


def speaks_tls_to_the_proxy(tool: str, asked: Asked) -> bool:
    """Whether a tool that is told all it can be told about TLS sends the proxy a ClientHello."""
    heard: list[bytes] = []
    with ScriptedServer(lambda peer: heard.append(peer.read(1))) as proxy:
        attempt(tool, asked._replace(proxy=proxy.port, authority=Path("/etc/ssl/certs/ca-certificates.crt")))
    assert heard
    return heard[0] == b"\x16"


def refuses(status: bytes, field: bytes = b"") -> Callable[[Conversation], None]:
    page = b"<html><body><h1>Access denied</h1><p>Category: Remote Access. %b</p></body></html>" % TICKET

    def script(peer: Conversation) -> None:
        peer.read_head()
        head = b"HTTP/1.1 %b\r\n%bContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        peer.send(head % (status, field, len(page)) + page)
        peer.end_output()
        peer.wait_gone()

    return script


FORBIDDEN = refuses(b"403 Forbidden")
WANTS_LOGIN = refuses(b"407 Login", b'Proxy-Authenticate: Basic realm="x"\r\n')


def shows_the_proxys_reason(tool: str, asked: Asked) -> bool:
    """To its user, or, as a local proxy, to its client."""
    with ScriptedServer(FORBIDDEN) as proxy:
        made = attempt(tool, asked._replace(proxy=proxy.port, verbose=True))
    return TICKET in made.said + made.output


def has_a_status_for_each_cause(tool: str, asked: Asked) -> bool:
    """Refused, login required, and unreachable."""
    found = []
    for script in (FORBIDDEN, WANTS_LOGIN):
        with ScriptedServer(script) as proxy:
            found.append(attempt(tool, asked._replace(proxy=proxy.port)).status)
    reserved, port = refusing_port()
    with reserved:
        found.append(attempt(tool, asked._replace(proxy=port)).status)
    assert None not in found
    return len(set(found)) == len(found)


def gives_up_on_a_silent_proxy(tool: str, asked: Asked) -> bool:
    """Whether a limit of one second, if the tool has any, ends the attempt before we lose patience."""

    def silent(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()

    with ScriptedServer(silent) as proxy:
        made = attempt(tool, asked._replace(proxy=proxy.port, limit=LIMIT), PATIENCE)
    return bool(made.output) if tool in LOCAL else made.status is not None


# --- ssh and pipes


def hands_over_its_socket(tool: str, asked: Asked) -> bool:
    """Whether the process has ended once the tunnel is open, and has passed its socket on as ssh's ProxyUseFdpass requires."""
    flags = {"tunnelctl": ["--fdpass"], "nc": ["-F"]}.get(tool, [])
    with ScriptedServer(lambda peer: (peer.accept_tunnel(), echo(peer))) as proxy:
        command, *words = STDIO[tool](asked._replace(proxy=proxy.port))
        words = [*words[:1], *flags, *words[1:]] if command == SCRIPT else [*flags, *words]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(ATTEMPT_SECONDS)
            ours.sendall(b"" if flags else LINE)
            streams = {"stdin": theirs, "stdout": theirs, "stderr": subprocess.DEVNULL}
            with subprocess.Popen([command, *words], env=compared.env(asked), **streams) as process:
                data, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
                if not descriptors:  # it relays: the line is back, and the process stays
                    assert (data, process.poll()) == (LINE, None)
                    end(process)
                    return False
                with socket.socket(fileno=descriptors[0]) as tunnel:
                    tunnel.settimeout(ATTEMPT_SECONDS)
                    assert process.wait(ATTEMPT_SECONDS) == 0
                    tunnel.sendall(LINE)
                    assert tunnel.recv(64) == LINE
    return True


def keeps_a_late_response(tool: str, asked: Asked) -> bool:
    """Whether the response comes out that a target sends some time after the end of the request."""

    def slow(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.read_to_end()
        time.sleep(LATE)  # what the target is slow with
        with suppress(ConnectionError):
            peer.send(b"late\n")

    with ScriptedServer(slow) as proxy:
        with compared.started(tool, asked._replace(proxy=proxy.port)) as process:
            process.stdin.write(b"request\n")
            process.stdin.close()
            output = process.stdout.read()
    return output == b"late\n"


def needs_no_python(tool: str, asked: Asked) -> bool:
    """Whether it is a program for the machine itself, rather than one for an interpreter."""
    return Path(path_of(compared.program(tool))).read_bytes().startswith(b"\x7fELF")


# The label of each row, and what it means.
PROBES: dict[str, Probe] = {
    "hands the socket to ssh and exits": hands_over_its_socket,
    "TLS to the proxy": speaks_tls_to_the_proxy,
    "shows the proxy's explanation of a refusal": shows_the_proxys_reason,
    "an exit status for each cause": has_a_status_for_each_cause,
    "time limit for a proxy that never responds": gives_up_on_a_silent_proxy,
    "keeps a response that follows the end of input": keeps_a_late_response,
    "needs no Python": needs_no_python,
}
ONLY_STDIO = {hands_over_its_socket, has_a_status_for_each_cause, keeps_a_late_response}


def each_tool(*also: str) -> "pytest.MarkDecorator":
    marked = [pytest.param(tool, marks=pytest.mark.peer(compared.program(tool), *also)) for tool in TOOLS]
    return pytest.mark.parametrize("tool", marked)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tunnelctl-tool-") as name:
        yield Path(name)


def test_every_cell_of_the_table_is_tested() -> None:
    assert set(TABLE) == {*PROBES, *GUARDED}
    assert all(tuple(cells) == TOOLS for cells in TABLE.values())


@each_tool("squid", "ntlm_auth")
def test_logins(tool: str, directory: Path, guarded: tuple[str, Proxy]) -> None:
    row, proxy = guarded
    with ScriptedServer(echo) as target:
        asked = Asked(proxy.port, directory, target="127.0.0.1", port=target.port, scheme=row.split()[0].lower())
        made = attempt(tool, asked)
    assert TABLE[row][tool].removesuffix(" ¹") == (YES if made.worked else NO), made


@each_tool()
@pytest.mark.parametrize("row", PROBES)
def test_rows(row: str, tool: str, directory: Path) -> None:
    probe = PROBES[row]
    if tool in LOCAL and probe in ONLY_STDIO:
        assert TABLE[row][tool] == NOT_APPLICABLE
    else:
        assert TABLE[row][tool].removesuffix(" ²") == (YES if probe(tool, Asked(0, directory)) else NO)
