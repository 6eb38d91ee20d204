"""The three reports of `check`: JSON objects, plain rows, and a terminal on which the current row counts."""

import json

from tunnelctl.cli.render.check.rows import LINES, Facts, Line
from tunnelctl.cli.render.check.tables import series, statistics
from tunnelctl.cli.render.check.terminal import MARGIN, Row, Terminal, columns_of, fold
from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.hints import in_words
from tunnelctl.cli.render.text import clean, plain
from tunnelctl.client.check.events import Attempt, Interrupted, Phase, Setting, Statistics, Verdict
from tunnelctl.client.check.probe import Awaited
from tunnelctl.events import Event, Warning
from tunnelctl.rare_events import Ignored

WORD, TIME = 8, 9  # columns of a row, before its text
BAR = 24  # columns of the waterfall
ROOM_FOR_BAR = 66  # columns of a terminal that fits the bars beside words and times, and leaves some for the text
PLAIN_WIDTH = 80

GOOD, BAD, PICTURE = "32", "1;31", "36"
STYLES = {True: GOOD, False: BAD, None: ""}


class JSONReport:
    """Prints one JSON object per line."""

    def __call__(self, event: Event, /) -> None:
        name, facts = in_words(event)
        write_stdout(json.dumps({"event": name, **plain(facts)}) + "\n")


class TextReport:
    """A report for people: one or more lines per fact. A finding that repeats the text of the line before adds only its hint."""

    mark = "#"  # of a histogram

    def __init__(self) -> None:
        self._said = ""
        self._statistics: list[Statistics] = []  # which a table shows, once all of them are there

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Statistics):
            self._statistics.append(event)
            return
        if self._statistics:
            self.put_rows(statistics(self._statistics, self.width))
            self._statistics = []
        name, facts = in_words(event)
        line = LINES[name](facts) if name != "series" else None
        if line is None:
            self.put_rows(series(facts, self.mark))
        elif name != "finding" or line.text != self._said:
            self.put(line)
        if facts.get("hint"):
            self.put(Line("hint", "", clean(facts["hint"])))
        self._said = line.text if line is not None else ""

    @property
    def width(self) -> int:
        """Columns for a table."""
        return PLAIN_WIDTH

    def put(self, line: Line) -> None:
        """Prints one line."""
        raise NotImplementedError

    def put_rows(self, rows: list[str]) -> None:
        """Prints rows that are already formatted."""
        raise NotImplementedError


class PlainReport(TextReport):
    """Prints columns of fixed width, each row as soon as it is known."""

    def __init__(self, color: bool = False) -> None:
        super().__init__()
        self._color = color

    def put(self, line: Line) -> None:
        word, style = f"{line.word:<{WORD}}", STYLES[line.good]
        if style and self._color:
            word = f"\x1b[{style}m{word}\x1b[m"
        write_stdout(f"{word}{line.time:>{TIME}}  {line.text}\n")

    def put_rows(self, rows: list[str]) -> None:
        write_stdout("".join(f"{row}\n" for row in rows))


class TerminalReport(TextReport):
    """The same with a bar for the time of each phase, if the terminal is wide enough.

    How long a bar is depends on the later phases. So until the attempt has ended, its rows are in the region that is redrawn.
    """

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self._phases: list[Facts] = []
        self._last_failure = ""  # with --watch
        self.mark = self._bar_mark = "=" if terminal.ascii_only else "\u2501"

    @property
    def width(self) -> int:
        return self._terminal.size[0]

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Phase):
            self._phases.append(event.facts())
            self._terminal.draw(self._waterfall(None))
        elif isinstance(event, Attempt):
            self._last_failure = self._last_failure if event.ok else f"{event.number}: {event.cause}"
        elif isinstance(event, (Setting, Ignored, Warning)):  # an attempt goes on after it
            super().__call__(event)
        elif isinstance(event, Interrupted) and self._phases:  # its wait is a part of the waterfall
            begin = _end(self._phases[-1])
            whole = begin + event.seconds
            self._finish_phases(whole)
            self._terminal.put(
                self._cells(LINES["interrupted"](event.facts()), self._bar({"begin": begin, "seconds": event.seconds}, whole))
            )
        else:
            self._finish_phases()
            if isinstance(event, Verdict) and event.ok and self._last_failure:  # otherwise the error was printed
                self.put(self._failed())
            super().__call__(event)

    def _failed(self) -> Line:
        """The latest attempt of --watch that failed."""
        return Line("failed", "", clean(self._last_failure), False)

    def waiting(self, awaited: Awaited) -> None:
        """Draws the region: the phases so far, and what is waited for."""
        if not awaited.statistics and awaited.begin is not None:
            self._terminal.draw(self._waterfall(awaited))
            return
        self._finish_phases()
        table = [[(row, "")] for row in statistics(awaited.statistics, self.width - MARGIN)] if awaited.statistics else []
        failure = self._cells(self._failed(), margin=MARGIN) if self._last_failure else []
        self._terminal.draw([*table, *failure, self._counting(awaited)])

    def close(self) -> None:
        """Erases what is waited for: nothing is, any more."""
        self._terminal.put([])

    def _finish_phases(self, whole: float = 0.0) -> None:
        """Prints the phases so that they stay. whole: seconds of the waterfall, if it goes on after them"""
        whole = max((whole, *map(_end, self._phases)))
        rows = [row for phase in self._phases for row in self._cells(LINES["phase"](phase), self._bar(phase, whole))]
        self._phases = []
        if rows:
            self._terminal.put(rows)

    def _waterfall(self, awaited: Awaited | None) -> list[Row]:
        """The phases so far, in one row each."""
        current = {"begin": awaited.begin, "seconds": awaited.seconds} if awaited is not None else {"begin": 0.0, "seconds": 0.0}
        whole = max(map(_end, [*self._phases, current]))
        rows: list[Row] = [self._cells(LINES["phase"](phase), self._bar(phase, whole), False)[0] for phase in self._phases]
        return rows if awaited is None else [*rows, self._counting(awaited, self._bar(current, whole))]

    def _counting(self, awaited: Awaited, picture: str = "") -> Row:
        return self._cells(Line(awaited.word, f"{awaited.seconds:.1f} s", clean(awaited.text)), picture, False)[0]

    def put_rows(self, rows: list[str]) -> None:
        self._terminal.put([[(row, "")] for row in rows])

    def put(self, line: Line) -> None:
        self._terminal.put(self._cells(line))

    def _cells(self, line: Line, picture: str = "", folded: bool = True, margin: int = 0) -> list[Row]:
        """Lays out a line, in several rows if its text is too long and may be folded. margin: columns that stay free at the end"""
        head = [(f"{line.word:<{WORD}}", STYLES[line.good]), (f"{line.time:>{TIME}}  ", "")]
        if picture and self.width >= ROOM_FOR_BAR:
            head.append((f"{picture:<{BAR}}  ", PICTURE))
        left = sum(columns_of(text) for text, _ in head)
        first, *others = fold(line.text, max(self.width - margin - left, 1)) if folded else [line.text]
        return [[*head, (first, "")], *([(" " * left + row, "")] for row in others)]

    def _bar(self, facts: Facts, whole: float) -> str:
        return bar(facts, whole, self._bar_mark)


def _end(facts: Facts) -> float:
    """Returns the time when a phase ended."""
    return float(facts["begin"] + facts["seconds"])


def bar(facts: Facts, whole: float, mark: str) -> str:
    """Draws a phase as a piece of the whole; the shortest still has one column."""
    scale = BAR / whole if whole else 0.0
    start = min(int(facts["begin"] * scale), BAR - 1)
    length = max(1, min(round(facts["seconds"] * scale), BAR - start))
    return f"{' ' * start}{mark * length}"
