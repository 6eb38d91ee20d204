"""The table of flags agrees with the options records, and its texts have one form."""

import pytest

from tests.options import fields_of
from tunnelctl.cli.commands import check_policy
from tunnelctl.cli.commands.env import EnvOptions
from tunnelctl.cli.commands.hash_password import LineOptions
from tunnelctl.cli.commands.setup import SetupOptions
from tunnelctl.cli.commands.top import TopOptions
from tunnelctl.cli.parse.values import read_value
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.connect_flags import CONFLICTS, OPENING, REPORTING
from tunnelctl.cli.spec.flag import COUNT, LEVEL, SECONDS, SWITCH, Flag
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.client.check.options import CheckOptions
from tunnelctl.client.discovery.options import DiscoverOptions
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.options import ConnectOptions
from tunnelctl.client.route.selection import VARIABLES
from tunnelctl.options import OutputOptions
from tunnelctl.server.options import ServeOptions

RECORDS = {
    "connect": ConnectOptions,
    "forward": ForwardOptions,
    "run": ForwardOptions,
    "serve": ServeOptions,
    "check": CheckOptions,
    "check-policy": check_policy.CheckOptions,
    "setup": SetupOptions,
    "hash-password": LineOptions,
    "env": EnvOptions,
    "selftest": OutputOptions,
    "top": TopOptions,
}

# The record of a command without words, where that is another one.
BARE = {"check": DiscoverOptions}

RECORDS_ONCE = [
    record for record in dict.fromkeys((*RECORDS.values(), *BARE.values())) if record is not OutputOptions
]  # it is nested in others

# Fields that no flag fills: the words of a line, and values from the settings file.
NO_FLAG = {"target", "command", "proxy_origin"}

# The flag that `complete` applies before there are options.
NO_FIELD = {"profile"}

# Defaults that mean another value, which only the command itself knows.
STANDS_FOR = {("hash-password", "realm"): None}


def options_of(command: str) -> dict[str, object]:
    return {**dict(fields_of(BARE[command]) if command in BARE else ()), **dict(fields_of(RECORDS[command]))}


def name_of(flag: Flag) -> str:
    return f"{'+'.join(flag.commands)}{flag.spellings[-1]}"


@pytest.mark.parametrize("command", RECORDS)
def test_every_flag_has_a_field(command):
    assert {flag.destination for flag in flags_of(command)} - NO_FIELD <= options_of(command).keys()


@pytest.mark.parametrize("record", RECORDS_ONCE, ids=lambda record: record.__name__)
def test_every_field_has_a_flag(record):
    """A record's own fields have flags of its commands; fields shared with other commands may have flags of those."""
    commands = {command for records in (RECORDS, BARE) for command in records if records[command] is record}
    nested = {name for name in record._fields if hasattr(record._field_defaults.get(name), "_fields")}
    assert set(record._fields) - nested - NO_FLAG <= {flag.destination for c in commands for flag in flags_of(c)}
    assert dict(fields_of(record)).keys() - NO_FLAG <= {flag.destination for flag in FLAGS}
    assert not nested & {flag.destination for flag in FLAGS}, "no flag may have a whole record as its destination"


@pytest.mark.parametrize("record", RECORDS_ONCE, ids=lambda record: record.__name__)
def test_no_field_occurs_twice_in_a_record(record):
    names = [name for name, _ in fields_of(record)]
    assert len(names) == len(set(names))


DEFAULTS = [(c, f) for c in RECORDS for f in flags_of(c) if f.destination not in NO_FIELD]


@pytest.mark.parametrize(("command", "flag"), DEFAULTS, ids=lambda one: one if isinstance(one, str) else one.spellings[-1])
def test_the_default_of_a_flag_is_that_of_the_record(command, flag):
    default = options_of(command)[flag.destination]
    if (command, flag.destination) in STANDS_FOR:
        assert default == STANDS_FOR[command, flag.destination]
        return
    if flag.kind in (SWITCH, LEVEL) or not flag.default:
        assert default in (False, 0, None, (), "")
    else:
        shown = read_value(flag, flag.default)
        assert default == ((shown,) if flag.repeat else shown)


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.kind in (SECONDS, COUNT)], ids=name_of)
def test_a_flag_for_a_number_shows_its_default(flag):
    assert flag.default


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_spellings_are_unique_in_a_command(command):
    spelled = [s for flag in flags_of(command) for s in flag.spellings] + ["-h", "--help"]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize("flag", FLAGS, ids=name_of)
def test_the_texts_of_a_flag_have_one_form(flag):
    assert flag.spellings
    assert set(flag.commands) <= {c.name for c in COMMANDS}
    assert not flag.help.endswith(".")
    assert flag.help.split()[0] in ("TCP", "JSON", "IPv4", "IPv6") or flag.help[0].islower()
    assert not flag.detail or flag.detail.endswith(".")
    assert flag.help.count("`") % 2 == flag.detail.count("`") % 2 == 0
    assert flag.help.isascii()
    assert flag.detail.isascii()


@pytest.mark.parametrize("flag", FLAGS, ids=name_of)
def test_only_a_flag_with_a_value_has_a_metavar(flag):
    assert bool(flag.metavar) == flag.takes_value


def test_connect_needs_no_flag_of_the_other_modules():
    """It loads these alone."""
    assert [flag for flag in (*OPENING, *REPORTING) if "connect" in flag.commands] == flags_of("connect")


def test_conflicts_name_flags_that_exist():
    spelled = {s for flag in FLAGS for s in flag.spellings}
    assert {s for pair in CONFLICTS for s in pair} <= spelled


def test_the_proxy_flag_lists_the_variables_that_the_client_reads():
    proxy = next(flag for flag in FLAGS if flag.name == "proxy")
    assert proxy.env == VARIABLES
