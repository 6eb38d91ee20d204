"""The rows of the two tables: what is in them, filtered and sorted."""

import pytest

from tests.peers.instances import ENDED, NOW, REFUSED, STATUS, TUNNEL
from tunnelctl.cli.top.processes import Answer, Processes, listen_to
from tunnelctl.cli.top.tables import OPEN, PAST, Open, Sort, matching, open_rows, ordered, past_rows
from tunnelctl.control.snapshot import Recent, Tunnels


def heard(*tunnels, recent=None, name="db"):
    return Answer(name, 1.0, "", STATUS, Tunnels(list(tunnels), 0), recent)


def processes(*answers):
    known: Processes = {}
    for answer in answers:
        known = listen_to(known, answer)
    return known


def past(ended=(), refused=()):
    return past_rows(processes(heard(recent=Recent(list(ended), list(refused), [], [], 0, 0))))


def text(columns, row, title):
    return next(column.text(row) for column in columns if column.title == title)


def test_the_open_tunnels_of_all_processes():
    known = processes(heard(TUNNEL), heard(TUNNEL, TUNNEL, name="x"), Answer("mute", 1.0, "no answer"))
    assert [row.name for row in open_rows(known)] == ["db", "x", "x"]


def test_the_tunnels_of_a_silent_process_stay_without_rates():
    (row,) = open_rows(processes(heard(TUNNEL), Answer("db", 2.0, "no answer")))
    assert row.tunnel == TUNNEL._replace(sent_rate=None, received_rate=None)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("NAME", "db"), ("CLIENT", "127.0.0.1:50001"), ("USER", ""), ("TARGET", "db.test:5432"), ("ADDRESS", "192.0.2.1:5432"),
        ("PHASE", "tunnel"), ("AGE", "1m15s"), ("IDLE", "4s"), ("SENT", "1.5K"), ("RECV", "3.0M"), ("SENT/s", "512"),
        ("RECV/s", "1.0K"),
    ],
)  # fmt: skip
def test_the_cells_of_an_open_tunnel(title, shown):
    assert text(OPEN, Open("db", TUNNEL), title) == shown


def test_what_is_not_known_yet():
    row = Open("db", TUNNEL._replace(idle=None, sent_rate=None))
    assert [text(OPEN, row, title) for title in ("IDLE", "SENT/s")] == ["-", "-"]


def test_the_cells_of_one_that_has_ended():
    (row,) = past([ENDED])
    shown = [column.text(row) for column in PAST]
    assert shown == ["30s", "db", "127.0.0.1:50002", "", "old.test:443", "3s", "10", "20", "ended by the target (closed)"]
    assert not row.bad


def test_the_cells_of_a_refusal():
    (row,) = past(refused=[REFUSED])
    shown = [column.text(row) for column in PAST]
    why = "403 it is internal (*:443)"
    assert shown == ["5s", "db", "127.0.0.1:50003", "eve", "10.0.0.1:22", "-", "-", "-", why]
    assert row.bad


@pytest.mark.parametrize(
    ("ended", "result"),
    [
        (ENDED._replace(closed_by="", cause=""), "ended"),
        (ENDED._replace(error="reset by peer"), "ended by the target (closed) reset by peer"),
    ],
)
def test_a_result_leaves_out_what_is_not_known(ended, result):
    assert past([ended])[0].result == result


def test_a_refusal_without_details_has_its_type():
    assert past(refused=[REFUSED._replace(details="", rule="")])[0].result == "403 destination_ip_prohibited"


def test_a_failure_without_a_reason_is_one():
    assert past(refused=[REFUSED._replace(status=0, error="", details="", rule="")])[0].result == "failed"


def test_a_process_that_was_not_asked_for_the_recent_ones_has_none():
    assert past_rows(processes(heard())) == []


ROWS = [
    Open("db", TUNNEL._replace(target="b.test:1", sent=2, idle=None)),
    Open("db", TUNNEL._replace(target="A.test:1", sent=3, idle=5.0, user="Eve")),
    Open("x", TUNNEL._replace(target="c.test:1", sent=1, idle=7.0)),
]


def targets(rows):
    return [row.tunnel.target[0] for row in rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort("SENT"), "Abc"),
        (Sort("SENT", reverse=True), "cbA"),
        (Sort("TARGET"), "Abc"),
        (Sort("TARGET", reverse=True), "cbA"),
        (Sort("IDLE"), "cAb"),
        (Sort("IDLE", reverse=True), "Acb"),  # what is not known comes last in both
        (Sort("AGE"), "bAc"),  # equal ones keep their order
    ],
)
def test_orders(sort, order):
    assert targets(ordered(ROWS, OPEN, sort)) == list(order)


def test_the_newest_of_the_past_comes_first():
    rows = past([ENDED, ENDED._replace(when=NOW)], [REFUSED])
    assert [row.ago for row in ordered(rows, PAST, Sort("AGO"))] == [0.0, 5.0, 30.0]


@pytest.mark.parametrize("columns", [OPEN, PAST])
def test_every_column_sorts(columns):
    rows = ROWS if columns is OPEN else past([ENDED], [REFUSED])
    for column in columns:
        assert len(ordered(rows, columns, Sort(column.title))) == len(rows)


@pytest.mark.parametrize(
    ("text", "found"), [("", "bAc"), ("TEST", "bAc"), ("eve", "A"), ("b.t", "b"), ("db", "bA"), ("tunnel", "bAc"), ("1m15s", "")]
)
def test_the_filter_is_for_texts_in_any_case(text, found):
    assert targets(matching(ROWS, OPEN, text)) == list(found)
