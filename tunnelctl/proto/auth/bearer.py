"""The Bearer scheme (RFC 6750): the value of Proxy-Authorization from a token."""

from tunnelctl.errors import AuthenticationFailed

_TOKEN68 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"  # RFC 9110 section 11.2


def encode_bearer(token: str) -> str:
    """Returns the field value. Raises AuthenticationFailed, whose text does not repeat the token, for one that is not valid."""
    if not token.rstrip("=") or token.rstrip("=").strip(_TOKEN68):
        raise AuthenticationFailed("bearer token", "it contains a character that a token cannot have", "token-character")
    return f"Bearer {token}"
