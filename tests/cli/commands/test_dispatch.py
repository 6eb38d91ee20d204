"""The options that each command receives. The functions behind the commands have their own tests."""

import sys
import types

import pytest

from tests.options import serve_options
from tunnelctl.cli.commands.dispatch import run_call
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.render.completion import SCRIPTS
from tunnelctl.errors import UsageProblem


@pytest.fixture
def fake(monkeypatch):
    """Replaces a function of a module that a command imports."""

    def replace(name: str, function: str, body):
        module = types.ModuleType(name)
        setattr(module, function, body)
        monkeypatch.setitem(sys.modules, name, module)

    return replace


def test_serve_receives_its_options(fake):
    seen = []
    fake("tunnelctl.server.serve", "run_server", lambda options, report, _: seen.append((options, report.json)) or 71)
    assert run_call(parse(["serve", "--listen", "[::1]:0", "--allow=*:443", "--allow", "*:22", "--drain", "1.5", "--json"])) == 71
    assert seen == [(serve_options(listen=("[::1]:0",), allow=("*:443", "*:22"), drain=1.5, json=True), True)]


def test_forward_receives_its_options_and_the_check_of_logins(fake):
    """The users file checks the logins; without one there is no check."""
    calls = []

    def run_forward(options, environ, trace, check, read_again, ready):
        given, again = read_again()
        calls.append((options.users, check, given.users, again))
        return 71

    fake("tunnelctl.client.forward.forwarder", "run_forward", run_forward)
    fake("tunnelctl.cli.commands.local_logins", "local_logins", lambda options, trace: f"check by {options.users}")
    for flags in ([], ["--users", "file"]):
        assert run_call(parse(["forward", "-D", "0", *flags])) == 71
    assert calls == [(None, None) * 2, ("file", "check by file") * 2]


def test_connect_receives_its_options(fake):
    fake("tunnelctl.client.connect", "run_connect", lambda options, environ, trace: options.reach.retry)
    assert run_call(parse(["connect", "-4v", "--retry", "3", "h", "22"])) == 3


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_selftest_receives_the_output_format(fake, flags):
    fake("tunnelctl.cli.commands.selftest", "run_selftest", lambda json, console: 10 + 2 * json + console.json)
    assert run_call(parse(["selftest", *flags])) == (13 if flags else 10)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_prints_the_script_of_the_shell(capfd, shell):
    assert run_call(parse(["completion", shell])) == 0
    assert capfd.readouterr() == (SCRIPTS[shell](), "")


def test_hash_password_prints_the_line_for_its_options(monkeypatch, capfd):
    users_line = lambda user, options: f"{user}:{options.digest}:{options.realm}\n"  # noqa: E731
    monkeypatch.setattr("tunnelctl.cli.commands.hash_password.users_line", users_line)
    assert run_call(parse(["hash-password", "alice"])) == 0
    assert run_call(parse(["hash-password", "--digest", "--realm", "our proxy", "alice"])) == 0
    assert capfd.readouterr() == ("alice:False:None\nalice:True:our proxy\n", "")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("serve x", "serve: takes no arguments, got 1"),
        ("selftest a b", "selftest: takes no arguments, got 2"),
        ("hash-password", "hash-password: missing argument USER"),
        ("hash-password a b", "hash-password: takes USER, got 2 arguments"),
        ("completion", "completion: missing argument {bash|zsh|fish}"),
        ("completion csh", "completion: unknown shell `csh`"),
    ],
)
def test_wrong_words_are_usage_errors(line, text):
    with pytest.raises(UsageProblem) as caught:
        run_call(parse(line.split()))
    assert str(caught.value) == text
