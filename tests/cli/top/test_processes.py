"""What is known of each process after its answers, and when it has ended."""

from tests.peers.instances import NOW, STATUS
from tunnelctl.cli.top.processes import Answer, Processes, listed, listen_to, only
from tunnelctl.control.snapshot import Recent, Tunnels

NOTHING = Tunnels([], 0)
FIRST = Answer("db", 10.0, "", STATUS, NOTHING)
SECOND = Answer("db", 12.0, "", STATUS._replace(now=NOW + 2, sent=STATUS.sent + 100, received=STATUS.received + 3000), NOTHING)
MUTE = Answer("db", 14.0, "no answer within 1 s")
RECENT = Recent([], [], [], [], 3, 0)


def after(*answers):
    processes: Processes = {}
    for answer in answers:
        processes = listen_to(processes, answer)
    return processes["db"]


def test_rates_are_between_two_answers_on_the_clock_of_the_process():
    assert after(FIRST)[3:] == (None, None)
    assert after(FIRST, SECOND)[3:] == (50.0, 1500.0)


def test_another_process_of_the_same_name_has_no_rates_yet():
    other = SECOND._replace(status=SECOND.status._replace(pid=1, sent=0, received=0))
    assert after(FIRST, other)[3:] == (None, None)


def test_two_answers_of_the_same_moment_have_no_rates():
    assert after(FIRST, FIRST)[3:] == (None, None)


def test_a_process_that_falls_silent_keeps_its_last_answer_but_no_rates():
    silent = after(FIRST, SECOND, MUTE)
    assert (silent.answer, silent.trouble, silent.sent_rate) == (SECOND, "no answer within 1 s", None)
    assert listed(silent, 15.4).trouble == "no answer within 1 s; last answer 3 s ago"
    assert listed(silent, 15.4).status == SECOND.status


def test_a_process_that_never_answered():
    silent = after(MUTE)
    assert listed(silent, 15.0)[1:3] == (None, "no answer within 1 s")
    assert listed(after(MUTE, FIRST), 15.0)[1:3] == (STATUS, "")


def test_workers_that_do_not_answer_are_trouble():
    assert listed(after(FIRST._replace(tunnels=Tunnels([], 2))), 0.0).trouble == "2 of its workers do not answer"


def test_an_answer_without_the_recent_ones_keeps_those_of_before():
    assert after(FIRST._replace(recent=RECENT), SECOND).answer.recent == RECENT


def test_processes_appear_and_disappear():
    processes = only({}, ["b", "a"], [])
    assert list(processes) == ["a", "b"]
    assert not any(process.trouble for process in processes.values())
    processes = listen_to(processes, FIRST._replace(name="a"))
    assert [(name, process.answer.status) for name, process in only(processes, ["a", "c"], []).items()] == [
        ("a", STATUS),
        ("c", None),
    ]


def test_processes_that_were_named_are_shown_even_if_they_do_not_run():
    processes = only(listen_to({}, FIRST), ["other"], ["x", "db"])
    assert [(name, listed(process, 0.0).trouble) for name, process in processes.items()] == [
        ("x", "not running"),
        ("db", "not running"),
    ]
    assert listed(processes["db"], 0.0).status is None
    assert listed(only(processes, ["db"], ["x", "db"])["db"], 0.0).trouble == "not running", "until it has answered"
