"""`forward`: local ports over real sockets, through our own proxy and through scripted ones."""

import errno
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.forwarding import Forwarding, half_close, is_reset, is_turned_away, socks4a, socks5, spec, via
from tests.peers.process import end, free_port, wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo, refusing_port, sample
from tests.server.harness import Client, Names, basic, connect_request
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client import tunnel
from tunnelctl.client.forward import session as local_session
from tunnelctl.client.forward.session import Check
from tunnelctl.engine.kernel import checkpoint, sleep
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.errors import ListenError, UsageProblem
from tunnelctl.proto.refusal import Refusal, limit_reached, too_many_wrong_logins
from tunnelctl.stream import accept
from tunnelctl.stream.dial import DialError

SECONDS = 10.0
BRIEF = 0.2


# --- one target


def test_bytes_go_both_ways_and_the_end_too() -> None:
    data = sample(3 << 20)
    with (
        ScriptedServer(echo) as target,
        Serve() as proxy,
        Forwarding(spec(target), proxy=via(proxy)) as forwarding,
        forwarding.open() as client,
    ):
        sender = threading.Thread(target=lambda: (client.send(data), half_close(client)))
        sender.start()
        assert client.rest() == data
        sender.join(SECONDS)
        wait_until(lambda: bool(forwarding.events("closed")))
    (ended,) = forwarding.events("closed")
    assert (ended["sent"], ended["received"], ended["cause"]) == (len(data), len(data), "eof")
    assert ended["closed_by"] == "client"
    (opened,) = forwarding.events("opened")
    assert opened["target"] == target.authority
    assert opened["via"] == [proxy.url.removeprefix("http://")]
    assert opened["client"] == ended["client"]


def test_several_ports_in_one_process() -> None:
    with ScriptedServer(lambda c: c.send(b"one")) as one, ScriptedServer(lambda c: c.send(b"two")) as two, Serve() as proxy:
        with Forwarding(spec(one), spec(two), proxy=via(proxy)) as forwarding:
            with forwarding.open(1) as client:
                assert client.rest() == b"two"
            with forwarding.open(0) as client:
                assert client.rest() == b"one"
    assert len(set(forwarding.ports)) == 2
    assert 0 not in forwarding.ports


def test_ipv6_on_both_sides() -> None:
    with ScriptedServer(echo, host="::1") as target, Serve(allow=("[::1]:*",)) as proxy:
        with Forwarding(spec(target, "[::1]:0"), proxy=via(proxy)) as forwarding, forwarding.open() as client:
            assert client.echoes()
    assert forwarding.addresses[0].startswith("[::1]:")


def test_without_a_proxy() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding, forwarding.open() as client:
        assert client.echoes()


def test_a_chain() -> None:
    with ScriptedServer(echo) as target, Serve() as inner, Serve() as edge:
        with Forwarding(spec(target), proxy=(edge.url, inner.url)) as forwarding, forwarding.open() as client:
            assert client.echoes()
    assert forwarding.events("opened")[0]["via"] == [proxy.url.removeprefix("http://") for proxy in (edge, inner)]


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ScriptedServer(echo) as target, Serve() as proxy:
        with Forwarding(f"{path}:{target.authority}", proxy=via(proxy)) as forwarding, forwarding.open() as client:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert client.echoes()
    assert not path.exists()


def test_a_banner_behind_the_head_is_kept() -> None:
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(ESTABLISHED + b"220 ready\r\n")
        assert peer.read_to_end() == b""

    with ScriptedServer(script) as proxy, Forwarding("0:host.test:25", proxy=via(proxy)) as forwarding, forwarding.open() as client:
        assert client.exactly(11) == b"220 ready\r\n"
        half_close(client)
        assert client.rest() == b""


def test_a_reset_of_the_target_is_a_reset_here() -> None:
    with ScriptedServer(Conversation.reset) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            assert is_reset(client)


@pytest.mark.parametrize("dynamic", [False, True], ids=["-L", "-D"])
def test_a_wider_port_is_said_plainly(dynamic: bool) -> None:
    local, ports = ((), ("*:0",)) if dynamic else (("*:0:host.test:22",), ())
    with Forwarding(*local, dynamic=ports, proxy=("direct",), open_proxy=True) as forwarding:
        assert forwarding.addresses[0].startswith("0.0.0.0:")
    assert "can be reached from other machines" in forwarding.warnings[0]


def test_loopback_is_no_matter_for_a_warning() -> None:
    with Forwarding("0:host.test:22", proxy=("direct",)) as forwarding:
        pass
    assert forwarding.warnings == []


# --- any target

Dynamic = tuple[ScriptedServer, Serve, Forwarding]


@pytest.fixture
def dynamic() -> Iterator[Dynamic]:
    with ScriptedServer(echo) as target, Serve() as proxy, Forwarding(dynamic=("0",), proxy=via(proxy)) as forwarding:
        yield target, proxy, forwarding


def test_socks5(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks5(client, "127.0.0.1", target.port) == 0
        assert client.echoes()


def test_socks4a(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks4a(client, "127.0.0.1", target.port) == 90
        assert client.echoes()


def test_connect(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()


def test_bytes_right_behind_the_request_belong_to_the_tunnel(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target.port.to_bytes(2, "big") + b"early")
        assert client.exactly(2 + 10 + 5) == b"\x05\x00" + b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"early"


def test_names_are_the_proxys_to_look_up(dynamic: Dynamic) -> None:
    _, _, forwarding = dynamic
    with forwarding.open() as client:
        assert socks5(client, "nobody.knows.test", 80) == 4  # it was the proxy that asked the name service
    assert "proxy 127.0.0.1" in str(forwarding.failures()[0]["what"])


REFUSALS = [
    (b"HTTP/1.1 403 Forbidden\r\n\r\n", 2, "403"),
    (b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=connection_refused\r\n\r\n", 5, "502"),
    (b"HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=dns_error\r\n\r\n", 4, "502"),
    (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", 6, "504"),
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", 1, "502"),
    (b"SSH-2.0-not a proxy\r\n", 1, "502"),
]


@pytest.mark.parametrize(("answer", "reply", "status"), REFUSALS, ids=range(len(REFUSALS)))
def test_each_protocol_hears_in_its_own_words(answer: bytes, reply: int, status: str) -> None:
    def refuse(peer: Conversation) -> None:
        peer.read_head()
        peer.send(answer)

    with ScriptedServer(refuse) as proxy, Forwarding(dynamic=("0",), proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            assert socks5(client, "host.test", 22) == reply
            assert client.rest() == b""
        with forwarding.open() as client:
            assert socks4a(client, "host.test", 22) == 91
        with forwarding.open() as client:
            client.send(b"CONNECT host.test:22 HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            assert client.answer().status == int(status)
        with forwarding.open() as client:
            client.send(b"GET http://host.test:22/ HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            assert client.answer().status == int(status)
        failures = forwarding.failures(4)
    assert {str(failure["target"]) for failure in failures} == {"host.test:22"}
    assert all(str(failure["what"]).startswith(("proxy ", "answer ")) for failure in failures)


DIRECT = [
    (errno.ECONNREFUSED, 5, 502, "connection_refused"),
    (errno.EHOSTUNREACH, 4, 502, "destination_unavailable"),
    (errno.ENETUNREACH, 3, 502, "destination_ip_unroutable"),
    (errno.ETIMEDOUT, 6, 504, "connection_timeout"),
    (errno.EPERM, 2, 403, "destination_ip_prohibited"),
    (errno.EMFILE, 1, 502, "destination_unavailable"),
]


@pytest.mark.parametrize(("number", "reply", "status", "error"), DIRECT)
def test_without_a_proxy_each_protocol_hears_why_as_well(
    number: int, reply: int, status: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dial(addresses: list[SocketAddress], *_: object) -> None:
        raise DialError([(addresses[0], OSError(number, os.strerror(number)))])

    monkeypatch.setattr(tunnel, "dial", dial)
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            assert socks5(client, "127.0.0.1", 22) == reply
        with forwarding.open() as client:
            assert socks4a(client, "127.0.0.1", 22) == 91
        for request in (
            b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
            b"GET http://127.0.0.1:22/ HTTP/1.0\r\n\r\n",
        ):
            with forwarding.open() as client:
                client.send(request)
                answer = client.answer()
                assert (answer.status, answer.error) == (status, error)
        forwarding.failures(4)


def test_without_a_proxy_a_name_that_does_not_exist_is_told_from_one_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, none_test=[socket.gaierror(socket.EAI_NONAME, "x")], dead_test=[socket.gaierror(socket.EAI_AGAIN, "x")])
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding:
        for name, reply in (("none.test", 4), ("dead.test", 6)):
            with forwarding.open() as client:
                assert socks5(client, name, 22) == reply
        forwarding.failures(2)


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x01\xff",
        b"\x04\x02\x00\x16\x7f\x00\x00\x01\x00",
        b"\x16\x03\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\x00",
    ],
)
def test_a_bad_client_is_refused_and_the_port_goes_on(dynamic: Dynamic, data: bytes) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        client.send(data)
        half_close(client)
        client.rest()
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()


def test_a_client_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_session, "REQUEST_SECONDS", BRIEF)
    with Forwarding(dynamic=("0",), proxy=("direct",)) as forwarding, forwarding.open() as client:
        assert is_reset(client)
        assert forwarding.failures()[0]["what"] == "request to the local port"


def test_one_that_connects_and_leaves_is_no_news(dynamic: Dynamic) -> None:
    target, _, forwarding = dynamic
    with forwarding.open() as client:
        half_close(client)
        assert client.rest() == b""
    with forwarding.open() as client:
        assert client.tunnel(target.authority).echoes()
    assert forwarding.events("failed") == []


# --- logins


async def anna(user: str, password: str, _: str) -> bool:
    """Lets one user in."""
    await checkpoint()
    return (user, password) == ("anna", "s3cret")


ANNA: Check = anna


def socks5_login(client: Client, user: bytes, password: bytes) -> bytes:
    """Logs in as RFC 1929 has it; the answer to that."""
    client.send(b"\x05\x02\x00\x02")
    assert client.exactly(2) == b"\x05\x02"
    client.send(bytes((1, len(user))) + user + bytes((len(password),)) + password)
    return client.exactly(2)


def to_ipv4(port: int) -> bytes:
    return b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")


Logins = tuple[ScriptedServer, Forwarding]


@pytest.fixture
def logins() -> Iterator[Logins]:
    with ScriptedServer(echo) as target, Forwarding(dynamic=("0",), proxy=("direct",), check=ANNA) as forwarding:
        yield target, forwarding


def test_who_logs_in_is_let_in_by_each_protocol_that_can(logins: Logins) -> None:
    target, forwarding = logins
    with forwarding.open() as client:
        assert client.tunnel(target.authority, basic("anna", "s3cret")).echoes()
    with forwarding.open() as client:
        assert socks5_login(client, b"anna", b"s3cret") == b"\x01\x00"
        client.send(to_ipv4(target.port))
        assert client.exactly(10)[:2] == b"\x05\x00"
        assert client.echoes()


def test_the_request_may_come_together_with_the_login(logins: Logins) -> None:
    target, forwarding = logins
    with forwarding.open() as client:
        client.send(b"\x05\x01\x02\x01\x04anna\x06s3cret" + to_ipv4(target.port) + b"early")
        assert client.exactly(2 + 2 + 10 + 5)[-5:] == b"early"


def test_nobody_else_is_let_in(logins: Logins) -> None:
    target, forwarding = logins
    heads = [
        connect_request(target.authority),
        connect_request(target.authority, basic("anna", "wrong")),
        connect_request(target.authority, "Proxy-Authorization: Basic !"),
        connect_request(target.authority, "Proxy-Authorization: Bearer x"),
        f"GET {target.url}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"GET {target.url}/ HTTP/1.1\r\nHost: x\r\n{basic('eve', 's3cret')}\r\n\r\n".encode(),
    ]
    for head in heads:
        with forwarding.open() as client:
            client.send(head)
            answer = client.answer()
            assert (answer.status, answer.fields["proxy-authenticate"]) == (407, 'Basic realm="tunnelctl", charset="UTF-8"')
    with forwarding.open() as client:
        assert socks5_login(client, b"anna", b"wrong") == b"\x01\x01"
        assert client.rest() == b""
    with forwarding.open() as client:
        client.send(b"\x05\x01\x00")
        assert client.rest() == b"\x05\xff"
    with forwarding.open() as client:
        client.send(b"\x04\x01\x00\x16\x7f\x00\x00\x01\x00")
        assert client.rest()[1] == 93
    assert not target.conversations
    causes = [str(failure["cause"]) for failure in forwarding.failures(7)]
    assert len(causes) == 7, "to be asked for a login is no failure"
    assert all("s3cret" not in cause and "wrong" not in cause.replace("wrong user", "") for cause in causes)


def test_a_login_is_no_matter_of_a_fixed_port() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), check=ANNA) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()


def test_a_login_that_cannot_be_checked_now_is_told_so() -> None:
    for refusal, status in ((limit_reached(), 503), (too_many_wrong_logins(6), 429)):

        async def check(*_: str, refusal: Refusal = refusal) -> Refusal:
            return refusal

        with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding:
            for head in (
                connect_request("h.test:1", basic("a", "b")),
                f"GET http://h.test/ HTTP/1.1\r\nHost: h\r\n{basic('a', 'b')}\r\n\r\n",
            ):
                with forwarding.open() as client:
                    client.send(head if isinstance(head, bytes) else head.encode())
                    assert client.answer().status == status
            with forwarding.open() as client:
                assert socks5_login(client, b"a", b"b") == b"\x01\x01"
            forwarding.failures(3)


def test_the_check_is_told_whose_login_it_is() -> None:
    told: list[tuple[str, str, str]] = []

    async def check(*facts: str) -> bool:
        told.append(facts)  # type: ignore[arg-type]
        return False

    with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding, forwarding.open() as client:
        client.send(connect_request("h.test:1", basic("anna", "a:b")))
        assert client.answer().status == 407
    assert told == [("anna", "a:b", "127.0.0.1")]


def test_a_client_that_leaves_is_not_checked_any_longer() -> None:
    """What takes so long is a password hash, or the queue for one."""
    waiting, left = threading.Event(), threading.Event()

    async def check(*_: str) -> bool:
        waiting.set()
        try:
            await sleep(600)
        finally:
            left.set()
        return True

    for request in (
        connect_request("h.test:1", basic("a", "b")),
        b"GET http://h.test/ HTTP/1.1\r\nHost: h\r\n" + basic("a", "b").encode() + b"\r\n\r\n",
    ):
        waiting.clear(), left.clear()
        with Forwarding(dynamic=("0",), proxy=("direct",), check=check) as forwarding, forwarding.open() as client:
            client.send(request)
            assert waiting.wait(SECONDS)
            client.reset()
            assert left.wait(SECONDS)
        assert forwarding.events("failed") == []


# --- strangers


OPEN_PROXY = "no login is required there, so it would be an open proxy"


@pytest.mark.parametrize("place", ["*:0", "[::]:0"])
def test_a_port_that_strangers_reach_needs_a_login(place: str) -> None:
    with pytest.raises(UsageProblem, match=OPEN_PROXY) as raised, Forwarding(dynamic=(place,), proxy=("direct",)):
        pass
    assert (
        hint_of(raised.value)
        == "give --users FILE, listen on 127.0.0.1, or give --open-proxy if something else keeps strangers out"
    )
    with Forwarding(dynamic=(place,), proxy=("direct",), check=ANNA) as forwarding:
        assert len(forwarding.addresses) == 1
    assert forwarding.warnings == []


def test_a_fixed_port_that_strangers_reach_cannot_require_one() -> None:
    with pytest.raises(UsageProblem, match="and a port that leads to one target cannot require a login") as raised:
        with Forwarding("*:0:host.test:22", dynamic=("*:0",), proxy=("direct",), check=ANNA):
            pass
    assert "--users" not in hint_of(raised.value)
    with Forwarding("*:0:host.test:22", dynamic=("*:0",), proxy=("direct",), check=ANNA, open_proxy=True) as forwarding:
        pass
    assert len(forwarding.warnings) == 1, "of the one that requires a login there is nothing to say"


def test_what_only_this_machine_reaches_needs_none(tmp_path: Path) -> None:
    with Forwarding(
        f"{tmp_path}/a:h:1", "[::1]:0:h:1", dynamic=("0", "127.0.0.2:0", f"{tmp_path}/b"), proxy=("direct",)
    ) as forwarding:
        assert len(forwarding.addresses) == 5
    assert forwarding.warnings == []


# --- each fails alone


def test_a_proxy_that_is_down() -> None:
    held, port = refusing_port()
    with held, Forwarding("0:host.test:22", proxy=(f"http://127.0.0.1:{port}",)) as forwarding:
        assert is_turned_away(forwarding)
        (failure,) = forwarding.failures()
    assert failure["what"] == f"cannot connect to proxy 127.0.0.1:{port}"
    assert (failure["cause"], failure["status"]) == ("connection refused", 75)


def test_a_dead_target_and_a_forbidden_one_and_then_a_good_one() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echo) as target, Serve() as proxy:
        with Forwarding(f"0:127.0.0.1:{port}", "0:127.0.0.2:22", spec(target), proxy=via(proxy)) as forwarding:
            for place in (0, 1):
                assert is_turned_away(forwarding, place)
            with forwarding.open(2) as client:
                assert client.echoes()
            dead, forbidden = forwarding.failures(2)
    assert (dead["code"], dead["error"], dead["status"]) == (502, "connection_refused", 69)
    assert (forbidden["code"], forbidden["error"]) == (403, "destination_ip_prohibited")


def test_a_proxy_restarted_in_the_middle() -> None:
    place = f"127.0.0.1:{free_port()}"
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=(f"http://{place}",)) as forwarding:
        with Serve("--listen", place) as first, forwarding.open() as client:
            assert client.echoes()
            first.ended_on_purpose = True
            end(first.process, signal.SIGKILL)
            assert client.rest() == b""  # the kernel of a killed program ends its connections in good order
        assert is_turned_away(forwarding)
        with Serve("--listen", place), forwarding.open() as client:
            assert client.echoes()


def test_a_retry_bridges_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    held, port = refusing_port()
    with (
        ScriptedServer(echo) as target,
        Forwarding(spec(target), proxy=(f"http://127.0.0.1:{port}",), retry=20, verbose=2) as forwarding,
        forwarding.open() as client,
    ):
        client.send(b"x")
        wait_until(lambda: bool(forwarding.events("retry")))
        held.close()
        with Serve("--listen", f"127.0.0.1:{port}", "--drain", "0"):
            assert client.exactly(1) == b"x"


def test_a_client_that_leaves_while_the_proxy_is_silent_is_let_go() -> None:
    gone = threading.Event()

    def silent(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()
        gone.set()

    with ScriptedServer(silent) as proxy, Forwarding("0:host.test:22", proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            wait_until(lambda: bool(proxy.heads and proxy.heads[0]))
            client.reset()
        assert gone.wait(SECONDS)
    assert forwarding.events("failed") == []


@pytest.mark.parametrize("dynamic", [False, True], ids=["-L", "-D"])
def test_a_client_that_ends_its_side_while_the_proxy_is_silent_is_let_go(dynamic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where --timeout sets no limit; and the drain does not wait for it."""
    monkeypatch.setattr(local_session, "HALF_CLOSED_SECONDS", BRIEF)

    def silent(peer: Conversation) -> None:
        peer.read_head()
        peer.wait_gone()

    ports: dict[str, Any] = {"dynamic": ("0",)} if dynamic else {}
    local = () if dynamic else ("0:host.test:22",)
    with ScriptedServer(silent) as proxy:
        with Forwarding(*local, **ports, proxy=via(proxy), timeout=0.0, drain=600.0) as forwarding, forwarding.open() as client:
            if dynamic:
                client.send(b"CONNECT host.test:22 HTTP/1.1\r\nHost: host.test:22\r\n\r\n")
            wait_until(lambda: bool(proxy.heads and proxy.heads[0]))
            half_close(client)
            assert is_reset(client)
            forwarding.signal()
            assert forwarding.ended() == 0
    assert forwarding.events("failed") == []


def test_what_a_unix_client_sent_before_it_closed_arrives(tmp_path: Path) -> None:
    """The kernel tells of its end before the tunnel stands; a TCP client that closes is not even noticed then."""
    got, may_answer = [], threading.Event()

    def slow(peer: Conversation) -> None:
        peer.read_head()
        assert may_answer.wait(SECONDS)
        peer.send(ESTABLISHED)
        got.append(peer.wait_gone())

    with ScriptedServer(slow) as proxy, Forwarding(f"{tmp_path / 's'}:host.test:9", proxy=via(proxy)) as forwarding:
        with forwarding.open() as client:
            client.send(b"last words")
        wait_until(lambda: bool(proxy.heads and proxy.heads[0].endswith(b"\r\n\r\n")))
        may_answer.set()
        wait_until(lambda: bool(got))
    assert got == [b"last words"]


def test_the_cap_turns_away_one_more_and_no_other() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), max_connections=1) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
            assert is_turned_away(forwarding)
            assert client.echoes()
            assert "the limit is 1" in str(forwarding.failures()[0]["cause"])
            half_close(client)
            client.rest()
        wait_until(lambda: len(forwarding.events("closed")) == 1)
        with forwarding.open() as client:
            assert client.echoes()


def test_idle_ends_it() -> None:
    with ScriptedServer(Conversation.wait_gone) as target:
        with Forwarding(spec(target), proxy=("direct",), idle_timeout=BRIEF) as forwarding, forwarding.open() as client:
            assert is_reset(client)
            wait_until(lambda: bool(forwarding.events("closed")))
    assert forwarding.events("closed")[0]["cause"] == "idle"


def test_out_of_descriptors_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting fails as it does at the limit; the client in the backlog is served when that has passed."""
    failing = threading.Event()
    failing.set()
    real = socket.socket._accept  # type: ignore[attr-defined]

    def limited(self: socket.socket):
        if failing.is_set() and threading.current_thread().daemon:
            failing.clear()
            raise OSError(24, "Too many open files")
        return real(self)

    monkeypatch.setattr(accept, "EXHAUSTED_PAUSE", 0.01)
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",)) as forwarding:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "_accept", limited)
            with forwarding.open() as client:
                assert client.echoes()
        assert forwarding.warnings == ["no new connections: Too many open files; 0 are open, and go on"]


# --- its end


def test_the_next_one_may_have_the_path_of_one_that_drains(tmp_path: Path) -> None:
    """And keeps it when the old one ends, which has nothing there any more."""
    path = tmp_path / "s"
    with ScriptedServer(echo) as target, socket.socket(socket.AF_UNIX) as new:
        with Forwarding(f"{path}:{target.authority}", proxy=("direct",), drain=SECONDS) as old:
            with old.open() as client:
                assert client.echoes()
                old.signal()
                wait_until(lambda: bool(old.events("drain")))
                new.bind(str(path))
            assert old.ended() == 0
        assert path.exists()


def test_a_drain_lets_tunnels_finish() -> None:
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), drain=SECONDS) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
            forwarding.signal()
            wait_until(lambda: bool(forwarding.events("drain")))
            assert forwarding.events("drain") == [{"connections": 1, "tunnels": 1, "seconds": SECONDS}]
            assert client.echoes()
            with pytest.raises(ConnectionRefusedError):
                forwarding.open()
            half_close(client)
            assert client.rest() == b""
        assert forwarding.ended() == 0


def test_a_second_signal_stops_at_once() -> None:
    with pytest.raises(AssertionError):  # its status is not 0, which the harness minds
        with ScriptedServer(Conversation.wait_gone) as target:
            with Forwarding(spec(target), proxy=("direct",), drain=SECONDS) as forwarding, forwarding.open() as client:
                wait_until(lambda: bool(forwarding.events("opened")))
                forwarding.signal()
                wait_until(lambda: bool(forwarding.events("drain")))
                forwarding.signal()
                assert forwarding.ended() == 128 + 15
                assert is_reset(client)


# --- before it begins


def test_no_port_is_a_mistake() -> None:
    with pytest.raises(UsageProblem, match="no local port is named"), Forwarding():
        pass


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"{taken.getsockname()[1]}:host.test:22"
        with pytest.raises(ListenError, match="address already in use"), Forwarding(place, proxy=("direct",)):
            pass


def test_what_is_wrong_with_the_proxy_is_said_at_the_start() -> None:
    with pytest.raises(UsageProblem, match="ftp:// is not supported"), Forwarding("0:h:1", proxy=("ftp://proxy",)):
        pass
    with pytest.raises(UsageProblem, match="no password"), Forwarding("0:h:1", proxy=("http://anna@proxy",)):
        pass


# --- what else it tells


def test_where_each_port_leads() -> None:
    local, chain = "0:db.test:5432", ("http://a.test:1,http://b.test:2", "socks5://anna:s3cret@c.test:3")
    with Forwarding(local, dynamic=("0",), proxy=chain, check=ANNA) as forwarding:
        fixed, any_target = forwarding.events("listening")
    leads = {"via": ["http://a.test:1,http://b.test:2", "socks5://anna:***@c.test:3"], "origin": "-x"}
    assert fixed == {"address": forwarding.addresses[0], "target": "db.test:5432", **leads, "login": False}
    assert any_target == {"address": forwarding.addresses[1], "target": "", **leads, "login": True}


def test_that_a_port_leads_out_directly_is_said() -> None:
    environ = {"https_proxy": "http://proxy.test:3128", "no_proxy": "db.test"}
    with Forwarding(dynamic=("0",)) as forwarding:
        assert [(fields["via"], fields["origin"]) for fields in forwarding.events("listening")] == [([], "no proxy is configured")]
    with Forwarding("0:db.test:1", "0:other.test:1", environ=environ) as forwarding:
        exempt, other = forwarding.events("listening")
    assert (exempt["via"], exempt["origin"]) == ([], "no_proxy has db.test")
    assert (other["via"], other["origin"]) == (["http://proxy.test:3128"], "https_proxy")


def test_that_a_pac_file_decides_is_said(tmp_path: Path) -> None:
    pac = tmp_path / "proxy.pac"
    pac.write_text("function FindProxyForURL() { return 'DIRECT' }")
    with Forwarding("0:db.test:1", pac=str(pac)) as forwarding:
        (fields,) = forwarding.events("listening")
    assert (fields["via"], fields["origin"]) == ([], "--pac")


def test_progress_tells_what_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnelctl.client.progress.SECONDS", 0.02)
    with ScriptedServer(echo) as target, Forwarding(spec(target), proxy=("direct",), progress=True) as forwarding:
        with forwarding.open() as client:
            assert client.echoes(b"12345")
            wait_until(lambda: any(e["received"] == 5 and e["connections"] == 1 for e in forwarding.events("progress")))
        wait_until(lambda: forwarding.events("progress")[-1]["connections"] == 0)
    assert forwarding.events("progress")[-1]["sent"] == 5


def test_a_client_of_a_unix_socket_has_a_name(tmp_path: Path) -> None:
    with ScriptedServer(echo) as target, Forwarding(f"{tmp_path / 's'}:{target.authority}", proxy=("direct",)) as forwarding:
        with forwarding.open() as client:
            assert client.echoes()
    assert forwarding.events("opened")[0]["client"] == "unix:0"
