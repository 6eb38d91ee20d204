"""The picture at several sizes: every line fits, and the most important things are on it."""

import pytest
from rich.cells import cell_len

from tests.peers.instances import ENDED, REFUSED, STATUS, TUNNEL, many
from tunnelctl.cli.top import screen
from tunnelctl.cli.top.processes import Answer, Process, Processes, listen_to, only
from tunnelctl.cli.top.screen import Scene, Size, help_lines, picture
from tunnelctl.cli.top.tables import Sort
from tunnelctl.cli.top.view import View
from tunnelctl.control.snapshot import ListenerFacts, Recent, Tunnels

SIZES = [Size(80, 24), Size(120, 40), Size(40, 10), Size(20, 5), Size(1, 1), Size(200, 3), Size(80, 24, unicode=False)]
PLAIN = View()
HOSTILE = TUNNEL._replace(client="\x1b[2J", user="\u202e漢字" * 9, target="x" * 300 + "\n", phase="\x07")


PAST = Recent([ENDED], [REFUSED], [], [], 0, 0)


def known(*tunnels, names=("db",), past=PAST, **changes):
    status = STATUS._replace(tunnels=len(tunnels), **changes)
    processes: Processes = {}
    for name in names:
        answer = Answer(name, 0.0, "", status, Tunnels(list(tunnels), 0), past)
        processes = listen_to(processes, answer)
    return processes


def lines(processes, size=SIZES[0], view=PLAIN, **scene):
    return ["".join(span.text for span in line) for line in picture(Scene(view, processes, **scene), size).lines]


SCENES = {
    "nothing": ({}, View()),
    "no-tunnel": (known(), View()),
    "three": (known(TUNNEL, TUNNEL, TUNNEL), View()),
    "several": (known(TUNNEL, TUNNEL, names=("db", "proxy", "x")), View()),
    "many": (known(*many(5000)), View(offset=4000)),
    "past": (known(TUNNEL), View(past=True)),
    "help": (known(TUNNEL), View(help=True, offset=3)),
    "typing": (known(TUNNEL), View(typing=True, filter="db" * 40)),
    "filtered": (known(TUNNEL), View(filter="漢" * 60)),
    "hostile": (known(HOSTILE, names=("a" * 40,), listeners=[ListenerFacts("\x1b[2J", "漢" * 99)]), View()),
    "paused": (known(TUNNEL), View(paused=True, open_sort=Sort("SENT", reverse=True))),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.columns}x{size.lines}{'' if size.unicode else '-ascii'}")
@pytest.mark.parametrize("scene", SCENES)
def test_the_picture_has_exactly_the_size_of_the_terminal(scene, size):
    processes, view = SCENES[scene]
    shown = lines(processes, size, view, clock="13:05:22")
    assert len(shown) == size.lines
    assert all(cell_len(line) <= size.columns and line.isprintable() for line in shown)
    assert size.unicode or all(line.isascii() for line in shown)


def test_80_columns():
    assert [line.rstrip() for line in lines(known(TUNNEL, TUNNEL._replace(phase="dns")), clock="13:05:22")] == [
        "tunnelctl top  1 process, 2 tunnels  every 2 s  13:05:22",
        "NAME COMMAND     PID TUNNELS SENT/s RECV/s     UP LISTENS",
        "db   forward    4711       2      -      -  2h05m 127.0.0.1:5432 -> db.test:543~",
        "",
        "CLIENT          TARGET       PHASE     AGE   IDLE   SENT   RECV SENT/s RECV/s",
        "127.0.0.1:50001 db.test:5432 tunnel  1m15s     4s   1.5K   3.0M    512   1.0K",
        "127.0.0.1:50001 db.test:5432 dns     1m15s     4s   1.5K   3.0M    512   1.0K",
        *[""] * 16,
        "q quit  h help  < > sort: RECV/s  r reverse  / filter  e ended  p pause",
    ]


def test_40_columns_and_10_lines():
    processes = known(TUNNEL, TUNNEL._replace(target="a-long-name-of-a-host.test:443"), names=("db", "proxy"))
    assert [line.rstrip() for line in lines(processes, Size(40, 10))] == [
        "tunnelctl top  2 processes, 4 tunnels  ~",
        "NAME  TUNNELS SENT/s RECV/s LISTENS",
        "db          2      -      - 127.0.0.1:5~",
        "proxy       2      -      - 127.0.0.1:5~",
        "NAME  TARGET               SENT/s RECV/s",
        "db    db.test:5432            512   1.0K",
        "db    a-long-name-of-a-ho~    512   1.0K",
        "proxy db.test:5432            512   1.0K",
        "proxy a-long-name-of-a-ho~    512   1.0K",
        "q quit  h help  < > sort: RECV/s  r rev~",
    ]


def test_120_columns_show_every_column():
    shown = lines(known(TUNNEL._replace(user="alice"), names=("db", "x")), Size(120, 40))
    for title in ("NAME", "CLIENT", "USER", "TARGET", "ADDRESS", "PHASE", "AGE", "IDLE", "SENT", "RECV", "SENT/s", "RECV/s"):
        assert title in shown[5].split()
    assert "127.0.0.1:5432 -> db.test:5432 via http://proxy.test:3128" in shown[2]


def test_the_name_is_shown_only_if_there_are_several_processes():
    assert "NAME" not in lines(known(TUNNEL))[4]
    assert lines(known(TUNNEL, names=("a", "b")))[5].startswith("NAME")


def test_many_processes_leave_two_thirds_to_the_tunnels_and_trouble_comes_first():
    processes = known(TUNNEL, names=[f"n{number:02}" for number in range(30)])
    processes = listen_to(processes, Answer("n29", 3.0, "no answer within 1 s"))
    shown = lines(processes)
    assert shown[2].startswith("n29 ")
    assert "no answer within 1 s; last answer 4 s ago" in lines(processes, Size(120, 24), now=4.0)[2]
    assert shown[8].startswith("and 24 more")
    assert shown[10].startswith("NAME")


def test_only_rows_on_the_screen_are_rendered(monkeypatch):
    rendered = []
    monkeypatch.setattr(screen, "_row", lambda table, row, size: rendered.append(row) or ())
    picture(Scene(View(offset=10), known(*many(5000))), Size(80, 24))
    assert [row.tunnel.received_rate for row in rendered] == [4989.0 - place for place in range(18)]


def test_scrolling_cannot_leave_the_rows():
    scene = Scene(View(offset=10**9), known(*many(50)))
    drawn = picture(scene, Size(80, 24))
    assert drawn.extent == (50, 18)
    assert "host-0.test" in "".join(span.text for span in drawn.lines[-2])


@pytest.mark.parametrize(
    ("processes", "view", "said"),
    [
        ({}, View(), "nothing is running"),
        (known(), View(), "no open tunnels"),
        (known(TUNNEL), View(filter="zzz"), "nothing matches the filter"),
        (known(past=Recent([], [], [], [], 0, 0)), View(past=True), "nothing has ended or was refused yet"),
        ({"db": Process("db", Answer("db", 0.0))}, View(), "no answer yet"),
        (known(past=None), View(past=True), "no answer yet"),
    ],
)
def test_an_empty_table_says_why(processes, view, said):
    assert any(line.startswith(said) for line in lines(processes, view=view))


@pytest.mark.parametrize(
    ("columns", "titles", "first"),
    [
        (40, "AGO TARGET RESULT", "10.0.0.1:22  403 it is internal ~"),
        (
            80,
            "AGO CLIENT USER TARGET RECV RESULT",
            "127.0.0.1:50003 eve  10.0.0.1:22       - 403 it is internal (*:443)",
        ),
        (
            100,
            "AGO CLIENT USER TARGET LASTED SENT RECV RESULT",
            "127.0.0.1:50003 eve  10.0.0.1:22       -      -      - 403 it is internal (*:443)",
        ),
        (140, "AGO CLIENT USER TARGET LASTED SENT RECV RESULT", "127.0.0.1:50003 eve  10.0.0.1:22       -      -      - 403 "),
    ],
)
def test_the_past_ones(columns, titles, first):
    """The reason is more important than who it was."""
    shown = lines(known(TUNNEL), Size(columns, 24), view=View(past=True))
    assert shown[4].split() == titles.split()
    assert shown[5].startswith(f"    5s {first}")
    assert shown[6].startswith("   30s")
    assert "ended by the tar" in shown[6]


def test_the_past_ones_of_three_processes_have_their_names_at_80_columns():
    details = "proxy http://proxy.test:3128: requires a login for a tunnel to db.test:5432"
    past = PAST._replace(refused=[REFUSED._replace(details=details)])
    processes = known(TUNNEL, names=("forward", "serve", "web"), past=past)
    shown = lines(processes, view=View(past=True))
    titles = next(line for line in shown if line.startswith("   AGO"))
    assert titles.split() == ["AGO", "NAME", "USER", "TARGET", "RESULT"]
    assert shown[shown.index(titles) + 1].startswith("    5s forward ")


def test_a_process_that_does_not_run_is_not_counted():
    processes = only(known(TUNNEL), ["db"], ["db", "nosuch"])
    assert lines(processes)[0].startswith("tunnelctl top  1 process, 1 tunnel ")
    assert lines(only({}, [], ["nosuch"]))[0].startswith("tunnelctl top  0 processes, 0 tunnels ")


def test_the_footer_tells_the_order_and_the_filter():
    assert "sort: SENT, reversed" in lines({}, view=View(open_sort=Sort("SENT", reverse=True)))[-1]
    assert "filter: git" in lines({}, view=View(filter="git"))[-1]
    assert lines({}, view=View(filter="git", typing=True))[-1].startswith("filter: git")


def styles(scene, size=SIZES[0]):
    return {span.text.split()[0]: span.style for line in picture(scene, size).lines for span in line if span.text.strip()}


def test_styles_mark_the_sorted_column_trouble_and_phases():
    processes = known(TUNNEL, TUNNEL._replace(client="opening", phase="dns"))
    found = styles(Scene(View(), processes))
    assert (found["RECV/s"], found["SENT/s"], found["opening"], found["127.0.0.1:50001"]) == ("sorted", "head", "odd", "")
    gone = only(processes, [], ["gone"])
    assert styles(Scene(View(), gone))["gone"] == "bad"
    assert styles(Scene(View(), known(draining=True)))["db"] == "odd"
    assert styles(Scene(View(past=True), known()))["5s"] == "bad"
    assert styles(Scene(View(paused=True), {}))["PAUSED"] == "odd"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_help_fits_and_names_every_key(width):
    text = help_lines(width)
    assert max(map(len, text)) <= width
    assert len(text) <= 22 or width == 40, "one screen of 80 x 24"
    for key in ("q ", "< >", "r ", "/ ", "e ", "p ", "Space", "Up Down", "h ?"):
        assert any(line.startswith(key) for line in text)
