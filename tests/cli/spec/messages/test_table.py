"""Every error in the source is declared, and every declared one is raised; below the command line no code has text for users."""

import ast
import re

from tests.peers.messages import places_of
from tests.peers.source import BELOW, TREES, literals, outside_docstrings
from tunnelctl import errors
from tunnelctl.cli.render.hints import DERIVED
from tunnelctl.cli.spec.messages.findings import FINDINGS
from tunnelctl.cli.spec.messages.model import When
from tunnelctl.cli.spec.messages.table import MESSAGES

CLASSES = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.TunnelctlError)}
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def made() -> list[tuple[str, str, ast.Call]]:
    """Returns each call that creates an error: its place, its class, and the call."""
    return [
        (f"{path}:{call.lineno}", call.func.id, call)
        for path, tree in TREES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CLASSES and len(call.args) > 1
    ]


def declared(kind: str) -> set[str]:
    """Returns the codes of a class: its own and those of its bases."""
    return {message.code for message in MESSAGES if issubclass(getattr(errors, kind), message.kind)}


def test_each_call_that_creates_an_error_gives_a_code():
    assert len(made()) > 180
    assert [where for where, _, call in made() if len(call.args) < 3] == []


def test_each_code_in_such_a_call_is_declared_for_its_class():
    wrong = [(where, kind, code) for where, kind, call in made() for code in literals(call.args[2]) if code not in declared(kind)]
    assert wrong == []


def test_each_declared_code_is_in_the_source():
    texts = {text for tree in TREES.values() for text in literals(tree)}
    assert [message.code for message in MESSAGES if message.code not in texts] == []


def test_codes_are_short_words_and_unique_in_their_class():
    keys = [(message.kind, message.code) for message in MESSAGES]
    assert len(keys) == len(set(keys)) > 250
    assert [message.code for message in MESSAGES if not CODE.fullmatch(message.code)] == []


def test_no_flag_is_named_below_the_command_line():
    """Not in a text. `-x`, `--pac` and `--via` are origins of a route, which are words for users."""
    flag = re.compile(r"(?<![\w-])--?[a-z][a-z-]*(?![\w-]*(\*|/))")
    texts = [
        (str(path), text)
        for path, tree in TREES.items()
        if path.parts[0] in BELOW
        for text in outside_docstrings(tree)
        if flag.search(text)
    ]
    ours = [(path, text) for path, text in texts if text not in ALLOWED]
    assert ours == []


# Options of a shell or another program, a part of a URL, and the origin of a route.
ALLOWED = {"-x", "--pac", "--via", "-c", "-sess", "-I", "-P", "--proxy", "(?i)(?:-o)?ProxyCommand[= ]", "-wnPa", "-u", "-i"}


def test_no_error_carries_a_hint_or_is_changed_below_the_command_line():
    changed = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in ("what", "cause", "hint", "code")
        if not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert changed == []
    assert not hasattr(errors.TunnelctlError("a", "b", "c"), "hint")


def test_each_placeholder_of_a_hint_is_a_fact_that_the_source_gives():
    texts = {text for tree in TREES.values() for text in literals(tree)}
    hints = [hint for message in MESSAGES for hint in message.hints] + [hint for hints in FINDINGS.values() for hint in hints]
    places = {
        name for hint in hints for name in ([hint.fact, *places_of(hint.text)] if isinstance(hint, When) else places_of(hint))
    }
    words = {word.arg for tree in TREES.values() for word in ast.walk(tree) if isinstance(word, ast.keyword)}
    assert places - set(DERIVED) - texts - words == set()
