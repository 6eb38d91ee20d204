"""The list of flags agrees with the options records, and its texts keep to one form."""

import pytest

from tunnelctl.cli.parse.values import read_value
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flags import CONFLICTS, COUNT, FLAGS, LEVEL, SECONDS, SWITCH, Flag, flags_of
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route.selection import VARIABLES
from tunnelctl.server.options import ServeOptions

RECORDS = {"connect": ConnectOptions, "serve": ServeOptions}


def name_of(flag: Flag) -> str:
    return f"{'+'.join(flag.commands)}{flag.spellings[-1]}"


@pytest.mark.parametrize("command", RECORDS)
def test_every_field_has_a_flag_and_every_flag_a_field(command):
    fields = set(RECORDS[command]._fields) - {"target", "proxy_origin"}
    assert {flag.destination for flag in flags_of(command)} == fields


@pytest.mark.parametrize(("command", "flag"), [(c, f) for c in RECORDS for f in flags_of(c)], ids=str)
def test_defaults_are_those_of_the_record(command, flag):
    default = RECORDS[command]._field_defaults[flag.destination]
    if flag.kind in (SWITCH, LEVEL) or not flag.default:
        assert default in (False, 0, None, ())
    else:
        shown = read_value(flag, flag.default)
        assert default == ((shown,) if flag.repeat else shown)


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.kind in (SECONDS, COUNT)], ids=name_of)
def test_a_number_shows_its_default(flag):
    assert flag.default


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_spellings_are_unique_in_a_command(command):
    spelled = [s for flag in flags_of(command) for s in flag.spellings] + ["-h", "--help"]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize("flag", FLAGS, ids=name_of)
def test_texts_have_one_form(flag):
    assert flag.spellings
    assert set(flag.commands) <= {c.name for c in COMMANDS}
    assert not flag.help.endswith(".")
    assert flag.help.split()[0] in ("TCP", "JSON", "IPv4", "IPv6") or flag.help[0].islower()
    assert not flag.detail or flag.detail.endswith(".")
    assert flag.help.count("`") % 2 == flag.detail.count("`") % 2 == 0
    assert flag.help.isascii()
    assert flag.detail.isascii()


@pytest.mark.parametrize("flag", FLAGS, ids=name_of)
def test_a_metavar_says_what_to_type(flag):
    assert bool(flag.metavar) == flag.takes_value


def test_conflicts_name_flags_that_exist():
    spelled = {s for flag in FLAGS for s in flag.spellings}
    assert {s for pair in CONFLICTS for s in pair} <= spelled


def test_the_variables_of_the_proxy_are_those_the_client_reads_in_that_order():
    proxy = next(flag for flag in FLAGS if flag.name == "proxy")
    assert proxy.env == VARIABLES
