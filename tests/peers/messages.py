"""The lines that the program prints for an error, held against the table of messages."""

import json
import re
from functools import cache
from string import Formatter

from tunnelctl.cli.render.hints import DERIVED, hint_of
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.messages.model import Hint, When
from tunnelctl.cli.spec.messages.table import MESSAGES
from tunnelctl.errors import AuthenticationFailed

HINT = "hint: "
_PAIR = re.compile(r"^tunnelctl: (?:client \S+: )?(?!warning: |\[)(.*)\nhint: (.*)$", re.M)
# Places at the beginning of a text that has little else.
_PLACES = {
    "command": f"(?:{'|'.join(command.name for command in COMMANDS)})",
    "flag": "--?[A-Za-z][A-Za-z0-9-]*",
    "what": "(?:TLS with|proxy|tunnel) .+",
}


def pattern(text: str) -> "re.Pattern[str]":
    """The pattern of a text, with something for each place; a derived one may be empty."""
    parts = [re.escape(before) + ("" if name is None else _place(name)) for before, name, _, _ in Formatter().parse(text)]
    return re.compile("".join(parts), re.DOTALL)


def places_of(text: str) -> list[str]:
    """The names of the places in a pattern."""
    return [name for _, name, _, _ in Formatter().parse(text) if name]


def _place(name: str) -> str:
    return _PLACES.get(name, ".*" if name in DERIVED else ".+")


@cache
def _lines() -> "list[tuple[re.Pattern[str], tuple[re.Pattern[str], ...]]]":
    return [
        (pattern(text), tuple(pattern(_text(hint)) for hint in message.hints)) for message in MESSAGES for text in message.texts
    ]


def _text(hint: Hint) -> str:
    return hint.text if isinstance(hint, When) else hint


def is_declared(line: str) -> bool:
    """Whether a line, `what: cause`, is that of a declared message."""
    return any(text.fullmatch(line) for text, _ in _lines())


def fits(line: str, hint: str) -> bool:
    """Whether a hint is one of a message that the line may be, or of one inside that: its hint counts, if it has one."""
    given = hint.removeprefix(HINT)
    if any(text.fullmatch(line) and any(known.fullmatch(given) for known in hints) for text, hints in _lines()):
        return True
    return is_declared(line) and any(known.fullmatch(given) for _, hints in _lines() for known in hints)


def hint_for_login(code: str, **facts: str) -> str:
    """The hint for a proxy that requires a login and gets none, for the reason with this code."""
    return hint_of(AuthenticationFailed("what", "cause", code, facts=facts))


def check_messages(output: bytes) -> None:
    """Fail unless each error with a hint in an output, as text or as an object of --json, is declared, and its hint with it."""
    text = output.decode("utf-8", "replace")
    for line, hint in _PAIR.findall(text):
        assert fits(line, hint), f"not in the table of messages: {line} (hint: {hint})"
    for line in text.splitlines() if '{"event": "error"' in text else ():
        if line.startswith('{"event": "error"'):
            record = json.loads(line)
            said, hint = f"{record['what']}: {record['cause']}", record["hint"]
            assert fits(said, hint) if hint else is_declared(said), f"not in the table of messages: {record}"
