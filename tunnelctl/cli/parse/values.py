"""From what was typed to an options record: the one place that reads values, for Typer and for the direct parser alike.

Each parser delivers pairs of a flag and the text after it. Everything here raises UsageProblem with a text that is ready to print.
"""

from collections.abc import Callable, Iterable, Mapping

from tunnelctl.cli.spec.flags import CHOICE, CONFLICTS, COUNT, LEVEL, SECONDS, SWITCH, Flag
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_authority, parse_host, parse_port, unbracketed
from tunnelctl.trace import Trace

Pair = tuple[Flag, str]  # the text is "" for kinds without a value

# Longer numbers are typing errors; past 308 digits float() would even say infinity.
MAX_DIGITS = 9


def seconds(text: str) -> float:
    """Plain decimal seconds such as 30 or 0.5. float() also takes nan, inf, 1e3, 1_0 and blanks: no duration is any of those."""
    whole, dot, fraction = text.partition(".")
    if not is_digits(whole) or (dot and not is_digits(fraction)):
        raise ValueError("not a number of seconds such as 30 or 0.5")
    return float(text)


def count(text: str) -> int:
    """A plain whole number; int() also takes signs, underscores, blanks and digits of other scripts."""
    if not is_digits(text):
        raise ValueError("not a whole number such as 3")
    return int(text)


def is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


READERS: dict[str, Callable[[str], object]] = {SECONDS: seconds, COUNT: count}


def read_value(flag: Flag, text: str) -> object:
    """The value of one flag that takes one."""
    name = flag.spellings[-1]
    if not text:
        raise UsageProblem(name, "the value is empty")
    if flag.kind == CHOICE and text not in flag.choices:
        raise UsageProblem(name, f"`{text}` is none of {', '.join(flag.choices)}")
    reader = READERS.get(flag.kind)
    if reader is None:
        return text
    try:
        value = reader(text)
    except ValueError as error:
        raise UsageProblem(name, f"`{text}` is {error}") from None
    if flag.kind == COUNT and isinstance(value, int) and value < flag.least:
        raise UsageProblem(name, f"`{text}` is less than {flag.least}")
    return value


def read_fields(pairs: Iterable[Pair]) -> dict[str, object]:
    """Fields of an options record, only those that were given. Of a flag that does not repeat, the last one counts."""
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
            raise UsageProblem("wrong use", f"{one} and {other} contradict each other")
    return fields


def level(value: object) -> int:
    return value if isinstance(value, int) else 0


def several(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def read_target(words: list[str], command: str = "connect") -> Address:
    """HOST PORT, HOST:PORT or [V6]:PORT; a name may stand in brackets as well."""
    if len(words) == 1:
        return parse_authority(unbracketed(words[0]))
    if len(words) == 2:
        return Address(parse_host(unbracketed(words[0])), parse_port(words[1]))
    raise wrong_words(command, "HOST PORT", words, corkscrew_hint(words) if words else f"tunnelctl {command} HOST PORT")


def wrong_words(command: str, usage: str, words: list[str], hint: str) -> UsageProblem:
    """The error where words are missing, or there are too many. usage: what the command takes, a word for each"""
    missing = usage.split()[len(words) :]
    if missing:
        return UsageProblem(command, f"missing argument{'s' * (len(missing) > 1)} {' '.join(missing)}", hint)
    return UsageProblem(command, f"takes {usage}, got {len(words)} words", hint)


def corkscrew_hint(words: list[str]) -> str:
    """People paste `corkscrew PROXY PORT HOST PORT [AUTHFILE]` with the name replaced; show them ours. Empty for anything else."""
    if len(words) not in (4, 5) or not (is_digits(words[1]) and is_digits(words[3])) or words[2][:1] == "-":
        return ""
    proxy, proxy_port, host, port, *auth = words
    file = f" --proxy-auth-file {auth[0]}" if auth else ""
    return f"in place of corkscrew: tunnelctl connect -x http://{proxy}:{proxy_port}{file} {host} {port}"


def connect_options(pairs: Iterable[Pair], words: list[str]) -> ConnectOptions:
    """What `connect` was told. Words come first: a wrong target is the commonest mistake."""
    target = read_target(words)
    return ConnectOptions(target, **read_fields(pairs))  # type: ignore[arg-type]


class Settings(NamedTuple):
    """What a command line comes to together with the settings file."""

    pairs: list[Pair]  # those that were typed, and those of the file that nothing overrules
    path: str = ""  # of the file; "" if there is none
    profile: str = ""
    places: Mapping[str, str] = {}  # for each key of the file that counts: its table, its line
    shared: bool = False  # it has a password, and others can read it

    def fields(self) -> dict[str, object]:
        """The fields of the options record."""
        fields = read_fields(self.pairs)
        if "proxy" in self.places:
            fields["proxy_origin"] = self.places["proxy"]
        return fields

    def announce(self, trace: Trace) -> None:
        """Tells that there was a file, and what is to be said about it."""
        if self.path:
            trace("settings", file=self.path, profile=self.profile)
        if self.shared:
            trace("warning", text=f"settings file {self.path}: it has a password, and others can read it; chmod 600 helps")
