"""Tests HTTP/1.1 to one proxy: refusals, malformed responses, resets, and the time limit on a body. Logins: auth/test_exchange."""

import time

import pytest

from tests.client.harness import AMPLE, BRIEF, TARGET, answers, failed, holds, route_through
from tests.peers.scripted import Conversation, ScriptedServer
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.auth.credentials import Secret
from tunnelctl.client.auth.exchange import ProxyAuth
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.upstream import http1 as under_test
from tunnelctl.errors import MalformedAnswer, Refused, Unanswered, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nthe reason"


def test_a_refusal_by_the_nearest_proxy() -> None:
    with ScriptedServer(answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nrule 12")) as first:
        error = failed(route_through(first.authority), Refused)
    assert error.what == f"proxy {first.authority} refused a tunnel to {TARGET}"
    assert error.cause == '403 Forbidden: it says "rule 12"'


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed without a response"),
        (b"HTTP/1.1 200 OK\r\nA: b", "closed in the middle of the response head"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "closed without a response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
        (b"HTTP/1.1 2xx\r\n\r\n", "no status code"),
        (b"HTTP/2 200\r\n\r\n", "HTTP/2"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 30, "informational"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000, "octets"),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "NUL"),
    ],
)
def test_malformed_responses(answer: bytes, text: str) -> None:
    with ScriptedServer(answers(answer)) as first:
        error = failed(route_through(first.authority), MalformedAnswer)
    assert error.exit_status is ExitStatus.MALFORMED
    assert error.what == f"proxy {first.authority}, asked for a tunnel to {TARGET}"
    assert text in error.cause


def test_a_reset_instead_of_a_response() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.reset()

    with ScriptedServer(script) as first:
        error = failed(route_through(first.authority), Unreachable)
    assert error.what == f"proxy {first.authority}, asked for a tunnel to {TARGET}, broke the connection before it responded"
    assert error.cause == "connection reset by peer"


def test_a_reset_inside_the_body_of_a_refusal_is_ignored() -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(REFUSAL)
        peer.reset()

    with ScriptedServer(script) as first:
        error = failed(route_through(first.authority), Refused)
    assert error.cause.startswith("403 Forbidden")


def test_waiting_for_the_body_of_a_refusal_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "BODY_SECONDS", BRIEF)
    with ScriptedServer(holds(REFUSAL)) as first:
        error = failed(route_through(first.authority), Refused)
    assert error.cause == '403 Forbidden: it says "the reason"'


def test_waiting_for_a_dribbled_body_of_a_refusal_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit covers the whole body, not each byte."""
    monkeypatch.setattr(under_test, "BODY_SECONDS", BRIEF)

    def script(peer: Conversation) -> None:
        peer.read_head()
        peer.send(REFUSAL)
        try:
            while True:
                peer.send(b".")
                time.sleep(BRIEF / 10)
        except OSError:
            pass

    with ScriptedServer(script) as first:
        begun = time.monotonic()
        error = failed(route_through(first.authority, timeout=AMPLE), Refused)
    assert error.cause.startswith('403 Forbidden: it says "the reason.')
    assert time.monotonic() - begun < AMPLE / 2


def test_a_timeout_in_the_body_of_a_refusal_still_reports_the_refusal() -> None:
    """The head has the result: 403, and not "timed out", which a retry would follow."""
    with ScriptedServer(holds(REFUSAL)) as first:
        error = failed(route_through(first.authority, timeout=1.5), Refused)
    assert error.cause == '403 Forbidden: it says "the reason"'


def test_after_a_challenge_a_silent_proxy_is_known_to_speak_http() -> None:
    """So the proxy must be waiting for the target."""

    def script(peer: Conversation) -> None:
        if len(first.conversations) == 1:
            peer.accept_tunnel(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
        else:
            peer.read_head()
            peer.wait_gone()

    async def find() -> Secret:
        return Secret("u", "p")

    with ScriptedServer(script) as first:
        address = Address(first.host, first.port)
        hop = Hop(address, login=ProxyAuth(address, "any", find))
        error = failed(Route(TARGET, (hop,), timeout=1.0), Unanswered)
    assert hint_of(error) == "the proxy may not be able to reach the target; --timeout sets the time limit for opening a tunnel"
