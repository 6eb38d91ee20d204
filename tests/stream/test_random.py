"""Random pieces in both directions, with ends at random places: the bytes that arrive are the bytes that were sent."""

import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.ends import (
    Make,
    go,
    http2_client,
    http2_client_tls,
    http2_server,
    http2_server_tls,
    lines,
    stdio_pipes,
    stdio_socket,
    stdio_sockets,
    stdio_terminal,
    tcp,
    tls,
    tls_server,
    unix,
)
from tests.stream.tunnels import tunnel
from tunnelctl.engine.kernel import Nursery, checkpoint, move_on_after
from tunnelctl.stream import relay, socket_stream
from tunnelctl.stream.base import CHUNK
from tunnelctl.stream.http2 import stream as http2_stream

# Around the sizes that the code distinguishes: nothing, a little, one chunk, more than a pipe, more than the sockets' buffers.
SIZES = st.one_of(
    st.integers(0, 100),
    st.sampled_from([4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]),
    st.integers(0, 300_000),
)
PIECES = st.lists(SIZES, max_size=6)
TURNS = st.lists(st.integers(0, 6), min_size=1, max_size=6)  # the number of turns to wait before each piece, cyclically


NOISE = random.Random(1).randbytes(1 << 20)


def content(sizes: list[int], start: int) -> list[bytes]:
    """Returns pieces of noise, each from a different place, so that one cannot be mistaken for another."""
    pieces = []
    for size in sizes:
        start = (start + 100_003) % (1 << 19)
        pieces.append(NOISE[start : start + size])
    return pieces


async def give(far: Any, pieces: list[bytes], turns: list[int]) -> None:
    for number, piece in enumerate(pieces):
        for _ in range(turns[number % len(turns)]):
            await checkpoint()
        await far.give(piece)
    await far.end_output()


async def take(far: Any, got: bytearray, limits: list[int], turns: list[int]) -> None:
    number = 0
    while piece := await far.take(limits[number % len(limits)]):
        got += piece
        for _ in range(turns[number % len(turns)]):
            await checkpoint()
        number += 1


@settings(max_examples=30)
@given(
    st.sampled_from([tcp, unix, tls_server, http2_server, http2_server_tls, stdio_pipes, stdio_socket, stdio_sockets]),
    st.sampled_from([tcp, tcp, tls, http2_client, http2_client_tls]),
    st.tuples(PIECES, PIECES),
    st.tuples(TURNS, TURNS),
    st.tuples(TURNS, TURNS),
    st.lists(st.integers(2_000, 300_000), min_size=1, max_size=4),
    st.tuples(SIZES, SIZES),
)
def test_random_pieces_in_both_directions_arrive_unchanged(
    left: Make,
    right: Make,
    pieces: tuple[list[int], list[int]],
    giving: tuple[list[int], list[int]],
    taking: tuple[list[int], list[int]],
    limits: list[int],
    early: tuple[int, int],
) -> None:
    there, back = content(pieces[0], 1), content(pieces[1], 2)
    first = content(list(early), 3)
    got = (bytearray(), bytearray())

    async def main(directory: Path) -> None:
        async with tunnel(directory, left, right, left_early=first[0], right_early=first[1]) as tun:
            async with Nursery() as nursery:
                nursery.start_soon(give, tun.client, there, giving[0])
                nursery.start_soon(give, tun.target, back, giving[1])
                nursery.start_soon(take, tun.target, got[0], limits, taking[0])
                nursery.start_soon(take, tun.client, got[1], limits, taking[1])
            outcome = await tun.outcome()
        assert got[0] == first[0] + b"".join(there)
        assert got[1] == first[1] + b"".join(back)
        assert outcome[:2] == (len(got[0]), len(got[1]))
        assert (outcome.cause, outcome.error) == ("eof", None)

    with tempfile.TemporaryDirectory() as name:
        go(main, Path(name))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.sampled_from(["client", "target"]), SIZES),
        st.tuples(st.sampled_from(["take", "end", "leave", "reset"]), st.sampled_from(["client", "target"]), st.just(0)),
        st.tuples(st.just("turns"), st.just(""), st.integers(1, 20)),
        st.tuples(st.just("hang up"), st.just(""), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(
    st.sampled_from(
        [tcp, unix, tls_server, http2_server, http2_server_tls, stdio_pipes, stdio_socket, stdio_sockets, stdio_terminal]
    ),
    st.sampled_from([tcp, tcp, tls, http2_client, http2_client_tls]),
    STEPS,
)
def test_random_events_always_end_the_tunnel_and_invent_no_byte(left: Make, right: Make, steps: list[tuple[str, str, int]]) -> None:
    """The bytes that arrive are a prefix of the bytes that were sent."""
    sent = {"client": bytearray(), "target": bytearray()}
    got = {"client": bytearray(), "target": bytearray()}

    async def try_to_give(far: Any, data: bytes, name: str) -> None:
        with suppress(OSError), move_on_after(0.01):
            view = memoryview(data)
            while view:
                sent[name] += view[:4000]
                await far.give(bytes(view[:4000]))
                view = view[4000:]

    def try_to_take(far: Any, name: str) -> None:
        with suppress(OSError):
            got[name] += far.try_take() or b""

    async def act(tun: Any, what: str, who: str, count: int) -> None:
        far = getattr(tun, who or "client")
        gone = who in left_already
        if what == "turns":
            for _ in range(count):
                await checkpoint()
        elif what == "hang up":
            tun.relay.hang_up()
        elif gone:
            return
        elif what == "take":
            try_to_take(far, who)
        elif what == "give" and who not in ended:
            size = min(count, 2000) if left is stdio_terminal else count
            await try_to_give(far, lines(size), who)
        elif what == "end" and who not in ended:
            ended.add(who)
            with suppress(OSError), move_on_after(0.01):
                await far.end_output()
        elif what in ("leave", "reset"):
            left_already.add(who)
            getattr(far, what, far.leave)()

    async def main(directory: Path) -> None:
        async with tunnel(directory, left, right) as tun:
            for step in steps:
                await act(tun, *step)
            for name in ("client", "target"):
                if name not in left_already:
                    with suppress(OSError), move_on_after(0.02):
                        while piece := await getattr(tun, name).take_some():
                            got[name] += piece
                    left_already.add(name)
                    getattr(tun, name).leave()
            await tun.outcome()
        assert sent["client"].startswith(got["target"])
        assert sent["target"].startswith(got["client"])

    ended: set[str] = set()
    left_already: set[str] = set()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket_stream, "DELIVERY_SECONDS", 0.02)
        patch.setattr(http2_stream, "DELIVERY_SECONDS", 0.02)
        patch.setattr(relay, "LAST_WORDS_SECONDS", 0.02)
        go(main, Path(name))
