"""The list of running programs, as `status` and `top` show it."""

import pytest

from tests.peers.instances import STATUS
from tunnelctl.cli.render.instances import Listed, instances, listeners, route, state
from tunnelctl.control.snapshot import ListenerFacts, Note

SERVE = STATUS._replace(command="serve", name="proxy", pid=12, listeners=[ListenerFacts("127.0.0.1:3128")], route=[])
TWO = STATUS._replace(listeners=[*STATUS.listeners, ListenerFacts("127.0.0.1:1080")], route=["http://a:1,http://b:2", "http://c:3"])


def test_a_list_that_fits_has_one_line_for_each_program():
    assert instances([Listed("db", STATUS), Listed("proxy", SERVE)], 132) == [
        "NAME   COMMAND      PID  TUNNELS    SENT  RECEIVED      UP  LISTENS                         ROUTE",
        "db     forward     4711        0    1.0M      1.0G   2h05m  127.0.0.1:5432 -> db.test:5432  via http://proxy.test:3128",
        "proxy  serve         12        0    1.0M      1.0G   2h05m  127.0.0.1:3128",
    ]


def test_otherwise_listeners_and_route_follow_whole():
    assert instances([Listed("db", TWO), Listed("proxy", SERVE._replace(draining=True)), Listed("x", None, "no answer")]) == [
        "NAME   COMMAND      PID  TUNNELS    SENT  RECEIVED      UP",
        "db     forward     4711        0    1.0M      1.0G   2h05m",
        "    127.0.0.1:5432 -> db.test:5432",
        "    127.0.0.1:1080 -> any target",
        "    via http://a:1 or http://b:2, then http://c:3",
        "proxy  serve         12        0    1.0M      1.0G   2h05m",
        "    127.0.0.1:3128",
        "    draining",
        "x      -              -        -       -         -       -",
        "    no answer",
    ]


@pytest.mark.parametrize("width", [80, 132])
def test_the_last_warning_and_the_last_failure_follow(width):
    warned = STATUS._replace(
        now=100.0, warnings=[Note(1.0, "old"), Note(25.0, "the proxy is gone")], last_failure=Note(95.0, "h:22: why")
    )
    lines = instances([Listed("db", warned), Listed("proxy", SERVE)], width)
    place = lines.index("    warning 1m15s ago: the proxy is gone")
    assert lines[place + 1] == "    failed 5s ago: h:22: why"
    assert lines[place + 2].startswith("proxy ")


def test_a_long_warning_is_folded():
    warned = STATUS._replace(now=9.0, warnings=[Note(1.0, "the proxy cannot be reached, " * 3)])
    assert instances([Listed("db", warned)])[-2:] == [
        "    warning 8s ago: the proxy cannot be reached, the proxy cannot be reached,",
        "        the proxy cannot be reached,",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_lines_fit_the_width_with_figures_of_any_size(width):
    huge = TWO._replace(sent=999 << 40, received=999 << 40, tunnels=1234567, pid=4194304, started=0.0)
    lines = instances([Listed("a-name-of-forty-characters-is-the-longest", huge)], width)
    assert max(len(line) for line in lines if not line.startswith(" ")) <= width


def test_v55_texts_of_a_program_are_escaped():
    note = Note(0.0, "no such host: \x1b[2J")
    hostile = STATUS._replace(
        listeners=[ListenerFacts("unix:/tmp/\x1b[2J", "a" * 90)], command="\x1b]0;x\x07", warnings=[note], last_failure=note
    )
    assert all(line.isprintable() for line in instances([Listed("db", hostile)]))


@pytest.mark.parametrize(
    ("status", "ends", "path"),
    [
        (STATUS, ["127.0.0.1:5432 -> db.test:5432"], "via http://proxy.test:3128"),
        (STATUS._replace(route=[]), ["127.0.0.1:5432 -> db.test:5432"], "directly"),
        (SERVE, ["127.0.0.1:3128"], ""),
        (SERVE._replace(route=["http://a:1"]), ["127.0.0.1:3128"], "via http://a:1"),
        (None, [], ""),
    ],
)
def test_listeners_and_route_in_words(status, ends, path):
    assert (listeners(Listed("db", status)), route(Listed("db", status))) == (ends, path)


def test_trouble_comes_before_draining():
    draining = STATUS._replace(draining=True)
    assert [state(Listed("db", STATUS)), state(Listed("db", draining)), state(Listed("db", draining, "mute"))] == [
        "",
        "draining",
        "mute",
    ]
