"""The manual: clean roff, complete, and true to the list of flags."""

import ast
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.process import path_of
from tunnelctl.cli.commands import COMMANDS, VARIABLES
from tunnelctl.cli.flags import FLAGS
from tunnelctl.cli.man import (
    BOTH_EVENTS,
    CONNECT_EVENTS,
    FORWARD_EVENTS,
    LOG_KEYS,
    SELFTEST_EVENTS,
    SERVE_EVENTS,
    Event,
    guard,
    manual,
    prose,
    roff,
)
from tunnelctl.engine.kernel import run
from tunnelctl.server.access_log import AccessLog, open_log
from tunnelctl.server.account import Account
from tunnelctl.server.users import hash_password
from tunnelctl.status import ExitStatus

PACKAGE = Path(__file__).parents[2] / "tunnelctl"
ORDER = [
    "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS",
    "SEE ALSO", "STANDARDS", "SECURITY CONSIDERATIONS",
]  # fmt: skip


@pytest.fixture(scope="module")
def page() -> str:
    return manual()


@pytest.fixture(scope="module")
def text(page) -> str:
    """As a reader sees it, in words separated by single blanks."""
    done = subprocess.run([path_of("mandoc"), "-T", "utf8"], input=page, capture_output=True, text=True, timeout=20, check=True)
    plain = re.sub(".\b", "", done.stdout)
    return " ".join(re.sub("[‐-]\n +", "-", plain).split())


@pytest.mark.peer("mandoc")
def test_mandoc_has_no_complaint(page, tmp_path):
    path = tmp_path / "tunnelctl.1"
    path.write_text(page)
    done = subprocess.run([path_of("mandoc"), "-T", "lint", "-W", "warning", path], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == ("", 0)


def test_sections_are_in_the_conventional_order(page):
    assert re.findall(r"^\.SH (.*)$", page, re.M) == ORDER


def test_nothing_is_left_to_fill_in(page):
    assert not re.findall(r"^@.*@$", page, re.M)
    assert page.isascii() or "\\(" in page


def test_it_is_the_same_whenever_it_is_made(page, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert manual() == page


def test_lists_are_complete(page):
    for flag in FLAGS:
        assert all(f"\\fB{roff(s)}\\fR" in page for s in flag.spellings), flag.spellings
    for variable in VARIABLES:
        assert all(name in page for name in variable.names)
    for status in ExitStatus:
        assert f"\n.B {int(status)}\n" in page
    for command in COMMANDS:
        assert f"\n.SS tunnelctl {roff(command.name)}\n" in page
    for event in (*CONNECT_EVENTS, *FORWARD_EVENTS, *SERVE_EVENTS, *BOTH_EVENTS, *SELFTEST_EVENTS):
        assert f"\n.B {event.name}\n" in page
        assert all(key in page for key in event.keys)


# --- what programs read: the manual has each key, and no other


def traced(room: str) -> Iterator[Event]:
    """The events that the modules of a room report, with the names of their fields."""
    for path in sorted((PACKAGE / room).glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        # A field may come by way of a dictionary that is written out before the call.
        spelled = {
            target.id: [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and re.search(r"\b_?trace$", ast.unparse(node.func)):
                name, *rest = node.args
                if isinstance(name, ast.Constant):
                    assert not rest
                    keys = [key for word in node.keywords for key in ([word.arg] if word.arg else spelled[word.value.id])]
                    yield Event(name.value, "", tuple(keys))


@pytest.mark.parametrize(
    ("room", "documented"), [("client", (*CONNECT_EVENTS, *FORWARD_EVENTS)), ("server", SERVE_EVENTS)], ids=["client", "server"]
)
def test_the_events_are_those_of_the_code(room, documented):
    found = {(event.name, frozenset(event.keys)) for event in traced(room)}
    shared = {(event.name, frozenset(event.keys)) for event in traced("stream")}  # accepting, for forward and serve alike
    warning = {("warning", frozenset({"text"}))}
    assert warning <= found | shared
    assert {name for name, _ in shared} == {"drain", "warning"}
    assert found | shared - warning == {(event.name, frozenset(event.keys)) for event in documented} | warning


def test_the_keys_of_the_access_log_are_those_of_its_records(tmp_path):
    path = tmp_path / "log"

    async def main() -> None:
        log, account = AccessLog(open_log(str(path)), lambda *_, **__: None), Account("a-1", "192.0.2.1:5")
        log.decision(account, 200, "")
        log.end(account, 1.5, "client", "eof", None)
        await log.close()
        os.close(log._file._fd)

    run(main)
    decision, end = map(json.loads, path.read_text().splitlines())
    every, decided, ended = ([key for key, _ in keys] for _, keys in LOG_KEYS)
    assert set(decision) == {*every, *decided}
    assert set(end) == {*every, *ended}


def test_the_form_of_the_users_file_is_that_of_hash_password(page):
    form = next(line for line in page.splitlines() if ":scrypt:" in line)
    fields = re.sub(r"\\f[IR]", "", form).split(":")
    assert fields == ["NAME", "scrypt", "N", "R", "P", "SALT", "HASH"]
    assert len(hash_password("alice", "x").split(":")) == len(fields)


@pytest.mark.peer("mandoc")
@pytest.mark.parametrize(
    "said",
    [
        "shows in ps(1)",
        "overrules the variables and never overrules -x",
        "SIGHUP, which ssh sends when its session is over, is a normal end of connect: silent, with status 0.",
        "So is a reader of standard output that has left.",
        "128+n Ended by signal n.",
        "-x, --proxy URL",
        "ProxyCommand tunnelctl connect -x http://proxy:3128 %h %p",
    ],
)
def test_what_users_must_know_is_said(text, said):
    assert said in text


@pytest.mark.peer("mandoc")
def test_its_examples_fit_a_terminal_of_80_columns(page):
    command = [path_of("mandoc"), "-T", "utf8", "-O", "width=78"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, timeout=20, check=True)
    shown = re.sub(".\b", "", done.stdout)
    examples = shown[shown.index("\nEXAMPLES\n") : shown.index("\nDIAGNOSTICS\n")].splitlines()
    assert len(examples) > 20
    assert [line for line in examples if len(line) > 80] == []


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("a `--b-c` d", r"a \fB\-\-b\-c\fR d"),
        ("well-known --flag", r"well-known \-\-flag"),
        ("a back\\slash", r"a back\eslash"),
        ("One. Two", "One.\nTwo"),
        (".start", r"\&.start"),
    ],
)
def test_prose_becomes_roff(plain, marked):
    assert prose(plain) == marked


def test_guarding():
    assert guard("'x") == "\\&'x"
