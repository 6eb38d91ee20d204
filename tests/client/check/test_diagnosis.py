"""Causes that are told by the words of a proxy alone."""

import ast
from pathlib import Path

import pytest

from tunnelctl.client.check import diagnosis as causes
from tunnelctl.client.check.diagnosis import (
    FINDINGS,
    failure,
    greeting_of_a_portal,
    login,
    no_tls,
    other_protocol,
    portal,
    tls_wanted,
)
from tunnelctl.errors import AuthenticationFailed, NameNotFound, Refused, SpeaksTLS, TunnelBroken, Unreachable
from tunnelctl.proto.address import Address

ROOM = Path(causes.__file__).parent
ERROR = AuthenticationFailed("proxy p", "407", "a hint")
ASKED, TOLD = b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"CONNECT h:1 HTTP/1.1\r\nProxy-Authorization: Basic ***\r\n\r\n"


def test_every_finding_has_its_place_in_the_manual_and_no_other():
    made = set(causes._KINDS.values()) | {"failed"}
    for path in ROOM.parent.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Diagnosis" and isinstance(node.args[0], ast.Constant):
                made.add(str(node.args[0].value))
    assert made == set(FINDINGS)


@pytest.mark.parametrize(
    ("answer", "offered"),
    [
        (b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "(NTLM or Basic)"),
        (b"HTTP/1.1 407 No\nproxy-authenticate:Digest a=b\n\n", "(Digest)"),
        (b"HTTP/1.1 407 No\r\nProxy-Authenticate: \x1b[31m\r\n\r\n", "(no scheme named)"),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\n\r\n", "(Basic)"),
        (b"HTTP/1.1 407 No\r\n\r\n", "(no scheme named)"),
    ],
)
def test_a_login_that_is_wanted(answer, offered):
    finding = login(ASKED, answer, ERROR)
    assert finding == ("login-wanted", f"the proxy requires a login {offered}", "a hint")


def test_a_login_that_was_tried():
    assert login(TOLD, b"HTTP/1.1 407 No\r\n\r\n", ERROR) == ("login-refused", "the proxy did not accept the login", "a hint")


@pytest.mark.parametrize(("code", "is_one"), [(301, True), (302, True), (511, True), (200, False), (403, False), (305, False)])
def test_a_portal_by_its_status(code, is_one):
    assert (portal(b"HTTP/1.1 %d x\r\n\r\n" % code) is not None) == is_one


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", b"HTTP/1.1 x y\r\n"])
def test_an_answer_that_has_no_status(answer):
    assert portal(answer) is None


@pytest.mark.parametrize(
    ("said", "is_one"),
    [
        (b"<!DOCTYPE HTML>", True),
        (b"\r\n <html lang=en>", True),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"SSH-2.0-x", False),
        (b"220 <html> mail", False),
        (b"", False),
    ],
)
def test_a_portal_by_its_page(said, is_one):
    assert (greeting_of_a_portal(said) is not None) == is_one


def test_tls_is_wanted_by_one_of_a_chain():
    error = SpeaksTLS("proxy inner.test:8080, asked for a.test:22", "it speaks TLS", "its URL is https://inner.test:8080")
    assert tls_wanted(error) == ("tls-wanted", "proxy inner.test:8080 speaks TLS on that port", error.hint)


def test_leaving_tls_out_is_never_advised_without_its_price():
    hint = no_tls(Address("p.test", 8080)).hint
    assert hint.startswith("for a proxy that is meant to be without TLS, the URL is http://p.test:8080: others ")


@pytest.mark.parametrize(
    ("protocol", "finding"),
    [
        ("http", ("other-protocol", "proxy p.test:1080 speaks HTTP on that port", "its URL is http://p.test:1080")),
        ("socks5", ("other-protocol", "proxy p.test:1080 speaks SOCKS on that port", "its URL is socks5://p.test:1080")),
    ],
)
def test_another_protocol(protocol, finding):
    assert other_protocol(Address("p.test", 1080), protocol) == finding


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (AuthenticationFailed, "login-failed"),
        (Refused, "refused"),
        (NameNotFound, "name-not-found"),
        (Unreachable, "unreachable"),
        (TunnelBroken, "failed"),
    ],
)
def test_an_error_of_connect(kind, name):
    assert failure(kind("what", "cause", "hint")) == (name, "what: cause", "hint")
