"""The README and docs/ agree with the program: their command lines parse, their links exist, their figures are measured ones."""

import re
import shlex
from pathlib import Path

import pytest

from tunnelctl import __version__
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import connect_options
from tunnelctl.cli.spec.commands import COMMANDS, OTHERS
from tunnelctl.proto.proxy_url import parse_proxy_list
from tunnelctl.server.policy.rules import parse_rule

ROOT = Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES["README.md"]
_FENCED = re.compile(r"^```(?:toml)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(tunnelctl [^`]*)`")
_CALL = re.compile(rf"\btunnelctl ((?:{'|'.join(command.name for command in COMMANDS)})\b.*)$", re.MULTILINE)
_AFTER = re.compile(r" [<>\\#&|]|'\"")  # a redirection, a comment, the next command, the end of the quotes around an ssh option
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|…")  # as in -L PORT:HOST:PORT

# Not in the tree yet. The test below fails as soon as one is.
AWAITED_FILES: set[str] = set()


def command_lines(page: str) -> list[str]:
    """Returns every tunnelctl command in a code block, in a table or in the text."""
    spans = [span for span in _SPAN.findall(_FENCED.sub("", page)) if span.count(" ") > 1 and not _PLACEHOLDER.search(span)]
    calls = [_AFTER.split(call)[0].strip() for text in (*_FENCED.findall(page), *spans) for call in _CALL.findall(text)]
    return [call for call in calls if not call.endswith(("-h", "--help"))]


def test_the_pages_have_command_lines():
    assert len(command_lines(README)) > 12
    assert {"serve", "check", "ssh-config github.com"} <= set(command_lines(README))


LINES = sorted({line for page in PAGES.values() for line in command_lines(page)})


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_parses(line):
    words = shlex.split(line.replace("%h", "host.example.com").replace("%p", "22"))
    call = parse(words)
    assert call.command == words[0]
    if call.command == "connect":
        options = connect_options(call.pairs, call.words)
        assert all(proxy.address.port in (3128, 8080, 443, 1080) for url in options.reach.proxy for proxy in parse_proxy_list(url))
    for flag, text in call.pairs:
        if flag.metavar == "RULE":
            parse_rule(text)
        if flag.name == "proxy":
            parse_proxy_list(text)


def test_no_command_installs_the_package_by_name_from_an_index():
    """A package of that name on an index is not this program."""
    pages = (*PAGES.values(), *(path.read_text() for path in (ROOT / "man").iterdir() if path.suffix in (".1", ".5", ".7")))
    assert not [
        line for text in pages for line in re.findall(r".*\b(?:install|download) tunnelctl\b.*", text) if "install ." not in line
    ]


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files_and_headings(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]) if "://" not in link]
    for link in links:
        name, _, heading = link.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        found = str(path.resolve().relative_to(ROOT))
        assert path.exists() or found in AWAITED_FILES, link
        if heading:
            assert heading in headings(path.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors that a forge makes of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_awaited_files_are_still_awaited():
    assert not [name for name in AWAITED_FILES if (ROOT / name).exists()], "take it out of AWAITED_FILES"


def test_every_page_is_reached_from_the_readme():
    assert {name for name in PAGES if name != "README.md"} <= set(re.findall(r"\]\(([^)#]+)", README))


def test_the_readme_is_short_and_starts_with_how_to_start():
    """Two commands come first: one runs the main job, the other one passes the tests."""
    assert len(README.splitlines()) <= 200
    first = _FENCED.search(README)
    assert first[1].splitlines()[1:] == ["tests/run"]
    assert first[1].splitlines()[0].endswith("tunnelctl selftest")
    assert README[: first.start()].count("\n") < 15


def test_the_figures_in_the_readme_are_those_of_the_report():
    table = README.partition("<!-- performance -->\n")[2].partition("<!-- /performance -->")[0]
    assert table.count("\n") > 5
    assert table in PAGES["docs/performance.md"]


def test_the_report_shows_its_pictures():
    """`python -m tests.bench page` writes both."""
    shown = set(re.findall(r"\((performance/[^)]+)\)", PAGES["docs/performance.md"]))
    assert shown == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs/performance").iterdir()}


def test_the_number_of_translated_command_lines():
    assert f"translates {len(OTHERS)} command lines" in README


def test_the_changelog_has_this_version():
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
