"""A proxy's refusal as the error that the user sees: status, Proxy-Status, an excerpt of the body, and a next step."""

from collections.abc import Callable

from tunnelctl.client.auth.exchange import (
    MISSING,
    NoLogin,
)
from tunnelctl.client.upstream.redact import Redactor
from tunnelctl.errors import AuthenticationFailed, NameNotFound, Refused, TimedOut, TunnelctlError
from tunnelctl.proto.address import Address, is_ip
from tunnelctl.proto.headers import Fields, get, get_all, is_token
from tunnelctl.proto.http1.connect_client import Rejected
from tunnelctl.proto.http1.error_page import text_of

# The codes of our errors, by the RFC 9209 error type or else by the status of the answer.
_CODES: dict[int | str, str] = {
    "destination_ip_prohibited": "denied-address",
    "proxy_loop_detected": "proxy-loop",
    **dict.fromkeys((301, 302, 303, 307, 308, 511), "portal"),
    400: "bad-request",
    403: "denied",
    404: "web-server",
    405: "connect-not-allowed",
    429: "over-limit",
    501: "connect-unknown",
    502: "target-unreached",
    503: "busy",
    504: "gateway-timeout",
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
        return NameNotFound(what, cause, "name-unknown-to-proxy", detail=detail)
    if error == "dns_timeout":
        return TimedOut(what, cause, "name-service-of-proxy", detail=detail)
    if error == "connection_timeout":
        return TimedOut(what, cause, "target-late", detail=detail)
    if answer.status in (429, 503) and (when := _retry_after(answer)):
        facts = {"when": when, "limit": answer.status == 429}
        return Refused(what, cause, "retry-later", facts=facts, detail=detail)
    if answer.status == 503 and not error:  # from Squid, Apache and Envoy; for a limit, a proxy says so in Proxy-Status
        return Refused(what, cause, "busy-or-unreached", detail=detail)
    if answer.status == 403 and _is_ours(answer) and (error == "http_request_denied" or is_ip(target.host)):
        return Refused(what, cause, "denied-by-serve", facts={"target": target}, detail=detail)
    if answer.status == 403 and target.port == HTTPS and error not in _CODES:
        return Refused(what, cause, "denied-host", detail=detail)
    return Refused(what, cause, _CODES.get(error) or _CODES.get(answer.status, "refused"), facts={"target": target}, detail=detail)


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
    what = f"proxy {proxy} did not accept the login for a tunnel to {target}"
    facts = {"token": sent[:7].lower() == "bearer "}
    return AuthenticationFailed(what, cause, "not-accepted", facts=facts, detail={"code": code})


def _no_login(cause: str, proxy: Address, failure: NoLogin, target: Address, code: int) -> AuthenticationFailed:
    what = f"proxy {proxy} requires a login for a tunnel to {target}"
    facts = {"offered": failure.offered, "scheme": failure.scheme, "problem": failure.problem and failure.problem.cause}
    return AuthenticationFailed(what, cause, failure.reason, inner=failure.problem, facts=facts, detail={"code": code})


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
