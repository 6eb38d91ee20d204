"""Rewrites failures of httpx, whose messages quote h11's buffers, error numbers and OpenSSL source lines."""

import ssl
from collections.abc import Iterator

import h11
import httpx

from tunnelctl.errors import reason
from tunnelctl.proto.http1.messages import words_for
from tunnelctl.stream.tls.failure import cause_of as cause_of_tls


def cause_of(error: Exception) -> str:
    """Returns the reason why a request got no response. The text quotes nothing of the URL, which may have a password."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.TooManyRedirects):
        return "too many redirects"
    if isinstance(error, httpx.UnsupportedProtocol):
        return "the URL, or one that it leads to, is none of HTTP"
    for each in _causes(error):
        if isinstance(each, ssl.SSLError):
            return cause_of_tls(each)
        if isinstance(each, h11.RemoteProtocolError):
            return words_for(each)
        if isinstance(each, OSError):
            return reason(each)
    if isinstance(error, httpx.RemoteProtocolError):  # from httpcore, which noticed before h11 could
        return "closed without a response"
    return "the content is malformed" if isinstance(error, httpx.DecodingError) else "the request cannot be sent"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
