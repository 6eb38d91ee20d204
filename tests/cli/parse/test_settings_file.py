"""The settings file: its form, the precedence of flag, variable, profile and defaults, and the messages about mistakes."""

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.harness import CANARY
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.settings_file import COMMANDS, KEYS, origins, parse, texts_of
from tunnelctl.cli.parse.typer_app import parse as parse_line
from tunnelctl.cli.parse.values import Settings, read_fields
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.spec.flag import CHOICE, Flag
from tunnelctl.cli.spec.flags import FLAGS, flags_of
from tunnelctl.errors import SettingsError

PATH = "/home/a/config.toml"


def completed(directory: Path, text: str, line: str = "connect host 22", mode: int = 0o600, **environ: Any) -> Settings:
    """Returns the settings for a command line with a settings file of this text."""
    (directory / "tunnelctl").mkdir(exist_ok=True)
    path = directory / "tunnelctl/config.toml"
    path.write_text(text)
    path.chmod(mode)
    call = parse_line(line.split())
    return complete(call.command, call.pairs, {"XDG_CONFIG_HOME": str(directory), **environ})


def fields(directory: Path, text: str, line: str = "connect host 22", **environ: Any) -> dict[str, Any]:
    return read_fields(completed(directory, text, line, **environ).pairs)


# --- values


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("timeout = 10", "timeout", 10.0),
        ("timeout = 0.5", "timeout", 0.5),
        ("retry = 3", "retry", 3),
        ("json = true", "json", True),
        ("json = false", "json", None),
        ("verbose = 2", "verbose", 2),
        ("verbose = 0", "verbose", None),
        ('proxy = "http://a:1"', "proxy", ("http://a:1",)),
        ('proxy = ["http://a:1", "http://b:2"]', "proxy", ("http://a:1", "http://b:2")),
        ('proxy = "direct"', "proxy", ("direct",)),
        ('header = ["A: b"]', "header", ("A: b",)),
        ("header = []", "header", None),
        ('auth = "bearer"', "auth", "bearer"),
        ('proxy-user = "alice"', "proxy_user", "alice"),
        ("ask-password = true", "ask_password", True),
        ('proxy-password-file = "~/secret"', "proxy_password_file", "/home/me/secret"),
        ('proxy-password-file = "/etc/~/secret"', "proxy_password_file", "/etc/~/secret"),
        ('password-command = "pass ~/x"', "password_command", "pass ~/x"),
    ],
)
def test_values_are_converted_to_the_type_of_their_flag(tmp_path: Path, text: str, field: str, value: object) -> None:
    assert fields(tmp_path, f"[defaults]\n{text}\n", HOME="/home/me").get(field) == value


def test_a_key_of_another_command_is_ignored(tmp_path: Path) -> None:
    text = '[defaults]\nlisten = "127.0.0.1:1"\nmax-connections = 3\ntimeout = 5\nallow = ["a:1"]\n'
    assert fields(tmp_path, text) == {"timeout": 5.0}
    assert fields(tmp_path, text, "serve") == {"listen": ("127.0.0.1:1",), "allow": ("a:1",)}
    assert fields(tmp_path, text, "forward -D 1") == {"dynamic": ("1",), "max_connections": 3, "timeout": 5.0}


def test_flags_of_one_name_take_the_same_kind_of_value() -> None:
    """A key applies to every command that has the flag."""
    for name in KEYS:
        same = [flag for flag in FLAGS if flag.name == name and set(flag.commands) & set(COMMANDS)]
        assert len({(flag.kind, flag.repeat, flag.choices if flag.kind == CHOICE else ()) for flag in same}) == 1


def test_every_long_flag_but_profile_is_a_key() -> None:
    names = {f.name for command in COMMANDS for f in flags_of(command)} - {""}
    assert names - set(KEYS) == {"profile"}


@pytest.mark.parametrize("value", [None, object(), {}, 1j, b"x"])
@pytest.mark.parametrize("flag", KEYS.values(), ids=KEYS)
def test_no_flag_accepts_a_value_of_another_type(flag: Flag, value: object) -> None:
    assert texts_of(flag, value) is None


def test_an_empty_file_or_table_sets_nothing(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "[defaults]\n", "[profiles]\n", "[profiles.work]\n"):
        assert fields(tmp_path, text) == {}


# --- precedence

LEVELS = ("flag", "variable", "profile", "defaults")


@pytest.mark.parametrize("present", [p for n in range(5) for p in itertools.combinations(LEVELS, n)], ids="-".join)
def test_flag_before_variable_before_profile_before_defaults(tmp_path: Path, present: tuple[str, ...]) -> None:
    """All sixteen cases for the proxy, the only value with an environment variable of its own."""
    profile = 'proxy = "http://profile:1"' if "profile" in present else ""
    defaults = 'proxy = "http://defaults:1"' if "defaults" in present else ""
    environ: dict[str, Any] = {"TUNNELCTL_PROXY": "http://variable:1"} if "variable" in present else {}
    line = f"connect {'-x http://flag:1 ' if 'flag' in present else ''}--profile work host 22"
    text = f"[defaults]\n{defaults}\n[profiles.work]\n{profile}\n"
    first = next((level for level in LEVELS if level in present), "")
    proxy = fields(tmp_path, text, line, **environ).get("proxy", ())
    assert proxy == (() if first in ("", "variable") else (f"http://{first}:1",)), "without one, the variables are asked later"
    found = completed(tmp_path, text, line, **environ)
    origin = origins("connect", parse_line(line.split()).pairs, found, {**environ, "https_proxy": "http://last:1"})["--proxy"]
    path = f"{tmp_path}/tunnelctl/config.toml"
    wanted = {
        "flag": "flag",
        "variable": "TUNNELCTL_PROXY",
        "profile": f"profile work, line 4 of {path}",
        "defaults": f"defaults, line 2 of {path}",
        "": "https_proxy",
    }
    assert origin == wanted[first]


VALUES = {"timeout": [1, 2.5], "json": [True, False], "header": [["A: b"], []], "retry": [0, 7], "proxy-user": ["a", "b"]}
SHOWN = {"timeout": "9", "json": None, "header": "C: d", "retry": "9", "proxy-user": "c"}
TABLES = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in VALUES.items()})


def toml(table: dict[str, Any]) -> str:
    spell = {True: "true", False: "false"}
    lines = (f"{key} = {spell[value] if isinstance(value, bool) else repr(value)}\n" for key, value in table.items())
    return "".join(lines).replace("'", '"')


@given(TABLES, TABLES, st.sets(st.sampled_from(sorted(VALUES))))
@settings(max_examples=150)
def test_property_each_key_has_the_value_of_the_nearest_level(
    tmp_path_factory: pytest.TempPathFactory, profile: dict[str, Any], defaults: dict[str, Any], typed: set[str]
) -> None:
    directory = tmp_path_factory.getbasetemp()
    (directory / "tunnelctl").mkdir(exist_ok=True)
    (directory / "tunnelctl/config.toml").write_text(f"[defaults]\n{toml(defaults)}[profiles.work]\n{toml(profile)}")
    spelled = {flag.name: flag for flag in flags_of("connect")}
    pairs = [(spelled[name], SHOWN[name] or "") for name in typed]
    pairs.append((spelled["profile"], "work"))
    found = complete("connect", pairs, {"XDG_CONFIG_HOME": str(directory)})
    got = read_fields(found.pairs)
    for key in VALUES:
        expected: Any = {**defaults, **profile}.get(key)
        if key in typed:
            expected = read_fields([(spelled[key], SHOWN[key] or "")])[spelled[key].destination]
        expected = tuple(expected) if isinstance(expected, list) else expected
        assert (got.get(spelled[key].destination) or None) == (expected or None), key
    for name, origin in origins("connect", pairs, found, {}).items():
        key = name.removeprefix("--")
        level = "flag" if key in typed else "profile" if key in profile else "defaults" if key in defaults else "default"
        assert key == "profile" or origin.split(",")[0].split()[0] == level


@pytest.mark.parametrize("profile", ["quiet = true", "verbose = 2"])
@pytest.mark.parametrize("line", ["connect -v host 22", "connect -q host 22"])
def test_a_contradicting_value_of_a_lower_level_is_dropped(tmp_path: Path, profile: str, line: str) -> None:
    found = fields(tmp_path, f"[defaults]\n{profile}\n", line)
    assert ("quiet" in found) == ("-q" in line)
    assert ("verbose" in found) == ("-v" in line)


@pytest.mark.parametrize(
    ("off", "defaults"),
    [("quiet = false", "verbose = 2"), ("ask-password = false", 'password-command = "c"'), ("proxy = []", 'pac = "p"')],
)
def test_a_value_that_is_switched_off_conflicts_with_nothing(tmp_path: Path, off: str, defaults: str) -> None:
    text = f"[defaults]\n{defaults}\n[profiles.work]\n{off}\n"
    assert len(fields(tmp_path, text, "connect --profile work host 22")) == 2


ALICE = 'proxy-user = "alice"\n'


@pytest.mark.parametrize(
    ("table", "line", "environ", "left"),
    [
        ('proxy-password-file = "f"', "--ask-password", {}, {"ask_password", "proxy_user"}),
        ('password-command = "c"', "--proxy-password-file f", {}, {"proxy_password_file", "proxy_user"}),
        ("ask-password = true", "--password-command c", {}, {"password_command", "proxy_user"}),
        ("ask-password = true", "--proxy-auth-file f", {}, {"proxy_auth_file"}),
        ("ask-password = true", "", {"TUNNELCTL_PROXY_PASSWORD": "p"}, {"proxy_user"}),
        ("ask-password = true", "", {}, {"ask_password", "proxy_user"}),
    ],
)
def test_one_source_of_a_password_replaces_the_others(
    tmp_path: Path, table: str, line: str, environ: dict[str, str], left: set[str]
) -> None:
    assert set(fields(tmp_path, f"[defaults]\n{ALICE}{table}\n", f"connect {line} host 22", **environ)) == left


WORK = f'[profiles.work]\nproxy = "http://work:1"\n{ALICE}password-command = "pass work"\nheader = ["X-Token: t"]\ntimeout = 5\n'


@pytest.mark.parametrize(
    ("line", "environ"),
    [("-x http://other:1", {}), ("-x direct", {}), ("", {"TUNNELCTL_PROXY": "http://other:1"})],
)
def test_another_proxy_does_not_get_the_login_stored_with_a_proxy(tmp_path: Path, line: str, environ: dict[str, str]) -> None:
    found = fields(tmp_path, WORK, f"connect --profile work {line} host 22", **environ)
    assert set(found) - {"proxy"} == {"timeout", "profile"}
    defaults = WORK.replace("profiles.work", "defaults") + '[profiles.home]\nproxy = "http://home:1"\n'
    assert set(fields(tmp_path, defaults, "connect --profile home host 22")) == {"proxy", "timeout", "profile"}


def test_a_pac_file_and_a_proxy_replace_each_other(tmp_path: Path) -> None:
    pac = f'[defaults]\npac = "/etc/pac"\n{ALICE}ask-password = true\n'
    assert set(fields(tmp_path, pac)) == {"pac", "proxy_user", "ask_password"}
    assert set(fields(tmp_path, pac, "connect -x http://other:1 host 22")) == {"proxy"}
    assert fields(tmp_path, pac, TUNNELCTL_PROXY="http://other:1") == {}
    assert set(fields(tmp_path, WORK, "connect --profile work --pac /etc/pac host 22")) == {"pac", "timeout", "profile"}


def test_a_login_stored_without_a_proxy_applies_to_any_proxy(tmp_path: Path) -> None:
    found = fields(tmp_path, f"[defaults]\n{ALICE}ask-password = true\n", "connect -x http://other:1 host 22")
    assert found == {"proxy": ("http://other:1",), "proxy_user": "alice", "ask_password": True}


# --- profiles


def test_the_flag_for_a_profile_precedes_the_variable(tmp_path: Path) -> None:
    text = "[profiles.a]\ntimeout = 1\n[profiles.b]\ntimeout = 2\n[defaults]\ntimeout = 3\n"
    assert fields(tmp_path, text)["timeout"] == 3
    assert fields(tmp_path, text, TUNNELCTL_PROFILE="a")["timeout"] == 1
    assert fields(tmp_path, text, TUNNELCTL_PROFILE="")["timeout"] == 3
    assert fields(tmp_path, text, "connect --profile b host 22", TUNNELCTL_PROFILE="a")["timeout"] == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[profiles.home]\n[profiles.office]\n", "its profiles are home and office"),
        ("[defaults]\n", "it has no profiles; [profiles.NAME] begins one"),
    ],
)
def test_an_unknown_profile_is_an_error(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        completed(tmp_path, text, "connect --profile work host 22")
    assert str(caught.value) == f"--profile work: settings file {tmp_path}/tunnelctl/config.toml has no such profile"
    assert hint_of(caught.value) == hint


# --- mistakes


MISTAKES = [
    ("[defaults]\ntimeot = 1", 2, "unknown key `timeot`", "did you mean timeout?"),
    ("[defaults]\n\n# x\nproxy_user = 'a'", 4, "unknown key `proxy_user`", "did you mean proxy-user?"),
    ("[profiles.a]\ntimeout = 1\n[profiles.b]\npasword = 'a'", 4, "unknown key `pasword`", ""),
    ("[defaults]\nretry = 1\n[[profile]]", 3, "unknown table `profile`", "the tables are [defaults] and [profiles.NAME]"),
    ("[defaults]\nzzz = 1", 2, "unknown key `zzz`", "keys have the names of the long flags, such as proxy or timeout"),
    ("[defaults]\nprofile = 'a'", 2, "unknown key `profile`", ""),
    ("[defaults]\n'timeot' = 1", 2, "unknown key `timeot`", "did you mean timeout?"),
    ("defaults.timeot = 1", 1, "unknown key `timeot`", "did you mean timeout?"),
    ("defaults = { timeot = 1 }", 1, "unknown key `timeot`", "did you mean timeout?"),
    ("[profiles.'my work']\ntimeot = 1", 2, "unknown key `timeot`", "did you mean timeout?"),
    ("timeout = 1", 1, "`timeout` is outside any table", "keys belong below [defaults] or [profiles.NAME]"),
    ("\n[connect]\ntimeout = 1", 2, "unknown table `connect`", "the tables are [defaults] and [profiles.NAME]"),
    ("defaults = 1", 1, "`defaults` is not a table", "the tables are [defaults] and [profiles.NAME]"),
    ("[[defaults]]\nretry = 1", 1, "`defaults` is not a table", ""),
    ("zzz = 1", 1, "`zzz` is not a table", "the tables are [defaults] and [profiles.NAME]"),
    ("[profiles]\ntimeout = 1", 2, "`timeout` is not a profile", ""),
    ("[defaults]\ntimeout = '1'", 2, "`timeout` takes a number of seconds", ""),
    ("[defaults]\ntimeout = true", 2, "`timeout` takes a number of seconds", ""),
    ("[defaults]\ntimeout = -1", 2, "`timeout`: `-1` is not a number of seconds such as 30 or 0.5", ""),
    ("[defaults]\ntimeout = nan", 2, "`timeout`: `nan` is not a number of seconds such as 30 or 0.5", ""),
    ("[defaults]\nretry = 1.5", 2, "`retry` takes a whole number", ""),
    ("[defaults]\nworkers = 0", 2, "`workers`: `0` is less than 1", ""),
    ("[defaults]\njson = 1", 2, "`json` takes true or false", ""),
    ("[defaults]\nverbose = true", 2, "`verbose` takes a number from 0 to 9", ""),
    ("[defaults]\nverbose = 1000000000", 2, "`verbose` takes a number from 0 to 9", ""),
    ("[defaults]\nproxy = 1", 2, "`proxy` takes a string or a list of strings", ""),
    ("[defaults]\nproxy = ['a', 1]", 2, "`proxy` takes a string or a list of strings", ""),
    ("[defaults]\nproxy-user = ['a']", 2, "`proxy-user` takes a string", ""),
    ("[defaults]\nproxy-user = ''", 2, "`proxy-user`: the value is empty", ""),
    ("[defaults]\nauth = 'nltm'", 2, "`auth`: `nltm` is not one of any, basic, digest, bearer, ntlm, negotiate", ""),
    ("[defaults]\nquiet = true\nverbose = 1", 3, "`verbose`", ""),
    ("[defaults]\nproxy = 'http://a:x'", 2, "`proxy`: proxy URL 'http://a:x': port 'x' is", ""),
    ("[defaults]\nheader = ['A: b', 'none']", 2, "`header`: ", ""),
    ("[defaults]\na = 1\na = 2", 3, "cannot overwrite a value", ""),
    ("[defaults]\ntimeout = ", 2, "invalid value", ""),
    ('[defaults]\nproxy-user = "CORP\\user"', 2, "invalid hex value", "in double quotes a backslash is written"),
    ('[defaults]\nproxy-user = "CORP\\alice"', 2, "unescaped '\\' in a string", "in double quotes a backslash is written"),
    ('[defaults]\nproxy-user = "CORP\\bob"', 2, "`proxy-user`: it contains a control character", "in double quotes a backslash is"),
    (
        '[defaults]\nproxy-password-file = "~\\new"',
        2,
        "`proxy-password-file`: it contains a control",
        "in double quotes a backslash is",
    ),
    ("nonsense", 1, "", ""),
]


@pytest.mark.parametrize(("text", "line", "cause", "hint"), MISTAKES, ids=[m[0][:40] for m in MISTAKES])
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, text: str, line: int, cause: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        completed(tmp_path, text)
    error = caught.value
    assert error.what == f"settings file {tmp_path}/tunnelctl/config.toml, line {line}"
    assert error.cause.startswith(cause)
    assert error.cause[0].islower() or error.cause[0] == "`"
    assert hint_of(error).startswith(hint)


@pytest.mark.parametrize(
    ("key", "line"), [("allow", "serve"), ("deny", "serve"), ("listen", "serve"), ("local", "forward"), ("dynamic", "forward")]
)
def test_values_that_the_command_parses_later_are_checked_here(tmp_path: Path, key: str, line: str) -> None:
    with pytest.raises(SettingsError, match=f"line 2: `{key}`: "):
        completed(tmp_path, f"[defaults]\n{key} = 'a:b:c'", line)


def test_non_utf8_and_incomplete_files_are_errors() -> None:
    with pytest.raises(SettingsError, match=f"settings file {PATH}: not UTF-8"):
        parse(b"\xff", PATH)
    with pytest.raises(SettingsError, match=f"settings file {PATH}.*: ") as caught:
        parse(b'[defaults]\nproxy = ["a"', PATH)
    assert "(at" not in caught.value.cause


def test_a_byte_order_mark_is_not_part_of_the_file(tmp_path: Path) -> None:
    assert fields(tmp_path, "\ufeff[defaults]\ntimeout = 5\n") == {"timeout": 5.0}
    with pytest.raises(SettingsError, match="UTF-16; it must be UTF-8"):
        parse("[defaults]\n".encode("utf-16"), PATH)


def test_a_backslash_and_a_script_of_several_lines_are_read(tmp_path: Path) -> None:
    text = """[defaults]
proxy-user = 'CORP\\bob'
password-command = \"\"\"
a
b\\tc\"\"\"
"""
    assert fields(tmp_path, text) == {"proxy_user": "CORP\\bob", "password_command": "a\nb\tc"}


def test_no_message_about_a_mistake_shows_a_password(tmp_path: Path) -> None:
    for text in (f"proxy = 'http://u:{CANARY}@a:x'", f"proxy = 'foo://u:{CANARY}@a'"):
        with pytest.raises(SettingsError) as caught:
            completed(tmp_path, f"[defaults]\n{text}\n")
        assert CANARY not in f"{caught.value!r} {caught.value} {hint_of(caught.value)} {caught.value.__cause__}"


@given(st.text(st.sampled_from("[]{}defaults.profiles'\"=#\n 1,x-"), max_size=60))
@settings(max_examples=300)
def test_fuzz_a_file_is_read_or_is_a_settings_error(text: str) -> None:
    with suppress(SettingsError):
        parse(text.encode(), PATH)


# --- others


@pytest.mark.parametrize(
    ("url", "mode", "warned"),
    [
        ("http://u:p@a:1", 0o644, True),
        ("http://u:p@a:1", 0o600, False),
        ("http://u@a:1", 0o644, False),
        ("http://a:1", 0o666, False),
    ],
)
def test_a_shared_file_with_a_password_is_detected(tmp_path: Path, url: str, mode: int, warned: bool) -> None:
    assert completed(tmp_path, f"[defaults]\nproxy = '{url}'\n", mode=mode).shared == warned
