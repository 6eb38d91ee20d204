"""The text of an error, with the name of the flag that it is about, and its hint. Both come from cli.spec.messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunnelctl.cli.spec.flags import FLAGS
from tunnelctl.cli.spec.messages.findings import FINDINGS
from tunnelctl.cli.spec.messages.model import Hint, Message, When
from tunnelctl.cli.spec.messages.table import MESSAGES
from tunnelctl.cli.spec.ssh_hosts import PORT_443
from tunnelctl.errors import TunnelctlError
from tunnelctl.events import Event, Explained, name_of

_DECLARED = {(message.kind, message.code): message for message in MESSAGES}
_SPELLINGS = {
    flag.destination: flag.spellings[0] if flag.name in ("local", "dynamic", "proxy") else f"--{flag.name}" for flag in FLAGS
}

Facts = Mapping[str, object]


def what_of(error: TunnelctlError) -> str:
    """Returns what failed; of an error about an option, that is its flag, and its value if that is shown."""
    return " ".join(filter(None, (_spelling(error.option), error.what)))


def line_of(error: TunnelctlError) -> str:
    """Returns the line for a failure: `what: cause`."""
    return f"{what_of(error)}: {error.cause}"


def hint_of(error: TunnelctlError) -> str:
    """Returns the hint, or "". The hint for an inner error is the more exact one."""
    inner = hint_of(error.inner) if error.inner is not None else ""
    message = message_of(error)
    return inner or (chosen(message.hints, error.facts) if message is not None else "")


def in_words(event: Event) -> tuple[str, dict[str, Any]]:
    """Returns the name of an event and its facts, with the words for what it reports."""
    if not isinstance(event, Explained):
        return name_of(type(event)), event.facts()
    name, facts, error = name_of(type(event.event)), event.event.facts(), event.error
    if error is None:
        return name, {**facts, "hint": chosen(FINDINGS[facts["name"]], event.about)}
    if name == "warning":
        return name, {"text": _warning(facts["text"], error)}
    words = {"what": what_of(error), "cause": error.cause, "hint": hint_of(error)}
    return name, {key: words.get(key, value) for key, value in facts.items()}


def _warning(text: str, error: TunnelctlError) -> str:
    hint = hint_of(error)
    if not text:
        return ": ".join(filter(None, (line_of(error), hint)))
    return f"{text}: {line_of(error)}" + (f" (hint: {hint})" if hint else "")


def message_of(error: TunnelctlError) -> Message | None:
    """Returns the declaration of an error: that of its class, or of the nearest base class that has the code."""
    return next((_DECLARED[key] for kind in type(error).__mro__ if (key := (kind, error.code)) in _DECLARED), None)


def chosen(hints: tuple[Hint, ...], facts: Facts) -> str:
    """Returns the first hint whose places the facts fill; "" if there is none."""
    for hint in hints:
        fact, text = hint if isinstance(hint, When) else ("", hint)
        if not fact or facts.get(fact):
            try:
                return text.format_map(_Places(facts))
            except KeyError:  # a place that cannot be filled
                pass
    return ""


class _Places(dict[str, str]):
    """The texts for the places of a hint. Raises KeyError for one that the facts do not fill."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __missing__(self, name: str) -> str:
        text = place(name, self._facts)
        if text is None:
            raise KeyError(name)
        return text


def place(name: str, facts: Facts) -> str | None:
    """Returns the text for a place, None if the facts have none."""
    if name in DERIVED:
        return DERIVED[name](facts)
    return str(facts[name]) if facts.get(name) else None


def _install(facts: Facts) -> str | None:
    from tunnelctl.packages import install_command

    package = facts.get("package")
    return install_command(str(package)) if package else None


def _help(facts: Facts) -> str:
    command = facts.get("command")
    return f"tunnelctl {command} --help" if command else "tunnelctl --help"


def _ssh_host(facts: Facts) -> str | None:
    """The host whose ssh was refused on port 22, if it has another one."""
    host, _, port = str(facts.get("target", "")).rpartition(":")
    return host if port == "22" and host in PORT_443 else None


def _ssh_name(facts: Facts) -> str | None:
    return PORT_443.get(_ssh_host(facts) or "")


def _spelling(option: object) -> str:
    return _SPELLINGS.get(str(option), f"--{str(option).replace('_', '-')}") if option else ""


# Places that are not facts themselves, but words for them.
DERIVED: dict[str, Callable[[Facts], str | None]] = {
    "help": _help,
    "install": _install,
    "ssh_host": _ssh_host,
    "ssh_name": _ssh_name,
    "given_flag": lambda facts: _spelling(facts.get("given")) or None,
    "key_flag": lambda facts: _spelling(facts.get("key")) or None,
    "tls": lambda facts: "--tls" if facts.get("target") else "--proxy",  # what the flags for this connection begin with
    "next": lambda facts: "the next proxy" if facts.get("inner") else "the target",
    "in_url": lambda facts: " in its URL" if facts.get("inner") else "",
}
