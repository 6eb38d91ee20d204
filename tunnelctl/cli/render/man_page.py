"""A page of the manual as plain text, for a pipe and for systems without man(1).

It knows the macros of man(7) that our pages use, and no others: the pages are generated, and a test compares what this module makes
of each of them with mandoc's rendering.
"""

import re
from collections.abc import Callable
from textwrap import wrap

WIDTH = 78  # as man(1) has it on a terminal of 80 columns
INDENT = 7
SUBHEADING = 3

ESCAPE = re.compile(r"\\(?:f[BIR]|\((..)|(.))")
GLYPHS = {"aq": "'", "ga": "`", "ti": "~", "ha": "^", "lq": "\u201c", "rq": "\u201d", "e": "\\", "-": "-", "&": "", " ": "\u00a0"}
ARGUMENT = re.compile(r'"([^"]*)"|((?:\\ |\S)+)')


def man_page(source: str) -> str:
    """Renders a page."""
    page = ManPage()
    for line in source.splitlines():
        page.take(line)
    return page.finished()


def literal(text: str) -> str:
    """Returns a text with its fonts left out and its special characters in place of their names."""
    return ESCAPE.sub(lambda match: GLYPHS[match[1] or match[2]] if match[1] or match[2] else "", text)


class ManPage:
    """The page so far: finished lines, and the paragraph that is being filled."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._words: list[str] = []
        self._margins = [INDENT]  # the innermost last
        self._hang = 0  # columns that the body of a tagged paragraph is farther right
        self._tag: str | None = None
        self._tag_follows = False
        self._filled = True
        self._below_heading = 0  # how many lines there were after the last heading

    def finished(self) -> str:
        self._flush()
        return "\n".join(line.rstrip().replace("\u00a0", " ") for line in self._lines) + "\n"

    def take(self, line: str) -> None:
        """Takes the next line of the source."""
        if line[:3] == '.\\"':
            return
        if line[:1] != ".":
            self._put(literal(line))
            return
        name, _, rest = line[1:].partition(" ")
        arguments = [literal(quoted or bare) for quoted, bare in ARGUMENT.findall(rest)]
        if name in ("B", "I"):
            self._put(" ".join(arguments))
        elif name in ("BI", "BR", "IR", "RB", "RI"):
            self._put("".join(arguments))
        else:
            MACROS[name](self, arguments)

    def _put(self, text: str) -> None:
        if self._tag_follows:
            self._tag, self._tag_follows = text, False
        elif self._filled:
            self._words.append(text)
        else:
            self._lines.append(" " * (self._margins[-1] + self._hang) + text)

    def _flush(self) -> None:
        """Ends the paragraph, or the line at .br."""
        margin, left = self._margins[-1], self._margins[-1] + self._hang
        text = " ".join(self._words)
        lines = [" " * left + line for line in wrap(text, WIDTH - left, break_long_words=False, break_on_hyphens=False)]
        if self._tag is not None:
            tag = " " * margin + self._tag
            fits = len(self._tag) < self._hang and lines
            lines[:1] = [tag.ljust(left) + lines[0][left:]] if fits else [tag, *lines[:1]]
        self._lines += lines
        self._words, self._tag = [], None

    def _gap(self) -> None:
        """Ends the paragraph, with an empty line after it. There is none after a heading."""
        self._flush()
        if len(self._lines) != self._below_heading:
            self._lines.append("")

    def title(self, arguments: list[str]) -> None:
        title, section, _, _, chapter = arguments
        name = f"{title}({section})"
        self._lines.append(name + chapter.center(WIDTH - 2 * len(name)) + name)

    def heading(self, arguments: list[str]) -> None:
        self._put_heading(0, arguments)

    def subheading(self, arguments: list[str]) -> None:
        self._put_heading(SUBHEADING, arguments)

    def _put_heading(self, indent: int, arguments: list[str]) -> None:
        self._gap()
        self._margins, self._hang = [INDENT], 0
        self._lines.append(" " * indent + " ".join(arguments))
        self._below_heading = len(self._lines)

    def paragraph(self, _: list[str]) -> None:
        self._gap()
        self._hang = 0

    def tagged(self, arguments: list[str]) -> None:
        self._gap()
        self._hang = int(arguments[0]) if arguments else INDENT
        self._tag_follows = True

    def item(self, arguments: list[str]) -> None:
        self._gap()
        self._tag = arguments[0] if arguments else None
        self._hang = int(arguments[1]) if len(arguments) > 1 else INDENT

    def indent(self, arguments: list[str]) -> None:
        self._flush()
        self._margins.append(self._margins[-1] + (int(arguments[0]) if arguments else self._hang or INDENT))
        self._hang = 0

    def outdent(self, _: list[str]) -> None:
        self._flush()
        self._margins.pop()
        self._hang = 0

    def line_break(self, _: list[str]) -> None:
        self._flush()

    def literal_lines(self, _: list[str]) -> None:
        self._flush()
        self._filled = False

    def filled_lines(self, _: list[str]) -> None:
        self._filled = True


MACROS: dict[str, Callable[[ManPage, list[str]], None]] = {
    "TH": ManPage.title,
    "SH": ManPage.heading,
    "SS": ManPage.subheading,
    "PP": ManPage.paragraph,
    "TP": ManPage.tagged,
    "IP": ManPage.item,
    "RS": ManPage.indent,
    "RE": ManPage.outdent,
    "br": ManPage.line_break,
    "nf": ManPage.literal_lines,
    "fi": ManPage.filled_lines,
}
