"""Parsing with Typer: calls, help, and usage errors in the program's own words."""

import os
from typing import Any

import pytest
import typer

from tunnelctl import __version__
from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.typer_app import HABITS, build, parse
from tunnelctl.cli.render.help import command_help, program_help, short_command_help, short_program_help
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.cli.spec.flags import flags_of
from tunnelctl.errors import UsageProblem

SECRET = "swordfish"
NAMED = "with flags, the command must be named: tunnelctl connect"


def problem(*argv: str) -> UsageProblem:
    with pytest.raises(UsageProblem) as caught:
        parse(list(argv))
    return caught.value


@pytest.mark.parametrize("form", [["-x", "u"], ["-xu"], ["--proxy", "u"], ["--proxy=u"]])
def test_forms_of_a_flag_with_a_value(form):
    call = parse(["connect", *form, "host", "22"])
    assert [(flag.name, text) for flag, text in call.pairs] == [("proxy", "u")]
    assert call.words == ["host", "22"]


def test_grouped_short_flags_and_counts():
    call = parse(["connect", "-v4v", "--verbose", "host", "22"])
    assert sorted(flag.spellings[0] for flag, _ in call.pairs) == ["-4", "-v", "-v", "-v"]


def test_words_after_two_dashes_are_not_flags():
    assert parse(["connect", "-v", "--", "-x", "22"]).words == ["-x", "22"]


@pytest.mark.parametrize("name", [c.name for c in COMMANDS])
@pytest.mark.parametrize(("flag", "text"), [("-h", short_command_help), ("--help", command_help)])
def test_help_of_a_command(name, flag, text):
    assert parse([name, flag]) == parse([name, flag, flag, "x"]) == Call("print", [], [], text(name))


@pytest.mark.parametrize(("flag", "text"), [("-h", short_program_help), ("--help", program_help)])
def test_help_of_the_program(flag, text):
    assert parse([flag]).text == text()


def test_the_flag_for_help_that_comes_first_counts():
    assert parse(["serve", "-h", "--help"]).text == short_command_help("serve")
    assert parse(["serve", "-vh"]).text == short_command_help("serve")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_prints_the_version(flag):
    assert parse([flag]).text == f"tunnelctl {__version__}\n"


@pytest.mark.parametrize(
    ("line", "text", "hint"),
    [
        ("connect --quie h 22", "connect: unknown flag --quie", "did you mean --quiet?"),
        ("connect --nonsense", "connect: unknown flag --nonsense", "tunnelctl connect --help"),
        ("connect -Z h 22", "connect: unknown flag -Z", "tunnelctl connect --help"),
        ("connect --allow x h 22", "connect: unknown flag --allow", "--allow is a flag of check-policy and serve"),
        ("serve --retry 3", "serve: unknown flag --retry", "--retry is a flag of connect and forward and run and ssh-config"),
        ("-x u h 22", "usage error: unknown flag -x", "-x comes after the command: tunnelctl connect -x …"),
        ("--nope", "usage error: unknown flag --nope", "tunnelctl --help"),
        ("connect h 22 -x", "--proxy: the value is missing", "tunnelctl connect --help"),
        ("connect h 22 --proxy", "--proxy: the value is missing", "tunnelctl connect --help"),
        ("connect h 22 --json=1", "--json: takes no value", "tunnelctl connect --help"),
        ("conect h 22", "usage error: unknown command `conect`", "did you mean connect?"),
        ("xyzzy", "usage error: unknown command `xyzzy`", "tunnelctl --help"),
        ("host:22", "usage error: unknown command `host:22`", "tunnelctl connect host:22"),
        ("serv 1 -x u", "usage error: unknown command `serv`", f"{NAMED} serv 1 …"),  # before a number: a host, not a typo
        ("serv --json", "usage error: unknown command `serv`", "did you mean serve?"),
        ("version", "usage error: unknown command `version`", "tunnelctl --version"),
        ("connect --version", "connect: unknown flag --version", "tunnelctl --version"),
        ("serve -V", "serve: unknown flag -V", "tunnelctl --version"),
        ("a b c", "usage error: unknown command `a`", "tunnelctl --help"),
    ],
)
def test_usage_errors_and_their_hints(line, text, hint):
    error = problem(*line.split())
    assert (str(error), hint_of(error)) == (text, hint)
    assert error.exit_status == 2


def test_flags_cannot_be_abbreviated():
    """A script that abbreviates would break when a flag is added."""
    assert "unknown flag --time" in str(problem("connect", "--time", "3", "h", "22"))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("h 22 -x p:1", "h 22"),
        ("h 22 --proxy=p:1", "h 22"),
        ("h -x p:1 22", "h"),
        ("h 22 -w 5", "h 22"),
        ("::1 22 -v", "::1 22"),
        ("h:22 -x p:1", "h:22"),
    ],
)
def test_the_short_form_with_flags_gets_a_hint_at_connect(line, command):
    assert hint_of(problem(*line.split())) == f"{NAMED} {command} …"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("connect -w 5 h 22", "--timeout SECONDS"),
        ("connect -w5 h 22", "--timeout SECONDS"),
        ("-w 5 h 22", "--timeout SECONDS"),
        ("connect -P alice h 22", "--proxy-user NAME"),
        ("connect -H p:3128 h 22", "-x URL"),
        ("connect -H p:3128 h 22", "--header 'NAME: VALUE'"),
        ("connect -p 22 h", "tunnelctl connect HOST PORT"),
        ("connect -p p:3128 h:22", "-x URL"),
        ("connect --port 22 h", "tunnelctl connect HOST PORT"),
        ("serve -p 8080", "--listen 127.0.0.1:PORT"),
        ("serve --port=8080", "--listen 127.0.0.1:PORT"),
        ("serve -l 8080", "--listen 127.0.0.1:PORT"),
    ],
)
def test_flags_of_similar_programs_get_a_hint(line, named):
    assert named in hint_of(problem(*line.split()))


def test_no_habit_is_a_flag_of_the_command():
    """A flag that the command accepts never causes an error, so its hint would be dead."""
    for command, habits in HABITS.items():
        assert not habits.keys() & {s for flag in flags_of(command) for s in flag.spellings}


@pytest.mark.parametrize("line", ["connect -X connect -x p:3128 h 22", "-X connect -x p:3128 h 22", "-X 5 -x p:1 h 22"])
def test_a_line_for_nc_gets_a_hint(line):
    assert hint_of(problem(*line.split())).endswith("tunnelctl connect -x http://PROXY:PORT HOST PORT")


def test_a_line_for_corkscrew_gets_a_hint():
    error = problem("proxy", "8080", "host", "22", "~/.auth")
    assert hint_of(error) == "in place of corkscrew: tunnelctl connect -x http://proxy:8080 --proxy-auth-file ~/.auth host 22"


@pytest.mark.parametrize(
    "argv",
    [
        [f"http://u:{SECRET}@h:1", "host", "22"],
        [f"u:{SECRET}@h", "22", "-x", f"http://u:{SECRET}@h:1"],
        ["h", "22", "-x", f"http://u:{SECRET}@h:1"],
        ["connect", f"-Pu:{SECRET}", "h", "22"],
        ["connect", f"--prox=http://u:{SECRET}@h:1", "h", "22"],
        ["connect", f"--json=http://u:{SECRET}@h:1", "h", "22"],
        [f"--proxy=http://u:{SECRET}@h:1"],
        [f"-x=http://u:{SECRET}@h:1", "h", "22"],
        ["connect", f"-Zhttp://u:{SECRET}@h:1", "h", "22"],
    ],
)
def test_usage_errors_do_not_echo_secrets(argv):
    error = problem(*argv)
    assert SECRET not in f"{error} {hint_of(error)} {error.detail}"


def test_a_file_name_that_is_not_utf8_is_passed_on_unchanged():
    name = os.fsdecode(b"\xff")
    ((_, text),) = parse(["connect", "--proxy-auth-file", name, "h", "22"]).pairs
    assert text == name


def test_the_environment_cannot_start_the_completion_of_typer(monkeypatch):
    monkeypatch.setenv("_TUNNELCTL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "tunnelctl ")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert parse(["connect", "h", "22"]).command == "connect"


def test_typer_still_has_the_attributes_that_explain_reads():
    """A Typer version that renames these would silently change messages: see explain()."""
    command = typer.main.get_command(build(lambda call: None))
    with pytest.raises(typer.TyperException) as caught:
        command.main(["connect", "--quie"], standalone_mode=False, complete_var="")
    wrong: Any = caught.value
    assert wrong.option_name == "--quie"
    assert list(wrong.possibilities) == ["--quiet"]


def test_typer_declares_exactly_the_flags_of_the_table():
    command: Any = typer.main.get_command(build(lambda call: None))
    for name, sub in command.commands.items():
        declared = {s for param in sub.params for s in (*param.opts, *param.secondary_opts)} - {"words"}
        assert declared == {"-h"} | {s for flag in flags_of(name) for s in flag.spellings}
