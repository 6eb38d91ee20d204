"""Tests several routes to one target: their order, and what is remembered. Retries: test_connect."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from tests.client.harness import TARGET, TraceLog, connect, prepared
from tests.options import connect_options, forward_options
from tests.peers import certificates
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, STEP_SECONDS, Conversation, ScriptedServer, black_hole_port, echo, refusing_port
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.pac.finder import FRESH_SECONDS
from tunnelctl.client.retry import open_with_retries
from tunnelctl.engine.kernel import run
from tunnelctl.errors import NameNotFound, Refused, TimedOut, TLSFailed, TunnelctlError, Unreachable
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.status import ExitStatus


def echoes(peer: Conversation) -> None:
    peer.accept_tunnel()
    echo(peer)


def opened(options: ForwardOptions, times: int = 1) -> tuple[list[list[str]], TraceLog]:
    """Opens this number of tunnels; returns the proxies that each one passed."""
    trace, via = TraceLog(), []

    async def main() -> None:
        ways = await prepared(options, {}, trace)
        for _ in range(times):
            tunnel, route = await open_with_retries(ways, TARGET, 0, trace)
            via.append(route.via)
            tunnel.stream.close()

    run(main)
    return via, trace


def test_an_unreachable_proxy_is_skipped_and_the_next_stays_first() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echoes) as good:
        via, trace = opened(forward_options(proxy=(f"http://127.0.0.1:{port},{good.url}",)), times=3)
    assert via == [[good.authority]] * 3
    (failover,) = trace.named("failover")
    assert failover["proxies"] == [good.authority]
    assert "connection refused" in str(failover["cause"])


def test_failover_at_one_position_keeps_the_rest_of_the_chain() -> None:
    held, port = refusing_port()

    def both(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.head = b""
        echoes(peer)

    with held, ScriptedServer(both) as good:
        via, _ = opened(forward_options(proxy=(f"http://127.0.0.1:{port},{good.url}", "http://inner.test:1")))
    assert via == [[good.authority, "inner.test:1"]]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_inner_proxy_that_the_outer_cannot_reach_is_skipped(status: int) -> None:
    def outer(peer: Conversation) -> None:
        if b"dead.test" in peer.read_head():
            peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            return
        peer.send(ESTABLISHED)
        peer.head = b""
        echoes(peer)

    with ScriptedServer(outer) as proxy:
        via, trace = opened(forward_options(proxy=(proxy.url, "http://dead.test:1,http://good.test:1")), times=2)
    assert via == [[proxy.authority, "good.test:1"]] * 2
    assert len(trace.named("failover")) == 1


def test_a_refusal_by_a_rule_of_the_outer_proxy_is_final() -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as proxy:
        with pytest.raises(Refused):
            opened(forward_options(proxy=(proxy.url, "http://one.test:1,http://other.test:1")))
    assert len(proxy.conversations) == 1


def test_a_refusal_is_final_and_no_other_proxy_is_tried() -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as one, ScriptedServer(echoes) as other:
        with pytest.raises(Refused):
            opened(forward_options(proxy=(f"{one.url},{other.url}",)))
        assert other.conversations == []


def test_if_no_proxy_is_reachable_the_error_names_it() -> None:
    held, port = refusing_port()
    url = f"http://127.0.0.1:{port}"
    with held, pytest.raises(Unreachable) as caught:
        opened(forward_options(proxy=(f"{url},{url},{url}",)))
    assert caught.value.what == f"cannot connect to proxy 127.0.0.1:{port}"


def test_a_proxy_that_drops_packets_leaves_time_for_the_next() -> None:
    with black_hole_port() as port, ScriptedServer(echoes) as good:
        via, _ = opened(forward_options(proxy=(f"http://127.0.0.1:{port},{good.url}",), timeout=3.0))
    assert via == [[good.authority]]


def test_a_slow_target_does_not_change_the_order() -> None:
    """Otherwise a target that drops packets would divert all others from the intended proxy; with many PAC files, to a direct
    connection.
    """

    def script(peer: Conversation) -> None:
        if b"slow.test" in peer.read_head():
            peer.wait_gone()
            return
        peer.send(ESTABLISHED)
        echo(peer)

    via = []
    with ScriptedServer(script) as first, ScriptedServer(echoes) as second:

        async def main() -> None:
            ways = await prepared(forward_options(proxy=(f"{first.url},{second.url}",), timeout=3.0), {}, TraceLog())
            for target in (Address("slow.test", 22), TARGET):
                tunnel, route = await open_with_retries(ways, target, 0, TraceLog())
                via.append(route.via)
                tunnel.stream.close()

        run(main)
    assert via == [[second.authority], [first.authority]]


def test_connect_fails_over_too() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echoes) as good:
        ended = connect(connect_options(TARGET, (f"http://127.0.0.1:{port},{good.url}",)), stdin=b"x")
    assert (ended.status, ended.stdout) == (ExitStatus.OK, b"x")
    assert ended.trace.named("opened")[0]["via"] == [good.authority]


def test_an_invalid_url_anywhere_in_the_list_is_an_error_at_once() -> None:
    with pytest.raises(TunnelctlError, match="ftp"):
        run(prepared, forward_options(proxy=("http://a.test,ftp://b.test",)), {}, TraceLog())


def test_a_proxy_whose_name_is_unknown_is_skipped() -> None:
    """As a company's proxy is unknown at home."""
    with ScriptedServer(echoes) as good:
        via, trace = opened(forward_options(proxy=(f"http://proxy.invalid:3128,{good.url}",)), times=2)
    assert via == [[good.authority]] * 2
    assert len(trace.named("failover")) == 1


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_closes_without_a_response_is_skipped(scheme: str) -> None:
    """As a load balancer does whose proxies are all down."""

    def closes(peer: Conversation) -> None:
        peer.read(1024)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(closes) as empty, ScriptedServer(echoes) as good:
        via, _ = opened(forward_options(proxy=(f"{scheme}://{empty.authority},{good.url}",)))
    assert via == [[good.authority]]


def test_a_target_name_unknown_to_the_proxy_is_final() -> None:
    answer = b"HTTP/1.1 502 No\r\nProxy-Status: p; error=dns_error\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer(lambda peer: peer.accept_tunnel(answer)) as one, ScriptedServer(echoes) as other:
        with pytest.raises(NameNotFound):
            opened(forward_options(proxy=(f"{one.url},{other.url}",)))
        assert other.conversations == []


def test_the_time_limit_includes_the_pac_file() -> None:
    """Its server accepts the request and never responds."""
    over = threading.Event()
    with ScriptedServer(lambda _: over.wait(STEP_SECONDS) and None) as server:
        with pytest.raises(TimedOut, match=r"for target\.test:22: the PAC file has not answered within 0\.2 s"):
            opened(forward_options(pac=server.url, timeout=0.2))
        over.set()


def test_the_body_of_a_refusal_does_not_extend_the_time_limit() -> None:
    """The body never ends, and the client would otherwise wait for it again after the login."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 9\r\n\r\n")
        peer.wait_gone()

    with ScriptedServer(script) as proxy, pytest.raises(TimedOut):
        opened(forward_options(proxy=(proxy.url.replace("//", "//u:p@"),), timeout=0.3))


# -- direct as the last of a list ------------------------------------------------------------------------------------------------


def opened_in_turn(options: ForwardOptions, target: Address, *meanwhile: Callable[[], object]) -> tuple[list[list[str]], list[str]]:
    """Opens a tunnel, and one more after each step; returns the proxies that each one passed, and the warnings."""
    trace, via = TraceLog(), []

    async def main() -> None:
        planner = await prepared(options, {}, trace)
        for step in (lambda: None, *meanwhile):
            step()
            tunnel, route = await open_with_retries(planner, target, 0, trace)
            via.append(route.via)
            tunnel.stream.close()

    run(main)
    return via, [str(event["text"]) for event in trace.named("warning")]


UNREACHABLE = {
    "refused": lambda port: f"http://127.0.0.1:{port}",
    "unknown": lambda port: "http://proxy.invalid:3128",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_direct_is_taken_where_no_proxy_can_be_reached_and_one_line_says_so(url: Callable[[int], str]) -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echo) as target:
        options = forward_options(proxy=(f"{url(port)},direct",))
        via, warnings = opened_in_turn(options, parse_authority(target.authority), *[lambda: None] * 2)
    assert via == [[], [], []]
    (warning,) = warnings
    assert warning.endswith(": tunnels go directly to their targets until a proxy can be reached")


def test_a_proxy_that_drops_packets_leaves_time_for_direct() -> None:
    with black_hole_port() as port, ScriptedServer(echo) as target:
        options = forward_options(proxy=(f"http://127.0.0.1:{port},direct",), timeout=3.0)
        via, warnings = opened_in_turn(options, parse_authority(target.authority))
    assert via == [[]]
    assert len(warnings) == 1


def test_direct_is_not_taken_where_a_proxy_can_be_reached() -> None:
    with ScriptedServer(echoes) as good:
        via, warnings = opened_in_turn(forward_options(proxy=(f"http://proxy.invalid:1,{good.url},direct",)), TARGET)
    assert (via, warnings) == ([[good.authority]], [])


def hangs_up(peer: Conversation) -> None:
    peer.read_head()


def resets(peer: Conversation) -> None:
    peer.read_head()
    peer.reset()


def is_silent(peer: Conversation) -> None:
    peer.read_head()
    peer.wait_gone()


ANSWERS = {
    "403": lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n"),
    "407": lambda peer: peer.accept_tunnel(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"),
    "502": lambda peer: peer.accept_tunnel(b"HTTP/1.1 502 No\r\n\r\n"),
    "no HTTP": lambda peer: peer.send(b"SSH-2.0-OpenSSH\r\n"),
    "hangs up": hangs_up,
    "resets": resets,
    "is silent": is_silent,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_direct_is_not_taken_where_a_proxy_was_reached_whatever_it_does(answer: Callable[[Conversation], object]) -> None:
    """Otherwise a proxy could not refuse: a firewall often hangs up in place of an answer."""
    with ScriptedServer(answer) as proxy, ScriptedServer(echo) as target:
        with pytest.raises(TunnelctlError):
            opened_in_turn(forward_options(proxy=(f"{proxy.url},direct",), timeout=3.0), parse_authority(target.authority))
        assert target.conversations == []


def test_direct_is_not_taken_where_the_certificate_of_the_proxy_is_wrong(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    with Serve("--tls-cert", str(files.chain), "--tls-key", str(files.key)) as proxy, ScriptedServer(echo) as target:
        with pytest.raises(TLSFailed):
            opened_in_turn(forward_options(proxy=(f"https://localhost:{proxy.port},direct",)), parse_authority(target.authority))
        assert target.conversations == []


def test_a_proxy_that_is_up_again_is_used_within_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """And before it, no tunnel waits for a proxy that may drop packets."""
    passed = 0.0
    monkeypatch.setattr("tunnelctl.client.route.planner.monotonic", lambda: monotonic() + passed)
    held, port = refusing_port()
    with ExitStack() as stack, ScriptedServer(echo) as target:

        def starts() -> None:
            held.close()
            stack.enter_context(Serve("--listen", f"127.0.0.1:{port}", allow=("127.0.0.1:*",)))

        def waits() -> None:
            nonlocal passed
            passed = 30.0

        options = forward_options(proxy=(f"http://127.0.0.1:{port},direct",))
        via, warnings = opened_in_turn(options, parse_authority(target.authority), starts, waits)
    assert via == [[], [], [f"127.0.0.1:{port}"]]
    assert warnings[1] == f"proxy 127.0.0.1:{port} can be reached again: tunnels go through it"


def test_if_neither_the_proxy_nor_the_target_can_be_reached_the_error_is_about_the_target() -> None:
    held, port = refusing_port()
    with held, pytest.raises(Unreachable, match="cannot connect to target"):
        opened_in_turn(forward_options(proxy=(f"http://127.0.0.1:{port},direct",)), Address("127.0.0.1", port))


def test_connect_warns_that_it_goes_directly() -> None:
    held, port = refusing_port()
    with held, ScriptedServer(echo) as target:
        ended = connect(connect_options(parse_authority(target.authority), (f"http://127.0.0.1:{port},direct",)), stdin=b"x")
    assert (ended.status, ended.stdout) == (ExitStatus.OK, b"x")
    (warning,) = ended.trace.named("warning")
    cause = f"cannot connect to proxy 127.0.0.1:{port}: connection refused"
    assert warning["text"] == f"{cause}: tunnels go directly to their targets until a proxy can be reached"


# -- a PAC file that is asked anew -----------------------------------------------------------------------------------------------


class Script:
    """A PAC file that names proxies for every target."""

    def __init__(self, file: Path, clock: pytest.MonkeyPatch) -> None:
        self._file, self._passed = file, 0.0
        clock.setattr("tunnelctl.client.pac.finder.monotonic", lambda: monotonic() + self._passed)

    def names(self, *urls: str) -> None:
        answer = "; ".join(f"PROXY {url.removeprefix('http://')}" for url in urls)
        self._file.write_text(f"function FindProxyForURL(url, host) {{ return '{answer}'; }}")

    def ages(self) -> None:
        self._passed += FRESH_SECONDS


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(tmp_path / "proxy.pac", monkeypatch)


def test_a_pac_file_is_asked_anew_at_once_if_none_of_its_proxies_can_be_reached(script: Script, tmp_path: Path) -> None:
    with ExitStack() as stack, ScriptedServer(echoes) as new:
        old = stack.enter_context(ScriptedServer(echoes))
        script.names(old.url, "http://127.0.0.1:1")

        def moves() -> None:
            stack.close()
            script.names(new.url)
            script.ages()

        via, _ = opened_in_turn(forward_options(pac=str(tmp_path / "proxy.pac")), TARGET, moves, lambda: None)
    assert via == [[old.authority], [new.authority], [new.authority]]


def test_if_a_pac_file_names_the_same_proxies_again_they_are_not_tried_again(script: Script, tmp_path: Path) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(ScriptedServer(echoes))
        script.names(old.url)

        def goes() -> None:
            stack.close()
            script.ages()

        with pytest.raises(Unreachable, match=f"proxy {old.authority}"):
            opened_in_turn(forward_options(pac=str(tmp_path / "proxy.pac")), TARGET, goes)


def test_a_pac_file_is_not_asked_anew_after_a_refusal(script: Script, tmp_path: Path) -> None:
    with ScriptedServer(lambda peer: peer.accept_tunnel(b"HTTP/1.1 403 No\r\n\r\n")) as old, ScriptedServer(echoes) as new:
        script.names(old.url)
        planner = None

        async def main() -> None:
            nonlocal planner
            planner = await prepared(forward_options(pac=str(tmp_path / "proxy.pac")), {}, TraceLog())
            for _ in range(2):
                with pytest.raises(Refused):
                    await open_with_retries(planner, TARGET, 0, TraceLog())
                script.names(new.url)
                script.ages()

        run(main)
        assert new.conversations == []


def test_a_pac_file_that_is_gone_when_it_is_asked_anew_leaves_the_first_error(script: Script, tmp_path: Path) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(ScriptedServer(echoes))
        script.names(old.url)

        def goes() -> None:
            stack.close()
            (tmp_path / "proxy.pac").unlink()
            script.ages()

        with pytest.raises(Unreachable, match=f"proxy {old.authority}"):
            opened_in_turn(forward_options(pac=str(tmp_path / "proxy.pac")), TARGET, goes)
