"""`tunnelctl help`: a page by man, or as text."""

import os
import subprocess
from pathlib import Path

import pexpect
import pytest

from man.source.man import pages
from tests.peers.process import path_of
from tests.peers.program import MODULE, environment, run
from tunnelctl.cli.commands.help import can_show, installed_pages, missing
from tunnelctl.cli.render.completion import TOPICS
from tunnelctl.cli.render.man_page import man_page
from tunnelctl.cli.spec.commands import COMMANDS

PAGES = pages()


@pytest.mark.parametrize(
    ("words", "page"), [((), "tunnelctl.1"), (("connect",), "tunnelctl-connect.1"), (("config",), "tunnelctl-config.5")]
)
def test_in_a_pipe_a_page_is_plain_text(words, page):
    done = run("help", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == man_page(PAGES[page])


def test_every_command_and_every_topic_has_an_installed_page():
    assert {"", *(c.name for c in COMMANDS)} <= set(installed_pages()) == {"", *TOPICS}


@pytest.mark.parametrize(
    ("topic", "line", "hint"),
    [
        ("conect", "help: no page about 'conect'", "did you mean connect?"),
        ("\x1b[m", "help: no page about '\\x1b[m'", "tunnelctl --help lists the commands"),
    ],
)
def test_an_unknown_topic_is_an_error(topic, line, hint):
    done = run("help", topic)
    assert done.returncode == 2
    assert done.stderr.decode() == f"tunnelctl: {line}\nhint: {hint}\n"


def test_two_topics_are_an_error():
    assert run("help", "connect", "serve").stderr.startswith(b"tunnelctl: help: takes [COMMAND], got 2 arguments\n")


@pytest.mark.parametrize(("topic", "hint"), [("", "tunnelctl --help"), ("serve", "tunnelctl serve --help")])
def test_without_pages_the_hint_names_the_help(topic, hint):
    assert missing(topic).facts == {"text_help": hint}


def on_terminal(*words: str, **env: str) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        MODULE[0],
        [*MODULE[1:], *words],
        env=environment({"TERM": "xterm", **env}),
        encoding="utf-8",
        timeout=20,
        dimensions=(24, 80),
    )


@pytest.mark.peer("man")
def test_on_a_terminal_man_shows_the_page():
    child = on_terminal("help", "connect", PAGER="cat", MANPAGER="cat", PATH=os.environ["PATH"])
    child.expect_exact("TUNNELCTL-CONNECT(1)")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "User Commands" in child.before


@pytest.mark.parametrize("script", [None, "echo 'This system has been minimized'", "exit 16"], ids=["none", "stub", "failing"])
def test_without_a_man_that_works_the_page_is_printed(script, tmp_path):
    """Minimal container images have a man that only says what was removed."""
    if script is not None:
        (tmp_path / "man").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "man").chmod(0o755)
    child = on_terminal("help", "connect", PATH=str(tmp_path))
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert child.before.replace("\r\n", "\n") == man_page(PAGES["tunnelctl-connect.1"])


@pytest.mark.peer("man")
def test_man_can_show_an_installed_page():
    page = installed_pages()["connect"]
    assert can_show(path_of("man"), page)
    assert not can_show(path_of("man"), Path("/nonexistent/page.1"))
    assert not can_show("/nonexistent/man", page)


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *MODULE, "help"], capture_output=True, env=environment(), timeout=20, text=True
    )
    assert done.stdout.startswith("TUNNELCTL(1)")
    assert done.stderr == ""
