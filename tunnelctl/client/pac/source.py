"""The text of a PAC file, from a file, or from a server without a proxy, as in browsers."""

from __future__ import annotations

from time import monotonic
from urllib.parse import unquote, urlsplit

from tunnelctl.errors import SettingsError
from tunnelctl.files.text import read_file
from tunnelctl.proto.address import shown

# The limits of Chromium (net/docs/proxy.md, "Downloading PAC scripts").
MAX_OCTETS = 1 << 20
SECONDS = 30.0

MAX_REDIRECTS = 5

_CODECS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read(source: str) -> str:
    """Reads the text at a path or a URL (http, https, file). Blocks. Raises SettingsError if it cannot be read."""
    scheme, separator, _ = source.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        octets, charset = _fetch(source)
    else:
        path = _path(source)
        octets, charset = read_file(path, f"PAC file {shown(path)}", MAX_OCTETS).octets, None
    return _decode(octets, charset)


def _path(source: str) -> str:
    scheme, separator, _ = source.partition("://")
    if not separator:
        return source
    try:
        url = urlsplit(source)
    except ValueError:  # the text of the error quotes the URL
        raise _wrong(source, "its URL is not valid") from None
    if scheme.lower() != "file" or url.netloc not in ("", "localhost"):
        raise _wrong(source, "it must be a path, or an http, https or file URL", "pac-source")
    return unquote(url.path)


def _fetch(url: str) -> tuple[bytes, str | None]:
    """Fetches without a proxy. The certificates that the system trusts count, a company's own among them."""
    import ssl

    import httpx

    until, octets = monotonic() + SECONDS, b""
    client = httpx.Client(
        trust_env=False,
        verify=ssl.create_default_context(),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        timeout=SECONDS,
    )
    try:
        with client, client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise _wrong(url, f"its server responds with {answer.status_code} {answer.reason_phrase}".rstrip())
            for piece in answer.iter_bytes():
                octets = _bounded(octets + piece, url)
                if monotonic() > until:
                    raise _wrong(url, f"fetching it takes more than {SECONDS:g} s")
            return octets, answer.charset_encoding
    except (httpx.InvalidURL, UnicodeError) as error:  # their text quotes a piece of the URL, perhaps of its password
        raise _wrong(url, "its URL is not valid") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        from tunnelctl.client.pac.httpx_failure import cause_of

        raise _wrong(url, f"cannot be fetched: {cause_of(error)}") from error


def _wrong(source: str, cause: str, code: str = "pac-unusable") -> SettingsError:
    return SettingsError(f"PAC file {shown(source)}", cause, code)  # without a password in its URL


def _bounded(octets: bytes, source: str) -> bytes:
    if len(octets) > MAX_OCTETS:
        raise _wrong(source, f"larger than {MAX_OCTETS >> 10} KiB")
    return octets


def _decode(octets: bytes, charset: str | None) -> str:
    """Decodes by the server's charset, else by a byte order mark, else as ISO-8859-1, in which every octet is a character."""
    mark = next((codec for start, codec in _CODECS.items() if octets.startswith(start)), "latin-1")
    try:
        return octets.decode(charset or mark, "replace").removeprefix("\ufeff")
    except LookupError:
        return octets.decode(mark, "replace")
