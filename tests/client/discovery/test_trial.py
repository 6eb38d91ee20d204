"""One proxy and its targets, with real connections on loopback."""

import base64
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client.check.findings import greet, tls_server
from tests.peers import certificates
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, refusing_port
from tunnelctl.client.discovery.candidates import Candidate
from tunnelctl.client.discovery.trial import INTERCEPTED, NO_TLS, PRIVATE, UNKNOWN, UNTOUCHED, Attempt, LoginWatch, Result, Trials
from tunnelctl.client.discovery.waits import Waits
from tunnelctl.client.options import TargetTLS
from tunnelctl.client.route.planner import tls_to_target
from tunnelctl.engine.kernel import Nursery, run
from tunnelctl.events import Response
from tunnelctl.options import ReachOptions
from tunnelctl.proto.address import parse_authority
from tunnelctl.proto.proxy_url import parse_proxy_url

SECRET = "sword fish"
PLAIN = ReachOptions()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def proxy() -> Iterator[Serve]:
    with Serve() as server:
        yield server


def candidate(url: str) -> Candidate:
    return Candidate((parse_proxy_url(url),))


def try_all(
    *to_try: Candidate,
    targets: tuple[str, ...],
    tls: bool = False,
    reach: ReachOptions = PLAIN,
    own: tuple[Candidate, ...] = (),
    environ: dict[str, str] | None = None,
) -> list[Result]:
    addresses = tuple(map(parse_authority, targets))

    async def body() -> list[Result]:
        results: dict[Candidate, Result] = {}
        waits = Waits()

        async def one(each: Candidate, trials: Trials) -> None:
            told: list[Attempt] = []
            results[each] = await trials.run(each, addresses, told.append)
            assert told == list(results[each].attempts)

        async with Nursery() as connections:
            inside = tls_to_target(addresses[0], TargetTLS(tls=tls))
            trials = Trials(reach, frozenset(each.chain for each in own), environ or {}, inside, connections, waits)
            async with Nursery() as nursery:
                for each in to_try:
                    nursery.start_soon(one, each, trials)
            connections.cancel_scope.cancel()
        assert waits.now() == []
        return [results[each] for each in to_try]

    return run(body)


NONE = Candidate(())


def test_a_proxy_that_works_with_every_target(proxy: Serve) -> None:
    with ScriptedServer(greet) as one, ScriptedServer(greet) as other:
        (result,) = try_all(candidate(proxy.url), targets=(one.authority, other.authority))
    assert [(attempt.ok, attempt.cause) for attempt in result.attempts] == [(True, ""), (True, "")]
    assert (result.login, result.schemes, result.tls.verdict) == ("none", (), UNKNOWN)


def test_a_proxy_that_cannot_be_reached() -> None:
    sock, port = refusing_port()
    with sock:
        (result,) = try_all(candidate(f"http://127.0.0.1:{port}"), targets=("127.0.0.1:1",))
    cause = f"cannot connect to proxy 127.0.0.1:{port}: connection refused"
    assert (result.first.ok, result.first.cause, result.login) == (False, cause, UNKNOWN)


def mute(peer: Conversation) -> None:
    peer.wait_gone()


def test_a_silent_proxy_has_a_time_limit() -> None:
    """And is not asked for the other targets."""
    with ScriptedServer(mute) as proxy:
        (result,) = try_all(candidate(proxy.url), targets=("127.0.0.1:1", "127.0.0.1:2"), reach=ReachOptions(timeout=0.2))
    assert result.first.error is not None
    assert len(result.attempts) == 1
    assert result.first.error.exit_status == 75


def login(peer: Conversation) -> None:
    right = base64.b64encode(f"alice:{SECRET}".encode())
    if right in peer.read_head():
        peer.send(ESTABLISHED)
    else:
        peer.send(b'HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
        peer.end_output()
    peer.wait_gone()


@pytest.mark.parametrize(
    ("userinfo", "outcome", "requests"),
    [("alice:sword%20fish@", "accepted", 3), ("alice:wrong@", "refused", 2), ("", "required", 1)],
)
def test_logins(userinfo: str, outcome: str, requests: int) -> None:
    """After a login was refused, no further target is tried: it would count as another wrong password.

    One that was accepted is used at once for the next target.
    """
    with ScriptedServer(login) as proxy:
        (result,) = try_all(candidate(proxy.url.replace("//", f"//{userinfo}")), targets=("127.0.0.1:1", "127.0.0.1:2"))
    assert (result.login, result.schemes, len(proxy.heads)) == (outcome, ("basic",), requests)
    assert len(result.attempts) == (2 if outcome == "accepted" else 1)


def test_what_is_given_for_one_proxy_goes_to_no_other(tmp_path: Path) -> None:
    """Neither the login of the flags, nor header fields, nor the password of the variable."""
    (tmp_path / "password").write_text(SECRET)
    reach = ReachOptions(proxy_user="alice", proxy_password_file=str(tmp_path / "password"), header=("X-Token: swordfish",))
    with ScriptedServer(login) as mine, ScriptedServer(login) as other:
        own, foreign = candidate(mine.url), candidate(other.url.replace("//", "//alice@"))
        environ = {"TUNNELCTL_PROXY_PASSWORD": SECRET}
        ours, theirs = try_all(own, foreign, targets=("127.0.0.1:1",), reach=reach, own=(own,), environ=environ)
    assert (ours.login, ours.first.ok) == ("accepted", True)
    assert theirs.first.ok is False
    assert any(b"X-Token" in head for head in mine.heads)
    assert not any(b"X-Token" in head or b"uthorization" in head for head in other.heads)


def test_a_tunnel_that_ends_at_once_does_not_count() -> None:
    def granting(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(granting) as proxy:
        (result,) = try_all(candidate(proxy.url), targets=("127.0.0.1:1",))
    assert (result.first.ok, result.first.cause) == (False, "the tunnel was ended as soon as it stood")


def test_tls_through_an_honest_proxy_is_untouched(proxy: Serve, files: certificates.Certificates) -> None:
    with tls_server(files.server) as target:
        direct, through = try_all(NONE, candidate(proxy.url), targets=(target.authority,), tls=True)
    assert (direct.tls.verdict, through.tls.verdict) == (PRIVATE, UNTOUCHED)
    assert through.tls.issuer == "tunnelctl's tests"


def test_a_tunnel_that_breaks_at_once_does_not_count() -> None:
    def breaking(peer: Conversation) -> None:
        peer.accept_tunnel()
        peer.reset()

    with ScriptedServer(breaking) as proxy:
        (result,) = try_all(candidate(proxy.url), targets=("127.0.0.1:1",))
    assert result.first.ok is False
    assert "connection reset by peer" in result.first.cause


def ending_tls(certificate: tuple[Path, Path]) -> ScriptedServer:
    """A proxy that ends TLS itself, with a certificate of its own, whatever the target."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def script(peer: Conversation) -> None:
        peer.accept_tunnel()
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as secure:
            peer.sock = secure

    return ScriptedServer(script)


def test_a_replaced_certificate_is_noticed(files: certificates.Certificates, tmp_path: Path) -> None:
    with tls_server(files.server) as target, ending_tls(certificates.issue(tmp_path, "other", "127.0.0.1")) as proxy:
        _, through = try_all(NONE, candidate(proxy.url), targets=(target.authority,), tls=True)
    assert (through.tls.verdict, through.tls.issuer) == (INTERCEPTED, "tunnelctl's tests")


def test_a_certificate_with_nothing_to_compare_it_with(files: certificates.Certificates) -> None:
    with ending_tls(files.server) as proxy:
        direct, through = try_all(NONE, candidate(proxy.url), targets=("127.0.0.1:1",), tls=True)
    assert (direct.first.ok, direct.tls.verdict, through.tls.verdict) == (False, UNKNOWN, PRIVATE)


def test_a_target_without_tls(proxy: Serve) -> None:
    with ScriptedServer(greet) as target:
        direct, through = try_all(NONE, candidate(proxy.url), targets=(target.authority,), tls=True)
    assert (direct.tls.verdict, through.tls.verdict) == (NO_TLS, NO_TLS)


@pytest.mark.parametrize("scheme", ["socks5", "socks4a"])
def test_a_socks_proxy(scheme: str) -> None:
    """It refuses the first target, and is asked for the other one."""
    refusal = b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00" if scheme == "socks5" else b"\x00\x5b\x00\x00\x00\x00\x00\x00"

    def refuse(peer: Conversation) -> None:
        if scheme == "socks5":
            peer.read()
            peer.send(b"\x05\x00")
        peer.read()
        peer.send(refusal)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(refuse) as proxy:
        (result,) = try_all(candidate(f"{scheme}://{proxy.authority}"), targets=("127.0.0.1:1", "127.0.0.1:2"))
    assert [attempt.ok for attempt in result.attempts] == [False, False]
    assert result.login == UNKNOWN


def test_the_words_for_a_login() -> None:
    watch = LoginWatch()
    assert watch.outcome(None) == "none"
    watch(Response("HTTP/1.1", 407, "", (("Proxy-Authenticate", "NTLM"), ("Proxy-Authenticate", "Basic realm=x, NTLM"))))
    assert (watch.schemes, watch.outcome(None)) == (("ntlm", "basic"), "accepted")
