"""Questions between workers: here they are tasks of one process."""

import pytest

from tunnelctl.engine.kernel import Nursery, checkpoint, run
from tunnelctl.server import siblings as under_test
from tunnelctl.server.siblings import Siblings


def asked(count: int, alive: range, content: bytes = b"x", times: int = 1) -> list[list[bytes | None]]:
    """What worker 0 hears, several times over; those that are not alive do not answer."""
    siblings = Siblings(count)

    async def main() -> list[list[bytes | None]]:
        async with Nursery() as nursery:
            for number in alive:
                nursery.start_soon(siblings.answer, number, lambda number=number: content + str(number).encode())
            heard = [await siblings.ask(0) for _ in range(times)]
            nursery.cancel_scope.cancel()
        return heard

    try:
        return run(main)
    finally:
        siblings.close()


def test_the_others_answer_and_nobody_asks_itself() -> None:
    (heard,) = asked(3, range(3))
    assert sorted(heard) == [b"x1", b"x2"]
    assert asked(1, range(1)) == [[]]


def test_long_answers_and_many_questions() -> None:
    content = bytes(3 << 20)
    heard = asked(2, range(2), content, times=5)
    assert heard == [[content + b"1"]] * 5


def test_one_that_does_not_answer_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.05)
    (heard,) = asked(3, range(2))
    assert sorted(heard, key=str) == [None, b"x1"] or sorted(heard, key=str) == [b"x1", None]


def test_questions_to_a_dead_one_do_not_pile_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full after some: then it is left alone, and nobody blocks."""
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.001)
    assert asked(2, range(0), times=300) == [[None]] * 300


def test_whoever_takes_the_place_of_a_dead_one_answers_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.01)
    siblings = Siblings(2)

    async def main() -> list[bytes | None]:
        assert await siblings.ask(0) == [None]
        async with Nursery() as nursery:
            nursery.start_soon(siblings.answer, 1, lambda: b"here")
            await checkpoint()
            monkeypatch.setattr(under_test, "ANSWER_SECONDS", 5.0)
            heard = await siblings.ask(0)
            nursery.cancel_scope.cancel()
        return heard

    try:
        assert run(main) == [b"here"]
    finally:
        siblings.close()


def test_an_answer_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_ANSWER", 10)
    assert asked(2, range(2), b"x" * 100) == [[None]]
