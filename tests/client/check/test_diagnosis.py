"""Tests the diagnoses that follow from the proxy's response alone."""

import ast
from pathlib import Path

import pytest

from tunnelctl.cli.render.hints import hint_of, in_words
from tunnelctl.client.check import diagnosis as causes
from tunnelctl.client.check.diagnosis import (
    FINDINGS,
    Diagnosis,
    failure,
    greeting_of_a_portal,
    login,
    no_tls,
    other_protocol,
    portal,
    tls_wanted,
)
from tunnelctl.client.check.events import Finding
from tunnelctl.client.route.route import Hop
from tunnelctl.client.upstream.error_response import refused
from tunnelctl.client.upstream.http1 import speaks_tls
from tunnelctl.errors import AuthenticationFailed, NameNotFound, Refused, TunnelBroken, Unreachable
from tunnelctl.events import Explained
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.http1.connect_client import Rejected

ROOM = Path(causes.__file__).parent


def words(finding: Diagnosis) -> tuple[object, ...]:
    """Name, text and hint of a finding, as a report shows them."""
    event = Explained(Finding(finding.name, finding.text, ""), finding.error, finding.facts)
    return tuple(in_words(event)[1].values())


def test_the_manual_documents_exactly_the_findings_that_exist():
    made = set(causes._KINDS.values()) | {"failed"}
    for path in ROOM.parent.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Diagnosis" and isinstance(node.args[0], ast.Constant):
                made.add(str(node.args[0].value))
    assert made == set(FINDINGS)


def asked_for_login(status: int, challenges: Fields, sent: Fields = ()) -> AuthenticationFailed:
    """Returns the error for a proxy that sends this response to a request with these fields."""
    error = refused(Rejected("HTTP/1.1", status, "No", challenges, b"", ()), Address("p", 1), sent, Address("h", 1))
    assert isinstance(error, AuthenticationFailed)
    return error


@pytest.mark.parametrize(
    ("status", "challenges", "offered"),
    [
        (407, (("Proxy-Authenticate", "NTLM"), ("Proxy-Authenticate", "Basic realm=x")), "(NTLM or Basic)"),
        (407, (("proxy-authenticate", "Digest a=b"),), "(Digest)"),
        (407, (("Proxy-Authenticate", "\x1b[31m"),), "(no scheme named)"),
        (401, (("WWW-Authenticate", "Basic realm=x"),), "(Basic)"),
        (407, (), "(no scheme named)"),
    ],
)
def test_a_required_login_names_the_offered_schemes(status, challenges, offered):
    error = asked_for_login(status, challenges)
    finding = login(error)
    assert finding == Diagnosis("login-wanted", f"the proxy requires a login {offered}", error=error)
    assert words(finding)[2] == hint_of(error) != ""


def test_a_login_that_was_sent_is_refused():
    error = asked_for_login(407, (), (("Proxy-Authorization", "Basic dTpw"),))
    assert login(error) == Diagnosis("login-refused", "the proxy did not accept the login", error=error)


@pytest.mark.parametrize(("code", "is_one"), [(301, True), (302, True), (511, True), (200, False), (403, False), (305, False)])
def test_a_portal_is_recognised_by_its_status(code, is_one):
    assert (portal(code) is not None) == is_one


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
def test_a_portal_is_recognised_by_its_page(said, is_one):
    assert (greeting_of_a_portal(said) is not None) == is_one


def test_tls_wanted_names_the_proxy_of_a_chain():
    error = speaks_tls("proxy inner.test:8080, asked for a tunnel to a.test:22", Hop(Address("inner.test", 8080)))
    said = ("tls-wanted", "proxy inner.test:8080 speaks TLS on that port", "its URL is https://inner.test:8080")
    assert words(tls_wanted(error)) == said


def test_advice_to_leave_tls_out_names_the_risk():
    *_, hint = words(no_tls(Address("p.test", 8080)))
    assert str(hint).startswith("if this proxy is meant to be used without TLS, its URL is http://p.test:8080; anyone ")


@pytest.mark.parametrize(
    ("protocol", "finding"),
    [
        ("http", ("other-protocol", "proxy p.test:1080 speaks HTTP on that port", "its URL is http://p.test:1080")),
        ("socks5", ("other-protocol", "proxy p.test:1080 speaks SOCKS on that port", "its URL is socks5://p.test:1080")),
    ],
)
def test_another_protocol_names_the_right_url(protocol, finding):
    assert words(other_protocol(Address("p.test", 1080), protocol)) == finding


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
def test_an_error_of_connect_becomes_a_finding(kind, name):
    error = kind("what", "cause", "code")
    assert failure(error) == Diagnosis(name, "what: cause", error=error)
