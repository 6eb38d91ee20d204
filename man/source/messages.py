"""The messages that the manual lists: those of the table in cli.spec.messages, with a word in capitals for each place."""

from functools import cache
from string import Formatter
from typing import NamedTuple

from man.source.warnings import PASSED_OVER, WARNINGS
from tunnelctl.cli.spec.messages import table
from tunnelctl.cli.spec.messages.model import Hint, When

# Places that a word in capitals would not explain: what they mostly are.
WORDS = {
    "corkscrew": "tunnelctl connect -x http://PROXY:PROXY-PORT --proxy-auth-file FILE HOST PORT",
    "given_flag": "FLAG",
    "habit": "ADVICE",
    "help": "tunnelctl COMMAND --help",
    "host_port": "HOST PORT",
    "in_url": "",
    "install": "COMMAND",
    "interval": "N",
    "key_flag": "FLAG",
    "next": "the target",
    "other_family": "N",
    "problem": "CAUSE",
    "seen": "SHA256",
    "tls": "--proxy",  # the beginning of a flag for TLS
    "web_port": "N",
}


class Message(NamedTuple):
    """One message, `what: cause`, with the hints that may follow; a warning or a line of -v has no status."""

    status: int | None
    text: str
    hints: tuple[str, ...]


@cache
def all_messages() -> tuple[Message, ...]:
    """Returns all messages in alphabetical order. Several codes may have the same text: it occurs once for a status."""
    hints: dict[tuple[int | None, str], dict[str, None]] = {(None, f"warning: {shown(text)}"): {} for text in WARNINGS}
    for message in table.MESSAGES:
        for text in message.texts:
            found = hints.setdefault(_key(message.code, int(message.kind.exit_status), shown(text)), {})
            found.update((written, None) for hint in message.hints if (written := shown(_text(hint))))
    return tuple(Message(*key, tuple(sorted(hints[key]))) for key in sorted(hints, key=lambda key: key[1].lower()))


def shown(text: str) -> str:
    """Returns a pattern with words in capitals for its places."""
    return "".join(before + _word(name) for before, name, _, _ in Formatter().parse(text))


def _word(name: str | None) -> str:
    return "" if name is None else WORDS.get(name, name.upper().replace("_", "-"))


def _text(hint: Hint) -> str:
    return hint.text if isinstance(hint, When) else hint


def _key(code: str, status: int, text: str) -> tuple[int | None, str]:
    if code in PASSED_OVER:
        return None, f"ignored: ENTRY in VARIABLE: {text.partition(': ')[2]}"
    return status, text
