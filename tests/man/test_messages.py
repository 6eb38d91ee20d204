"""The messages that the manual lists are those of the source: each text in it is found, and what the program says is listed."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from man.source.messages import CLASSES, PASSED_OVER, Message, Module, collected
from tests.peers.program import run
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tunnelctl.client.auth.password_command import FLAG
from tunnelctl.errors import SettingsError, UsageProblem

PACKAGE = Path(__file__).parents[2] / "tunnelctl"
ALL = "\n".join(line for message in collected() for line in (message.text, *message.hints))


def found(source: str) -> set[tuple[int | None, str, str]]:
    return set(Module(ast.parse(source)).messages())


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("raise UsageProblem('a b', 'c')", {"a b: c"}),
        ("raise UsageProblem(f'-x {url}', f'{len(words)} of {MAX_WORDS}')", {"-x URL: N of N"}),
        ("raise UsageProblem('a', 'b' if c else f'd {shown(text)}')", {"a: b", "a: d TEXT"}),
        ("raise UsageProblem('a', 'b' + (f' ({c})' if c else ''))", {"a: b[ (C)]"}),
        ("what = 'a' if b else 'c'\n raise UsageProblem(what, 'd')", {"a: d", "c: d"}),
        ("raise UsageProblem(HERE, error.cause)", {"here: CAUSE"}),
        ("raise helper('b') if a else helper()", {"a: b", "a: own"}),
        ("raise UsageProblem('a', TABLE.get(key))", {"a: one", "a: two"}),
        ("raise UsageProblem('a', reason(error))", {"a: REASON"}),
        ("raise ValueError('a', 'b')", set()),
        ("trace(events.Warning(f'{path}: b'))", {"warning: PATH: b"}),
    ],
)
def test_a_text_is_followed_to_where_it_is_written(body, texts):
    source = f"HERE = 'here'\nTABLE = {{1: 'one', 2: 'two'}}\ndef function(a):\n {body}\n"
    if "helper" in body:
        source += "def helper(cause='own'):\n return UsageProblem('a', cause)\n"
    assert {text for _, text, _ in found(source)} == texts


def test_statuses_and_hints():
    source = (
        "def f(self):\n kind = KINDS.get(x, UsageProblem)\n raise kind('a', 'b', hint='c' if d else '')\nKINDS = {1: SettingsError}"
    )
    statuses = {int(UsageProblem.status), int(SettingsError.status)}
    assert found(source) == {(status, "a: b", hint) for status in statuses for hint in ("c", "")}


def test_what_one_caller_gives_stays_together():
    """Through a helper, and through one that calls it."""
    source = """
def helper(cause, hint=""): return UsageProblem("a", cause, hint)
def outer(cause, more=""): raise helper(cause, more)
def f(): raise helper("b", "for b")
def g(): outer("d")
def h(): outer(cause="e", more="for e")
"""
    status = int(UsageProblem.status)
    expected = {("a: b", "for b"), ("a: d", ""), ("a: e", "for e")}
    assert found(source) == {(status, *pair) for pair in expected}


def test_a_pair_that_is_taken_apart_stays_together():
    """One of a table, of what a function returns, or worked out, which is a word in capitals."""
    source = """
TABLE = {1: ("b", "for b"), 2: ("c", NOTE)}
NOTE = "for {flags}"
def f(key):
    cause, hint = explained(key)
    raise UsageProblem("a", f"{cause} ({key})", hint.format(flags=key))
def explained(key):
    if key: return "d", ""
    return TABLE.get(key) or (work(key), "")
"""
    status = int(UsageProblem.status)
    expected = {("a: b (KEY)", "for b"), ("a: c (KEY)", "for --proxy"), ("a: d (KEY)", "")}
    assert found(source) == {(status, *pair) for pair in expected}


def test_a_text_from_another_module():
    source = "from tunnelctl.client.auth.password_command import FLAG\ndef f():\n raise UsageProblem(FLAG, 'b')"
    assert found(source) == {(int(UsageProblem.status), f"{FLAG}: b", "")}


def test_one_of_two_errors():
    source = "def f(self):\n kind = UsageProblem if x else SettingsError\n raise kind('a', 'b')"
    assert found(source) == {(int(kind.status), "a: b", "") for kind in (UsageProblem, SettingsError)}


def test_the_same_message_stands_there_once_with_all_its_hints():
    keys = [(message.status, message.text) for message in collected()]
    assert len(keys) == len(set(keys)) > 100
    assert all(isinstance(message, Message) and all(message.hints) for message in collected())


def literals(node: ast.AST) -> list[str]:
    """The pieces of text in an expression, but for those that something is only compared with or joined by."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    inner = [] if isinstance(node, ast.Compare | ast.Call) else ast.iter_child_nodes(node)
    return [piece for child in inner for piece in literals(child)]


def written() -> list[tuple[str, str]]:
    """What stands in the calls that make errors, wherever in the program."""
    return [
        (f"{path.relative_to(PACKAGE)}:{call.lineno}", piece)
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CLASSES
        for argument in call.args[path.name == PASSED_OVER : 3]  # of an entry that is passed over the cause alone is shown
        for piece in literals(argument)
    ]


def test_no_text_of_an_error_is_missing():
    """By another way than the collecting: every literal in such a call is somewhere among the messages."""
    assert len(written()) > 150
    assert [(where, piece) for where, piece in written() if piece not in ALL] == []


def tables() -> list[tuple[str, str]]:
    """The causes that stand in tables, each beside its hint."""
    return [
        (f"{path.relative_to(PACKAGE)}:{pair.lineno}", literal)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for pair in node.value.values
        if isinstance(pair, ast.Tuple) and len(pair.elts) == 2
        for literal in literals(pair.elts[0])
        if " " in literal
    ]


def test_no_cause_in_a_table_is_missing():
    assert len(tables()) > 25
    assert [(where, piece) for where, piece in tables() if piece not in ALL] == []


def listed(line: str) -> bool:
    """Whether a line of the program is one of the messages, with something for each word in capitals."""
    return any(pattern.fullmatch(line) for pattern in PATTERNS)


def pattern(text: str) -> "re.Pattern[str]":
    parts = (
        ".*" if part[0] == "[" else ".+" if part.isupper() else re.escape(part)
        for part in re.split(r"(\[[^\]]*[A-Z]{1,}[^\]]*\]|\b[A-Z][A-Z-]*\b)", text)
        if part
    )
    return re.compile("".join(parts))


TEXTS = [text for message in collected() for text in (message.text, *(f"hint: {hint}" for hint in message.hints))]
PATTERNS = [pattern(text) for text in TEXTS if re.search("[a-z]{3}", text)]  # one of gaps alone would fit anything


def fits(message: Message, line: str) -> bool:
    """Whether a line may be this message, or has its cause: the layer above may say better what failed."""
    cause = message.text.partition(": ")[2]
    same = re.search("[a-z]{3}", cause) and re.search(f": {pattern(cause).pattern}$", line)
    return bool(same or pattern(message.text).fullmatch(line))


def refuse(answer: bytes):
    def script(peer: Conversation) -> None:
        peer.accept_tunnel(answer)

    return script


def test_no_name_of_the_source_stands_for_what_a_message_names():
    texts = [text for message in collected() for text in (message.text, *message.hints)]
    assert [text for text in texts if re.search("MONOTONIC|FORMAT|UNUSED|Host is GET|--get GET|hint: N|^N (needs|;)", text)] == []
    assert "NTLM needs the package pyspnego: COMMAND" in texts
    assert "the proxy is busy, or could not reach the target; it says: try again WHEN" in texts


def test_an_entry_that_is_passed_over_ends_nothing():
    entry = "ignored: ENTRY in VARIABLE: it is a URL: an entry is a host, without a scheme"
    assert Message(None, entry, ()) in collected()
    assert [message for message in collected() if message.status and message.text.startswith(("entry ", "pattern "))] == []


def test_what_the_program_says_is_listed():
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
    assert [line for line in lines if not listed(line.removeprefix("tunnelctl: "))] == []
    assert not listed("something else: entirely")
    pairs = [(line.removeprefix("tunnelctl: "), hint) for line, hint in pairwise(lines) if hint.startswith("hint: ")]
    assert len(pairs) >= 5
    for line, said in pairs:
        hints = [hint for message in collected() if fits(message, line) for hint in message.hints]
        assert any(pattern(f"hint: {hint}").fullmatch(said) for hint in hints), f"{line}: not with {said}"
