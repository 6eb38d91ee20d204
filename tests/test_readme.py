"""The README agrees with the program: its tables are those of the source, its command lines parse, its links exist."""

import re
import shlex
from pathlib import Path

import pytest

from tunnelctl import __version__
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import connect_options
from tunnelctl.proto.proxy_url import parse_proxy_list
from tunnelctl.server.policy.rules import parse_rule

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
_FENCED = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\btunnelctl ((?:connect|check|forward|serve|ssh-config|hash-password|completion)\b.*)$", re.MULTILINE)
_AFTER = re.compile(r" [<>\\]|'\"")  # a redirection, a line continuation, the end of the quotes around an ssh option


def command_lines() -> list[str]:
    """Returns every tunnelctl command in a code block or in the table of other tools."""
    cells = re.findall(r"\| `(tunnelctl [^|]*)` \|$", README, re.MULTILINE)
    return [_AFTER.split(call)[0] for text in (*_FENCED.findall(README), *cells) for call in _CALL.findall(text)]


def test_the_readme_has_command_lines():
    assert len(command_lines()) > 20


@pytest.mark.parametrize("line", command_lines())
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


def test_no_command_installs_the_package_by_name_from_an_index():
    """A package of that name on an index is not this program."""
    pages = (README, *(path.read_text() for path in (ROOT / "man").iterdir() if path.suffix in (".1", ".5", ".7")))
    assert not [
        line for text in pages for line in re.findall(r".*\b(?:install|download) tunnelctl\b.*", text) if "install ." not in line
    ]


def test_relative_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_the_changelog_has_this_version():
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
