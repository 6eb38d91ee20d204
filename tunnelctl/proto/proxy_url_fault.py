"""Explains why a text is not a proxy URL, in terms of where it was written: for a shell, in an .env or unit file, by hand.

`proxy_url` imports it on failure only. No cause written here repeats any of the URL, which may hold a password.
"""

from __future__ import annotations

from tunnelctl.errors import AddressError
from tunnelctl.proto.address import shown

_SCHEMES = ("https", "http", "socks5h", "socks5", "socks4a", "socks4", "socks")  # of two that begin alike, the longer comes first
_KINDS = ("http", "https", "ftp", "socks")  # names that Windows writes before the = of an entry
_QUOTES = ('"', "'", "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}")
_PAC_ENDINGS = (".pac", ".dat")
_PAC_NAMES = ("pac", "wpad")


def explained(text: str, error: AddressError) -> AddressError:
    """Returns the error for `text`, which could not be parsed. error: the one that the parser raised"""
    cause, code = _fault(text) or (error.cause, "url-part")
    return AddressError(f"proxy URL {shown(text)}", cause, code, inner=error if code == "url-part" else None)


def _fault(text: str) -> tuple[str, str] | None:
    """Returns cause and code of a common mistake, or None if the parser's own words are best."""
    rest = text.rpartition("@")[2]  # without a possible password
    before_equals = text.partition("=")[0].lower()
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        return "it is enclosed in quotation marks", "quoted"
    if before_equals in _KINDS:
        return "a list of proxies by scheme, as Windows uses it", "windows-list"
    if before_equals.endswith("_proxy"):
        return "it begins with the name of a variable", "variable-name"
    if _names_pac_file(rest):
        return "it names a PAC file, not a proxy", "pac-file"
    if _has_variable(rest):
        return "it contains a variable that was not expanded", "variable"
    if " #" in rest or "\t#" in rest:
        return "it is followed by a comment", "comment"
    if ";" in rest:
        return "a semicolon cannot separate proxies", "semicolon"
    if text.partition("://")[2].lower().startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        return "it has two schemes", "two-schemes"
    if _is_misspelled(text.lower()):
        return "its scheme does not end in ://", "scheme-separator"
    return None


def _names_pac_file(rest: str) -> bool:
    path = rest.partition("://")[2] or rest
    _, slash, path = path.partition("/")
    name = path.partition("?")[0].partition("#")[0].rpartition("/")[2].lower()
    return bool(slash) and (name.endswith(_PAC_ENDINGS) or name in _PAC_NAMES)


def _has_variable(rest: str) -> bool:
    """Whether there is a $NAME, ${NAME} or %NAME%. In brackets, a % begins a scope id."""
    _, dollar, name = rest.partition("$")
    return bool(dollar and (name[:1] == "{" or name[:1].isalpha())) or ("[" not in rest and rest.count("%") > 1)


def _is_misspelled(text: str) -> bool:
    """True if something else is in the place of `://`: `http:/h`, `http//h`, `http:///h`, `http:\\\\h`, `http:h:1`."""
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), "")
    rest = text.removeprefix(scheme)
    host = rest.lstrip(":/\\")
    return bool(scheme) and rest[: len(rest) - len(host)] not in ("", "://") and host[:1] != "" and not host[0].isdigit()
