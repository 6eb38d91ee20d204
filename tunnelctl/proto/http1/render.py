"""The responses of the server in the octets of HTTP/1.1; tunnelctl.proto.refusal has their meaning."""

from tunnelctl.proto import headers as header
from tunnelctl.proto.refusal import REASONS, Refusal, response

# No Content-Length or Transfer-Encoding: they would be wrong here (RFC 9110 section 9.3.6), and no other field is needed.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # the request is being dealt with; a client skips it, like any 1xx


def render_refusal(refusal: Refusal, proxy: str = "tunnelctl", to_head: bool = False) -> bytes:
    """Returns the complete response.

    proxy: a token that names this deployment in Proxy-Status
    to_head: whether the method was HEAD: no content then, but the fields of a response with one (RFC 9110 sections 8.6 and 9.3.2)
    """
    fields, body = response(refusal, proxy)
    head = f"HTTP/1.1 {refusal.status} {REASONS[refusal.status]}\r\n".encode("ascii")
    return head + header.render((("Connection", "close"), *fields)) + b"\r\n" + (b"" if to_head else body)
