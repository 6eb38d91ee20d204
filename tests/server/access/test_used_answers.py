"""Responses to Digest challenges are valid once: across processes, over time, and within bounded memory."""

from tests.server.process.sharing import in_a_child
from tunnelctl.server.access.used_answers import LIFE, UsedAnswers

NOW = 10 * LIFE


def test_a_digest_response_is_valid_once() -> None:
    used = UsedAnswers()
    assert [used.first_use(number, NOW, NOW) for number in (1, 2, 1, 3, 3, 1 << 64 | 2)] == [True, True, False, True, False, False]


def test_m7_a_digest_response_is_valid_once_across_processes() -> None:
    used = UsedAnswers()
    assert in_a_child(lambda: used.first_use(1, NOW, NOW) and not used.first_use(1, NOW, NOW))
    assert not used.first_use(1, NOW, NOW)
    assert used.first_use(2, NOW, NOW)
    assert in_a_child(lambda: not used.first_use(2, NOW, NOW))


def test_a_used_response_is_remembered_while_its_nonce_is_valid() -> None:
    """It is forgotten later, when nobody can use it again."""
    used = UsedAnswers(16)
    assert used.first_use(1, NOW, NOW)
    for later in range(0, LIFE + 1, LIFE // 10):
        assert not used.first_use(1, NOW, NOW + later)
        assert used.first_use(1000 + later, NOW + later, NOW + later)
    for later in (3 * LIFE, 4 * LIFE):
        assert used.first_use(later, NOW + later, NOW + later)
    assert not any(table.count(1) for table in used._tables)


def test_v31_memory_is_bounded_and_forgotten_responses_are_refused() -> None:
    """Twenty-four responses at once fill three tables of eight. One table is lost, so all responses to older nonces are refused."""
    used = UsedAnswers(16)
    fresh = [used.first_use(number, NOW + number, NOW + number) for number in range(1, 25)]
    assert fresh == [True] * 24
    assert not any(used.first_use(number, NOW + number, NOW + 30) for number in range(1, 25))
    assert used.first_use(99, NOW + 31, NOW + 31), "a response to a newer nonce must be accepted"


def test_an_unused_nonce_older_than_the_lost_table_is_refused() -> None:
    """The client answers the new challenge without asking its user."""
    used = UsedAnswers(16)
    for number in range(1, 25):
        used.first_use(number, NOW + number, NOW + number)
    assert not used.first_use(98, NOW + 1, NOW + 30)
