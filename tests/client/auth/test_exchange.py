"""Tests logging in to a proxy: what the client sends, when, on which connection, and what it remembers."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.harness import CANARY, TARGET, TraceLog
from tests.peers.messages import hint_for_login
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.auth import negotiate
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import (
    FIRST_STEP,
    MISSING,
    MISSING_LATER,
    MOST_LEGS,
    NO_CHALLENGE,
    NO_SCHEME,
    ONLY_BASIC,
    OTHER_SCHEME,
    TOKEN_WANTED,
    UNKNOWN,
    ProxyAuth,
)
from tunnelctl.client.auth.schemes import ANY, BASIC, BEARER, DIGEST, NEGOTIATE, NTLM
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.tunnel import open_tunnel
from tunnelctl.engine.kernel import run
from tunnelctl.errors import AuthenticationFailed, TunnelctlError
from tunnelctl.packages import install_command
from tunnelctl.proto.address import Address
from tunnelctl.proto.auth.basic import encode_basic
from tunnelctl.status import ExitStatus

LOGIN_HINT = "give --proxy-user NAME and --proxy-password-file FILE"

USER = Secret("anna", CANARY)
TOKEN = Secret(None, "token68")
RIGHT = encode_basic("anna", CANARY)
BASIC_OFFER = 'Basic realm="x"'
NONCE = 'Digest realm="x", nonce="{}", qop="auth", algorithm=SHA-256'

Answer = Callable[[str, int], str]


def refusal(*challenges: str, fields: str = "", body: bytes = b"") -> bytes:
    offers = "".join(f"Proxy-Authenticate: {challenge}\r\n" for challenge in challenges)
    head = f"HTTP/1.1 407 Login\r\n{offers}{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def login_to(proxy: ScriptedServer, scheme: str = ANY, secret: Secret | None = USER, **others: Any) -> ProxyAuth:
    """A login with the user's credentials, if there are any."""

    async def find() -> Secret | None:
        return secret

    return ProxyAuth(Address(proxy.host, proxy.port), scheme, find, **{"given": secret is not None, **others})


def opened(proxy: ScriptedServer, login: ProxyAuth | None, times: int = 1) -> TraceLog:
    """Opens tunnels one after another."""
    trace = TraceLog()

    async def main() -> None:
        for _ in range(times):
            tunnel = await open_tunnel(Route(TARGET, (Hop(Address(proxy.host, proxy.port), login=login),), timeout=10), trace)
            tunnel.stream.close()

    run(main)
    return trace


def failed(proxy: ScriptedServer, login: ProxyAuth | None) -> TunnelctlError:
    with pytest.raises(TunnelctlError) as caught:
        opened(proxy, login)
    assert CANARY not in f"{caught.value} {hint_of(caught.value)} {caught.value.detail}"
    return caught.value


class LoginProxy:
    """A proxy that requires a login. `judge` receives the value of Proxy-Authorization and returns the response; b"" closes."""

    def __init__(self, judge: Callable[[str], bytes], keeps: bool = False) -> None:
        self.values: list[str] = []
        self.connections = 0

        def script(peer: Conversation) -> None:
            self.connections += 1
            while True:
                peer.head = b""
                try:
                    head = peer.read_head().decode()
                except (AssertionError, ConnectionError):  # the client left, as it may between two requests
                    return
                value = next((line[21:] for line in head.split("\r\n") if line.startswith("Proxy-Authorization: ")), "")
                self.values.append(value)
                answer = judge(value)
                try:
                    peer.send(answer)
                except ConnectionError:  # the client has left during a long page
                    return
                if answer.startswith(b"HTTP/1.1 2") or not keeps:
                    peer.end_output()
                    peer.wait_gone()
                    return

        self.server = ScriptedServer(script)

    def __enter__(self) -> "LoginProxy":
        self.server.__enter__()
        self.address = Address(self.server.host, self.server.port)
        return self

    def __exit__(self, *failure: object) -> None:
        self.server.__exit__(*failure)  # type: ignore[arg-type]

    def login(self, scheme: str = ANY, secret: Secret | None = USER, **others: Any) -> ProxyAuth:
        return login_to(self.server, scheme, secret, **others)

    def open(self, login: ProxyAuth | None, times: int = 1) -> TraceLog:
        return opened(self.server, login, times)

    def fails(self, login: ProxyAuth | None) -> TunnelctlError:
        return failed(self.server, login)


def accepts_only(value: str, *challenges: str) -> Callable[[str], bytes]:
    return lambda given: ESTABLISHED if given == value else refusal(*challenges)


# --- when credentials are sent


def test_no_credentials_are_sent_without_a_challenge() -> None:
    with LoginProxy(lambda _: ESTABLISHED) as proxy:
        proxy.open(proxy.login())
    assert proxy.values == [""]


def test_after_a_challenge_credentials_are_sent_on_a_new_connection() -> None:
    with LoginProxy(accepts_only(RIGHT, BASIC_OFFER), keeps=True) as proxy:
        trace = proxy.open(proxy.login())
    assert proxy.values == ["", RIGHT]
    assert proxy.connections == 2
    assert trace.names == ["lookup", "dial", "connected", "request", "response"] * 2
    assert CANARY not in str(trace.events)
    assert RIGHT[6:] not in str(trace.events)


@pytest.mark.parametrize(("scheme", "secret", "value"), [(BASIC, USER, RIGHT), (BEARER, TOKEN, "Bearer token68")])
def test_a_scheme_named_by_the_user_is_sent_at_once(scheme: str, secret: Secret, value: str) -> None:
    with LoginProxy(accepts_only(value, BASIC_OFFER)) as proxy:
        proxy.open(proxy.login(scheme, secret))
    assert proxy.values == [value]


def test_the_accepted_scheme_is_remembered() -> None:
    with LoginProxy(accepts_only(RIGHT, BASIC_OFFER)) as proxy:
        proxy.open(proxy.login(), times=3)
    assert proxy.values == ["", RIGHT, RIGHT, RIGHT]


def test_a_changed_challenge_replaces_the_remembered_scheme() -> None:
    """The proxy now requires another scheme."""
    offers = [(RIGHT, BASIC_OFFER), ("Bearer x", BASIC_OFFER)]

    def judge(value: str) -> bytes:
        if value.startswith("Digest"):
            return ESTABLISHED
        if len(proxy.values) > 2:
            return refusal(NONCE.format("n"))
        return accepts_only(*offers[0])(value)

    with LoginProxy(judge) as proxy:
        proxy.open(proxy.login(), times=2)
    assert [value.partition(" ")[0] for value in proxy.values] == ["", "Basic", "Basic", "Digest"]


# --- which credentials are sent


def test_the_strongest_scheme_offered_in_one_field_is_chosen() -> None:
    offers = f'Foo, {BASIC_OFFER}, Bearer realm="b", {NONCE.format("n1")}, {NONCE.format("n2").replace("-256", "-1")}, Bar a=b'
    with LoginProxy(lambda value: ESTABLISHED if value else refusal(offers)) as proxy:
        proxy.open(proxy.login())
    assert proxy.values[1].startswith("Digest ")
    assert 'nonce="n1"' in proxy.values[1]


def test_only_the_scheme_named_by_the_user_is_used() -> None:
    with LoginProxy(lambda value: ESTABLISHED if value else refusal(NONCE.format("n"))) as proxy:
        error = proxy.fails(proxy.login(BEARER, USER._replace(user=None, password="a b")))
    assert proxy.values == []
    assert error.exit_status is ExitStatus.AUTHENTICATION


def test_digest_counts_the_uses_of_a_nonce() -> None:
    with LoginProxy(lambda value: ESTABLISHED if value else refusal(NONCE.format("n"))) as proxy:
        proxy.open(proxy.login(DIGEST), times=3)
    assert [value.partition("nc=")[2][:8] for value in proxy.values] == ["", "00000001", "00000002", "00000003"]


def test_a_stale_nonce_is_replaced() -> None:
    """The nonce changes with each response: a digest for the last one is stale, but the password is not wrong."""
    seen: list[str] = []

    def judge(value: str) -> bytes:
        seen.append(value)
        if 'nonce="n2"' in value:
            return ESTABLISHED
        return refusal(NONCE.format(f"n{len(seen)}") + (", stale=TRUE" if value else ""))

    with LoginProxy(judge) as proxy:
        proxy.open(proxy.login())
    assert len(seen) == 3


def test_a_proxy_that_lost_its_nonces_after_a_restart_is_retried() -> None:
    """It does not mark a nonce that it never issued as stale."""
    restarted = False

    def judge(value: str) -> bytes:
        nonce = "second" if restarted else "first"
        return ESTABLISHED if f'nonce="{nonce}"' in value else refusal(NONCE.format(nonce))

    with LoginProxy(judge) as proxy:
        login = proxy.login()
        proxy.open(login)
        restarted = True
        proxy.open(login)
    assert [value.partition('nonce="')[2].partition('"')[0] for value in proxy.values] == ["", "first", "first", "second"]


def test_the_number_of_legs_is_limited() -> None:
    def judge(value: str) -> bytes:
        return refusal(NONCE.format(f"n{len(proxy.values)}") + ", stale=true")

    with LoginProxy(judge) as proxy:
        error = proxy.fails(proxy.login())
    assert error.exit_status is ExitStatus.AUTHENTICATION
    assert len(proxy.values) == MOST_LEGS + 1


@pytest.mark.parametrize("offer", [BASIC_OFFER, NONCE.format("n")])
def test_a_wrong_password_is_sent_once(offer: str) -> None:
    with LoginProxy(lambda _: refusal(offer, BASIC_OFFER)) as proxy:
        error = proxy.fails(proxy.login())
    assert isinstance(error, AuthenticationFailed)
    assert hint_of(error) == "are the user name and the password right?"
    assert len(proxy.values) == 2


def test_hint_for_a_challenge_without_credentials() -> None:
    with LoginProxy(lambda _: refusal(BASIC_OFFER)) as proxy:
        error = proxy.fails(proxy.login(secret=None))
    assert error.cause.startswith("407")
    assert "--proxy-user" in hint_of(error)
    assert proxy.values == [""]


def test_a_named_scheme_without_credentials_sends_nothing() -> None:
    """The scheme may be meant for another proxy of the chain."""
    with LoginProxy(lambda _: ESTABLISHED) as proxy:
        proxy.open(proxy.login(BASIC, None))
    assert proxy.values == [""]


# --- schemes that authenticate a connection


def ntlm(first: bytes, *, second: bytes = b"", keeps: bool = True, **answer: object) -> LoginProxy:
    """A proxy whose legs are plain text. second: the token that it accepts as the second leg."""

    def judge(value: str) -> bytes:
        if not value:
            return refusal("NTLM", **answer)  # type: ignore[arg-type]
        if value == f"NTLM {base64.b64encode(first).decode()}":
            return refusal(f"NTLM {base64.b64encode(b'two').decode()}", **answer)  # type: ignore[arg-type]
        return ESTABLISHED if second and value == f"NTLM {base64.b64encode(second).decode()}" else refusal("NTLM")

    return LoginProxy(judge, keeps)


class Context:
    """Replaces pyspnego's context: its tokens are readable."""

    complete = False

    def step(self, token: bytes | None = None) -> bytes:
        self.complete = token is not None
        return b"three" if token == b"two" else b"one"


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    made: list[Context] = []

    def new(self: object) -> Context:
        made.append(Context())
        return made[-1]

    monkeypatch.setattr(negotiate._Bound, "_new_context", new)
    return made


@pytest.mark.usefixtures("contexts")
@pytest.mark.parametrize("size", [0, 100, 5 << 20])
def test_all_legs_use_one_connection_whatever_the_size_of_the_pages(size: int) -> None:
    with ntlm(b"one", second=b"three", body=bytes(size)) as proxy:
        proxy.open(proxy.login())
    assert [base64.b64decode(value[5:]) for value in proxy.values] == [b"", b"one", b"three"]
    assert proxy.connections == 2


@pytest.mark.usefixtures("contexts")
def test_each_tunnel_logs_in_on_its_own_connection() -> None:
    with ntlm(b"one", second=b"three") as proxy:
        proxy.open(proxy.login(NTLM), times=2)
    assert [base64.b64decode(value[5:]) for value in proxy.values] == [b"one", b"three"] * 2


@pytest.mark.usefixtures("contexts")
@pytest.mark.parametrize("fields", ["Connection: close\r\n", "Proxy-Connection: Close\r\n"])
def test_a_proxy_that_announces_close_between_legs_fails_the_login(fields: str) -> None:
    with ntlm(b"one", second=b"three", fields=fields) as proxy:
        error = proxy.fails(proxy.login())
    assert "in the middle of the login" in error.cause
    assert error.exit_status is ExitStatus.AUTHENTICATION


@pytest.mark.usefixtures("contexts")
def test_a_proxy_that_resets_between_legs_fails_the_login() -> None:
    """The proxy promises to keep the connection and then breaks it: the same situation as an announced close, and the same
    status.
    """

    def script(peer: Conversation) -> None:
        head = peer.read_head()
        begun = base64.b64encode(b"one") in head
        peer.send(refusal(f"NTLM {base64.b64encode(b'two').decode()}" if begun else "NTLM"))
        if begun:
            peer.head = b""
            peer.read_head()
            peer.reset()

    with ScriptedServer(script) as proxy:
        error = failed(proxy, login_to(proxy))
    assert error.exit_status is ExitStatus.AUTHENTICATION
    assert error.cause == "it closed the connection in the middle of the login, which must stay on one connection"
    assert "stays open" in hint_of(error)


@pytest.mark.usefixtures("contexts")
@pytest.mark.parametrize(
    ("scheme", "secret", "others", "asks"),
    [
        (ANY, USER, {}, True),
        (NTLM, USER, {}, True),
        (NEGOTIATE, USER, {}, True),
        (NEGOTIATE, None, {}, True),
        (ANY, USER, {"given": False}, False),
        (ANY, None, {}, False),
        (BASIC, USER, {}, False),
        (DIGEST, USER, {}, False),
        (BEARER, TOKEN, {}, False),
    ],
)
def test_keep_alive_is_requested_for_a_connection_bound_login(
    scheme: str, secret: Secret | None, others: dict[str, bool], asks: bool
) -> None:
    """The first request already asks for it, because a simple intermediary in front of the proxy may look at that request only."""
    with LoginProxy(lambda _: ESTABLISHED) as proxy:
        proxy.open(proxy.login(scheme, secret, **others))
    (head,) = proxy.server.heads
    assert (b"\r\nProxy-Connection: keep-alive\r\n" in head) == asks


@pytest.mark.usefixtures("contexts")
def test_every_connection_bound_leg_requests_keep_alive_once() -> None:
    heads: list[bytes] = []

    def script(peer: Conversation) -> None:
        while True:
            peer.head = b""
            try:
                heads.append(peer.read_head())
            except (AssertionError, ConnectionError):
                return
            peer.send(refusal("Negotiate", BASIC_OFFER) if RIGHT.encode() not in heads[-1] else ESTABLISHED)

    with ScriptedServer(script) as proxy:
        opened(proxy, login_to(proxy), times=2)
    asked = [head.count(b"Proxy-Connection: keep-alive\r\n") for head in heads]
    assert asked == [1, 1, 0, 0], "without credentials, Negotiate, Basic, and Basic preemptively"


def test_a_proxy_connection_field_from_the_user_is_kept() -> None:
    with LoginProxy(lambda _: ESTABLISHED) as proxy:
        hop = Hop(proxy.address, (("Proxy-Connection", "close"),), login=proxy.login())

        async def main() -> None:
            (await open_tunnel(Route(TARGET, (hop,), timeout=10), TraceLog())).stream.close()

        run(main)
    assert proxy.server.heads[0].count(b"Proxy-Connection") == 1


@pytest.mark.usefixtures("contexts")
def test_a_refused_first_leg_is_not_reported_as_an_unknown_scheme() -> None:
    """The proxy accepts Kerberos only; or a load balancer in front of it distributes the requests over several proxies."""
    with LoginProxy(accepts_only("none", "NTLM"), keeps=True) as proxy:
        error = proxy.fails(proxy.login())
    assert hint_of(error) == hint_for_login(FIRST_STEP, offered="ntlm")


def test_the_hint_names_the_first_of_many_unknown_schemes() -> None:
    with LoginProxy(lambda _: refusal(*(f"S{number}" for number in range(300)))) as proxy:
        error = proxy.fails(proxy.login())
    assert hint_of(error) == hint_for_login(UNKNOWN, offered="s0 or s1 or s2 or others")


@pytest.mark.usefixtures("contexts")
def test_a_refusal_of_the_last_leg_means_wrong_credentials() -> None:
    with ntlm(b"one") as proxy:
        error = proxy.fails(proxy.login())
    assert hint_of(error) == "are the user name and the password right?"
    assert len(proxy.values) == 3


@pytest.mark.usefixtures("contexts")
@pytest.mark.parametrize("keeps", [True, False])
def test_a_scheme_refused_at_its_first_leg_is_followed_by_the_next(keeps: bool) -> None:
    """Squid with Kerberos and Basic, and no ticket: Negotiate then begins with NTLM, which Squid's helper does not support.

    Each scheme begins on a new connection, because a proxy may close the old one without announcing it.
    """
    with LoginProxy(accepts_only(RIGHT, "Negotiate", "NTLM", BASIC_OFFER), keeps) as proxy:
        proxy.open(proxy.login(), times=2)
    assert [value.partition(" ")[0] for value in proxy.values] == ["", "Negotiate", "NTLM", "Basic", "Basic"]
    assert proxy.connections == 5


@pytest.mark.usefixtures("contexts")
def test_a_scheme_refused_at_its_last_leg_is_not_followed_by_a_weaker_one() -> None:
    def judge(value: str) -> bytes:
        begun = value == f"NTLM {base64.b64encode(b'one').decode()}"
        return refusal(f"NTLM {base64.b64encode(b'two').decode()}" if begun else "NTLM", BASIC_OFFER)

    with LoginProxy(judge, keeps=True) as proxy:
        proxy.fails(proxy.login())
    assert [value.partition(" ")[0] for value in proxy.values] == ["", "NTLM", "NTLM"]


@pytest.mark.usefixtures("contexts")
def test_a_named_scheme_that_is_refused_is_not_followed_by_another() -> None:
    with LoginProxy(accepts_only(RIGHT, "Negotiate", BASIC_OFFER)) as proxy:
        error = proxy.fails(proxy.login(NEGOTIATE))
    assert [value.partition(" ")[0] for value in proxy.values] == ["Negotiate"]
    assert error.exit_status is ExitStatus.AUTHENTICATION


UNKNOWN_DIGEST = NONCE.format("n").replace("SHA-256", "X")


@pytest.mark.parametrize(
    ("offers", "scheme", "secret", "reason"),
    [
        ((), ANY, USER, NO_SCHEME),
        ((), DIGEST, USER, NO_CHALLENGE),
        ((), ANY, None, MISSING),
        ((BASIC_OFFER,), ANY, None, MISSING),
        (("Foo", "Bar"), ANY, USER, UNKNOWN),
        (("Foo", "Bar"), ANY, None, UNKNOWN),
        (("Foo", BASIC_OFFER), ANY, None, MISSING),
        ((UNKNOWN_DIGEST,), ANY, USER, UNKNOWN),
        (("Bearer realm=x",), ANY, USER, TOKEN_WANTED),
        (("Bearer realm=x",), ANY, None, TOKEN_WANTED),
        ((BASIC_OFFER,), DIGEST, USER, ONLY_BASIC),
        ((BASIC_OFFER, "NTLM"), DIGEST, USER, OTHER_SCHEME),
        (("Foo",), DIGEST, USER, UNKNOWN),
    ],
)
def test_hint_for_a_login_that_is_not_possible(offers: tuple[str, ...], scheme: str, secret: Secret | None, reason: str) -> None:
    """The hint considers what the user gave; and credentials for schemes that the proxy did not offer are never sent."""
    with LoginProxy(lambda _: refusal(*offers)) as proxy:
        error = proxy.fails(proxy.login(scheme, secret))
    offered = " or ".join(dict.fromkeys(offer.split()[0].lower() for offer in offers))
    kind = f"this kind of {offered}" if offered == "digest" and reason == UNKNOWN else offered
    assert hint_of(error) == hint_for_login(reason, offered=kind, scheme=scheme)
    assert proxy.values == [""]


def test_no_scheme_hint_applies_to_netrc_credentials_too() -> None:
    with LoginProxy(lambda _: refusal()) as proxy:
        error = proxy.fails(proxy.login(given=False))
    assert hint_of(error) == hint_for_login(NO_SCHEME)


@pytest.mark.parametrize("offers", [("NTLM",), (BASIC_OFFER,), ()])
def test_the_hint_for_a_later_proxy_names_no_flags(offers: tuple[str, ...]) -> None:
    with LoginProxy(lambda _: refusal(*offers)) as proxy:
        error = proxy.fails(proxy.login(secret=None, missing=MISSING_LATER))
    assert hint_of(error) == hint_for_login(MISSING_LATER)
    assert "--" not in hint_of(error)


def test_preemptive_basic_refused_without_a_challenge_is_a_wrong_login() -> None:
    with LoginProxy(lambda _: refusal()) as proxy:
        error = proxy.fails(proxy.login(BASIC))
    assert hint_of(error) == "are the user name and the password right?"
    assert proxy.values == [RIGHT]


def test_a_401_without_a_challenge_sends_no_credentials() -> None:
    with LoginProxy(lambda _: b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        error = proxy.fails(proxy.login())
    assert hint_of(error) == hint_for_login(NO_SCHEME)
    assert proxy.values == [""]


def test_hint_for_a_named_scheme_that_is_not_offered() -> None:
    with LoginProxy(lambda _: refusal(NONCE.format("n"), "Negotiate")) as proxy:
        error = proxy.fails(proxy.login(BASIC))
    assert hint_of(error) == "it requires digest or negotiate authentication, not basic: leave --auth out"


def test_hint_without_a_kerberos_ticket_names_kinit() -> None:
    pytest.importorskip("spnego")
    with LoginProxy(lambda _: refusal("Negotiate")) as proxy:
        error = proxy.fails(proxy.login(secret=None))
        named = proxy.fails(proxy.login(NEGOTIATE, secret=None))
    assert hint_of(error) == hint_of(named) == f"run kinit to get a Kerberos ticket; or {LOGIN_HINT}"
    assert named.what == f"Negotiate login to proxy {proxy.address}"


def test_schemes_with_a_missing_package_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object) -> Context:
        raise ImportError("spnego")

    monkeypatch.setattr(negotiate._Bound, "_new_context", missing)
    monkeypatch.setattr(negotiate, "_installed", lambda _: True)  # as far as can be determined without the import
    with LoginProxy(accepts_only(RIGHT, "Negotiate", "NTLM", BASIC_OFFER)) as proxy:
        proxy.open(proxy.login())
        assert proxy.values == ["", RIGHT]
        error = proxy.fails(proxy.login(NTLM))
        bare = proxy.fails(proxy.login(NTLM, secret=None))
    assert hint_of(error) == f"NTLM needs the package pyspnego: {install_command('pyspnego')}"
    assert hint_of(bare) == LOGIN_HINT


def test_one_hint_names_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user who gives a password learns only then that a package is missing too."""
    monkeypatch.setattr(negotiate, "_installed", lambda _: False)
    with LoginProxy(lambda _: refusal("NTLM")) as proxy:
        error = proxy.fails(proxy.login(secret=None))
    needed = f"NTLM needs the package pyspnego: {install_command('pyspnego')}"
    assert hint_of(error) == f"{LOGIN_HINT}; {needed}"


def test_a_ticket_without_the_kerberos_package_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyspnego alone supports NTLM only."""
    pytest.importorskip("spnego")
    monkeypatch.setattr(negotiate, "_installed", lambda module: module == "spnego")
    with LoginProxy(lambda _: refusal("Negotiate")) as proxy:
        error = proxy.fails(proxy.login(secret=None))
    assert hint_of(error) == f"Negotiate needs the package pyspnego: {install_command('pyspnego[kerberos]')}"
