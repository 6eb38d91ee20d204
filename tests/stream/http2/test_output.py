"""The queue alone: its order, and that no turn is ever lost."""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.http2 import output
from tunnelctl.stream.http2.output import BATCH, FULL, FULL_OF_SMALL, SMALL, OutputQueue, give_buffer, take_buffer

OPEN = 1 << 30  # a window


class Sender:
    """What the queue knows of a stream. `waits`: whether a task waits for its turn"""

    def __init__(self, name: str) -> None:
        self.name, self.queued = name, 0
        self.in_line = self.in_turn = False
        self.waits, self.woken, self.drained = True, 0, 0

    def wake_writer(self) -> bool:
        waits, self.waits = self.waits, False
        self.woken += waits
        return waits

    def on_drained(self) -> None:
        self.drained += 1

    def __repr__(self) -> str:
        return self.name


def senders(names: str) -> list[Sender]:
    return [Sender(name) for name in names]


@pytest.fixture
def queue() -> OutputQueue:
    return OutputQueue(bytearray())


def put(queue, sender, size, letter=b"x"):
    """Puts data as a stream does that has looked for room."""
    queue.put(sender, letter * size, size)
    queue.pass_turn(sender)


def drain(queue, limit=1 << 20):
    """Sends everything, and returns it."""
    found = []
    while queue and len(found) < limit:
        piece, buffer = queue.take()
        found.append(bytes(piece))
        queue.sent(buffer, 0.0)
    return found


def test_control_frames_come_first_then_small_pieces_then_bulk(queue):
    a, b, c = senders("abc")
    put(queue, a, CHUNK, b"A")
    put(queue, b, 10, b"B")
    put(queue, c, 10, b"C")
    queue.control += b"control"
    assert drain(queue) == [b"control" + b"B" * 10 + b"C" * 10, b"A" * CHUNK]
    assert (a.drained, b.drained, c.drained) == (1, 1, 1)


def test_a_small_piece_does_not_pass_earlier_data_of_its_own_stream(queue):
    (a,) = senders("a")
    put(queue, a, CHUNK, b"A")
    assert queue.room(a, 10)
    put(queue, a, 10, b"a")
    assert drain(queue) == [b"A" * CHUNK, b"a" * 10]


def test_nor_one_that_is_being_sent(queue):
    (a,) = senders("a")
    put(queue, a, 20, b"A")
    piece, buffer = queue.take()
    put(queue, a, 10, b"a")
    assert piece == b"A" * 20
    assert a.queued == 10 + 20
    queue.sent(buffer, 0.0)
    assert drain(queue) == [b"a" * 10]
    assert a.drained == 1


def test_the_queue_is_full_and_then_streams_take_turns(queue):
    names = senders("abcdef")
    order = []
    for sender in names:
        while queue.room(sender, CHUNK):
            put(queue, sender, CHUNK)
    assert [sender.in_line for sender in names] == [True] * 6
    for _ in range(24):
        queue.sent(queue.take()[1], 0.0)
        queue.give_turns(OPEN)
        for sender in [each for each in names if each.in_turn]:
            assert queue.room(sender, CHUNK) == CHUNK
            put(queue, sender, CHUNK)
            order.append(sender.name)
            assert not queue.room(sender, CHUNK)  # it would go on, and is in line again
            sender.waits = True
    assert "".join(order) == "abcdef" * 4


def test_small_pieces_fill_up_too(queue):
    names = [Sender(str(number)) for number in range(2000)]
    taken = 0
    for sender in names:
        if room := queue.room(sender, SMALL):
            put(queue, sender, min(room, SMALL))
            taken += SMALL
    assert taken <= FULL + FULL_OF_SMALL + BATCH
    assert [sender for sender in names if sender.in_line]


def test_no_more_turns_are_given_than_the_window_has_room_for(queue):
    """Whoever wakes in vain would have to go to the end of the line again: with a narrow window, some never came to send."""
    names = senders("abcdefgh")
    order = []
    for sender in names:
        queue.wait_for_window(sender, CHUNK)
    for _ in range(24):
        queue.give_turns(CHUNK)
        turns = [each for each in names if each.in_turn]
        assert len(turns) == 1
        put(queue, turns[0], CHUNK)
        order.append(turns[0].name)
        turns[0].waits = True
        queue.wait_for_window(turns[0], CHUNK)
        drain(queue)
    assert "".join(order) == "abcdefgh" * 3


def test_a_turn_that_the_window_did_not_allow_is_the_next_one(queue):
    a, b = senders("ab")
    queue.wait_for_window(a, CHUNK)
    queue.wait_for_window(b, CHUNK)
    queue.give_turns(1)
    assert a.in_turn
    a.waits = True
    queue.wait_for_window(a, CHUNK)
    assert a.in_line
    assert not a.in_turn
    queue.give_turns(1)
    assert a.in_turn
    assert not b.in_turn


def test_a_small_piece_waits_for_the_window_before_bulk(queue):
    a, b, key = senders("abk")
    for sender in (a, b):
        queue.wait_for_window(sender, CHUNK)
    queue.wait_for_window(key, 1)
    queue.give_turns(0)
    assert not key.woken
    queue.give_turns(1)
    assert (key.woken, a.woken, b.woken) == (1, 1, 0)
    assert not key.in_turn


def test_a_stream_that_nobody_waits_for_gets_no_turn(queue):
    a, b = senders("ab")
    a.waits = False
    queue.wait_for_window(a, CHUNK)
    queue.wait_for_window(b, CHUNK)
    queue.give_turns(1)
    assert not a.in_line
    assert not a.in_turn
    assert b.in_turn


@pytest.mark.parametrize("count", [1, CHUNK])
def test_whoever_leaves_passes_its_turn_and_its_place(queue, count):
    a, b, c = senders("abc")
    for sender in (a, b, c):
        queue.wait_for_window(sender, count)
    queue.leave(b)
    queue.leave(b)
    assert not b.in_line
    queue.give_turns(OPEN)
    queue.leave(a)
    queue.leave(c)
    assert (a.woken, b.woken, c.woken) == (1, 0, 1)
    assert not any(sender.in_turn for sender in (a, b, c))
    assert queue._turns == 0


def test_discarded_frames_are_not_sent_and_their_data_is_told(queue):
    a, b = senders("ab")
    put(queue, a, 10, b"a")
    put(queue, b, 10, b"b")
    put(queue, a, CHUNK, b"A")
    put(queue, b, CHUNK, b"B")
    queue.put(a, b"end of it", 0)
    assert queue.discard(a) == 10 + CHUNK
    assert a.queued == 0
    assert queue.discard(a) == 0
    assert drain(queue) == [b"b" * 10, b"B" * CHUNK]
    assert (a.drained, b.drained) == (0, 1)


def test_what_is_being_sent_is_not_discarded(queue):
    (a,) = senders("a")
    put(queue, a, CHUNK, b"A")
    put(queue, a, CHUNK, b"B")
    _, buffer = queue.take()
    assert queue.discard(a) == CHUNK
    assert a.queued == CHUNK
    queue.sent(buffer, 0.0)
    assert a.drained == 1
    assert not queue


def test_buffers_are_used_again_and_few_are_kept(monkeypatch):
    monkeypatch.setattr(output, "_spare", [])
    buffers = [take_buffer(BATCH) for _ in range(20)]
    assert {len(buffer) for buffer in buffers} == {BATCH}
    small = take_buffer(CHUNK)
    assert len(small) == CHUNK
    for buffer in [small, *buffers]:
        give_buffer(buffer)
    assert [len(buffer) for buffer in output._spare] == [BATCH] * output._KEPT
    assert take_buffer(BATCH) in buffers


def test_batches_are_short_where_the_transport_is_slow(queue):
    """A keystroke waits for the piece that is being sent."""
    (a,) = senders("a")

    def batches(times: list[float]) -> list[int]:
        found = []
        for seconds in times:
            found.append(queue.room(a, BATCH))
            queue.put(a, memoryview(bytes(found[-1])), found[-1])
            queue.sent(queue.take()[1], seconds)
        return found

    at_first = [CHUNK] * (BATCH // CHUNK)
    assert batches([0.0] * (len(at_first) + 2)) == [*at_first, BATCH, BATCH]
    queue.put(a, b"key", 3)
    queue.sent(queue.take()[1], 0.1)  # which tells nothing about bulk
    assert batches([0.1]) == [BATCH]
    assert batches([0.0, 0.1] * 20) == [CHUNK] * 40, "the kernel takes some at once"
    assert batches([0.0005] * 9) == [*at_first, BATCH]


class QueueMachine(RuleBasedStateMachine):
    """Streams that do anything, in any order. After each step: nobody waits in vain, and all is counted."""

    def __init__(self):
        super().__init__()
        self.queue = OutputQueue(bytearray())
        self.senders = senders("abcdefg")
        self.window = OPEN
        self.model = {sender: deque() for sender in self.senders}
        self.number = 0

    def settle(self):
        self.queue.give_turns(self.window)

    @rule(which=st.integers(0, 6), size=st.sampled_from([1, 100, SMALL, SMALL + 1, CHUNK]))
    def send(self, which, size):
        sender = self.senders[which]
        if self.window <= 0:
            self.queue.wait_for_window(sender, size)
            room = 0
        else:
            room = min(self.queue.room(sender, size), size, self.window)
        if room:
            self.number += 1
            data = self.number.to_bytes(4, "big") + bytes(room)
            self.queue.put(sender, data, room)
            self.window -= room
            self.model[sender].append(data)
            self.queue.pass_turn(sender)
        else:
            sender.waits = True
            assert sender.in_line
        self.settle()

    @rule(which=st.integers(0, 6))
    def give_up(self, which):
        self.senders[which].waits = False
        self.queue.leave(self.senders[which])
        self.settle()

    @rule(which=st.integers(0, 6))
    def discard(self, which):
        sender = self.senders[which]
        self.window += self.queue.discard(sender)
        self.queue.leave(sender)
        self.model[sender].clear()
        sender.waits = False
        self.settle()

    @rule(window=st.sampled_from([0, 1, 1000, CHUNK, OPEN]))
    def window_changes(self, window):
        self.window = window
        self.settle()

    @rule()
    def transport_takes_some(self):
        if self.queue:
            senders: list[Any] = [entry[0] for entry in self.queue._small] or [self.queue._bulk[0][0]]
            piece, buffer = self.queue.take()
            for sender in senders:
                first = self.model[sender].popleft()
                assert bytes(piece).startswith(first)
                piece = piece[len(first) :]
            assert not piece
            self.queue.sent(buffer, 0.0)
            self.settle()

    @invariant()
    def all_is_counted(self):
        queue = self.queue
        assert queue._turns == sum(sender.in_turn for sender in self.senders)
        assert queue._bulk_size == sum(len(entry[1]) for entry in queue._bulk)
        assert queue._small_size == sum(len(entry[1]) for entry in queue._small)
        for sender in self.senders:
            assert [*queue._waiting, *queue._first].count(sender) == sender.in_line  # type: ignore[arg-type]
            assert sender.queued == sum(map(len, self.model[sender]))
            assert not (sender.in_line and sender.in_turn)

    @invariant()
    def nobody_waits_in_vain(self):
        if self.window > 0 and not self.queue:
            assert not self.queue._first
            assert not self.queue._waiting or self.queue._turns


def test_random_streams_lose_no_turn_and_no_byte():
    run_state_machine_as_test(QueueMachine, settings=settings(max_examples=40, stateful_step_count=40))
