"""Connecting to one of several addresses: the race, its errors, and that no socket is left open."""

import _socket
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ECONNREFUSED, EMFILE, ETIMEDOUT
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.scripted import black_hole_port
from tests.portable.removal import of_linux
from tests.stream.ends import go
from tunnelctl.engine.kernel import CancelScope, Nursery, TooSlowError, checkpoint, current_time, fail_after, sleep
from tunnelctl.engine.resolver import SocketAddress
from tunnelctl.engine.sync import Event
from tunnelctl.stream import dial as dial_module
from tunnelctl.stream.dial import MAX_ATTEMPTS, DialError, dial, interleave
from tunnelctl.stream.socket_stream import MAX_UNSENT

LOCAL = "127.0.0.1"


def at(listener: socket.socket) -> SocketAddress:
    return SocketAddress(listener.family, *listener.getsockname()[:2])


@contextmanager
def accepting(host: str = LOCAL) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(20)
        yield listener


@contextmanager
def refusing() -> Iterator[SocketAddress]:
    """Reserves a port on which no socket listens."""
    with socket.socket() as bound:
        bound.bind((LOCAL, 0))
        yield at(bound)


@contextmanager
def black_hole() -> Iterator[SocketAddress]:
    with black_hole_port() as port:
        yield SocketAddress(socket.AF_INET, LOCAL, port)


def has_ipv6() -> bool:
    try:
        with accepting("::1"):
            return True
    except OSError:
        return False


# --- the order


def addresses(families: list[socket.AddressFamily]) -> list[SocketAddress]:
    return [SocketAddress(family, str(number), number) for number, family in enumerate(families)]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([socket.AF_INET, socket.AF_INET6]), min_size=1, max_size=12).map(addresses))
def test_interleaving_alternates_families_and_keeps_the_order_of_each(given_addresses: list[SocketAddress]) -> None:
    """RFC 8305 section 4."""
    mixed = interleave(given_addresses)
    assert sorted(mixed) == sorted(given_addresses)
    assert mixed[0] == given_addresses[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        assert [a for a in mixed if a.family == family] == [a for a in given_addresses if a.family == family]
    counts = sorted(sum(a.family == family for a in mixed) for family in (socket.AF_INET, socket.AF_INET6))
    alternating = mixed[: 2 * counts[0]]
    assert all(one.family != other.family for one, other in pairwise(alternating))


# --- one address


@pytest.mark.parametrize(
    "host", [LOCAL, "127.0.0.7", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no ::1"))]
)
def test_dial_connects_to_one_address(host: str) -> None:
    async def main() -> None:
        with accepting(host) as listener:
            stream = await dial([at(listener)], 0)
            accepted, peer = listener.accept()
            with accepted:
                assert stream.socket.getsockname()[:2] == peer[:2]
                assert not stream.socket.getblocking()
                assert stream.peer == at(listener)
                await stream.send_all(b"hello")
                assert accepted.recv(5) == b"hello"
                accepted.send(b"welcome")
                assert await stream.receive_some() == b"welcome"
            stream.close()

    go(main)


def test_a_banner_sent_with_the_connection_is_received() -> None:
    """A wait for data that has already arrived must not hang."""

    async def main() -> None:
        with accepting() as listener:
            for turns in range(4):
                async with Nursery() as nursery:

                    async def greet() -> None:
                        listener.setblocking(False)
                        for _ in range(200):
                            try:
                                accepted, _ = listener.accept()
                            except BlockingIOError:
                                await checkpoint()
                                continue
                            with accepted:
                                accepted.send(b"banner")
                            return

                    nursery.start_soon(greet)
                    stream = await dial([at(listener)], 0)
                    for _ in range(turns):
                        await checkpoint()
                    assert await stream.receive_some() == b"banner"
                    assert await stream.receive_some() == b""
                    stream.close()

    go(main)


@pytest.mark.parametrize(("keepalive", "on"), [(0, 0), (30, 1)])
def test_dialled_sockets_are_tuned(keepalive: float, on: int) -> None:
    """T7, the outgoing leg."""

    async def main() -> None:
        with accepting() as listener:
            stream = await dial([at(listener)], keepalive)
            new = stream.socket
            assert new.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
            assert new.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert new.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
            assert new.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == MAX_UNSENT
            if on:
                assert new.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_KEEPIDLE")) == 30
                assert new.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
                assert new.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 9
            assert new.getsockopt(socket.IPPROTO_TCP, of_linux(socket, "TCP_USER_TIMEOUT")) == 0
            stream.close()

    go(main)


def test_a_refused_connection_is_a_dial_error() -> None:
    async def main() -> None:
        with refusing() as address:
            with pytest.raises(DialError) as raised:
                await dial([address], 0)
            ((tried, error),) = raised.value.attempts
            assert (tried, error.errno) == (address, ECONNREFUSED)
            assert isinstance(error, ConnectionRefusedError)

    go(main)


def test_an_address_that_cannot_be_dialled_is_a_failed_attempt() -> None:
    async def main() -> None:
        bad = SocketAddress(socket.AF_INET, "127.0.0.1", 0)
        with pytest.raises(DialError) as raised:
            await dial([bad], 0)
        assert raised.value.attempts[0][0] == bad

    go(main)


def test_the_time_limit_of_one_attempt() -> None:
    async def main() -> None:
        with black_hole() as hole:
            begun = current_time()
            with pytest.raises(DialError) as raised:
                await dial([hole], 0, attempt_timeout=0.05)
            assert current_time() - begun >= 0.04
            assert [error.errno for _, error in raised.value.attempts] == [ETIMEDOUT]

    go(main)


def test_the_time_limit_of_the_caller_is_raised_to_the_caller() -> None:
    async def main() -> None:
        with black_hole() as hole:
            with pytest.raises(TooSlowError), fail_after(0.05):
                await dial([hole], 0, attempt_timeout=5)
            with pytest.raises(TooSlowError), fail_after(0.05):
                await dial([hole, hole], 0)

    go(main)


def test_a_lack_of_descriptors_is_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(EMFILE, "Too many open files")

    async def main() -> None:
        monkeypatch.setattr(_socket, "SocketType", none_left)
        somewhere = SocketAddress(socket.AF_INET, LOCAL, 9)
        with pytest.raises(DialError) as raised:
            await dial([somewhere, somewhere], 0)
        assert [error.errno for _, error in raised.value.attempts] == [EMFILE, EMFILE]

    go(main)


# --- several


def test_the_first_to_accept_wins_and_the_others_are_not_tried() -> None:
    async def main() -> None:
        with accepting() as first, accepting() as second:
            stream = await dial([at(first), at(second)], 0)
            first.accept()[0].close()
            stream.close()
            second.setblocking(False)
            with pytest.raises(BlockingIOError):
                second.accept()

    go(main)


def test_a_refused_attempt_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 section 5: without waiting for the delay, however long it is."""
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 20.0)

    async def main() -> None:
        with refusing() as first, refusing() as second, accepting() as third:
            begun = current_time()
            stream = await dial([first, second, at(third)], 0)
            await checkpoint()
            assert current_time() - begun < dial_module.ATTEMPT_DELAY
            assert stream.peer == at(third)
            stream.close()

    go(main)


def test_the_second_wins_if_the_first_is_a_black_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dial_module.ATTEMPT_DELAY == 0.25  # the value that RFC 8305 section 5 recommends
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.08)

    async def main() -> None:
        with black_hole() as hole, accepting() as second:
            begun = current_time()
            stream = await dial([hole, at(second)], 0)
            await checkpoint()
            assert dial_module.ATTEMPT_DELAY * 0.9 < current_time() - begun < 2
            assert stream.peer == at(second)
            stream.close()

    go(main)


@pytest.mark.skipif(not has_ipv6(), reason="no ::1")
def test_the_other_family_is_tried_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 section 4: two dead addresses of one family must not delay the first of the other."""
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.05)

    async def main() -> None:
        with black_hole() as hole, accepting("::1") as live, accepting() as last:
            stream = await dial([hole, hole, hole, at(last), at(live)], 0)
            assert stream.peer == at(live)
            stream.close()

    go(main)


def test_a_slow_first_attempt_may_still_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on while the next one is tried, and does not end when that one fails."""
    attempt = dial_module._attempt

    async def slowed(address: SocketAddress, keepalive: float, timeout: float) -> object:
        if address == slow:
            await sleep(0.05)  # like a lost SYN, only shorter
        return await attempt(address, keepalive, timeout)

    async def main() -> None:
        with refusing() as second:
            stream = await dial([slow, second], 0)
            assert stream.peer == slow
            stream.close()

    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.01)
    monkeypatch.setattr(dial_module, "_attempt", slowed)
    with accepting() as first:
        slow = at(first)
        go(main)


def test_the_list_of_errors_is_complete_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.02)

    async def main() -> None:
        with refusing() as first, black_hole() as hole, refusing() as third:
            with pytest.raises(DialError) as raised:
                await dial([first, hole, third], 0, attempt_timeout=1.0)
            tried = [(address, error.errno) for address, error in raised.value.attempts]
            assert tried == [(first, ECONNREFUSED), (third, ECONNREFUSED), (hole, ETIMEDOUT)]

    go(main)


def test_l1_a_name_with_thousands_of_addresses_causes_bounded_attempts() -> None:
    """The attempts cover both families, although the first alone has more than enough addresses."""

    async def main() -> DialError:
        with refusing() as there:
            many = [there._replace(host=f"127.{number >> 8}.{number & 255}.1") for number in range(3500)]
            with pytest.raises(DialError) as caught:
                await dial([*many, SocketAddress(socket.AF_INET6, "::1", there.port)], 0.0)
            return caught.value

    error = go(main)
    assert len(error.attempts) == MAX_ATTEMPTS
    assert socket.AF_INET6 in {address.family for address, _ in error.attempts}


@pytest.mark.parametrize("count", [1, 3])
def test_cancellation_closes_every_socket(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.01)

    async def main() -> None:
        with black_hole() as hole:
            before = set(os.listdir("/proc/self/fd"))
            async with Nursery() as nursery:
                nursery.start_soon(dial, [hole] * count, 0)
                while len(os.listdir("/proc/self/fd")) < len(before) + count:
                    await sleep(0.002)
                nursery.cancel_scope.cancel()
            assert set(os.listdir("/proc/self/fd")) == before

    go(main)


def test_losing_attempts_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0.01)

    async def main() -> None:
        with black_hole() as hole, accepting() as live:
            before = len(os.listdir("/proc/self/fd"))
            stream = await dial([hole, hole, at(live)], 0)
            assert len(os.listdir("/proc/self/fd")) == before + 1
            stream.close()

    go(main)


def test_two_attempts_that_succeed_in_one_turn_make_one_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0)
    attempt, made = dial_module._attempt, []

    async def together(address: SocketAddress, keepalive: float, timeout: float) -> object:
        made.append(await attempt(address, keepalive, timeout))
        if len(made) == 2:
            both.set()
        await both.wait()
        return made.pop()

    async def main() -> None:
        nonlocal both
        both = Event()
        with accepting() as one, accepting() as other:
            before = len(os.listdir("/proc/self/fd"))
            stream = await dial([at(one), at(other)], 0)
            assert made == []
            assert len(os.listdir("/proc/self/fd")) == before + 1
            stream.close()

    both: Event
    monkeypatch.setattr(dial_module, "_attempt", together)
    go(main)


def test_no_socket_leaks_if_the_caller_is_cancelled_as_dial_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the caller gets the stream and closes it, or dial has closed it. The fixtures count the descriptors."""
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY", 0)

    async def main() -> None:
        with accepting() as one, accepting() as other:
            for turns in range(6):
                with CancelScope() as scope:
                    async with Nursery() as nursery:

                        async def cancel_soon(turns: int = turns, scope: CancelScope = scope) -> None:
                            for _ in range(turns):
                                await checkpoint()
                            scope.cancel()

                        nursery.start_soon(cancel_soon)
                        stream = await dial([at(one), at(other)], 0)
                        stream.close()

    go(main)
