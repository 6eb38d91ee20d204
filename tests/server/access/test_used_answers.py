"""Answers to Digest challenges are good once: over processes, over time, and with a bound on memory."""

from tests.server.process.sharing import in_a_child
from tunnelctl.server.access.used_answers import LIFE, UsedAnswers

NOW = 10 * LIFE


def test_an_answer_is_good_once() -> None:
    used = UsedAnswers()
    assert [used.first_use(number, NOW, NOW) for number in (1, 2, 1, 3, 3, 1 << 64 | 2)] == [True, True, False, True, False, False]


def test_m7_it_is_good_once_over_all_processes() -> None:
    used = UsedAnswers()
    assert in_a_child(lambda: used.first_use(1, NOW, NOW) and not used.first_use(1, NOW, NOW))
    assert not used.first_use(1, NOW, NOW)
    assert used.first_use(2, NOW, NOW)
    assert in_a_child(lambda: not used.first_use(2, NOW, NOW))


def test_it_is_remembered_for_as_long_as_its_nonce_is_good() -> None:
    """And forgotten later, when nobody can use it any more."""
    used = UsedAnswers(16)
    assert used.first_use(1, NOW, NOW)
    for later in range(0, LIFE + 1, LIFE // 10):
        assert not used.first_use(1, NOW, NOW + later)
        assert used.first_use(1000 + later, NOW + later, NOW + later)
    for later in (3 * LIFE, 4 * LIFE):
        assert used.first_use(later, NOW + later, NOW + later)
    assert not any(table.count(1) for table in used._tables)


def test_v31_memory_is_bounded_and_what_may_have_been_forgotten_is_not_taken() -> None:
    """Twenty-four answers at once are three tables of eight: one is lost, and with it what older nonces were answered with."""
    used = UsedAnswers(16)
    fresh = [used.first_use(number, NOW + number, NOW + number) for number in range(1, 25)]
    assert fresh == [True] * 24
    assert not any(used.first_use(number, NOW + number, NOW + 30) for number in range(1, 25))
    assert used.first_use(99, NOW + 31, NOW + 31), "a nonce that was made since is taken"


def test_a_nonce_of_before_the_lost_table_is_refused_even_if_it_was_never_answered() -> None:
    """The client answers a new challenge, without asking its user."""
    used = UsedAnswers(16)
    for number in range(1, 25):
        used.first_use(number, NOW + number, NOW + number)
    assert not used.first_use(98, NOW + 1, NOW + 30)
