"""Tests http:// URLs of proxies that speak TLS: when the client sends a TLS probe, and the result of each response to it.

The tests for a process with many tunnels are at the end; test_forward and server/test_upstream test it over real sockets.
"""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.client.harness import CANARY, TARGET, TraceLog, next_head, prepared
from tests.client.sharing import Sharing, sharing
from tests.options import forward_options
from tests.peers.http2_server import Http2Server, Request
from tests.peers.scripted import CLIENT_HELLO, ESTABLISHED, STEP_SECONDS, Conversation, Script, ScriptedServer
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.retry import open_with_retries
from tunnelctl.client.upstream import tls_probe as under_test
from tunnelctl.engine.kernel import Nursery, fail_after, run, sleep
from tunnelctl.errors import NoAnswer, Refused, SpeaksTLS, TunnelctlError, Unreachable
from tunnelctl.status import ExitStatus

IS_IT_TLS = "if the proxy speaks TLS on that port, its URL begins with https://"
NO_TLS_EITHER = "it does not answer a TLS handshake either; are host and port right?"

ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"
PLAIN_400 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
CHALLENGE = b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allows time for a loaded machine; the time limit has its own test."""
    monkeypatch.setattr(under_test, "SECONDS", STEP_SECONDS)


def fails(*proxies: str, **options: object) -> TunnelctlError:
    """Returns the error that a tunnel through these proxies ends with."""

    async def main() -> TunnelctlError:
        trace = TraceLog()
        ways = await prepared(forward_options(proxy=proxies, header=(f"X-Key: {CANARY}",), **options), {}, trace)
        with pytest.raises(TunnelctlError) as caught:
            await open_with_retries(ways, TARGET, 0, trace)
        return caught.value

    return run(main)


def leaves(peer: Conversation) -> None:
    peer.read_head()


def resets(peer: Conversation) -> None:
    peer.read_head()
    peer.reset()


def answers_400(peer: Conversation) -> None:
    peer.accept_tunnel(PLAIN_400)


class Listener(ScriptedServer):
    """A proxy with one script for plain-text clients, and one for clients that send a ClientHello, which `hellos` keeps."""

    def __init__(self, in_the_clear: Script, in_tls: Script) -> None:
        self.hellos: list[bytes] = []

        def script(peer: Conversation) -> None:
            if peer.hears_tls():
                header = peer.read_exactly(5)
                self.hellos.append(header + peer.read_exactly(int.from_bytes(header[3:], "big")))
                in_tls(peer)
            else:
                in_the_clear(peer)

        super().__init__(script)


def says(answer: bytes) -> Script:
    def script(peer: Conversation) -> None:
        peer.send(answer)
        peer.end_output()
        peer.wait_gone()

    return script


def never(peer: Conversation) -> None:
    peer.wait_gone()


ways_to_fail = pytest.mark.parametrize(
    ("in_the_clear", "kind"), [(leaves, NoAnswer), (resets, Unreachable), (answers_400, Refused)], ids=["leaves", "resets", "400"]
)


@ways_to_fail
@pytest.mark.parametrize("answer", [ALERT, SERVER_HELLO], ids=["alert", "handshake"])
def test_a_tls_response_to_the_probe_means_the_proxy_speaks_tls(
    in_the_clear: Script, kind: type[TunnelctlError], answer: bytes
) -> None:
    with Listener(in_the_clear, says(answer)) as proxy:
        error = fails(f"http://anna:{CANARY}@{proxy.authority}", auth="basic")
    assert isinstance(error, SpeaksTLS)
    assert error.exit_status is ExitStatus.AUTHENTICATION
    assert str(error) == f"proxy {proxy.authority}, asked for a tunnel to {TARGET}: it speaks TLS, not plain HTTP"
    assert hint_of(error) == f"its URL is https://{proxy.authority}"
    assert isinstance(error.__cause__, kind)
    (hello,) = proxy.hellos
    for secret in (CANARY, "anna", TARGET.host):
        assert secret.encode() not in hello


def test_the_response_to_the_probe_may_arrive_in_pieces() -> None:
    with Listener(leaves, lambda peer: peer.dribble(SERVER_HELLO[:2])) as proxy:
        assert isinstance(fails(proxy.url), SpeaksTLS)


@ways_to_fail
@pytest.mark.parametrize(
    "in_tls",
    [
        pytest.param(says(b""), id="leaves"),
        pytest.param(Conversation.reset, id="resets"),
        pytest.param(says(PLAIN_400), id="HTTP"),
        pytest.param(says(b"\x16"), id="one octet"),
        pytest.param(says(b"\x15\x02\x00"), id="not TLS"),
    ],
)
def test_any_other_response_to_the_probe_leaves_the_failure_unchanged(
    in_the_clear: Script, kind: type[TunnelctlError], in_tls: Script
) -> None:
    with Listener(in_the_clear, in_tls) as proxy:
        error = fails(proxy.url)
    assert type(error) is kind
    assert len(proxy.hellos) == 1
    # A hint must not suggest what the probe has just disproved.
    assert (hint_of(error) == NO_TLS_EITHER) == (in_the_clear is not answers_400)
    assert IS_IT_TLS not in hint_of(error)


@pytest.mark.parametrize(("seconds", "timeout"), [(1.0, 60.0), (60.0, 2.0)], ids=["its own limit", "the limit on the way"])
def test_waiting_for_the_response_to_the_probe_is_limited(seconds: float, timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script would fail if the client did not leave within its STEP_SECONDS."""
    monkeypatch.setattr(under_test, "SECONDS", seconds)
    with Listener(leaves, never) as proxy:
        assert type(fails(proxy.url, timeout=timeout)) is NoAnswer
    assert len(proxy.hellos) == 1


def test_a_refused_probe_connection_leaves_the_failure_unchanged() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            sock, _ = listener.accept()
        with sock:
            Conversation(sock).read_head()

    thread = threading.Thread(target=serve)
    thread.start()
    error = fails(f"http://127.0.0.1:{listener.getsockname()[1]}")
    thread.join(STEP_SECONDS)
    assert type(error) is NoAnswer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 No\r\n\r\n",
        b"HTTP/1.1 502 No\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 100 Wait\r\n\r\n",
        b"SSH-2.0-x\r\n",
        ALERT,
    ],
)
@pytest.mark.parametrize("end", [Conversation.end_output, Conversation.reset], ids=["leaves", "resets"])
def test_no_probe_is_sent_after_a_conclusive_response(answer: bytes, end: Script) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)
        end(peer)

    with Listener(script, never) as proxy:
        fails(proxy.url)
    assert proxy.hellos == []


@ways_to_fail
def test_no_probe_is_sent_after_a_challenge(in_the_clear: Script, kind: type[TunnelctlError]) -> None:
    """The challenge shows that the proxy speaks HTTP, and no hint suggests otherwise."""

    def script(peer: Conversation) -> None:
        if len(proxy.conversations) == 1:
            peer.accept_tunnel(CHALLENGE)
        else:
            in_the_clear(peer)

    with Listener(script, never) as proxy:
        error = fails(f"http://anna:{CANARY}@{proxy.authority}")
    assert type(error) is kind
    assert "https://" not in hint_of(error)
    assert proxy.hellos == []


def test_no_probe_is_sent_to_an_https_proxy() -> None:
    with Listener(leaves, says(b"")) as proxy:
        assert isinstance(fails(proxy.url.replace("http://", "https://")), Unreachable)
    assert len(proxy.hellos) == 1


def test_no_probe_is_sent_to_a_socks_proxy() -> None:
    with ScriptedServer(lambda peer: None) as proxy:
        fails(f"socks5://{proxy.authority}")
    assert len(proxy.conversations) == 1


def test_no_probe_is_sent_while_another_route_remains() -> None:
    """A proxy that is briefly down mostly looks the same, and the next proxy must not wait."""
    with Listener(leaves, says(ALERT)) as first, Listener(leaves, says(ALERT)) as last:
        error = fails(f"{first.url},{last.url}")
    assert isinstance(error, SpeaksTLS)
    assert last.authority in error.what
    assert (len(first.hellos), len(last.hellos)) == (0, 1)


@pytest.mark.parametrize(("answer", "kind"), [(ALERT, SpeaksTLS), (b"", NoAnswer)], ids=["TLS", "leaves"])
def test_a_later_hop_is_probed_through_the_hops_before_it(answer: bytes, kind: type[TunnelctlError]) -> None:
    """The client opens their tunnel again, with their logins and no others."""
    hellos = []

    def script(peer: Conversation) -> None:
        """Plays both hops."""
        peer.accept_tunnel(ESTABLISHED)
        if peer.hears_tls():
            hellos.append(peer.read())
            peer.send(answer)
        else:
            next_head(peer)

    with ScriptedServer(script) as proxy:
        error = fails(f"http://anna:outer@{proxy.authority}", f"http://otto:{CANARY}@inner.test:8080", auth="basic")
    assert type(error) is kind
    assert error.what == f"proxy inner.test:8080, asked for a tunnel to {TARGET}"
    (hello,) = hellos
    assert b"inner.test" in hello, "not the server name that https:// would send"
    assert CANARY.encode() not in hello
    assert proxy.heads[1].startswith(b"CONNECT inner.test:8080 ")
    assert b"Proxy-Authorization: Basic YW5uYTpvdXRlcg==" in proxy.heads[1]


def test_a_later_hop_is_probed_through_a_tunnel_of_http2() -> None:
    """Over HTTP/1.1, a proxy that knows HTTP/2 alone would open no tunnel for the probe."""
    heard = []

    def script(request: Request) -> None:
        """Plays both hops."""
        request.accept()
        heard.append(request.read(3))
        request.send(ALERT if heard[-1].startswith(CLIENT_HELLO) else b"", end=True)

    async def test(world: Sharing) -> None:
        await world.open()

    with Http2Server(script) as proxy, pytest.raises(SpeaksTLS):
        sharing((proxy.url, "http://inner.test:8080"), test)
    assert [data[:1] == CLIENT_HELLO for data in heard] == [False, True]


def test_a_refused_tunnel_for_the_probe_leaves_the_failure_unchanged() -> None:
    connections = []

    def script(peer: Conversation) -> None:
        connections.append(peer)
        if len(connections) == 1:
            peer.accept_tunnel(ESTABLISHED)
            next_head(peer)
        else:
            peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")

    with ScriptedServer(script) as proxy:
        assert type(fails(proxy.url, "http://inner.test:8080")) is NoAnswer
    assert len(connections) == 2


# --- in a process with many tunnels


def suspected(*proxies: ScriptedServer, times: int = 1, warnings: int = 0) -> list[object]:
    """Returns the warnings of a BackgroundProbe after this number of failed tunnels through each proxy."""
    trace = TraceLog()

    async def main() -> None:
        probe = under_test.BackgroundProbe(trace)
        async with Nursery() as nursery:
            nursery.start_soon(probe.run)
            for proxy in proxies * times:
                ways = await prepared(forward_options(proxy=(proxy.url,)), {}, trace)
                with pytest.raises(NoAnswer):
                    await open_with_retries(ways, TARGET, 0, trace, suspect=probe.suspect)
            await until(lambda: asked(*proxies) and len(trace.named("warning")) == warnings)
            nursery.cancel_scope.cancel()

    run(main)
    return [fields["text"] for fields in trace.named("warning")]


def asked(*proxies: ScriptedServer) -> bool:
    return all(proxy.hellos for proxy in proxies if isinstance(proxy, Listener))


async def until(holds: Callable[[], bool]) -> None:
    with fail_after(STEP_SECONDS):
        while not holds():
            await sleep(0.01)


def test_background_probe_is_sent_once_per_proxy() -> None:
    with Listener(leaves, says(ALERT)) as proxy:
        (warning,) = suspected(proxy, times=5, warnings=1)
    assert warning == f"proxy {proxy.authority} speaks TLS, not plain HTTP: its URL is https://{proxy.authority}"
    assert len(proxy.hellos) == 1


def test_background_probe_is_sent_to_each_proxy() -> None:
    with Listener(leaves, says(ALERT)) as one, Listener(leaves, says(b"")) as other:
        (warning,) = suspected(one, other, times=2, warnings=1)
    assert one.authority in str(warning)
    assert (len(one.hellos), len(other.hellos)) == (1, 1)


def test_no_tunnel_waits_for_the_background_probe() -> None:
    """The probe's time limit here is that of a script's step: tunnels that waited for it would not be finished in time."""
    begun = time.monotonic()
    with Listener(leaves, never) as proxy:
        assert suspected(proxy, times=5) == []
    assert len(proxy.hellos) == 1
    assert time.monotonic() - begun < STEP_SECONDS


def test_background_probe_is_repeated_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy may have been reconfigured."""
    monkeypatch.setattr(under_test, "AGAIN", 0.0)
    with Listener(leaves, says(ALERT)) as proxy:
        assert len(suspected(proxy, times=2, warnings=2)) == 2
    assert len(proxy.hellos) == 2


def test_a_proxy_that_responds_is_not_suspected() -> None:
    def suspect(route: object, place: int) -> None:
        raise AssertionError("the proxy was suspected")

    async def main() -> None:
        trace = TraceLog()
        with pytest.raises(Refused):
            await open_with_retries(
                await prepared(forward_options(proxy=(proxy.url,)), {}, trace), TARGET, 0, trace, suspect=suspect
            )

    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        run(main)
