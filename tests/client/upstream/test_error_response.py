"""Tests how a proxy's refusal becomes the error that the user sees."""

import gzip

import pytest

from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.auth.exchange import (
    MISSING,
    MISSING_LATER,
    MISSING_USER,
    NO_CHALLENGE,
    NO_SCHEME,
    OTHER_SCHEME,
    TOKEN_WANTED,
    UNKNOWN,
    UNUSABLE,
    NoLogin,
)
from tunnelctl.client.upstream.error_response import refused
from tunnelctl.errors import AuthenticationFailed, TunnelctlError
from tunnelctl.proto.address import Address
from tunnelctl.proto.headers import Fields
from tunnelctl.proto.http1.connect_client import ConnectClient, Rejected
from tunnelctl.status import ExitStatus

PROXY, TARGET = Address("proxy.test", 3128), Address("target.test", 22)
SENT: Fields = (("Proxy-Authorization", "Basic dTpw"),)


def answer(status: str, fields: str = "", body: bytes = b"") -> Rejected:
    """Returns the result of the protocol layer for a response."""
    machine = ConnectClient(TARGET)
    result = machine.feed(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1") + body) or machine.eof()
    assert isinstance(result, Rejected)
    return result


def error(status: str, fields: str = "", body: bytes = b"", sent: Fields = ()) -> TunnelctlError:
    return refused(answer(status, fields, body), PROXY, sent, TARGET)


def cause(body: bytes, content_type: str = "text/html; charset=utf-8") -> str:
    return error("403 Forbidden", f"Content-Type: {content_type}\r\n", body).cause


# --- the status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("407 Proxy Authentication Required", ExitStatus.AUTHENTICATION),
        ("401 Unauthorized", ExitStatus.AUTHENTICATION),  # tinyproxy sends it where it should send 407
        ("300 Multiple", ExitStatus.REFUSED),
        ("302 Found", ExitStatus.REFUSED),
        ("400 Bad Request", ExitStatus.REFUSED),
        ("403 Forbidden", ExitStatus.REFUSED),
        ("404 Not Found", ExitStatus.REFUSED),
        ("405 Method Not Allowed", ExitStatus.REFUSED),
        ("429 Too Many Requests", ExitStatus.REFUSED),
        ("500 Oops", ExitStatus.REFUSED),
        ("502 Bad Gateway", ExitStatus.REFUSED),
        ("503 Service Unavailable", ExitStatus.REFUSED),
        ("504 Gateway Timeout", ExitStatus.REFUSED),
        ("999 Odd", ExitStatus.REFUSED),
    ],
)
def test_exit_status_by_status_code(status: str, expected: ExitStatus) -> None:
    failure = error(status)
    assert failure.exit_status is expected
    said = "requires a login for" if expected is ExitStatus.AUTHENTICATION else "refused"
    assert failure.what == f"proxy proxy.test:3128 {said} a tunnel to target.test:22"
    assert failure.cause == status
    assert failure.detail == {"code": int(status[:3])}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("dns_error", ExitStatus.NAME_NOT_FOUND),
        ("dns_timeout", ExitStatus.UNREACHABLE),
        ("connection_timeout", ExitStatus.UNREACHABLE),
        ("connection_refused", ExitStatus.REFUSED),
        ("destination_ip_prohibited", ExitStatus.REFUSED),
        ("destination_ip_unroutable", ExitStatus.REFUSED),
        ("connection_limit_reached", ExitStatus.REFUSED),
        ("http_request_denied", ExitStatus.REFUSED),
        ("made_up", ExitStatus.REFUSED),
    ],
)
def test_c19_proxy_status_is_more_exact_than_the_code(token: str, expected: ExitStatus) -> None:
    failure = error("502 Bad Gateway", f'Proxy-Status: p; error={token}; details="what happened"\r\n', b"a page")
    assert failure.exit_status is expected
    assert failure.cause == f"502 Bad Gateway ({token}: what happened)"


def test_a_407_is_about_credentials_whatever_proxy_status_says() -> None:
    assert error("407 No", "Proxy-Status: p; error=dns_error\r\n").exit_status is ExitStatus.AUTHENTICATION


def test_the_entry_with_an_error_counts_among_several_in_proxy_status() -> None:
    """At any position; in RFC 9209 the proxies nearest the target come first."""
    fields = "Proxy-Status: far; error=dns_error\r\nProxy-Status: near; received-status=502\r\n"
    failure = error("502 Bad Gateway", fields)
    assert failure.exit_status is ExitStatus.NAME_NOT_FOUND
    assert failure.cause == "502 Bad Gateway (dns_error)"


def test_a_malformed_proxy_status_is_ignored() -> None:
    failure = error("502 Bad Gateway", 'Proxy-Status: "; error=dns_error\r\n', b"text")
    assert failure.exit_status is ExitStatus.REFUSED
    assert failure.cause == '502 Bad Gateway: it says "text"'


def test_a_response_without_a_reason_phrase() -> None:
    assert error("502").cause == "502"


# --- hints


@pytest.mark.parametrize("status", [400, 403, 404, 405, 502, 503, 504])
def test_the_usual_status_codes_have_a_hint(status: int) -> None:
    assert hint_of(error(f"{status} x"))


def test_the_hint_for_a_503_depends_on_its_proxy_status() -> None:
    """Squid, Apache and Envoy send it without a Proxy-Status if the target does not respond."""
    assert hint_of(error("503 x")).startswith("the proxy could not reach the target, or has reached one of its limits")
    limited = error("503 x", "Proxy-Status: p; error=connection_limit_reached\r\n")
    assert hint_of(limited) == "the proxy has reached one of its limits; try again later"


def login(why: NoLogin | None = None, sent: Fields = (), status: str = "407 No") -> TunnelctlError:
    return refused(answer(status), PROXY, sent, TARGET, why)


@pytest.mark.parametrize("status", ["407 No", "401 No"])
def test_credentials_that_were_sent_are_reported_as_wrong(status: str) -> None:
    failure = login(sent=SENT, status=status)
    assert failure.what == "proxy proxy.test:3128 did not accept the login for a tunnel to target.test:22"
    assert hint_of(failure) == "are the user name and the password right?"
    assert hint_of(login(sent=(("Proxy-Authorization", "Bearer x"),))) == "is the token right, and still valid?"


@pytest.mark.parametrize(
    ("why", "hint"),
    [
        (None, "give --proxy-user NAME and --proxy-password-file FILE, or a --proxy-auth-file"),
        (NoLogin(MISSING, "basic"), "give --proxy-user NAME and --proxy-password-file FILE, or a --proxy-auth-file"),
        (NoLogin(MISSING_USER), "TUNNELCTL_PROXY_PASSWORD is set, but there is no user name: give --proxy-user NAME"),
        (
            NoLogin(MISSING_LATER, "basic"),
            "the login flags are for the nearest proxy only; put the login of this one into ~/.netrc, or into its URL",
        ),
        (
            NoLogin(NO_SCHEME),
            "the proxy names no authentication scheme; --auth basic sends the password anyway, unencrypted unless the proxy URL is https://",
        ),
        (NoLogin(NO_CHALLENGE, "", "digest"), "the proxy names no authentication scheme, and digest requires a challenge"),
        (NoLogin(OTHER_SCHEME, "ntlm", "basic"), "it requires ntlm authentication, not basic: leave --auth out"),
        (NoLogin(UNKNOWN, "foo or bar"), "it requires foo or bar authentication, which tunnelctl does not support"),
        (NoLogin(TOKEN_WANTED), "it requires a token: give --auth bearer and --proxy-password-file FILE, without a user"),
        (NoLogin(UNUSABLE, "ntlm", "any", AuthenticationFailed("w", "no such thing", "negotiate-failed")), "no such thing"),
        (
            NoLogin(UNUSABLE, "ntlm", "any", AuthenticationFailed("w", "c", "negotiate-failed", facts={"ticket": True})),
            "run kinit to get a Kerberos ticket; or give --proxy-user NAME and --proxy-password-file FILE",
        ),
    ],
)
def test_hints_for_a_missing_login(why: NoLogin | None, hint: str) -> None:
    failure = login(why)
    assert failure.what == "proxy proxy.test:3128 requires a login for a tunnel to target.test:22"
    assert hint_of(failure) == hint


def test_a_challenge_for_another_scheme_is_not_a_wrong_password() -> None:
    assert hint_of(login(NoLogin(OTHER_SCHEME, "ntlm", "basic"), SENT)).startswith("it requires ntlm authentication, not basic")


@pytest.mark.parametrize("status", [302, 511])
def test_the_hint_for_a_redirect_or_a_511_names_a_captive_portal(status: int) -> None:
    assert "captive portal" in hint_of(error(f"{status} x"))


@pytest.mark.parametrize(
    ("value", "when"),
    [
        ("120", "in 120 s"),
        ("0", "in 0 s"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "after 2015-10-21 07:28:00 UTC"),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", "after 2015-10-21 07:28:00 UTC"),
        ("Wed Oct 21 07:28:00 2015", "after 2015-10-21 07:28:00 UTC"),
        ("Wed, 21 Oct 2015 09:28:00 +0200", "after 2015-10-21 07:28:00 UTC"),
    ],
)
def test_retry_after_appears_in_the_hint(value: str, when: str) -> None:
    limited = hint_of(error("429 x", f"Retry-After: {value}\r\n"))
    assert limited == f"this client or user has reached a limit of the proxy; it says: try again {when}"
    busy = hint_of(error("503 x", f"Retry-After: {value}\r\nProxy-Status: p; error=connection_limit_reached\r\n"))
    assert busy == f"the proxy is busy, or could not reach the target; it says: try again {when}"


@pytest.mark.parametrize(
    "value",
    ["", "-1", "1.5", "soon", "12345678", "٣", "9" * 5000, "Wed, 21 Oct 99999 07:28:00 GMT", f"{'9' * 30} Jan 2000 0:0:0 GMT"],
)
def test_a_malformed_retry_after_is_not_shown(value: str) -> None:
    encoded = value.encode("utf-8").decode("latin-1")
    assert hint_of(error("429 x", f"Retry-After: {encoded}\r\n")) == hint_of(error("429 x"))


@pytest.mark.parametrize("status", [301, 403, 502])
def test_retry_after_of_other_status_codes_is_not_shown(status: int) -> None:
    assert "try again" not in hint_of(error(f"{status} x", "Retry-After: 5\r\n"))


def test_the_hint_for_a_403_to_port_443_does_not_name_port_443() -> None:
    asked = refused(answer("403 No"), PROXY, (), TARGET._replace(port=443))
    assert hint_of(asked) == "the proxy's rules decide which hosts may be reached"
    assert hint_of(error("403 No")) == "the proxy's rules decide which hosts and ports may be reached; many allow only port 443"


@pytest.mark.parametrize(
    ("status", "host", "is_told"),
    [
        ("tunnelctl; error=http_request_denied", "target.test", True),
        ("tunnelctl; error=destination_ip_prohibited", "127.0.0.1", True),
        ("tunnelctl; error=destination_ip_prohibited", "target.test", False),  # a rule for the name would not help
        ("other; error=http_request_denied", "target.test", False),
        ("other; error=http_request_denied, tunnelctl", "target.test", False),
    ],
)
def test_the_hint_for_our_own_proxys_rules_names_the_allow_flag(status: str, host: str, is_told: bool) -> None:
    said = hint_of(refused(answer("403 No", f"Proxy-Status: {status}\r\n"), PROXY, (), TARGET._replace(host=host)))
    assert (f"add --allow '{host}:22' to the flags of serve" in said) is is_told


# --- the excerpt of the body


def test_a_plain_text_body_is_quoted() -> None:
    assert cause(b"Ask extension\r\n\t4711  please.\n", "text/plain") == '403 Forbidden: it says "Ask extension 4711 please."'


def test_html_is_quoted_without_its_markup() -> None:
    page = b"""<!DOCTYPE html><HTML><HEAD><TITLE>ERROR</TITLE><style>b{}</style></HEAD>
        <BODY class="a>b"><script>alert("x < y")</script><H1>Access&nbsp;denied</H1><p>by rule <b>7</b></BODY></HTML>"""
    assert 'it says "b"> Access denied by rule 7"' in cause(page)


def test_html_cut_inside_a_tag_or_a_script() -> None:
    assert cause(b"<p>seen<a href=") == '403 Forbidden: it says "seen"'
    assert cause(b"<p>seen<script>while") == '403 Forbidden: it says "seen"'


def test_plain_text_keeps_its_angle_brackets() -> None:
    assert cause(b"rule <7> denies it", "text/plain") == '403 Forbidden: it says "rule <7> denies it"'


def test_an_empty_page_is_not_quoted() -> None:
    assert cause(b"<html><body>\n</body></html>") == "403 Forbidden"


def test_a_long_text_is_cut() -> None:
    text = cause(b"x" * 100_000, "text/plain")
    assert text.endswith('x…"')
    assert len(text) < 250


def test_a_page_of_open_tags_is_handled_fast() -> None:
    for piece in (b"<", b"<head", b"<script>", b"<head><style>", b"</head"):
        assert len(cause(piece * 4096)) < 250


def test_a_binary_body_becomes_printable_text() -> None:
    text = cause(bytes(range(256)), "application/octet-stream")
    text.encode("utf-8")  # no surrogates
    assert "\\xff" in text or "\\x80" in text
    assert "\n" not in text


def test_a_compressed_page_is_quoted() -> None:
    """The request has no Accept-Encoding, which allows any coding (RFC 9110 section 12.5.3)."""
    page = gzip.compress(b"<h1>Access denied</h1>")
    assert error("403 No", "Content-Type: text/html\r\nContent-Encoding: gzip\r\n", page).cause == '403 No: it says "Access denied"'
    assert error("403 No", "Content-Encoding: br\r\n", page).cause == "403 No"


def test_a_compressed_page_that_echoes_the_request_shows_no_secret() -> None:
    body = gzip.compress("you sent Basic dTpw+/c3N3".encode("utf-16"))
    sent = (("Proxy-Authorization", "Basic dTpw+/c3N3"),)
    assert error("403 No", "Content-Encoding: gzip\r\n", body, sent).cause == '403 No: it says "you sent Basic ***"'


def test_a_page_that_echoes_the_request_shows_no_secret() -> None:
    """Pages escape what they echo; a reason phrase and details need not."""
    html, sent = "Content-Type: text/html\r\n", (("Proxy-Authorization", "Basic dTpw+/c3N3"),)
    assert error("403 No", html, b"<b>dTpw&#43;&#x2F;c3N3</b>", sent).cause == '403 No: it says "***"'
    assert error("403 Basic dTpw+/c3N3", sent=sent).cause == "403 Basic ***"
    assert error("502 No", 'Proxy-Status: p; error=x; details="Basic dTpw+/c3N3"\r\n', b"", sent).cause == "502 No (x: Basic ***)"


def test_a_secret_cut_at_the_end_of_the_page_is_redacted() -> None:
    """The style is not shown, so that the end of the bytes read falls into the visible text."""
    body = b"<style>%b</style>dTpwYXNzd29yZDEyMzQ1Njc4" % bytes(4096 - 31).replace(b"\0", b"x")
    sent = (("Proxy-Authorization", "Basic dTpwYXNzd29yZDEyMzQ1Njc4"),)
    failure = error("403 No", "Content-Type: text/html\r\n", body, sent=sent)
    assert failure.cause == '403 No: it says "***"'


def test_a_redirect_is_shown_but_not_followed() -> None:
    failure = error("302 Found", "Location: http://portal.test/login?from=target\r\nContent-Type: text/html\r\n", b"<p>Moved</p>")
    assert failure.cause == '302 Found: it says "Location: http://portal.test/login?from=target"'
    assert "captive portal" in hint_of(failure)
    assert failure.exit_status is ExitStatus.REFUSED


def test_a_redirect_that_echoes_the_login_does_not_show_it() -> None:
    assert "dTpw" not in error("302 Found", "Location: http://portal.test/?h=Basic%20dTpw&i=dTpw\r\n", sent=SENT).cause


def test_a_long_redirect_is_cut() -> None:
    assert len(error("307 No", f"Location: http://portal.test/{'x' * 5000}\r\n").cause) < 250
