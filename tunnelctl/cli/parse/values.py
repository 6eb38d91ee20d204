"""The conversion of typed text to a record of options: the only code that reads values, for Typer and the direct parser alike.

Each parser delivers pairs of a flag and the text after it. Errors are raised as UsageProblem, with a text ready to print.
"""

from __future__ import annotations

from tunnelctl import events
from tunnelctl.cli.spec.connect_flags import CONFLICTS
from tunnelctl.cli.spec.flag import CHOICE, COUNT, LEVEL, SECONDS, SWITCH, Flag
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_authority, parse_host, parse_port, unbracketed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import NamedTuple as AnyRecord
    from typing import TypeVar

    Record = TypeVar("Record", bound=AnyRecord)

Pair = tuple[Flag, str]  # the text is "" for kinds without a value

# Longer numbers are typing errors; beyond 308 digits float() would even return infinity.
MAX_DIGITS = 9


def seconds(text: str) -> float:
    """Reads plain decimal seconds such as 30 or 0.5. float() would also accept nan, inf, 1e3, 1_0 and blanks. Raises ValueError."""
    whole, dot, fraction = text.partition(".")
    if not is_digits(whole) or (dot and not is_digits(fraction)):
        raise ValueError("not a number of seconds such as 30 or 0.5")
    return float(text)


def count(text: str) -> int:
    """Reads a whole number. int() would also accept signs, underscores, blanks and digits of other scripts. Raises ValueError."""
    if not is_digits(text):
        raise ValueError("not a whole number such as 3")
    return int(text)


def is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


READERS: dict[str, Callable[[str], object]] = {SECONDS: seconds, COUNT: count}


def read_value(flag: Flag, text: str) -> object:
    """Reads the value of a flag that takes one."""
    name = flag.spellings[-1]
    if not text:
        raise UsageProblem(name, "the value is empty", "value-empty")
    if flag.kind == CHOICE and text not in flag.choices:
        raise UsageProblem(name, f"`{text}` is not one of {', '.join(flag.choices)}", "value-not-listed")
    reader = READERS.get(flag.kind)
    if reader is None:
        return text
    try:
        value = reader(text)
    except ValueError as error:
        raise UsageProblem(name, f"`{text}` is {error}", "value-malformed") from None
    if flag.kind == COUNT and isinstance(value, int) and value < flag.least:
        raise UsageProblem(name, f"`{text}` is less than {flag.least}", "value-too-small")
    return value


def build(record: type[Record], pairs: Iterable[Pair], **given: object) -> Record:
    """Builds a record of options, and the records nested in it, from the flags. given: fields that no flag sets"""
    return fill(record, {**read_fields(pairs), **given})


def fill(record: type[Record], fields: Mapping[str, object]) -> Record:
    """Builds a record from fields by name, wherever they are nested. Those not given have their defaults."""

    def value(name: str) -> object:
        if name in fields:
            return fields[name]
        default = record._field_defaults[name]
        return fill(type(default), fields) if hasattr(default, "_fields") else default

    return record._make(map(value, record._fields))


def read_fields(pairs: Iterable[Pair]) -> dict[str, object]:
    """Returns the fields of options records that the pairs set. If a flag may not be repeated, its last value counts."""
    fields: dict[str, object] = {}
    given: set[str] = set()
    for flag, text in pairs:
        field = flag.destination
        given.update(flag.spellings)
        if flag.kind == SWITCH:
            fields[field] = flag.constant
        elif flag.kind == LEVEL:
            fields[field] = level(fields.get(field)) + 1
        elif flag.repeat:
            fields[field] = (*several(fields.get(field)), read_value(flag, text))
        else:
            fields[field] = read_value(flag, text)
    for one, other in CONFLICTS:
        if one in given and other in given:
            raise UsageProblem("usage error", f"{one} and {other} cannot be used together", "contradiction")
    return fields


def level(value: object) -> int:
    return value if isinstance(value, int) else 0


def several(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def read_target(words: list[str], command: str = "connect") -> Address:
    """Reads HOST PORT, HOST:PORT or [V6]:PORT; a host name may be in brackets, and PORT be the name of a service."""
    if len(words) not in (1, 2):
        raise wrong_words(command, "HOST PORT", words)
    host, port = words[0], words[-1]
    if not port.rpartition(":")[2].isdigit() and (":" in port or len(words) == 2):
        from tunnelctl.client.services import numbered

        port = numbered(port)
    if len(words) == 1:
        return parse_authority(unbracketed(port))
    return Address(parse_host(unbracketed(host)), parse_port(port))


def wrong_words(command: str, usage: str, words: list[str]) -> UsageProblem:
    """Returns the error for missing or surplus words. usage: the words that the command takes"""
    missing = usage.split()[len(words) :]
    facts = {"command": command, "usage": usage, "bare": not words, "corkscrew": corkscrew_hint(words)}
    if missing:
        return UsageProblem(
            command, f"missing argument{'s' * (len(missing) > 1)} {' '.join(missing)}", "missing-argument", facts=facts
        )
    return UsageProblem(command, f"takes {usage}, got {len(words)} arguments", "word-count", facts=facts)


def corkscrew_hint(words: list[str]) -> str:
    """Returns our equivalent of `corkscrew PROXY PORT HOST PORT [AUTHFILE]`, which people paste with the name replaced, or ""."""
    if len(words) not in (4, 5) or not (is_digits(words[1]) and is_digits(words[3])) or words[2][:1] == "-":
        return ""
    proxy, proxy_port, host, port, *auth = words
    file = f" --proxy-auth-file {auth[0]}" if auth else ""
    return f"tunnelctl connect -x http://{proxy}:{proxy_port}{file} {host} {port}"


def connect_options(pairs: Iterable[Pair], words: list[str]) -> ConnectOptions:
    """Builds the options of `connect`. Reads the words first: a wrong target is the commonest mistake."""
    target = read_target(words)
    return build(ConnectOptions, pairs, target=target)


class Settings(NamedTuple):
    """A command line merged with the settings file."""

    pairs: list[Pair]  # those that the user typed, and those of the file that nothing overrules
    path: str = ""  # of the file; "" if there is none
    profile: str = ""
    places: Mapping[str, str] = {}  # for each key taken from the file: its table, line and file
    shared: bool = False  # the file has a password, and other users can read it

    def build(self, record: type[Record], **given: object) -> Record:
        """Builds the options, as `build` does."""
        if "proxy" in self.places:
            given["proxy_origin"] = self.places["proxy"]
        return build(record, self.pairs, **given)

    def announce(self, trace: Trace) -> None:
        """Reports the settings file, and warns if other users can read a password in it."""
        if self.path:
            from tunnelctl.rare_events import Settings as SettingsRead

            trace(SettingsRead(self.path, self.profile))
        if self.shared:
            trace(events.Warning(f"settings file {self.path}: it contains a password, and others can read it; run chmod 600"))
