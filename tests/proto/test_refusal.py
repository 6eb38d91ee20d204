"""Refusals on the wire: S8, S16-S20, S23 of the checklist; the table of section 4.3; V17 and V22 as far as responses show them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto import refusal
from tunnelctl.proto.address import Address
from tunnelctl.proto.http1.connect_client import ConnectClient, Rejected
from tunnelctl.proto.http1.connect_server import ConnectServer
from tunnelctl.proto.http1.render import ESTABLISHED, render_refusal
from tunnelctl.proto.proxy_status import printable
from tunnelctl.proto.refusal import REASONS, Refusal, basic_challenge

# (refusal, status, RFC 9209 error type): the table of section 4.3, row by row, followed by our own causes
TABLE = [
    (refusal.dns_timeout(), 504, "dns_timeout"),
    (refusal.dns_error(), 502, "dns_error"),
    (refusal.ip_prohibited(), 403, "destination_ip_prohibited"),
    (refusal.ip_unroutable(), 502, "destination_ip_unroutable"),
    (refusal.connection_refused(), 502, "connection_refused"),
    (refusal.connection_timeout(), 504, "connection_timeout"),
    (refusal.limit_reached(), 503, "connection_limit_reached"),
    (refusal.target_limit_reached(), 503, "connection_limit_reached"),
    (refusal.stopping(), 503, "connection_limit_reached"),
    (refusal.client_limit_reached(), 429, "connection_limit_reached"),
    (refusal.client_busy("x"), 429, "connection_limit_reached"),
    (refusal.too_many_wrong_logins(7), 429, "http_request_denied"),
    (refusal.user_limit_reached(), 429, "connection_limit_reached"),
    (refusal.request_denied(), 403, "http_request_denied"),
    (refusal.bad_request("x"), 400, "http_request_error"),
    (refusal.loop_detected(), 502, "proxy_loop_detected"),
    (refusal.method_not_allowed("GET"), 405, "http_request_error"),
    (refusal.auth_required(), 407, "http_request_denied"),
    (refusal.head_timeout(), 408, "http_request_error"),
    (refusal.tls_wanted(), 400, "http_request_error"),
    (refusal.tls_failed(), 400, "tls_protocol_error"),
    (refusal.uri_too_long(), 414, "http_request_error"),
    (refusal.head_too_large(), 431, "http_request_error"),
    (refusal.method_unknown(), 501, "http_request_error"),
    (refusal.method_too_long(), 501, "http_request_error"),
    (refusal.last_recipient(), 405, "http_request_error"),
    (refusal.answer_failed("http_protocol_error", "x"), 502, "http_protocol_error"),
    (refusal.answer_failed("connection_read_timeout", "x", 504), 504, "connection_read_timeout"),
    (refusal.version_unsupported(), 505, "http_request_error"),
    (refusal.connection_failed(), 502, "connection_terminated"),
]


def read_head_answer(octets):
    """Parses the answer to HEAD with h11; it must end after its head."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="HEAD", target="/", headers=[("Host", "example.com")]))
    client.send(h11.EndOfMessage())
    client.receive_data(octets)
    response, end = client.next_event(), client.next_event()
    assert isinstance(end, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response


def read(answer):
    """Parses the octets with our client and, for comparison, with h11. The response must be complete, and the server then close."""
    rejected = ConnectClient(Address("example.com", 443)).feed(answer)
    assert isinstance(rejected, Rejected)
    second = h11.Connection(h11.CLIENT)
    second.send(h11.Request(method="CONNECT", target="example.com:443", headers=[("Host", "example.com:443")]))
    second.send(h11.EndOfMessage())
    second.receive_data(answer)
    response, body, end = second.next_event(), second.next_event(), second.next_event()
    assert (response.status_code, response.reason.decode()) == (rejected.status, rejected.reason)
    assert bytes(body.data) == rejected.body
    assert isinstance(end, h11.EndOfMessage)
    assert second.next_event() is h11.NEED_DATA or second.their_state is h11.MUST_CLOSE
    return rejected


@pytest.mark.parametrize(("answer", "status", "error"), TABLE, ids=[f"{row[1]}-{row[0].details[:30]}" for row in TABLE])
def test_s18_s19_a_refusal_has_its_status_and_error_type_and_closes(answer, status, error):
    """S18: Connection: close; S19: status and error type by cause; S20: no field invites caching."""
    rejected = read(render_refusal(answer))
    assert (rejected.status, rejected.reason) == (status, REASONS[status])
    (member,) = rejected.proxy_status
    assert (member.proxy, member.error, member.details) == ("tunnelctl", error, answer.details)
    assert ("Connection", "close") in rejected.fields
    assert not {name.lower() for name, _ in rejected.fields} & {"cache-control", "expires", "etag", "last-modified"}
    assert rejected.body == f"tunnelctl: {status} {REASONS[status]}: {answer.details}\n".encode()
    if error == "http_request_error":
        assert member.params == (("status-code", status),)


@pytest.mark.parametrize("answer", [row[0] for row in TABLE], ids=[f"{row[1]}-{row[0].details[:30]}" for row in TABLE])
def test_an_answer_to_head_has_all_fields_and_no_content(answer):
    """RFC 9110 section 9.3.2; section 8.6: Content-Length is that of the response with content."""
    octets, complete = render_refusal(answer, to_head=True), render_refusal(answer)
    assert complete == octets + read(complete).body
    assert read_head_answer(octets).status_code == answer.status


def test_the_table_covers_every_status():
    assert {status for _, status, _ in TABLE} == set(REASONS)


def test_s8_405_has_an_allow_field():
    assert ("Allow", "CONNECT") in read(render_refusal(refusal.method_not_allowed("GET"))).fields


def test_s16_established_has_no_framing():
    assert ESTABLISHED == b"HTTP/1.1 200 Connection established\r\n\r\n"


def test_s17_407_has_a_challenge_and_policy_refusals_are_403():
    fields = dict(read(render_refusal(refusal.auth_required([basic_challenge('our "realm"\n')]))).fields)
    assert fields["Proxy-Authenticate"] == 'Basic realm="our \\"realm\\"%0A", charset="UTF-8"'
    assert refusal.ip_prohibited().status == refusal.request_denied().status == 403


def test_a_failed_login_is_one_with_wrong_credentials():
    assert refusal.is_failed_login(407, "wrong user or password")
    assert not refusal.is_failed_login(407, refusal.NO_CREDENTIALS)
    assert not refusal.is_failed_login(407, refusal.STALE_CREDENTIALS)
    assert not refusal.is_failed_login(403, "wrong user or password")


def test_s19_limit_refusals_have_retry_after():
    assert ("Retry-After", "30") in read(render_refusal(refusal.limit_reached(retry_after=30))).fields
    assert ("Retry-After", "1") in read(render_refusal(refusal.user_limit_reached())).fields


def test_s19_dns_error_has_its_rcode():
    assert read(render_refusal(refusal.dns_error(rcode="NXDOMAIN"))).proxy_status[0].params == (("rcode", "NXDOMAIN"),)
    assert read(render_refusal(refusal.dns_error())).proxy_status[0].params == ()


def test_proxy_status_uses_the_configured_proxy_name():
    assert read(render_refusal(refusal.loop_detected(), "gate.example")).proxy_status[0].proxy == "gate.example"


def test_v22_every_prohibited_address_gets_the_same_answer():
    assert render_refusal(refusal.ip_prohibited()) == render_refusal(refusal.ip_prohibited())
    assert not any(c.isdigit() for c in refusal.ip_prohibited().details)


@bounded
@given(st.text(max_size=60), st.text(max_size=30))
def test_v17_hostile_text_stays_inside_its_field(details, realm):
    for answer in (refusal.bad_request(details), refusal.auth_required([basic_challenge(realm)], details)):
        octets = render_refusal(answer)
        head, _, body = octets.partition(b"\r\n\r\n")
        assert octets.isascii()
        assert not set(octets) & (set(range(0x20)) - set(b"\r\n")) | {0x7F} & set(octets)
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert body.count(b"\n") == 1
        rejected = read(octets)
        assert rejected.proxy_status[0].details == printable(details)


PACKAGE = Path(refusal.__file__).parents[1]
# These are not messages: an upper bound, a character replaced in foreign texts, and quotation marks that are searched for.
NO_TEXTS = {"headers.py": ["\xff"], "proxy_status.py": ["…"], "proxy_url_fault.py": ["\u201c", "\u201d"]}


def texts(tree: ast.Module) -> Iterator[str]:
    """Yields every string of a module except docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    first = [node.body[0] for node in nodes if ast.get_docstring(node) is not None]
    docstrings = {id(statement.value) for statement in first if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", [*PACKAGE.glob("proto/**/*.py"), *PACKAGE.glob("server/**/*.py")], ids=lambda path: path.stem)
def test_every_text_that_may_become_a_detail_is_ascii(path):
    """The details parameter of Proxy-Status is a String, which is ASCII (RFC 9651 section 3.3.3)."""
    wrong = [text for text in texts(ast.parse(path.read_text("utf-8"))) if not text.isascii()]
    assert wrong == NO_TEXTS.get(path.name, [])


def test_the_details_for_a_scope_id_are_legible():
    answer = ConnectServer().feed(b"CONNECT [fe80::1%25lo]:22 HTTP/1.1\r\nHost: [fe80::1%25lo]:22\r\n\r\n")
    assert isinstance(answer, Refusal)
    cause = "the target must be HOST:PORT: it has a scope id (after %), which is meaningful on one machine only"
    assert read(render_refusal(answer)).proxy_status[0].details == answer.details == cause


def test_a_refusal_after_too_many_wrong_logins_has_retry_after():
    assert b"\r\nRetry-After: 7\r\n" in render_refusal(refusal.too_many_wrong_logins(7))


def test_refusals_compare_by_value():
    assert Refusal(403, "http_request_denied", "x") == refusal.request_denied("x")
