"""`check` without a target, for people: a table of settings, then two lines for each proxy as soon as it is known, then findings.

On a terminal the lines are folded to its width, and each proxy that is waited for has a row that counts. In a pipe nothing is
folded, for grep, and nothing redrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap

from tunnelctl.cli.render.check.report import BAD, GOOD
from tunnelctl.cli.render.check.rows import Facts
from tunnelctl.cli.render.check.terminal import MARGIN as FREE
from tunnelctl.cli.render.check.terminal import Cell, Row, Terminal, head_of
from tunnelctl.cli.render.hints import in_words
from tunnelctl.cli.render.text import clean, show
from tunnelctl.client.discovery.waits import Awaited
from tunnelctl.client.discovery.wpad import TOOL as WPAD
from tunnelctl.events import Event

Put = Callable[[Row], None]  # prints a line

MARGIN = 9  # columns for the word that a line begins with
GAP = 2  # columns between the results of two targets
LONGEST_RESULT = len("refused (403)")
LOGIN_CELL = 13
TLS_CELL = len("private issuer")
SECONDS = 8  # columns for how long a proxy has been waited for
SETTING = 34  # columns for the name of a setting and its place
LEAST = 20  # columns that lines are folded to on the narrowest terminal

HEADING, DIM = "1", "2"

LOGINS = {"none": "none", "accepted": "accepted", "refused": "refused", "required": "required", "unknown": "-"}
SCHEMES = {"ntlm": "NTLM"}
TLS = {"untouched": "untouched", "intercepted": "intercepted", "private": "private issuer", "none": "no TLS", "unknown": "-"}


class DiscoveryReport:
    """The report. width: columns of the terminal; None: lines are not folded; wpad: whether names of WPAD are looked up"""

    def __init__(self, put: Put, width: int | None, wpad: bool = False) -> None:
        self._put, self._width, self._wpad = put, width, wpad
        self._settings: list[tuple[str, str, str]] = []  # tool, setting, value
        self._targets: list[str] = []
        self._cell = 0  # columns for a target and its results; 0: a line for each target
        self._names: list[str] = []
        self._trials: dict[int, list[Facts]] = {}
        self._found = False  # whether there was a finding
        self._stopped = ""  # what had not come when a signal ended the search

    def __call__(self, event: Event, /) -> None:
        name, facts = in_words(event)
        SHOW[name](self, facts)

    # -- settings ----------------------------------------------------------------------------------------------------------------

    def named(self, facts: Facts) -> None:
        """Keeps a setting for the table."""
        self._settings.append((show(facts["tool"]), _setting(facts), _value(facts, self._wpad)))

    def unread(self, facts: Facts) -> None:
        """Keeps a source that cannot be read, or a name that cannot be looked up."""
        why = "" if facts["tool"] == WPAD else "cannot be read: "
        self._settings.append((show(facts["tool"]), show(facts["place"]), f"{why}{show(facts['cause'])}"))

    def script(self, facts: Facts) -> None:
        """Keeps what a PAC file says."""
        self._settings.append(("PAC file", clean(facts["url"]), f"{show(facts['proxies'])} for {show(facts['target'])}"))

    def trying(self, facts: Facts) -> None:
        """Prints the table, and the heading of the results."""
        self._table()
        self._targets, self._names = facts["targets"], facts["proxies"]
        what = " and ".join(map(show, self._targets))
        self._line(f"asking for {what}; each attempt has {facts['seconds']:g} s", DIM)
        self._put([])
        self._cell = self._cell_for(list(map(show, self._targets)))
        if self._cell:
            cells = "".join(f"{show(target):<{self._cell}}" for target in self._targets)
            self._put([(f"{'':{MARGIN}}{cells}{'login':<{LOGIN_CELL}}TLS inside", HEADING)])

    def _cell_for(self, targets: list[str]) -> int:
        """Returns the columns for each target; 0 if the terminal is too narrow for all of them side by side."""
        cell = max(LONGEST_RESULT, *map(len, targets)) + GAP
        whole = MARGIN + cell * len(targets) + LOGIN_CELL + TLS_CELL
        return cell if self._width is None or whole <= self._width else 0

    def _table(self) -> None:
        rows, self._settings = _merged(self._settings), []
        if all(tool == WPAD for tool, _, _ in rows):
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
        self._results(trials, ("not asked", ""), _login(facts), _tls(facts))

    def _results(self, trials: Sequence[Facts], other: Cell, login: str, tls: Cell) -> None:
        """Prints the results of a proxy. other: for the targets without one"""
        cells = [*map(_cell, trials), *[other] * (len(self._targets) - len(trials))]
        if not self._cell:
            self._results_below(cells, login, tls)
            return
        padded = [(f"{text:<{self._cell}}", style) for text, style in cells]
        gap = "  " * (len(login) >= LOGIN_CELL)
        self._put([(" " * MARGIN, ""), *padded, (f"{login:<{LOGIN_CELL}}{gap}", ""), tls])

    def _results_below(self, cells: Sequence[Cell], login: str, tls: Cell) -> None:
        """Prints a line for each result."""
        names = [*map(show, self._targets), "login", "TLS inside"]
        column = max(map(len, names)) + GAP
        if MARGIN + column + LONGEST_RESULT > (self._width or 0):  # not even one of them fits
            column = 0
        for name, (text, style) in zip(names, [*cells, (login, ""), tls], strict=True):
            self._put([(f"{'':{MARGIN}}{f'{name}  ':<{column}}", ""), (text, style)])

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

    def interrupted(self, facts: Facts) -> None:
        """Prints what was found so far: the settings, and the results of proxies that are not done."""
        if not self._targets:
            self._table()
        for number in sorted(self._trials):
            name = self._names[number - 1] if number else "no proxy"
            self._line(show(name), "", "stopped")
            self._results(self._trials[number], ("no answer yet", ""), "-", ("-", ""))
        self._stopped = clean(facts["text"])

    def outcome(self, facts: Facts) -> None:
        """Prints the last line; after a signal, what works so far as well."""
        self._put([])
        if facts["working"] or facts["ok"]:
            names = [show(name) if name else "no proxy" for name in facts["working"]]
            self._line("; ".join(names), "", "works", GOOD)
        if self._stopped:
            self._line(self._stopped, "", "stopped:", BAD)
        elif not facts["ok"]:
            what = "none of the proxies works" if facts["working"] else "nothing works"
            self._line(f"{what}; exit status {facts['exit_status']}", "", "fails", BAD)

    def warning(self, facts: Facts) -> None:
        """Prints a warning."""
        self._line(show(facts["text"]), "", "warning")

    def setting(self, facts: Facts) -> None:
        """Prints the origin of a setting of our own, with -v."""
        self._line(f"{show(facts['name'])}: {show(facts['origin'])}", "", "setting")

    def _line(self, text: str, style: str, word: str = "", word_style: str = "") -> None:
        """Prints a word in the margin and a text beside it, folded."""
        first, *others = _folded(text, self._width - MARGIN) if self._width is not None else [text]
        self._put([(f"{word:<{MARGIN}}", word_style), (first, style)])
        for other in others:
            self._put([(f"{'':{MARGIN}}{other}", style)])


class LiveDiscoveryReport(DiscoveryReport):
    """The same on a terminal, with a region at the end that shows what is waited for."""

    def __init__(self, terminal: Terminal, wpad: bool = False) -> None:
        super().__init__(lambda row: terminal.put([row]), terminal.size[0], wpad)
        self._terminal = terminal

    def waiting(self, waits: Sequence[Awaited]) -> None:
        """Draws a row for each of them."""
        self._terminal.draw(waiting_rows(waits, self._terminal.size[0] - FREE))

    def close(self) -> None:
        """Erases the region: nothing is waited for any more."""
        self._terminal.draw([])


def waiting_rows(waits: Sequence[Awaited], width: int) -> list[Row]:
    """Returns the rows for what is waited for. A long name is cut, so that the seconds are seen."""
    names = [clean(wait.name) or "no proxy" for wait in waits]
    column = min(max(map(len, names), default=0), max(width - MARGIN - SECONDS, LEAST))
    return [
        [(f"{'waiting':{MARGIN}}{head_of(name, column):<{column}}{f'{wait.seconds:.1f} s':>{SECONDS}}  {clean(wait.what)}", "")]
        for name, wait in zip(names, waits, strict=True)
    ]


SHOW: dict[str, Callable[[DiscoveryReport, Facts], None]] = {
    "named": DiscoveryReport.named,
    "unread": DiscoveryReport.unread,
    "script": DiscoveryReport.script,
    "trying": DiscoveryReport.trying,
    "trial": DiscoveryReport.trial,
    "proxy": DiscoveryReport.proxy,
    "finding": DiscoveryReport.finding,
    "interrupted": DiscoveryReport.interrupted,
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


def _value(facts: Facts, wpad: bool) -> str:
    """Returns the value for people, with what it is limited to. wpad: whether names of WPAD are looked up"""
    values = [clean(text) for text in facts["value"]]
    kinds = {
        "proxy": " or ".join(values) or "no URL of a proxy",
        "exempt": f"except {', '.join(values).replace(',', ', ').replace(',  ', ', ')}",
        "pac": f"PAC file {', '.join(values)}",
        "wpad": ("looked up" if wpad else "not looked up; --wpad does") if values else "WPAD is switched on",
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


def _tls(facts: Facts) -> Cell:
    return TLS[facts["tls"]], BAD if facts["tls"] in ("intercepted", "private") else ""


def _cell(trial: Facts) -> Cell:
    """Returns the result of a target in few words."""
    if trial["ok"]:
        return f"{trial['seconds'] * 1000:.0f} ms", GOOD
    status = trial.get("status")
    return (f"refused ({status})" if status else "no tunnel"), BAD
