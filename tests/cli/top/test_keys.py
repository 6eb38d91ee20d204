"""Keys from bytes, in any pieces."""

import pytest

from tunnelctl.cli.top.keys import Keys

CASES = [
    (b"q", ["q"]),
    (b"\x1b[A\x1b[B", ["Up", "Down"]),
    (b"\x1bOA\x1bOH", ["Up", "Home"]),
    (b"\x1b[5~\x1b[6~", ["PgUp", "PgDn"]),
    (b"\x1b[1~\x1b[4~\x1b[7~\x1b[8~", ["Home", "End", "Home", "End"]),
    (b"\r\n", ["Enter", "Enter"]),
    (b"\x7f\x08\x15", ["Backspace", "Backspace", "Ctrl-U"]),
    ("é漢".encode(), ["é", "漢"]),
    (b"a\x01b", ["a", "b"]),  # Ctrl-A means nothing
    (b"\x1b[1;5Ax", ["x"]),  # Ctrl-Up: a sequence without a meaning leaves no letters behind
    (b"\x1b[<0;10;20Mx", ["x"]),  # a mouse
    (b"\x1bxq", ["q"]),  # Alt-x
    (b"\x1b\x1b[A", ["Esc", "Up"]),
    (b"\xff", ["\ufffd"]),
]


@pytest.mark.parametrize(("data", "keys"), CASES)
def test_whole_and_byte_by_byte(data, keys):
    assert Keys().feed(data) == keys
    slow = Keys()
    assert [key for byte in data for key in slow.feed(bytes([byte]))] == keys


def test_escape_alone_is_a_key_once_nothing_follows():
    keys = Keys()
    assert (keys.feed(b"\x1b"), keys.pending) == ([], True)
    assert (keys.flush(), keys.pending) == (["Esc"], False)
    assert keys.flush() == []


def test_a_sequence_that_does_not_go_on_is_dropped():
    keys = Keys()
    assert keys.feed(b"\x1b[1") == []
    assert (keys.flush(), keys.feed(b"q")) == ([], ["q"])
