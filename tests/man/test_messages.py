"""Tests that the manual lists the messages of the program: every warning, and each message once with its hints."""

import ast
import re
from itertools import pairwise

import pytest

from man.source.messages import Message, all_messages, shown
from man.source.warnings import PASSED_OVER, WARNINGS
from tests.peers.messages import fits, is_declared, pattern
from tests.peers.program import run
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tests.peers.source import TREES, literals
from tunnelctl.cli.spec.messages.table import MESSAGES


def test_every_warning_of_the_source_is_documented():
    """Each literal of a warning in the source is in the list."""
    calls = [
        call
        for tree in TREES.values()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("events.Warning", "Warning")
    ]
    listed = "\n".join(WARNINGS)
    pieces = {piece for call in calls for piece in literals(call.args[0])}
    assert len(calls) > 25
    assert [piece for piece in pieces if re.search("[a-z]{3}", piece) and piece.strip() not in listed] == []


def test_each_message_is_listed_once_with_all_its_hints():
    keys = [(message.status, message.text) for message in all_messages()]
    assert len(keys) == len(set(keys)) > 250
    assert all(isinstance(message, Message) and all(message.hints) for message in all_messages())


def test_placeholders_are_shown_as_words_in_capitals():
    assert shown("{file}, key {key_flag}: {tls}-cert") == "FILE, key FLAG: --proxy-cert"
    texts = [text for message in all_messages() for text in (message.text, *message.hints)]
    assert [
        text
        for text in texts
        if re.search("[{}]|[A-Z]_", text) and "{bash" not in text and "LISTEN_FDS" not in text and "XDG_" not in text
    ] == [text for text in texts if "TUNNELCTL_" in text or "PROXY_PASSWORD" in text or "NO_PROXY" in text]


def test_messages_about_ignored_entries_have_no_exit_status():
    entry = "ignored: ENTRY in VARIABLE: a URL: an entry is a host, without a scheme"
    assert Message(None, entry, ()) in all_messages()
    assert {message.code for message in MESSAGES} > set(PASSED_OVER)
    assert [message for message in all_messages() if message.status and message.text.startswith(("entry ENTRY", "pattern "))] == []


def refuse(answer: bytes):
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)

    return script


def test_messages_printed_by_the_program_are_declared():
    sock, port = refusing_port()
    answers = (b"HTTP/1.1 403 No\r\n\r\n", b"HTTP/1.1 407 Login\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"")
    lines = []
    with sock:
        for words in (
            ["host", "0"],
            ["-x", "ftp://p", "h", "1"],
            ["-x", f"127.0.0.1:{port}", "h", "1"],
            ["--fdpass", "h", "1"],
            ["-Z"],
        ):
            lines += run("connect", *words).stderr.decode().splitlines()
    for answer in answers:
        with ScriptedServer(refuse(answer)) as proxy:
            lines += run("connect", "-x", proxy.url, "host", "22").stderr.decode().splitlines()
    assert len(lines) > 12
    said = [line.removeprefix("tunnelctl: ") for line in lines]
    assert [line for line in said if not (is_declared(line) or line.startswith("hint: "))] == []
    assert not is_declared("something else: entirely")
    pairs = [(line, hint) for line, hint in pairwise(said) if hint.startswith("hint: ")]
    assert len(pairs) >= 5
    assert [pair for pair in pairs if not fits(*pair)] == []


@pytest.mark.parametrize(
    ("text", "line", "same"),
    [
        ("host {text}: empty", "host '': empty", True),
        ("host {text}: empty", "host '': empty room", False),
        ("are host and port{in_url} right?", "are host and port right?", True),
        ("are host and port{in_url} right?", "are host and port in its URL right?", True),
    ],
)
def test_a_pattern_matches_its_messages_only(text, line, same):
    assert bool(pattern(text).fullmatch(line)) == same
