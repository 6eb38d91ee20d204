"""The Basic scheme (RFC 7617), both ends: the value of Proxy-Authorization from credentials and back.

Always UTF-8: the server says so in its challenge, and a proxy that says nothing gets what every current client sends it.
"""

from tunnelctl.errors import AuthenticationFailed

_SCHEME = "basic"
# Schemes that clients use and we do not offer. No other word is shown: a client may have left the scheme out, and sent a secret.
_NOT_OFFERED = {"bearer": "Bearer", "negotiate": "Negotiate", "ntlm": "NTLM"}


def encode_basic(user: str, password: str) -> str:
    """The field value for a user and a password. Surrogate escapes go out as the octets they stand for.

    Raises AuthenticationFailed for what the scheme cannot carry (RFC 7617 section 2): a colon in the user, control characters.
    """
    import binascii  # a shared library on some builds: 0.3 ms that a proxy without credentials does not cost

    if ":" in user:
        raise AuthenticationFailed("proxy credentials", "the user name has a colon, which Basic cannot carry")
    if _has_control(user + password):
        raise AuthenticationFailed("proxy credentials", "a control character in the user name or password")
    try:
        octets = f"{user}:{password}".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise AuthenticationFailed("proxy credentials", "user name and password are not valid text") from None
    return "Basic " + binascii.b2a_base64(octets, newline=False).decode("ascii")


def decode_basic(value: str) -> tuple[str, str] | None:
    """User and password of a field value; None for another scheme, bad base64, no colon, control characters or no UTF-8."""
    import binascii

    scheme, _, token = value.partition(" ")
    if scheme.lower() != _SCHEME:
        return None
    token = token.strip(" ")
    if len(token) % 4:  # what a2b_base64 makes of padding beyond that differs between Python versions
        return None
    try:
        text = binascii.a2b_base64(token.encode("ascii"), strict_mode=True).decode("utf-8")
    except ValueError:  # binascii.Error and the Unicode errors are both ValueErrors
        return None
    user, colon, password = text.partition(":")
    return None if not colon or _has_control(text) else (user, password)


def wrong_with(value: str) -> str:
    """What is wrong with a field value that has no credentials to be checked; nothing of a secret is in it."""
    scheme = _NOT_OFFERED.get(value.partition(" ")[0].lower())
    return "the credentials are malformed" if scheme is None else f"this proxy does not offer {scheme} authentication"


def _has_control(text: str) -> bool:
    """Section 2: no CTL, which is the ASCII ones."""
    return any(c < " " or c == "\x7f" for c in text)
