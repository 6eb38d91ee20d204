"""`check` without a target, for people: a table of settings, then two lines for each proxy as soon as it is known, then findings.

On a terminal the lines are folded to its width. In a pipe they are not, for grep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.hints import in_words
from tunnelctl.cli.render.text import clean, show
from tunnelctl.events import Event

if TYPE_CHECKING:
    from rich.console import Console as Rich

Facts = Mapping[str, Any]  # of an event, by key
Span = tuple[str, str]  # a text and its style
Put = Callable[[list[Span]], None]  # prints a line

MARGIN = 9  # columns for the word that a line begins with
CELL = 17  # columns for the result of a target
LOGIN_CELL = 13
SETTING = 34  # columns for the name of a setting and its place
LEAST = 20  # columns that lines are folded to on the narrowest terminal

GOOD, BAD, HEADING = "green", "bold red", "bold"

LOGINS = {"none": "none", "accepted": "accepted", "refused": "refused", "required": "required", "unknown": "-"}
SCHEMES = {"ntlm": "NTLM"}
TLS = {"untouched": "untouched", "intercepted": "intercepted", "private": "private issuer", "none": "no TLS", "unknown": "-"}


def put_plain(spans: list[Span]) -> None:
    """Prints a line without styles."""
    write_stdout("".join(text for text, _ in spans).rstrip() + "\n")


def put_styled(rich: Rich) -> Put:
    """Returns a function that prints a line in colours."""
    from rich.text import Text

    def put(spans: list[Span]) -> None:
        rich.print(Text.assemble(*spans), soft_wrap=True, highlight=False)

    return put


class DiscoveryReport:
    """The report. width: columns of the terminal; None: lines are not folded"""

    def __init__(self, put: Put, width: int | None) -> None:
        self._put, self._width = put, width
        self._settings: list[tuple[str, str, str]] = []  # tool, setting, value
        self._targets: list[str] = []
        self._names: list[str] = []
        self._trials: dict[int, list[Facts]] = {}
        self._found = False  # whether there was a finding

    def __call__(self, event: Event, /) -> None:
        name, facts = in_words(event)
        SHOW[name](self, facts)

    # -- settings ----------------------------------------------------------------------------------------------------------------

    def named(self, facts: Facts) -> None:
        """Keeps a setting for the table."""
        self._settings.append((show(facts["tool"]), _setting(facts), _value(facts)))

    def unread(self, facts: Facts) -> None:
        """Keeps a source that cannot be read."""
        self._settings.append((show(facts["tool"]), show(facts["place"]), f"cannot be read: {show(facts['cause'])}"))

    def script(self, facts: Facts) -> None:
        """Keeps what a PAC file says."""
        self._settings.append(("PAC file", clean(facts["url"]), f"{show(facts['proxies'])} for {show(facts['target'])}"))

    def trying(self, facts: Facts) -> None:
        """Prints the table, and the heading of the results."""
        self._table()
        self._targets, self._names = facts["targets"], facts["proxies"]
        what = " and ".join(map(show, self._targets))
        self._line(f"asking for {what}; each attempt has {facts['seconds']:g} s", "dim")
        self._put([])
        cells = "".join(f"{show(target):<{CELL}}" for target in self._targets)
        self._put([(f"{'':{MARGIN}}{cells}{'login':<{LOGIN_CELL}}TLS inside", HEADING)])

    def _table(self) -> None:
        rows = _merged(self._settings)
        if not rows:
            self._put([("nothing on this machine names a proxy", "")])
        tool = max((len(row[0]) for row in rows), default=0) + 2
        setting = min(max((len(row[1]) for row in rows), default=0), SETTING) + 2
        for row in rows:
            self._row(row, tool, setting)

    def _row(self, row: tuple[str, str, str], tool: int, column: int) -> None:
        """Prints a row of the table. On a terminal, a value that would be cut goes onto lines of its own."""
        name, setting, value = row
        lines = [f"{setting:<{column - 2}}  {value}"] if self._width is None else _cells(setting, column, value, self._width - tool)
        for place, line in enumerate(lines):
            self._put([(f"{name if place == 0 else '':<{tool}}{line}", "")])

    # -- results -----------------------------------------------------------------------------------------------------------------

    def trial(self, facts: Facts) -> None:
        """Keeps the result of a target until that of its proxy is there."""
        self._trials.setdefault(facts["number"], []).append(facts)

    def proxy(self, facts: Facts) -> None:
        """Prints the lines for a proxy: its name, the cause of a failure other than a refusal, and a cell for each target."""
        trials = self._trials.pop(facts["number"], [])
        self._line(self._name(facts), "", *(("works", GOOD) if facts["ok"] else ("fails", BAD)))
        unanswered = next((trial for trial in trials if not trial["ok"] and "status" not in trial), None)
        if unanswered is not None:
            self._line(show(unanswered["cause"]), "")
            if unanswered is trials[0] and not any(trial["ok"] for trial in trials):
                return
        cells = [*map(_cell, trials), *[("not asked", "")] * (len(self._targets) - len(trials))]
        padded = [(f"{text:<{CELL}}", style) for text, style in cells]
        login = _login(facts)
        gap = "  " * (len(login) >= LOGIN_CELL)
        self._put([(" " * MARGIN, ""), *padded, (f"{login:<{LOGIN_CELL}}{gap}", ""), _tls(facts)])

    def _name(self, facts: Facts) -> str:
        name = ", then ".join(map(show, facts["proxy"])) or "no proxy"
        if facts["proxy"] and self._names.count(", then ".join(facts["proxy"])) > 1:  # they differ in their passwords
            name += f" ({show(facts['named_by'][0])})"
        return f"{name}   <- tunnelctl uses this" if facts["selected"] else name

    # -- the rest ----------------------------------------------------------------------------------------------------------------

    def finding(self, facts: Facts) -> None:
        """Prints a finding and its hint. An empty line separates the first one from the results."""
        if not self._found:
            self._put([])
        self._found = True
        self._line(show(facts["text"]), "", "finding", BAD)
        if facts["hint"]:
            self._line(show(facts["hint"]), "", "hint")

    def outcome(self, facts: Facts) -> None:
        """Prints the last line."""
        self._put([])
        if facts["ok"]:
            names = [show(name) if name else "no proxy" for name in facts["working"]]
            self._line("; ".join(names), "", "works", GOOD)
        else:
            self._line(f"nothing works; exit status {facts['exit_status']}", "", "fails", BAD)

    def warning(self, facts: Facts) -> None:
        """Prints a warning."""
        self._line(show(facts["text"]), "", "warning")

    def setting(self, facts: Facts) -> None:
        """Prints the origin of a setting of our own, with -v."""
        self._line(f"{show(facts['name'])}: {show(facts['origin'])}", "", "setting")

    def _line(self, text: str, style: str, word: str = "", word_style: str = "") -> None:
        """Prints a word in the margin and a text beside it, folded."""
        first, *others = _folded(text, self._width - MARGIN) if self._width else [text]
        self._put([(f"{word:<{MARGIN}}", word_style), (first, style)])
        for other in others:
            self._put([(f"{'':{MARGIN}}{other}", style)])


SHOW: dict[str, Callable[[DiscoveryReport, Facts], None]] = {
    "named": DiscoveryReport.named,
    "unread": DiscoveryReport.unread,
    "script": DiscoveryReport.script,
    "trying": DiscoveryReport.trying,
    "trial": DiscoveryReport.trial,
    "proxy": DiscoveryReport.proxy,
    "finding": DiscoveryReport.finding,
    "outcome": DiscoveryReport.outcome,
    "warning": DiscoveryReport.warning,
    "setting": DiscoveryReport.setting,
}


def _folded(text: str, room: int, indent: str = "") -> list[str]:
    """Folds a text at blanks. indent: of the lines after the first"""
    return wrap(text, max(room, LEAST), break_on_hyphens=False, subsequent_indent=indent, drop_whitespace=True) or [""]


def _cells(setting: str, column: int, value: str, room: int) -> list[str]:
    """Returns the lines of a row: the value beside the setting if its words fit there, else below."""
    if len(setting) + 2 > column or max(map(len, value.split())) > room - column:
        return [*_folded(setting, room), *_folded(f"  {value}", room, "  ")]
    first, *others = _folded(value, room - column)
    return [f"{setting:<{column}}{first}", *(f"{'':<{column}}{other}" for other in others)]


def _setting(facts: Facts) -> str:
    place = f"{show(facts['place'])}:{facts['line_number']}" if facts["line_number"] else show(facts["place"])
    return " ".join(filter(None, (show(facts["key"]), f"({place})" if place else "")))


def _value(facts: Facts) -> str:
    """Returns the value for people, with what it is limited to."""
    values = [clean(text) for text in facts["value"]]
    kinds = {
        "proxy": " or ".join(values) or "no URL of a proxy",
        "exempt": f"except {', '.join(values).replace(',', ', ').replace(',  ', ', ')}",
        "pac": f"PAC file {', '.join(values)}",
        "wpad": "not looked up; --wpad does" if values else "WPAD is switched on",
        "program": f"the program {', '.join(values)}",
    }
    return kinds[facts["kind"]] + (f" ({clean(facts['scope'])})" if facts["scope"] else "")


def _merged(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Joins the settings of a program that have the same value and no place: the variables of the environment."""
    merged: dict[tuple[str, str, str], list[str]] = {}
    for tool, setting, value in rows:
        place = setting.partition(" (")[2]
        merged.setdefault((tool, place or "", value) if not place else (tool, setting, value), []).append(setting)
    return [(tool, ", ".join(settings), value) for (tool, _, value), settings in merged.items()]


def _login(facts: Facts) -> str:
    schemes = [SCHEMES.get(scheme, clean(scheme).capitalize()) for scheme in facts["schemes"]]
    return LOGINS[facts["login"]] + (f" ({', '.join(schemes)})" if schemes else "")


def _tls(facts: Facts) -> Span:
    return TLS[facts["tls"]], BAD if facts["tls"] in ("intercepted", "private") else ""


def _cell(trial: Facts) -> Span:
    """Returns the result of a target in few words."""
    if trial["ok"]:
        return f"{trial['seconds'] * 1000:.0f} ms", GOOD
    status = trial.get("status")
    return (f"refused ({status})" if status else "no tunnel"), BAD
