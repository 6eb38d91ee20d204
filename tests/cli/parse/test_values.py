"""Reading values: plain decimal numbers only, and one clear line for anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.cli.parse.values import build, connect_options, count, read_fields, read_target, read_value, seconds
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import AddressError, UsageProblem
from tunnelctl.options import OutputOptions, ReachOptions
from tunnelctl.proto.address import Address
from tunnelctl.server.options import ServeOptions


def flag(command: str, spelling: str):
    return next(f for f in flags_of(command) if spelling in f.spellings)


def pairs(command: str, *given: tuple[str, str]):
    return [(flag(command, spelling), text) for spelling, text in given]


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("30", 30.0), ("0.5", 0.5), ("007", 7.0), ("999999999", 999999999.0)])
def test_plain_decimals_are_seconds(text, value):
    assert seconds(text) == value


BAD = [
    "",
    " ",
    "-1",
    "+1",
    "nan",
    "inf",
    "Infinity",
    "1e3",
    "1_0",
    " 1",
    "1 ",
    "1\n",
    "٣",
    "1²",
    "0x10",
    "1,5",
    "9" * 10,
    "9" * 400,
    "1m",
]


@pytest.mark.parametrize("text", [*BAD, "1.", ".5", ".", "1.2.3", "1.-2"])
def test_other_texts_are_not_seconds(text):
    with pytest.raises(ValueError, match="not a number of seconds"):
        seconds(text)


@pytest.mark.parametrize("text", [*BAD, "1.0"])
def test_other_texts_are_not_a_count(text):
    with pytest.raises(ValueError, match="not a whole number"):
        count(text)


@given(st.text())
def test_property_accepted_seconds_are_finite_and_not_negative(text):
    try:
        value = seconds(text)
    except ValueError:
        return
    assert 0 <= value < 1e9


@pytest.mark.parametrize("one", [f for f in FLAGS if f.takes_value], ids=str)
def test_an_empty_value_is_refused(one):
    with pytest.raises(UsageProblem, match="the value is empty"):
        read_value(one, "")


def test_a_wrong_number_is_reported_with_its_flag_and_text():
    with pytest.raises(UsageProblem) as caught:
        read_value(flag("connect", "--retry"), "x")
    assert str(caught.value) == "--retry: `x` is not a whole number such as 3"


def test_a_number_that_is_too_small_is_refused():
    with pytest.raises(UsageProblem, match="`0` is less than 1"):
        read_value(flag("serve", "--workers"), "0")


def test_the_last_value_applies_and_repeated_flags_collect():
    fields = read_fields(
        pairs("connect", ("--timeout", "1"), ("-x", "a"), ("--timeout", "2"), ("--proxy", "b"), ("-v", ""), ("-v", ""))
    )
    assert fields == {"timeout": 2.0, "proxy": ("a", "b"), "verbose": 2}


def test_an_explicit_listener_replaces_the_default():
    assert read_fields(pairs("serve", ("--listen", "[::1]:1"))) == {"listen": ("[::1]:1",)}


@pytest.mark.parametrize(("one", "other"), [("-4", "-6"), ("-v", "-q"), ("--verbose", "--quiet")])
@pytest.mark.parametrize("turn", [False, True])
def test_contradicting_flags_are_refused(one, other, turn):
    both = [(one, ""), (other, "")]
    with pytest.raises(UsageProblem, match="cannot be used together"):
        read_fields(pairs("connect", *(both[::-1] if turn else both)))


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["host", "22"], Address("host", 22)),
        (["host:22"], Address("host", 22)),
        (["[::1]:22"], Address("::1", 22)),
        (["::1", "22"], Address("::1", 22)),
        (["[::1]", "22"], Address("::1", 22)),
        (["HOST.", "22"], Address("host", 22)),
        (["[h.example]:22"], Address("h.example", 22)),
        (["[h.example]", "22"], Address("h.example", 22)),
        (["[192.0.2.1]:22"], Address("192.0.2.1", 22)),
        (["host", "ssh"], Address("host", 22)),
        (["host:https"], Address("host", 443)),
        (["[::1]:ssh"], Address("::1", 22)),
        (["[h.example]:pop3"], Address("h.example", 110)),
    ],
)
def test_forms_of_a_target(words, target):
    assert read_target(words) == target


@pytest.mark.parametrize(
    "words",
    [["[h]22"], ["[h]x", "22"], ["[h]:1", "22"], ["[]", "22"], ["[h", "22"], ["h]", "22"], ["[[h]]", "22"], ["[127.1]:22"],
     ["host"], ["::1:22"], ["host", "0"], ["host", "65536"], ["host", "no-such-service"], ["::1:ssh"], ["", "22"], ["a b", "22"]],
)  # fmt: skip
def test_a_malformed_target_is_an_error(words):
    with pytest.raises(AddressError):
        read_target(words)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["p", "8080", "h", "22"], "in place of corkscrew: tunnelctl connect -x http://p:8080 h 22"),
        (["p", "8080", "h", "22", "f"], "in place of corkscrew: tunnelctl connect -x http://p:8080 --proxy-auth-file f h 22"),
        (["a", "b", "c"], "tunnelctl connect --help"),
        (["a", "b", "c", "d"], "tunnelctl connect --help"),
        (["h", "22", "-w", "5"], "tunnelctl connect --help"),
        ([], "tunnelctl connect HOST PORT"),
    ],
)
def test_a_wrong_number_of_words_gets_a_hint(words, hint):
    with pytest.raises(UsageProblem) as caught:
        read_target(words)
    assert hint_of(caught.value) == hint


def test_a_wrong_target_is_reported_before_a_wrong_flag():
    with pytest.raises(UsageProblem, match="connect: missing arguments HOST PORT"):
        connect_options(pairs("connect", ("--retry", "x")), [])


def test_flags_fill_nested_fields_of_a_record():
    given = pairs("forward", ("-D", "0"), ("--warm", "2"), ("-x", "a"), ("--retry", "3"), ("--json", ""), ("-4", ""))
    built = build(ForwardOptions, given, proxy_origin="a file")
    assert built == ForwardOptions(
        dynamic=("0",),
        warm=2,
        reach=ReachOptions(proxy=("a",), proxy_origin="a file", retry=3, family=4),
        output=OutputOptions(json=True),
    )


def test_a_record_without_flags_has_its_defaults():
    assert build(ServeOptions, []) == ServeOptions()


def test_a_field_without_a_default_must_be_given():
    with pytest.raises(KeyError, match="target"):
        build(ConnectOptions, [])
