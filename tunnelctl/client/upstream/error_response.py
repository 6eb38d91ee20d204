"""A proxy's refusal as the error that the user sees: status, Proxy-Status, an excerpt of the body, and a next step."""

from collections.abc import Callable

from tunnelctl.client.auth.exchange import (
    FIRST_STEP,
    MISSING,
    MISSING_LATER,
    MISSING_USER,
    NO_CHALLENGE,
    NO_SCHEME,
    ONLY_BASIC,
    OTHER_SCHEME,
    TOKEN_WANTED,
    UNKNOWN,
    NoLogin,
)
from tunnelctl.client.upstream.redact import Redactor
from tunnelctl.errors import AuthenticationFailed, NameNotFound, Refused, TimedOut, TunnelctlError
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.headers import Fields, get, get_all, is_token
from tunnelctl.proto.http1.connect_client import Rejected
from tunnelctl.proto.http1.error_page import text_of

_LATE = "the target did not answer the proxy in time"

_PORTAL = "a captive portal wants you to log in with a browser; or it is a web server, and no proxy"

_HINTS: dict[int | str, str] = {
    "destination_ip_prohibited": "the proxy's rules keep that address from being reached",
    "proxy_loop_detected": "the target is the proxy itself, or its next proxy leads back to it",
    301: _PORTAL,
    302: _PORTAL,
    303: _PORTAL,
    307: _PORTAL,
    308: _PORTAL,
    511: _PORTAL,
    501: "the server does not know CONNECT; is it a proxy?",
    403: "the proxy's rules decide which hosts and ports may be reached; many allow only port 443",
    405: "this server takes no CONNECT; is it a proxy?",
    400: "the proxy did not understand the request; is it an HTTP proxy?",
    404: "this looks like a web server; is it a proxy?",
    502: "the proxy could not reach the target; are host and port right?",
    504: _LATE,
    503: "the proxy is at one of its limits; try again later",
    429: "the proxy has a limit on what one client or user may have; end another tunnel, or try again later",
}

# The same for a proxy that sends Retry-After. With 503 the cause need not be a limit: see below.
_LATER = {429: "the proxy has a limit on what one client or user may have", 503: "the proxy is busy, or could not reach the target"}

# Squid, Apache and Envoy send 503 if they cannot reach the target; a proxy that means a limit says so in Proxy-Status.
_BARE_503 = "the proxy could not reach the target, or is at one of its limits; are host and port right?"

NO_LOGIN = {
    MISSING: "give --proxy-user NAME and --proxy-password-file FILE, or a --proxy-auth-file",
    MISSING_USER: "TUNNELCTL_PROXY_PASSWORD is set: --proxy-user NAME says whose password it is",
    MISSING_LATER: "the flags are for the nearest proxy; give this one its login in its own URL or in ~/.netrc",
    NO_SCHEME: "it names no scheme to log in with: --auth basic sends the password all the same, unprotected without https://",
    NO_CHALLENGE: "it names no scheme to log in with, and {scheme} answers a challenge",
    OTHER_SCHEME: "it requires {offered} authentication, not {scheme}: leave --auth out",
    ONLY_BASIC: "it offers basic alone, not {scheme}: --auth basic sends the password as it is, unprotected without https://",
    FIRST_STEP: "it refused {offered} at the first step: perhaps it takes Kerberos tickets alone, or the connection is not kept",
    UNKNOWN: "it requires {offered} authentication, which tunnelctl does not have",
    TOKEN_WANTED: "it requires a token: give --auth bearer and --proxy-password-file FILE, without a user",
}

HTTPS = 443
_MOST_DIGITS = 7  # of seconds: four months
_LONGEST_DATE = 40  # characters; an HTTP-date has 29
_EXCERPT = 200  # characters of a refusal's body: a sentence or two


def refused(answer: Rejected, proxy: Address, fields: Fields, target: Address, failure: NoLogin | None = None) -> TunnelctlError:
    """Builds the error for the refusal by `proxy` of a tunnel to `target`, requested with `fields`.

    why: the reason why the challenges of a 407 could not be met
    """
    masked = Redactor(fields).masked
    answer = answer._replace(reason=masked(answer.reason))
    code = f"{answer.status} {answer.reason}".strip()
    entries = [(status.error, masked(status.details or "")) for status in answer.proxy_status if status.error]
    reasons = [": ".join(filter(None, entry)) for entry in entries]
    excerpt = "" if reasons else _excerpt(answer, masked)
    cause = code + (f" ({'; '.join(reasons)})" if reasons else "") + (f': it says "{excerpt}"' if excerpt else "")
    what = f"proxy {proxy} refused a tunnel to {target}"
    if answer.status in (401, 407):  # 401 is for servers, yet some proxies (tinyproxy) send it when the password is wrong
        sent = get(fields, "proxy-authorization")
        if sent is not None and failure is None:
            login = _not_accepted(cause, proxy, sent, target, answer.status)
        else:
            login = _no_login(cause, proxy, failure or NoLogin(MISSING), target, answer.status)
        login.sent, login.offered = sent is not None, _offered(answer)
        return login
    # The first entry is of the proxy nearest to the target (RFC 9209 section 2); others may only say that the next one refused.
    error = next((status.error for status in answer.proxy_status if status.error), "")
    detail: dict[str, int | str] = {"code": answer.status, **({"error": error} if error else {})}
    # RFC 9209 section 2.3: the proxy's error type for its own attempt is more exact than its status code.
    if error == "dns_error":
        return NameNotFound(what, cause, "the proxy knows no such name; is it spelled right?", **detail)
    if error == "dns_timeout":
        return TimedOut(what, cause, "the proxy's name service is slow or out of order", **detail)
    if error == "connection_timeout":
        return TimedOut(what, cause, _LATE, **detail)
    if answer.status in _LATER and (when := _retry_after(answer)):
        return Refused(what, cause, f"{_LATER[answer.status]}; it says: try again {when}", **detail)
    if answer.status == 503 and not error:
        return Refused(what, cause, _BARE_503, **detail)
    if answer.status == 403 and _is_ours(answer) and (error == "http_request_denied" or is_ip(target.host)):
        return Refused(what, cause, f"its operator can allow it: tunnelctl serve --allow '{target}'", **detail)
    if answer.status == 403 and target.port == HTTPS and error not in _HINTS:
        return Refused(what, cause, "the proxy's rules decide which hosts may be reached", **detail)
    return Refused(what, cause, _HINTS.get(error) or _HINTS.get(answer.status, ""), **detail)


def _is_ours(answer: Rejected) -> bool:
    """Whether the refusal is from `tunnelctl serve`, by its name in Proxy-Status."""
    return next((status.proxy for status in answer.proxy_status if status.error), "") == "tunnelctl"


def _retry_after(answer: Rejected) -> str:
    """When to try again, from Retry-After (RFC 9110 section 10.2.3), in words; "" if the field is missing or malformed."""
    value = get(answer.fields, "retry-after")
    if value is None:
        return ""
    if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        return f"in {int(value)} s"
    return f"after {date}" if (date := _http_date(value[:_LONGEST_DATE])) else ""


def _http_date(text: str) -> str:
    """Formats an HTTP-date in any of its three forms (RFC 9110 section 5.6.7), all of them UTC; "" if it is none."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        return f"{date.astimezone(UTC) if date.tzinfo else date:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return ""


def _not_accepted(cause: str, proxy: Address, sent: str, target: Address, code: int) -> AuthenticationFailed:
    wrong = "wrong token?" if sent[:7].lower() == "bearer " else "wrong user or password?"
    what = f"proxy {proxy} did not accept the login for a tunnel to {target}"
    return AuthenticationFailed(what, cause, f"it did not accept these credentials: {wrong}", code=code)


def _no_login(cause: str, proxy: Address, failure: NoLogin, target: Address, code: int) -> AuthenticationFailed:
    what = f"proxy {proxy} requires a login for a tunnel to {target}"
    hint = failure.problem or NO_LOGIN.get(failure.reason, "").format(offered=failure.offered, scheme=failure.scheme)
    return AuthenticationFailed(what, cause, hint, code=code)


def _offered(answer: Rejected) -> tuple[str, ...]:
    """The scheme that each challenge begins with, as the proxy spells it."""
    values = (*get_all(answer.fields, "proxy-authenticate"), *get_all(answer.fields, "www-authenticate"))
    return tuple(dict.fromkeys(scheme for value in values if is_token(scheme := value.partition(" ")[0].rstrip(","))))


def _excerpt(answer: Rejected, masked: Callable[[str], str]) -> str:
    """The text of the refusal's page, cut to a line; for a redirect, its location.

    Hides secrets: some proxies show the request on the page, credentials included (Squid did, CVE-2025-62168).
    """
    if answer.status // 100 == 3 and (location := get(answer.fields, "location")):
        return _cut(masked(f"Location: {location}"))
    return _cut(masked(text_of(answer.fields, answer.body)))


def _cut(text: str) -> str:
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
