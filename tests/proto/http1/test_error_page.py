"""The text of a refusal's page, whatever its content coding, character encoding and markup."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.http1.error_page import MAX_DECODED, text_of

TEXT = "Zugriff verweigert: Gerät 7"


def shown(body: bytes, kind: str = "text/plain; charset=utf-8", *coding: str, transfer: str = "") -> str:
    fields = [("Content-Type", kind)] if kind else []
    fields += [("Content-Encoding", value) for value in coding]
    return text_of((*fields, *([("Transfer-Encoding", transfer)] if transfer else [])), body)


def deflated(data: bytes) -> bytes:
    """Raw deflate, without the zlib header."""
    return zlib.compress(data)[2:-4]


# --- content codings


CODED = [
    (gzip.compress, "gzip"),
    (gzip.compress, "X-GZIP"),
    (zlib.compress, "deflate"),
    (deflated, "deflate"),
    (lambda data: gzip.compress(zlib.compress(data)), "deflate, gzip"),
    (lambda data: data, "identity"),
    (lambda data: gzip.compress(data), "identity, , gzip"),
]


@pytest.mark.parametrize(("coded", "coding"), CODED)
def test_content_codings_are_decoded(coded, coding):
    assert shown(coded(TEXT.encode()), "text/plain", coding) == TEXT


def test_codings_in_several_fields_and_transfer_codings_are_decoded():
    twice = gzip.compress(zlib.compress(TEXT.encode()))
    assert shown(twice, "", "deflate", "gzip") == TEXT
    assert shown(twice, "", "deflate", transfer="gzip, chunked") == TEXT
    assert shown(TEXT.encode(), "", transfer="chunked") == TEXT


@pytest.mark.parametrize(("coded", "coding"), CODED[:4])
def test_the_beginning_of_a_truncated_page_is_shown(coded, coding):
    data = coded(b"".join(b"line %d of the page\n" % number for number in range(1000)))
    assert shown(data[:800], "text/plain", coding).startswith("line 0 of the page line 1 of the page")


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "br, gzip", "x", "gzip, gzip, gzip"])
def test_a_page_with_an_unsupported_coding_is_omitted(coding):
    assert shown(gzip.compress(TEXT.encode()), "text/plain", coding) == ""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate, gzip"])
@pytest.mark.parametrize("data", [b"plain text", b"\x1f\x8b\x08\xff\xff", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff"])
def test_a_page_with_corrupt_coding_is_omitted(coding, data):
    assert shown(data, "text/plain", coding) == ""


def test_an_empty_coded_page_has_no_text():
    assert shown(b"", "text/html", "gzip") == ""


@pytest.mark.parametrize("codings", [1, 2])
def test_a_decompression_bomb_is_bounded(codings):
    """4 KiB that would decompress to 4 MiB, or 4 GiB."""
    bomb = b"x" * (4 << 20)
    for _ in range(codings):
        bomb = gzip.compress(bomb)
    assert len(shown(bomb[:4096], "text/plain", ", ".join(["gzip"] * codings))) <= MAX_DECODED


# --- character encodings


ENCODINGS = (
    "utf-8",
    "utf-16",
    "utf-16le",
    "iso-8859-8",
    "windows-1252",
    "koi8-u",
    "shift_jis",
    "euc-jp",
    "iso-2022-kr",
    "gbk",
    "big5",
)


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8", "utf8"),
        ("latin-1", "iso-8859-1"),
        ("cp1252", "windows-1252"),
        ("latin-1", "us-ascii"),
        ("iso-8859-15", "ISO-8859-15"),
        ("utf-16-le", "utf-16le"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-16-le", "utf-16"),
        ("gb18030", "gb18030"),
    ],
)
def test_the_charset_of_content_type_is_used(encoding, charset):
    for value in (f"text/plain; charset={charset}", f'text/plain;CHARSET="{charset}";x=y'):
        assert shown(TEXT.encode(encoding), value) == TEXT


@pytest.mark.parametrize(
    ("text", "encoding"), [("доступ закрыт", "koi8-r"), ("禁止", "gbk"), ("禁止", "shift_jis"), ("금지", "euc-kr")]
)
def test_other_scripts_are_decoded(text, encoding):
    assert shown(text.encode(encoding), f"text/html; charset={encoding}") == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_overrides_the_field(encoding):
    assert shown(TEXT.encode(encoding), "text/plain; charset=windows-1252") == TEXT


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_the_charset_of_a_meta_element_is_used(quote):
    page = f"<head><meta charset={quote}windows-1251{quote}></head>доступ закрыт".encode("cp1251")
    assert shown(page, "text/html") == "доступ закрыт"
    page = b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">' + "закрыт".encode("koi8-r")
    assert shown(page, "text/html") == "закрыт"


def test_a_meta_element_in_ascii_cannot_declare_utf_16():
    assert shown("<meta charset=utf-16>Gerät".encode(), "text/html") == "Gerät"


@pytest.mark.parametrize("charset", [*ENCODINGS, ""])
@bounded
@given(body=st.binary(max_size=60))
def test_fuzz_no_page_raises(charset, body):
    shown(body, f"text/html; charset={charset}")
    shown(f"<meta charset={charset}>".encode() + body, "text/html")


@pytest.mark.parametrize(
    "charset", ["hex", "zlib", "idna", "punycode", "unicode_escape", "undefined", "../x", "x" * 500, "iso-8859-12"]
)
def test_other_python_codecs_are_not_used(charset):
    assert shown(TEXT.encode(), f"text/plain; charset={charset}") == TEXT


def test_a_truncated_character_is_omitted():
    assert shown("Gerät".encode()[:4]) == "Ger"
    assert shown(b"\xe4\xff Ger") == "\\xe4\\xff Ger"


# --- markup


PAGE = b"""<!DOCTYPE html><HTML><HEAD><TITLE>ERROR</TITLE><style>b{}</style></HEAD>
    <BODY><script>alert("x < y")</script><!-- if a > b then <b>this</b> --><H1>Access&nbsp;denied</H1><p>by rule <b>7</b></BODY>"""


@pytest.mark.parametrize("kind", ["text/html", "application/xhtml+xml", "Text/HTML;charset=utf-8", ""])
def test_html_is_shown_without_markup(kind):
    assert shown(PAGE, kind) == "Access denied by rule 7"


@pytest.mark.parametrize("kind", ["", "text/plain"])
def test_plain_text_keeps_its_angle_brackets(kind):
    assert shown(b"rule <7> denies it", kind) == "rule <7> denies it"


@pytest.mark.parametrize(
    "body", [b"<html><body>\n</body></html>", b"<script>x</script>", b"<head>x", b"<!-- x", b" \n\t", b"<p>&nbsp;</p>"]
)
def test_a_page_without_text_is_omitted(body):
    assert shown(body, "text/html") == ""


@pytest.mark.parametrize("kind", ["image/png", "Video/mp4", "font/woff2", "audio/ogg"])
def test_media_types_other_than_text_are_omitted(kind):
    assert shown(b"\x89PNG\r\n", kind) == ""


@pytest.mark.parametrize("piece", [b"<", b"<!--", b"<head", b"<script>", b"<head><style>", b"</head", b"&", b"<meta charset="])
def test_a_page_of_open_tags_takes_little_time(piece):
    shown(piece * 8192, "text/html")


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "gzip, deflate", ""]), st.text(max_size=40))
def test_any_page_gives_one_line_of_text(body, coding, kind):
    text = shown(body, kind, coding)
    assert text == " ".join(text.split())
