"""Where the settings file is looked for, what follows without one, and that both parsers apply it alike."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.harness import TraceLog
from tests.peers.program import run
from tunnelctl.cli.parse.fast import parse_connect
from tunnelctl.cli.parse.settings import ConnectLine, complete, connect_line, path_of
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import Settings, read_fields
from tunnelctl.cli.render.hints import line_of
from tunnelctl.errors import SettingsError, UsageProblem


def directly(line: str, environ: dict[str, str]) -> ConnectLine:
    found = parse_connect(line.split(), environ)
    assert found is not None
    return found


def by_typer(line: str, environ: dict[str, str]) -> ConnectLine:
    call = parse(line.split())
    return connect_line(call.pairs, call.words, environ)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".config/tunnelctl").mkdir(parents=True)
    return tmp_path


def write(home: Path, text: str | bytes, mode: int = 0o600) -> dict[str, str]:
    """Writes the settings file and returns an environment that points to it."""
    path = home / ".config/tunnelctl/config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return {"HOME": str(home)}


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/home/a"}, "/home/a/.config/tunnelctl/config.toml"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": "/etc/a"}, "/etc/a/tunnelctl/config.toml"),
        ({"XDG_CONFIG_HOME": "/etc/a"}, "/etc/a/tunnelctl/config.toml"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": "relative"}, "/home/a/.config/tunnelctl/config.toml"),
        ({"HOME": "/home/a", "XDG_CONFIG_HOME": ""}, "/home/a/.config/tunnelctl/config.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, ""),
        ({"HOME": ""}, ""),
        ({}, ""),
    ],
)
def test_the_path_follows_xdg_config_home_and_home(environ: dict[str, str], path: str) -> None:
    assert path_of(environ) == path


@pytest.mark.parametrize("environ", [{}, {"HOME": "/nonexistent"}, {"HOME": "/dev/null"}, {"XDG_CONFIG_HOME": "/nonexistent"}])
def test_a_missing_file_is_no_error(environ: dict[str, str]) -> None:
    line = "connect --timeout 5 host 22"
    assert directly(line, environ) == by_typer(line, environ)
    assert directly(line, environ).settings == Settings(directly(line, environ).settings.pairs)


@pytest.mark.parametrize(("environ", "cause"), [({}, "there is no home directory"), ({"HOME": "/nonexistent"}, "does not exist")])
def test_a_profile_without_a_file_is_an_error(environ: dict[str, str], cause: str) -> None:
    for line, variable, what in (
        ("connect --profile work host 22", {}, "--profile work"),
        ("connect host 22", {"TUNNELCTL_PROFILE": "work"}, "TUNNELCTL_PROFILE work"),
    ):
        with pytest.raises(SettingsError, match=cause) as caught:
            directly(line, {**environ, **variable})
        assert caught.value.what == what


def test_an_unreadable_file_is_an_error(home: Path) -> None:
    (home / ".config/tunnelctl/config.toml").mkdir()
    with pytest.raises(SettingsError, match="is a directory"):
        complete("connect", [], {"HOME": str(home)})


def test_mistakes_on_the_command_line_are_reported_first(home: Path) -> None:
    environ = write(home, "nonsense")
    with pytest.raises(UsageProblem, match="missing arguments HOST PORT"):
        by_typer("connect", environ)
    with pytest.raises(SettingsError):
        by_typer("connect host 22", environ)


ABOUT_TLS = ["--tls-name a.test", "--tls-cacert /nonexistent", "--tls-alpn imap"]


@pytest.mark.parametrize("flag", ABOUT_TLS)
@pytest.mark.parametrize("command", ["connect", "check"])
def test_a_typed_tls_flag_without_tls_is_a_usage_error(flag: str, command: str, home: Path) -> None:
    name = flag.partition(" ")[0]
    defaults = '[defaults]\ntls-name = "b.test"\ntls-cacert = "/etc/ca.pem"\ntls-alpn = "imap"\n'
    environ = write(home, f"{defaults}[profiles.p]\ntls = true\n")
    pairs = parse(f"{command} {flag} h 443".split()).pairs
    for env in ({}, environ):
        with pytest.raises(UsageProblem) as caught:
            complete(command, pairs, env)
        assert line_of(caught.value) == f"{name}: it requires TLS to the target"
    with_tls = parse(f"{command} {flag} --profile p h 443".split()).pairs
    assert read_fields(complete(command, with_tls, environ).pairs)["tls"] is True
    assert "tls" not in read_fields(complete(command, [], environ).pairs), "values in the file apply only if there is TLS"


def test_help_works_with_a_broken_settings_file(home: Path) -> None:
    done = run("connect", "--help", env=write(home, "nonsense"))
    assert (done.returncode, done.stderr) == (0, b"")


LINES = st.lists(
    st.sampled_from(["--timeout 5", "-x http://c:3", "--json", "-v", "-q", "--profile work", "--header A:b", "--proxy-user u"]),
    max_size=4,
).map(lambda words: " ".join(["connect", *words, "host 22"]))


@given(LINES)
@settings(max_examples=100)
def test_property_both_parsers_agree_on_a_line_with_settings(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    home = tmp_path_factory.getbasetemp() / "both"
    (home / ".config/tunnelctl").mkdir(parents=True, exist_ok=True)
    environ = write(
        home, '[defaults]\ntimeout = 1\nproxy = "http://a:1"\nquiet = true\n[profiles.work]\nproxy = "http://b:2"\nverbose = 1\n'
    )
    direct = parse_connect(line.split(), environ)
    if direct is not None:
        other = by_typer(line, environ)
        assert direct.options == other.options
        assert direct.settings._replace(pairs=[]) == other.settings._replace(pairs=[])


def test_the_file_and_the_profile_are_reported(home: Path) -> None:
    trace = TraceLog()
    environ = write(home, '[profiles.work]\nproxy = "http://a:b@c:1"\n', 0o644)
    directly("connect --profile work host 22", environ).settings.announce(trace)
    path = f"{home}/.config/tunnelctl/config.toml"
    assert trace.named("settings") == [{"file": path, "profile": "work"}]
    (warning,) = trace.named("warning")
    assert "others can read it" in str(warning["text"])
    trace = TraceLog()
    directly("connect host 22", {}).settings.announce(trace)
    assert trace.events == []


def test_the_origin_of_the_proxy_is_recorded(home: Path) -> None:
    environ = write(home, '[defaults]\n\nproxy = "http://a:1"\n')
    place = f"defaults, line 3 of {home}/.config/tunnelctl/config.toml"
    assert directly("connect host 22", environ).options.reach.proxy_origin == place
    assert directly("connect -x http://b:2 host 22", environ).options.reach.proxy_origin == "-x"
    assert os.path.exists(path_of(environ))
