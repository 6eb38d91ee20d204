"""netrc(5), as curl parses it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.proto.auth.netrc import Entry, MalformedNetrc, find_entry, read_entries

SECRET = "canary-7f3a"


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        (" \n\t\r\n", []),
        ("machine h login u password p", [Entry("h", "u", "p")]),
        ("MACHINE H LOGIN U PASSWORD P\n", [Entry("h", "U", "P")]),
        ("Machine\th\r\n\tLogin u\r\n\tPassWord p\r\n", [Entry("h", "u", "p")]),
        ("machine h password p login u account x", [Entry("h", "u", "p")]),
        ("machine h user u password p", [Entry("h", "u", "p")]),
        ("machine h login password password login", [Entry("h", "password", "login")]),
        ("machine h\nmachine i login u\ndefault password p", [Entry("h"), Entry("i", "u"), Entry("", "", "p")]),
        ('machine h login CORP\\user password a\\b#c"d', [Entry("h", "CORP\\user", 'a\\b#c"d')]),
        ('machine h login "two words" password "a\\"b\\\\c\\n\\t\\r\\x"', [Entry("h", "two words", 'a"b\\c\n\t\rx')]),
        ('machine h password "" login u', [Entry("h", "u", "")]),
        ("# machine g\nmachine h #x password q\n#\npassword p", [Entry("h", "", "p")]),
        ("machine h password #p", [Entry("h", "", "#p")]),
        ("macdef init\nmachine g\npassword q\n\nmachine h password p", [Entry("h", "", "p")]),
        ("machine h password p\nMACDEF init\ncd /", [Entry("h", "", "p")]),
        ("macdef init\r\ncd /\r\n\r\nmachine h\r\npassword p\r\n", [Entry("h", "", "p")]),
        ("macdef init\ncd /\n \t\nmachine h password p", [Entry("h", "", "p")]),
        ("machine h password a\u00a0b\u3000c\u0085d\x1ce", [Entry("h", "", "a\u00a0b\u3000c\u0085d\x1ce")]),
        ("machine h login", [Entry("h")]),
        ("machine", [Entry("")]),
    ],
)
def test_entries_are_parsed(text: str, entries: list[Entry]) -> None:
    assert read_entries(text) == entries


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SECRET, 1),
        (f"machine h\n{SECRET}\n", 2),
        (f"password {SECRET}", 1),
        (f"machine h login u\npassword two {SECRET}\n", 2),
        (f'machine h\npassword "{SECRET}\n\n', 2),
        (f'machine h password "{SECRET}\\', 1),
    ],
)
def test_the_error_shows_the_line_number_and_no_secret(text: str, line: int) -> None:
    with pytest.raises(MalformedNetrc) as caught:
        read_entries(text)
    assert caught.value.line == line
    assert SECRET not in f"{caught.value!r} {caught.value}"
    assert SECRET not in repr(Entry("h", SECRET, SECRET))


TWO = "machine p login a password 1 machine p login b password 2 machine q password 3 default login d password 4"


@pytest.mark.parametrize(
    ("host", "user", "found"),
    [
        ("p", None, ("a", "1")),
        ("P", "b", ("b", "2")),
        ("p", "c", ("", "")),
        ("q", "c", ("", "3")),
        ("other", None, ("", "")),
    ],
)
def test_the_first_matching_entry_is_used(host: str, user: str | None, found: tuple[str, str]) -> None:
    entry = find_entry(TWO, host, user)
    assert (entry.login, entry.password) == found


@pytest.mark.parametrize("incomplete", ["machine p", "machine p login b"])
def test_an_entry_with_a_password_is_preferred(incomplete: str) -> None:
    entry = find_entry(f"{incomplete}\nmachine p login b password 2", "p")
    assert (entry.login, entry.password) == ("b", "2")


@bounded
@given(st.text('machine login"\\#p\n ', max_size=40))
def test_fuzz_only_malformed_netrc_is_raised(text: str) -> None:
    try:
        read_entries(text)
    except MalformedNetrc as error:
        line = error.line
    else:
        line = 1
    assert 1 <= line <= text.count("\n") + 1
