"""Values that are nearly URLs: what each program adds to them."""

from __future__ import annotations

from urllib.parse import quote

from tunnelctl.client.discovery.readers.proxy_command import with_port

# The port that libcurl, and so git, takes for a proxy whose URL has none (CURLOPT_PROXYPORT). Others take that of the scheme.
_CURL_PORT, _CURL_HTTPS_PORT = 1080, 443


def with_curl_port(text: str) -> str:
    """Adds the port that curl takes, if there is none."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    rest = rest.removesuffix("/")
    userinfo, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{userinfo}{at}{with_port(host, _CURL_HTTPS_PORT if scheme.lower() == 'https' else _CURL_PORT)}"


def with_login(text: str, user: str, password: str | None) -> str:
    """Adds a login to a URL that has none."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, separator, rest = "http", "://", text
    if "@" in rest or not user:
        return text
    secret = "" if password is None else f":{quote(password, safe='')}"
    return f"{scheme}{separator}{quote(user, safe='')}{secret}@{rest}"


def from_parts(scheme: str, host: str, port: str) -> str:
    """Returns the URL for a host and a port that are settings of their own. port: "" or "0" if it is not set"""
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{name}" + (f":{port}" if port not in ("", "0") else "")
