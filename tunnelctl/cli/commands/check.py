"""`tunnelctl check`: shows the results of client.check as a waterfall on a terminal, as plain lines in a pipe, or as JSON."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnelctl.cli.parse.settings_file import origins
from tunnelctl.cli.parse.values import Pair, Settings
from tunnelctl.cli.render.console import size, write_stdout
from tunnelctl.cli.render.hints import in_words
from tunnelctl.cli.render.text import clean, escape, plain, show
from tunnelctl.client.check.check import Report
from tunnelctl.client.check.events import Phase, Setting
from tunnelctl.events import Event, Warning

if TYPE_CHECKING:
    from rich.console import Console as Rich

Facts = Mapping[str, Any]  # of an event, by key

BAR = 24  # columns of the waterfall
ROOM_FOR_BAR = 66  # columns of a terminal that fits the bars beside words and times, and leaves some for the text
BUCKETS = 8  # rows of the histogram


class Line(NamedTuple):
    """A row of the report: a word, a time or "", and a text."""

    word: str
    time: str
    text: str
    good: bool | None = None  # None: neither good nor bad


def milliseconds(value: object) -> str:
    """Formats a time for people; "" for a value that is no number."""
    return f"{float(value) * 1000:.1f} ms" if isinstance(value, (int, float)) else ""


def _phase(facts: Facts) -> Line:
    return Line(facts["name"], milliseconds(facts["seconds"]), clean(facts["detail"]), facts["ok"])


def _address(facts: Facts) -> Line:
    text = f"{show(facts['address'])}: {show(facts['cause']) if facts['cause'] else 'answers'}"
    return Line("address", milliseconds(facts["seconds"]), text, facts["ok"])


def _http2(facts: Facts) -> Line:
    if not facts["offered"]:
        return Line("http2", "", f"not offered: {show(facts['cause'])}")
    speed = f", at most {facts['limit']:.0f} Mbit/s for one upload at first" if facts["limit"] is not None else ""
    most = "any number of" if facts["streams"] is None else facts["streams"]
    what = f"offered: {most} tunnels on a connection, a window of {size(facts['window'])}{speed}"
    works = "" if facts["connects"] else f"; no tunnel: {show(facts['cause'])}"
    return Line("http2", milliseconds(facts["round_trip"]), what + works, bool(facts["connects"]))


def _ends(facts: Facts) -> Line:
    if facts["half_close"] is None:
        return Line("ends", "", f"not known: {show(facts['cause'])}")
    words = {True: "comes through", False: "does not come through", None: "is not known"}
    text = f"a half-close {words[facts['half_close']]}, a reset of the target {words[facts['reset']]}"
    return Line("ends", "", text, bool(facts["half_close"] and facts["reset"]))


def _greeting(facts: Facts) -> Line:
    first = facts["text"].strip().split(b"\n", 1)[0].rstrip()
    return Line("target", milliseconds(facts["seconds"]), f"it says: {escape(first, 100)}")


def _certificate(facts: Facts) -> Line:
    trust = "publicly trusted" if facts["public"] else "trusted here" if facts["trusted"] else "not trusted"
    name = f"{show(facts['subject'])} by {show(facts['issuer'])}, until {str(facts['expires'])[:10]}, {trust}"
    return Line("seen", "", f"{name}; SHA-256 {facts['sha256']}", bool(facts["trusted"]))


def _reply(facts: Facts) -> Line:
    text = f"{show(facts['line'])}, {size(facts['size'])}" if facts["ok"] else show(facts["cause"])
    return Line("get", milliseconds(facts["seconds"]), text, facts["ok"])


def _idle(facts: Facts) -> Line:
    text = "the idle tunnel survived" if facts["ok"] else f"cut off: {show(facts['cause'])}"
    return Line("idle", milliseconds(facts["seconds"]), text, facts["ok"])


def _waiting(facts: Facts) -> Line:
    return Line("waiting", "", show(facts["cause"]))


def _warning(facts: Facts) -> Line:
    return Line("warning", "", show(facts["text"]))


def _ignored(facts: Facts) -> Line:
    return Line("ignored", "", f"{show(facts['entry'])} in {show(facts['variable'])}: {show(facts['cause'])}")


def _setting(facts: Facts) -> Line:
    return Line("setting", "", f"{show(facts['name'])}: {show(facts['origin'])}")


def _failure(facts: Facts) -> Line:
    return Line("error", "", f"{show(facts['what'])}: {show(facts['cause'])}", False)


def _finding(facts: Facts) -> Line:
    return Line("finding", "", show(facts["text"]), False)


def _verdict(facts: Facts) -> Line:
    via = f" via {show(facts['via'])}" if facts["via"] else " without a proxy"
    if facts["ok"]:
        return Line("works", milliseconds(facts["seconds"]), f"{show(facts['target'])}{via}", True)
    return Line("fails", milliseconds(facts["seconds"]), f"{show(facts['target'])}{via}; exit status {facts['exit_status']}", False)


LINES = {
    "phase": _phase,
    "address": _address,
    "http2": _http2,
    "ends": _ends,
    "greeting": _greeting,
    "certificate": _certificate,
    "reply": _reply,
    "idle": _idle,
    "waiting": _waiting,
    "warning": _warning,
    "setting": _setting,
    "ignored": _ignored,
    "failure": _failure,
    "finding": _finding,
    "verdict": _verdict,
}


class JSONReport:
    """Prints one JSON object per line."""

    def __call__(self, event: Event, /) -> None:
        name, facts = in_words(event)
        write_stdout(json.dumps({"event": name, **plain(facts)}) + "\n")


class TextReport:
    """A report for people: one or more lines per fact. A finding that repeats the text of the line before adds only its hint."""

    _said = ""

    def __call__(self, event: Event, /) -> None:
        name, facts = in_words(event)
        line = LINES[name](facts) if name != "series" else None
        if line is None:
            self.put_rows(series(facts))
        elif name != "finding" or line.text != self._said:
            self.put(line)
        if facts.get("hint"):
            self.put(Line("hint", "", show(facts["hint"])))
        self._said = line.text if line is not None else ""

    def put(self, line: Line) -> None:
        """Prints one line."""
        raise NotImplementedError

    def put_rows(self, rows: list[str]) -> None:
        """Prints rows that are already formatted."""
        raise NotImplementedError


class PlainReport(TextReport):
    """Prints columns of fixed width."""

    def put(self, line: Line) -> None:
        write_stdout(f"{line.word:<8}{line.time:>11}  {line.text}\n")

    def put_rows(self, rows: list[str]) -> None:
        write_stdout("".join(f"{row}\n" for row in rows))


class TerminalReport(TextReport):
    """The same with a bar for the time of each phase, if the terminal is wide enough."""

    def __init__(self, rich: "Rich") -> None:
        self._rich = rich
        self._phases: list[Facts] = []

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Phase):  # the length of its bar is known only after the last phase
            self._phases.append(event.facts())
            return
        whole = max((end(phase) for phase in self._phases), default=0.0)
        for phase in self._phases:
            self.put(_phase(phase), bar(phase, whole))
        self._phases = []
        super().__call__(event)

    def put_rows(self, rows: list[str]) -> None:
        self._rich.print("\n".join(rows), markup=False, highlight=False)

    def put(self, line: Line, picture: str = "") -> None:
        from rich.table import Table
        from rich.text import Text

        style = {True: "green", False: "bold red", None: ""}[line.good]
        table = Table.grid(padding=(0, 2, 0, 0), expand=False)
        table.add_column(width=8, no_wrap=True)
        table.add_column(width=11, justify="right", no_wrap=True)
        drawn = picture and self._rich.width >= ROOM_FOR_BAR
        if drawn:
            table.add_column(width=BAR, no_wrap=True)
        table.add_column(overflow="fold")
        cells = [Text(line.word, style), Text(line.time), *([Text(picture, "cyan")] if drawn else []), Text(line.text)]
        table.add_row(*cells)
        self._rich.print(table)


def end(facts: Facts) -> float:
    """Returns the time when a phase ended."""
    return float(facts["begin"] + facts["seconds"])


def bar(facts: Facts, whole: float) -> str:
    """Draws a phase as a piece of the whole; the shortest still has one column."""
    scale = BAR / whole if whole else 0.0
    start = min(int(facts["begin"] * scale), BAR - 1)
    length = max(1, min(round(facts["seconds"] * scale), BAR - start))
    return f"{' ' * start}{'━' * length}"


def series(facts: Facts) -> list[str]:
    """Renders the figures and the histogram of repeated measurements."""
    times = facts["times"]
    names = ("min", "median", "p99", "max")
    figures = ", ".join(f"{name} {milliseconds(facts[name])}" for name in names) if times else "none worked"
    rows = [f"{'series':<8}{show(facts['count']):>7} run  {figures}; {show(facts['failed'])} failed"]
    if len(times) > 1:
        most = BAR / len(times)
        rows += [f"{'':<8}{milliseconds(edge):>11}  {'#' * round(count * most):<{BAR}} {count}" for edge, count in buckets(times)]
    return rows


def buckets(times: Sequence[float]) -> list[tuple[float, int]]:
    """Returns the upper edge of each bucket, and the number of times in it."""
    least, width = min(times), (max(times) - min(times)) / BUCKETS
    counts = [0] * BUCKETS
    for time in times:
        counts[min(int((time - least) / width), BUCKETS - 1) if width else 0] += 1
    return [(least + width * (place + 1), count) for place, count in enumerate(counts)]


def report_for(as_json: bool, color: str) -> Report:
    """Returns the report that suits stdout. Obeys NO_COLOR and FORCE_COLOR, but --color overrules both."""
    if as_json:
        return JSONReport()
    terminal = sys.__stdout__ is not None and os.isatty(1)
    forced = color == "always" or (color == "auto" and bool(os.environ.get("FORCE_COLOR")))
    if not terminal and not forced:
        return PlainReport()
    from rich.console import Console as Rich

    no_color = {"always": False, "never": True}.get(color)
    return TerminalReport(Rich(force_terminal=True if forced else None, no_color=no_color))


def announce(report: Report, typed: list[Pair], settings: Settings, verbose: int) -> None:
    """Reports the warning about the settings file, if there is one; with -v also the origin of each setting that is no default."""
    settings.announce(lambda event: report(event) if isinstance(event, Warning) else None)
    if verbose:
        for name, origin in origins("check", typed, settings, os.environ).items():
            if origin != "default":
                report(Setting(name, origin))
