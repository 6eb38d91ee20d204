"""The page that comes with a refusal, as text: its codings undone, its characters decoded, its markup removed.

All of it is the peer's, and it only feeds a message. So the code is liberal within bounds, and omits what cannot become text.
"""

import codecs
import re
from html import unescape

from tunnelctl.proto.headers import BLANKS, Fields, get, get_all

MAX_DECODED = 32 << 10  # octets of a page whose coding is undone: gzip expands one octet to a thousand at most
MAX_CODINGS = 2  # more than one is rare

# Encodings that a browser knows (https://encoding.spec.whatwg.org). Python has others, and imports modules by their names.
_CHARSET = re.compile(
    r"utf-?8|utf-16(le|be)?|us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]|shift_jis|euc-(jp|kr)|iso-2022-(jp|kr)|gb2312|gbk"
    r"|gb18030|big5",
    re.IGNORECASE,
)
# The actual meaning of some of them there, and on the web. (Python's utf-16 requires a byte order mark.)
_ON_THE_WEB = {"us-ascii": "windows-1252", "iso-8859-1": "windows-1252", "utf-16": "utf-16-le"}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(r"""(?i)charset\s*=\s*["']?([^\s;"'>]+)""")  # in Content-Type, or in a page's <meta>
_META = 1024  # octets within which a page declares its encoding

_MARKUP = re.compile(r"(?is)<!--.*?(-->|\Z)|<(head|style|script)\b.*?(</\2>|\Z)|<[^>]*(>|\Z)")
_LOOKS_LIKE_HTML = re.compile(r"(?i)\s*<(!doctype\s+html|html)\b")
_NO_TEXT = ("image/", "audio/", "video/", "font/")


def text_of(fields: Fields, body: bytes) -> str:
    """Returns the text that a person would read on the page, on one line; "" if nothing is left. body: its first octets"""
    kind = (get(fields, "content-type") or "").lower()
    content = None if kind.startswith(_NO_TEXT) else _undo_codings(fields, body)
    if content is None:
        return ""
    text = _decode(content, kind)
    if "html" in kind or (not kind and _LOOKS_LIKE_HTML.match(text)):
        text = unescape(_MARKUP.sub(" ", text))
    return " ".join(text.split())


def _undo_codings(fields: Fields, body: bytes) -> bytes | None:
    """Undoes the codings (RFC 9110 section 8.4, RFC 9112 section 7); None if one is unknown or broken, or if they are too many."""
    listed = ",".join((*get_all(fields, "content-encoding"), *get_all(fields, "transfer-encoding"))).lower().split(",")
    codings = [coding for coding in (each.strip(BLANKS) for each in listed) if coding not in ("", "identity", "chunked")]
    if len(codings) > MAX_CODINGS:
        return None
    for coding in reversed(codings):
        undone = _inflate(body, raw=coding == "deflate") if coding in ("gzip", "x-gzip", "deflate") else None
        if undone is None:
            return None
        body = undone
    return body


def _inflate(data: bytes, raw: bool) -> bytes | None:
    """Inflates the beginning of gzip or zlib data. raw: or of deflate without zlib's header, which some servers send as deflate"""
    import zlib

    for window in (32 + zlib.MAX_WBITS, *((-zlib.MAX_WBITS,) if raw else ())):
        try:
            return zlib.decompressobj(window).decompress(data, MAX_DECODED)
        except zlib.error:
            continue
    return None


def _decode(content: bytes, kind: str) -> str:
    """Decodes the characters. Octets that are invalid in the encoding show as \\xNN; a character cut off at the end is omitted."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "") or _declared(content, kind)
    return codecs.getincrementaldecoder(encoding)("backslashreplace").decode(content)


def _declared(content: bytes, kind: str) -> str:
    """Returns the encoding that Content-Type names, or the page itself; UTF-8 if none is known."""
    told = _DECLARED.search(kind)
    found = told or _DECLARED.search(content[:_META].decode("latin-1"))
    name = found[1].lower() if found else ""
    if not _CHARSET.fullmatch(name) or (told is None and name.startswith("utf-16")):  # a page readable as ASCII is not UTF-16
        return "utf-8"
    try:
        return codecs.lookup(_ON_THE_WEB.get(name, name)).name
    except LookupError:  # ISO 8859 has no part 12
        return "utf-8"
