"""The direct parser: it accepts plain lines, leaves the rest to Typer, and never disagrees with Typer."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.parse.lines import anything, plain
from tests.options import flat
from tunnelctl.cli.parse.fast import expand_short_form, parse_connect
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import connect_options
from tunnelctl.cli.spec.flag import LEVEL, SWITCH
from tunnelctl.cli.spec.flags import flags_of
from tunnelctl.client.options import ConnectOptions
from tunnelctl.proto.address import Address

# All flags but the one that needs a file to choose from; tests/cli/parse/test_settings.py tests both parsers with it.
FLAGS = [flag for flag in flags_of("connect") if flag.name != "profile"]


def directly(argv: list[str]) -> ConnectOptions | None:
    line = parse_connect(argv, {})
    return None if line is None else line.options


def typer_says(argv: list[str]) -> ConnectOptions:
    call = parse(argv)
    assert call.command == "connect"
    return connect_options(call.pairs, call.words)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("connect host 22", {}),
        ("connect host:22", {}),
        ("connect -x http://127.0.0.1:3128 host 22", {"proxy": ("http://127.0.0.1:3128",)}),
        ("connect host 22 --proxy=http://a:1 --proxy http://b:2", {"proxy": ("http://a:1", "http://b:2")}),
        ("connect host -4 22 -vv --json", {"family": 4, "verbose": 2, "json": True}),
        ("connect -v -v -v host 22", {"verbose": 3}),
        ("connect -q -6 host 22", {"quiet": True, "family": 6}),
        ("connect --timeout 0.5 --retry=3 host 22", {"timeout": 0.5, "retry": 3}),
        ("connect --header 'A: b=c' host 22", {"header": ("A: b=c",)}),
        ("connect --header=A:=b host 22", {"header": ("A:=b",)}),
        ("connect --fdpass --proxy-user=- host 22", {"fdpass": True, "proxy_user": "-"}),
    ],
)
def test_plain_lines_are_parsed_directly_and_as_typer_parses_them(line, changed):
    argv = shlex.split(line)
    expected = flat(ConnectOptions, target=Address("host", 22), **changed)
    assert directly(argv) == expected
    assert typer_says(argv) == expected


@pytest.mark.parametrize(
    "line",
    [
        "", "serve", "--help", "connect", "connect --help", "connect -h host 22", "connect host", "connect host 22 x",
        "connect -xhttp://p host 22", "connect -4v host 22", "connect -- host 22", "connect --nope host 22",
        "connect --timeout host 22", "connect --timeout nan host 22", "connect --timeout -1 host 22", "connect --timeout= host 22",
        "connect host 22 --proxy", "connect host 22 --proxy ''", "connect --proxy-user -x host 22", "connect --json=1 host 22",
        "connect -x=http://p host 22", "connect -4 -6 host 22", "connect -v -q host 22", "connect - 22", "connect host 0",
        "connect --header 'a\x1b' host 22", "connect 'a\tb' 22", "connect --proxy-user=\udcff host 22", "connect -vvv host 22",
    ],
)  # fmt: skip
def test_other_lines_are_left_to_typer(line):
    assert directly(shlex.split(line)) is None


@pytest.mark.parametrize(
    ("line", "expanded"),
    [
        ("host 22", "connect host 22"),
        ("::1 22", "connect ::1 22"),
        ("host 99999", "connect host 99999"),
        ("connect 22", "connect 22"),
        ("serve 22", "serve 22"),
        ("completion 22", "completion 22"),
        ("host ssh", "host ssh"),
        ("host", "host"),
        ("host 22 x", "host 22 x"),
        ("-x 22", "-x 22"),
        ("", ""),
    ],
)
def test_the_short_form_is_a_host_and_a_number(line, expanded):
    assert expand_short_form(line.split()) == expanded.split()


@given(st.lists(anything(FLAGS), max_size=6))
@settings(max_examples=400)
def test_property_the_direct_parser_agrees_with_typer(parts):
    argv = ["connect", *(word for part in parts for word in part)]
    direct = directly(argv)
    if direct is not None:
        assert typer_says(argv) == direct


# Without flags that contradict each other or require another one, so that every such line must be accepted.
HARMFUL = ("-6", "-q", "--progress", "--tls-name", "--tls-cacert", "--tls-alpn", "--via")
HARMLESS = [flag for flag in FLAGS if flag.spellings[0] not in HARMFUL]


@given(st.lists(st.sampled_from(HARMLESS).flatmap(plain), max_size=6), st.sampled_from([["host", "22"], ["host:22"]]), st.data())
@settings(max_examples=200)
def test_property_plain_valid_lines_are_accepted(parts, words, data):
    shuffled = data.draw(st.permutations([*parts, words]))
    argv = ["connect", *(word for part in shuffled for word in part)]
    direct = directly(argv)
    assert direct is not None
    assert direct == typer_says(argv)


def test_a_flag_without_a_value_is_a_switch_or_a_level():
    assert {flag.kind for flag in FLAGS if not flag.takes_value} == {SWITCH, LEVEL}
