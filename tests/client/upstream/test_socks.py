"""Tests SOCKS to one proxy: both versions, early data, exact reads, errors that name the proxy. Hints: test_tunnel,
test_connect.
"""

from typing import Any

import pytest

from tests.client.harness import AMPLE, TARGET, answers, failed, opened, to_the_end
from tests.peers.messages import hint_for_login
from tests.peers.scripted import Conversation, ScriptedServer, sample
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import MISSING, ProxyAuth
from tunnelctl.client.route.route import Hop, Route, Tunnel
from tunnelctl.engine.kernel import sleep
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NoAnswer, Refused, SettingsError, TimedOut, Unreachable
from tunnelctl.proto.address import Address

NO_LOGIN_WANTED = b"\5\0"
PASSWORD_WANTED = b"\5\2"
GRANTED = b"\5\0\0\1\0\0\0\0\0\0"
GRANTED_4 = b"\0\x5a\0\0\0\0\0\0"

GREETING = b"\5\1\0"
WITH_PASSWORD = b"\5\2\0\2"
REQUEST = b"\5\1\0\3\x0btarget.test\0\x16"
REQUEST_4 = b"\4\1\0\x16\0\0\0\1\0target.test\0"


def hop_to(proxy: ScriptedServer, protocol: str = "socks5", login: ProxyAuth | None = None) -> Hop:
    return Hop(Address(proxy.host, proxy.port), protocol=protocol, login=login)


def version_5(*after: bytes):
    """A proxy that grants the tunnel, and sends more right after its reply."""

    def script(peer: Conversation) -> None:
        assert peer.read_exactly(len(GREETING)) == GREETING
        peer.send(NO_LOGIN_WANTED)
        assert peer.read_exactly(len(REQUEST)) == REQUEST
        peer.send(b"".join((GRANTED, *after)))
        peer.end_output()
        peer.wait_gone()

    return script


def version_4a(peer: Conversation) -> None:
    assert peer.read_exactly(len(REQUEST_4)) == REQUEST_4
    peer.send(GRANTED_4 + b"banner")
    peer.end_output()
    peer.wait_gone()


@pytest.mark.parametrize(("protocol", "script"), [("socks5", version_5(b"banner")), ("socks4a", version_4a)], ids=["5", "4a"])
def test_the_proxy_receives_the_target_name_and_leftover_enters_the_tunnel(protocol: str, script) -> None:
    with ScriptedServer(script) as proxy:
        assert opened(Route(TARGET, (hop_to(proxy, protocol),)), to_the_end) == b"banner"


def test_no_readahead_reads_nothing_beyond_the_reply() -> None:
    data = sample(100_000)

    async def rest(tunnel: Tunnel) -> bytes:
        assert tunnel.early == b""
        return await to_the_end(tunnel)

    with ScriptedServer(version_5(data)) as proxy:
        assert opened(Route(TARGET, (hop_to(proxy),), no_readahead=True), rest) == data


def test_bytes_behind_the_outer_proxys_response_are_the_inner_ones_reply() -> None:
    """One segment: the grant of an HTTP proxy, and the method selection of the SOCKS proxy behind it."""

    def script(peer: Conversation) -> None:
        peer.accept_tunnel(b"HTTP/1.1 200 OK\r\n\r\n" + NO_LOGIN_WANTED)
        assert peer.read_exactly(len(GREETING + REQUEST)) == GREETING + REQUEST
        peer.send(GRANTED + b"banner")
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as outer:
        chain = (Hop(Address(outer.host, outer.port)), Hop(Address("inner.test", 1080), protocol="socks5"))
        assert opened(Route(TARGET, chain), to_the_end) == b"banner"


@pytest.mark.parametrize(
    ("protocol", "answer", "kind", "cause"),
    [
        ("socks5", NO_LOGIN_WANTED + b"\5\5\0\1", Refused, "connection refused (5)"),
        ("socks4a", b"\0\x5b", Refused, "request rejected or failed"),
        ("socks5", b"HTTP/1.1 400 Bad\r\n\r\n", MalformedAnswer, "not SOCKS: it starts with 'HTTP/1.1 400 Bad\\r\\n\\r\\n'"),
        ("socks5", b"", NoAnswer, "closed without a response"),
    ],
)
def test_an_error_names_the_proxy_and_its_target(protocol: str, answer: bytes, kind: type, cause: str) -> None:
    def script(peer: Conversation) -> None:
        peer.read(1)
        peer.send(answer)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        error = failed(Route(TARGET, (hop_to(proxy, protocol),)), kind)
    assert (error.what, error.cause) == (f"proxy {proxy.authority}, asked for a tunnel to {TARGET}", cause)
    assert (error.hop, error.may_speak_tls) == (0, False)


def test_a_reset_instead_of_a_reply() -> None:
    def script(peer: Conversation) -> None:
        peer.read(1)
        peer.reset()

    with ScriptedServer(script) as proxy:
        error = failed(Route(TARGET, (hop_to(proxy),)), Unreachable)
    what = f"proxy {proxy.authority}, asked for a tunnel to {TARGET}, broke the connection before it responded"
    assert str(error) == f"{what}: connection reset by peer"


def login_to(secret: Secret | None, **others: Any) -> ProxyAuth:
    async def find() -> Secret | None:
        return secret

    return ProxyAuth(Address("proxy.test", 1080), "any", find, **others)


def test_user_and_password_are_offered_if_there_are_any() -> None:
    def script(peer: Conversation) -> None:
        assert peer.read_exactly(len(WITH_PASSWORD)) == WITH_PASSWORD
        peer.send(PASSWORD_WANTED)
        assert peer.read_exactly(12) == b"\1\4anna\5s3cre"
        peer.send(b"\1\0")
        assert peer.read_exactly(len(REQUEST)) == REQUEST
        peer.send(GRANTED)
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        assert opened(Route(TARGET, (hop_to(proxy, login=login_to(Secret("anna", "s3cre"))),))) == b""


def test_without_credentials_the_hint_says_how_to_give_them() -> None:
    with ScriptedServer(lambda peer: (peer.read(3), peer.send(b"\5\xff"), peer.wait_gone())) as proxy:  # type: ignore[func-returns-value]
        error = failed(Route(TARGET, (hop_to(proxy, login=login_to(None)),)), AuthenticationFailed)
    assert hint_of(error) == hint_for_login(MISSING)


@pytest.mark.parametrize("person", [True, False])
def test_the_time_limit_is_suspended_only_while_a_person_is_prompted(person: bool) -> None:
    limit = 1.5 if person else 0.2  # with a person, all else has to be done within it

    async def find() -> Secret | None:
        await sleep(limit + 0.1)
        return None

    login = ProxyAuth(Address("proxy.test", 1080), "any", find, may_prompt=person)
    with ScriptedServer(version_5()) as proxy:
        route = Route(TARGET, (hop_to(proxy, login=login),), timeout=limit)
        if person:
            assert opened(route) == b""
        else:
            assert failed(route, TimedOut).what == f"preparing the login to proxy {proxy.authority}"


def test_a_login_that_cannot_be_prepared_fails_before_dialling() -> None:
    async def find() -> Secret | None:
        raise SettingsError("--password-command", "it ended with status 1", "unreadable")

    with ScriptedServer(answers()) as proxy:
        failed(Route(TARGET, (hop_to(proxy, login=ProxyAuth(TARGET, "any", find)),), timeout=AMPLE), SettingsError)
        assert proxy.conversations == []
