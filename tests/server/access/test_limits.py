"""The counts and caps of tunnels and dials."""

import os
import socket

import pytest

from tests.server.process.sharing import held
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.server.access import limits
from tunnelctl.server.access.limits import CapLimits, Caps, SharedCaps, owner_of, owner_of_peer, parse_prefixes
from tunnelctl.server.process import shared_counters as shared_memory

NOBODY = ("", "")


def test_a_cap_of_zero_means_no_cap() -> None:
    caps = Caps(CapLimits())
    assert not any(caps.take("a", "u", "t") for _ in range(1000))
    assert not any(caps.start_dial() for _ in range(1000))
    assert caps.dials == 1000


def test_the_cap_on_tunnels_counts_all_of_them() -> None:
    caps = Caps(CapLimits(tunnels=2))
    assert [caps.take(client, *NOBODY) for client in "abc"] == [None, None, refusal.limit_reached()]
    caps.release("a", *NOBODY)
    assert not caps.take("c", *NOBODY)
    assert caps.take("a", *NOBODY)


@pytest.mark.parametrize(
    ("cap", "place", "answer"),
    [
        ("per_client", 0, refusal.client_limit_reached()),
        ("per_user", 1, refusal.user_limit_reached()),
        ("per_target", 2, refusal.target_limit_reached()),
    ],
)
def test_each_client_user_and_target_has_its_own_count(cap: str, place: int, answer: refusal.Refusal) -> None:
    caps = Caps(CapLimits(**{cap: 2}))

    def words(who: str) -> list[str]:
        return [who if number == place else "same" for number in range(3)]

    assert [caps.take(*words(who)) for who in "aabab"] == [None, None, None, answer, None]
    caps.release(*words("a"))
    assert not caps.take(*words("a"))


def test_unauthenticated_clients_are_not_counted_as_one_user() -> None:
    """Without logins the user is empty for every client."""
    caps = Caps(CapLimits(per_user=1))
    assert [caps.take("a", "", "t") for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("most", [CapLimits(tunnels=1), CapLimits(per_client=1), CapLimits(per_user=1, per_target=1)])
def test_a_refused_tunnel_is_not_counted(most: CapLimits) -> None:
    caps = Caps(most)
    assert not caps.take("a", "u", "t")
    for _ in range(3):
        assert caps.take("a", "u", "t")
    caps.release("a", "u", "t")
    assert not caps.take("a", "u", "t")


def test_dials_have_a_count_of_their_own() -> None:
    caps = Caps(CapLimits(dials=1))
    assert not caps.start_dial()
    answer = caps.start_dial()
    assert answer is not None
    assert (answer.status, answer.error) == (503, "connection_limit_reached")
    caps.end_dial()
    assert not caps.start_dial()


@pytest.mark.parametrize("most", [CapLimits(tunnels=10), CapLimits(per_client=10, per_user=10, per_target=10)])
def test_clients_without_tunnels_take_no_memory(most: CapLimits) -> None:
    """There are 2^128 possible client addresses."""
    caps = Caps(most)
    for number in range(1000):
        assert not caps.take(f"client {number}", f"user {number}", f"target {number}")
        caps.release(f"client {number}", f"user {number}", f"target {number}")
    assert caps._shared is not None
    assert caps._shared.table._used[0] == 0


@pytest.mark.parametrize(
    ("client", "prefixes", "site", "network"),
    [
        ("192.0.2.1", (32, 64), "192.0.2.1/32", "192.0.2.1/32"),
        ("192.0.2.200", (24, 64), "192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8::1:2:3:4", (32, 64), "2001:db8::/48", "2001:db8::/64"),
        ("2001:db8:0:1::1", (32, 56), "2001:db8::/48", "2001:db8::/56"),
        ("2001:db8:0:1::1", (32, 40), "2001:db8::/40", "2001:db8::/40"),
        ("fe80::1%lo", (32, 64), "fe80::/48", "fe80::/64"),
        ("192.0.2.1", (0, 0), "0.0.0.0/0", "0.0.0.0/0"),
        ("unix", (32, 64), "unix", "unix"),
    ],
)
def test_owner_is_the_site_and_network_of_the_client(client: str, prefixes: tuple[int, int], site: str, network: str) -> None:
    assert owner_of(client, prefixes) == (site, network)


def test_h4_clients_of_a_unix_socket_are_identified_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert owner_of_peer(ours, "unix", (32, 64)).name == f"unix:{os.getuid()}"
        monkeypatch.setattr(limits, "peer_uid", lambda _: 65534)
        assert owner_of_peer(theirs, "unix", (32, 64)).name == "unix:65534"
        assert owner_of_peer(theirs, "192.0.2.1", (32, 64)).name == "192.0.2.1/32"
        monkeypatch.setattr(limits, "peer_uid", lambda _: None)
        assert owner_of_peer(theirs, "unix", (32, 64)).name == "unix"


def test_h4_a_release_that_fails_to_get_the_lock_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a worker that is stopped for a moment while it holds the lock would leave places taken forever."""
    monkeypatch.setattr(shared_memory, "LOCK_SECONDS", 0.01)
    shared = SharedCaps(2)
    assert shared.lock is not None
    caps = Caps(CapLimits(tunnels=3, per_client=3, dials=2), shared)
    for _ in range(2):
        assert not caps.start_dial()
    for _ in range(3):
        assert not caps.take("a", "", "t")
    with held(shared.lock):
        for _ in range(3):
            caps.release("a", "", "t")
        caps.end_dial()
        assert caps.take("a", "", "t") == refusal.limit_reached()
    assert [caps.take("a", "", "t") for _ in range(4)] == [None, None, None, refusal.limit_reached()]
    assert [caps.start_dial() is None for _ in range(2)] == [True, False]


def test_prefixes_are_two_numbers_of_bits() -> None:
    assert parse_prefixes("24,56") == (24, 56)
    assert parse_prefixes("0,128") == (0, 128)


@pytest.mark.parametrize("text", ["", "32", "33,64", "32,129", "-1,64", "32,64,1", "a,b", "32, 64", "٣٢,64", "1" * 5000 + ",1"])
def test_malformed_prefixes_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageProblem, match="two numbers of bits"):
        parse_prefixes(text)
