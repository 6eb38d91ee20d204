"""The manual as plain text, compared with mandoc's rendering."""

import re
import subprocess

import pytest

from man.source.man import pages
from tests.peers.process import path_of
from tunnelctl.cli.render.man_page import WIDTH, man_page

PAGES = pages()


def words(text: str) -> str:
    """Returns a rendered page, without its first line and a last one in the middle of the page, as words with single blanks."""
    return " ".join(re.sub("[\u2010-]\n +", "-", text.partition("\n")[2]).split())


@pytest.mark.peer("mandoc")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_words_that_mandoc_shows(name):
    done = subprocess.run(
        [path_of("mandoc"), "-T", "utf8", "-O", f"width={WIDTH}"], input=PAGES[name], capture_output=True, text=True, timeout=20
    )
    *body, _footer = re.sub(".\b", "", done.stdout).rstrip("\n").split("\n")
    assert words(man_page(PAGES[name])) == words("\n".join(body))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_plain_text_with_the_layout_of_a_manual(name):
    text = man_page(PAGES[name])
    title, _, section = name.upper().rpartition(".")
    first, *lines = text.splitlines()
    assert first.split()[0] == first.split()[-1] == f"{title}({section})"
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert "\\" not in text.replace("\\n", "").replace(" \\\n", "") or name != "tunnelctl.1"
    assert "\n\n\n" not in text
    assert {len(line) - len(line.lstrip()) for line in lines if line} >= {0, 7}
    assert "\nNAME\n       tunnelctl" in text


def test_tagged_paragraphs():
    """A short tag has its text beside it; a long one has a line of its own."""
    source = '.TP 6\n.B 22\nthe port of ssh\n.TP 6\n.BR \\-\\-long " flag"\ntext\n.RS\n.TP 4\nin\ndeeper\n.RE\n.PP\nlast\n'
    assert man_page(source) == (
        "       22    the port of ssh\n\n       --long flag\n             text\n\n             in  deeper\n\n       last\n"
    )


def test_long_text_is_filled_and_literal_lines_are_not():
    text = man_page(".PP\n" + "word " * 30 + "\n.br\nnext\n.PP\n.nf\na  b\n.fi\n")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.endswith("\n       next\n\n       a  b\n")
