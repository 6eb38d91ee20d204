"""Counts of dials and tunnels (in all, and by client, user and target), and the caps on those. A cap of 0 is off.

The caps hold over all workers together: each sees the counts of the others.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import NamedTuple

from tunnelctl.engine.limiter import Owner
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.process.shared_counters import LockTimeoutError, SharedLock, SharedTable, key_of
from tunnelctl.stream.unix_stream import peer_uid

SLOTS = 1 << 18  # of the table of counts: 131,072 clients, users and targets at once; one more is refused as if at its cap

TUNNELS, DIALS = 1, 2  # the keys of the totals; those of names are hashes


_Capped = tuple[int, int, Callable[[], Refusal]]  # a key, its cap, and the refusal when the cap is reached

# Prefix lengths that tell one client from another. An IPv6 client has a /64, that is 2^64 source addresses.
PREFIXES = (32, 64)
SITE = 48  # prefix length of an IPv6 site: few sites have more than a /48 (RFC 6177), that is 65,536 networks of /64


class CapLimits(NamedTuple):
    """The caps; 0 is off."""

    tunnels: int = 0
    per_client: int = 0  # of one client network
    per_user: int = 0
    per_target: int = 0  # host and port, as requested
    dials: int = 0

    @property
    def any(self) -> bool:
        """Whether any cap is set."""
        return any((self.tunnels, self.per_client, self.per_user, self.per_target, self.dials))


class SharedCaps:
    """The counts behind the caps, of all workers together. Created before the workers; one process needs no lock."""

    def __init__(self, workers: int) -> None:
        self.table = SharedTable(SLOTS, workers)
        self.lock = SharedLock() if workers > 1 else None

    def hold(self) -> AbstractContextManager[None]:
        """Keeps the other workers from counting within a `with` block. Raises LockTimeoutError."""
        return nullcontext() if self.lock is None else self.lock.hold()

    def forget(self, worker: int) -> None:
        """Removes the counts of a worker that has ended. Raises LockTimeoutError."""
        with self.hold():
            self.table.clear_column(worker)


class Caps:
    """Counts what is open in this worker, and keeps all workers within the caps.

    A tunnel counts from its admission on, so that request heads that never end do not use up the cap.
    """

    def __init__(self, most: CapLimits, shared: SharedCaps | None = None, worker: int = 0) -> None:
        """shared: may be None if no cap is set, or in a single process"""
        self._most, self._worker = most, worker
        self._shared = shared if shared is not None or not most.any else SharedCaps(1)
        self.dials = 0
        self._owed: list[int] = []  # keys that count once too often, because the lock was not free when they were released

    def take(self, network: str, user: str, target: str) -> Refusal | None:
        """Counts one more tunnel, or returns the refusal if that would exceed a cap. An empty user is not counted.

        network: that of the client
        """
        if self._shared is None:  # the usual case: no cap is set
            return None
        return self._add(self._keys(network, user, target))

    def release(self, network: str, user: str, target: str) -> None:
        """Uncounts a tunnel that was counted with the same arguments."""
        if self._shared is not None:
            self._remove([key for key, _, _ in self._keys(network, user, target)])

    def start_dial(self) -> Refusal | None:
        """Counts one name lookup with the dial after it, or returns the refusal if there are too many."""
        if self._most.dials:
            answer = self._add([(DIALS, self._most.dials, dials_limit_reached)])
            if answer is not None:
                return answer
        self.dials += 1
        return None

    def end_dial(self) -> None:
        """Undoes one `start_dial`."""
        self.dials -= 1
        if self._most.dials:
            self._remove([DIALS])

    def _keys(self, network: str, user: str, target: str) -> list[_Capped]:
        """Returns the keys under which a tunnel counts, each with its cap and its refusal."""
        most, keys = self._most, list[_Capped]()
        if most.tunnels:
            keys.append((TUNNELS, most.tunnels, refusal.limit_reached))
        if most.per_client:
            keys.append((key_of("client", network), most.per_client, refusal.client_limit_reached))
        if most.per_user and user:
            keys.append((key_of("user", user), most.per_user, refusal.user_limit_reached))
        if most.per_target:
            keys.append((key_of("target", target), most.per_target, refusal.target_limit_reached))
        return keys

    def _add(self, keys: list[_Capped]) -> Refusal | None:
        """Counts all keys. If one is at its cap, counts none and returns the refusal."""
        assert self._shared is not None
        table, added = self._shared.table, list[int]()
        try:
            with self._shared.hold():
                self._settle()
                for key, most, reached in keys:
                    if not table.add(key, self._worker, most):
                        for other in added:
                            table.remove(other, self._worker)
                        return reached()
                    added.append(key)
        except LockTimeoutError:
            return refusal.limit_reached()
        return None

    def _remove(self, keys: list[int]) -> None:
        """Uncounts the keys. Without the lock, the next step does it: until then there are rather too few tunnels than too many."""
        assert self._shared is not None
        self._owed += keys
        try:
            with self._shared.hold():
                self._settle()
        except LockTimeoutError:
            pass

    def _settle(self) -> None:
        """Uncounts the keys owed. The caller holds the lock."""
        assert self._shared is not None
        while self._owed:
            self._shared.table.remove(self._owed.pop(), self._worker)


def dials_limit_reached() -> Refusal:
    """Returns the refusal at the cap on dials under way."""
    return refusal.limit_reached("this proxy is opening too many connections just now")


@lru_cache(4096)  # the same clients come again and again
def owner_of(client: str, prefixes: tuple[int, int] = PREFIXES) -> Owner:
    """Returns the owner of an address: its network, and with IPv6 its site as the group. Other text, for a local user, is its own.

    prefixes: prefix lengths of a client network, for IPv4 and IPv6
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return Owner(client, client)
    bits = prefixes[address.version == 6]
    site = bits if address.version == 4 else min(bits, SITE)
    return Owner(*(str(ipaddress.ip_network((address, length), strict=False)) for length in (site, bits)))


def owner_of_peer(accepted: socket.SocketType, host: str, prefixes: tuple[int, int]) -> Owner:
    """Returns the owner of a connection. All clients of a unix socket have the same address: they are told apart by user id.

    host: the client's address
    """
    if host == "unix" and (uid := peer_uid(accepted)) is not None:
        host = f"unix:{uid}"
    return owner_of(host, prefixes)


def parse_prefixes(text: str) -> tuple[int, int]:
    """Parses the value of --client-prefix: prefix lengths for IPv4 and IPv6. Raises UsageProblem."""
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 4 else -1 for word in text.split(",")]
    if len(numbers) != 2 or not (0 <= numbers[0] <= 32 and 0 <= numbers[1] <= 128):
        cause = f"`{text}` is not two numbers of bits, for IPv4 and IPv6"
        raise UsageProblem("", cause, "client-prefix", option="client_prefix")
    return numbers[0], numbers[1]
