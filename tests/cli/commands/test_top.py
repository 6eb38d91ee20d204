"""`top` in a pipe: one look, as text or JSON. The live screen is in tests/tty/test_top.py."""

import json

import pytest

from tests.peers.instances import PATIENCE, PATIENT, REFUSED, STATUS, TUNNEL, Facts, mute, published
from tests.peers.process import scratch_directory
from tests.peers.program import run
from tunnelctl.cli.commands.top import shows_unicode
from tunnelctl.control.snapshot import to_json


@pytest.fixture
def directory():
    with scratch_directory() as path:
        yield path


def top(directory, *words, **env):
    return run("top", *words, env={"XDG_RUNTIME_DIR": str(directory), "LC_ALL": "C.UTF-8", **env}, program=PATIENT)


def test_nothing_runs(directory):
    done = top(directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"nothing is running\n", b"")


def test_the_processes_and_their_tunnels_as_text(directory):
    slow, fast = TUNNEL._replace(received_rate=1.0), TUNNEL._replace(target="a-name-that-is-never-cut." * 4 + "test:443")
    with published(directory, "db", Facts(slow, fast)):
        done = top(directory)
    assert done.returncode == 0
    titles, process, *details, between, columns, first, second = done.stdout.decode().splitlines()
    assert titles.split() == ["NAME", "COMMAND", "PID", "TUNNELS", "SENT", "RECEIVED", "UP"]
    assert process.split() == ["db", "forward", "4711", "2", "1.0M", "1.0G", "2h05m"]
    assert [detail.strip() for detail in details] == ["127.0.0.1:5432 -> db.test:5432", "via http://proxy.test:3128"]
    assert between == ""
    assert columns.split()[:2] == ["CLIENT", "TARGET"]
    assert fast.target in first
    assert first.split()[-1] == "1.0K"
    assert slow.target in second


def test_several_processes_have_their_names_beside_the_tunnels(directory):
    with published(directory, "db", Facts(TUNNEL)), published(directory, "x", Facts(TUNNEL)):
        lines = top(directory).stdout.decode().splitlines()
        only = top(directory, "x").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["NAME", "db", "x"]
    assert [line.split()[0] for line in only[-2:]] == ["CLIENT", "127.0.0.1:50001"]


def test_a_process_that_does_not_answer_is_shown_and_the_status_says_so(directory):
    with published(directory, "db", Facts(TUNNEL)), mute(directory, "stuck"):
        done = top(directory)
        answered = top(directory, "db")
    assert (done.returncode, answered.returncode) == (75, 0)
    assert f"    no answer within {PATIENCE} s\n".encode() in done.stdout
    assert TUNNEL.target.encode() in done.stdout


def test_a_name_that_does_not_run_is_an_error(directory):
    with published(directory, "db", Facts()):
        done = top(directory, "db", "nope")
    assert (done.returncode, done.stdout) == (75, b"")
    assert done.stderr.startswith(b"tunnelctl: nope: no running process has this name\nhint: ")


def test_json_has_what_each_process_answers(directory):
    with published(directory, "db", Facts(TUNNEL)) as facts, mute(directory, "stuck"):
        done = top(directory, "--json")
    assert done.returncode == 75
    first, second = map(json.loads, done.stdout.splitlines())
    kinds = ("status", "tunnels", "recent")
    assert first == {"name": "db", "error": None, **{kind: to_json(getattr(facts, kind)) for kind in kinds}}
    assert second == {"name": "stuck", "error": f"no answer within {PATIENCE} s", **dict.fromkeys(kinds)}


def test_v55_hostile_names_are_escaped_in_text_and_in_json(directory):
    hostile = TUNNEL._replace(target="\x1b[2J\u202e", user="漢\n")
    with published(directory, "db", Facts(hostile, status=STATUS._replace(route=["\x1b]0;x\x07"]))):
        shown = [top(directory).stdout.decode(), top(directory, "--json").stdout.decode()]
        plain = top(directory, LC_ALL="C").stdout
    assert all(line.isprintable() for text in shown for line in text.splitlines())
    assert "漢\\x0a" in shown[0]
    assert b"\\u6f22\\x0a" in plain
    assert plain.isascii()


def test_refusals_are_in_json(directory):
    with published(directory, "db", Facts()):
        (line,) = top(directory, "--json").stdout.splitlines()
    assert json.loads(line)["recent"]["refused"] == [to_json(REFUSED)]


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_CTYPE": "POSIX", "LANG": "en_US.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({}, False),
    ],
)
def test_the_locale_decides_on_unicode(environ, unicode):
    assert shows_unicode(environ) == unicode
