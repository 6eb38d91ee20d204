"""How many there are: sessions, dials, tunnels in all and by client, user and target; and the caps on those. A cap of 0 is off.

The caps hold over all workers together: what one of them counts, the others see.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import NamedTuple

from tunnelctl.engine.limiter import Owner
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.process.shared_counters import LockTimeoutError, SharedLock, SharedTable, key_of
from tunnelctl.stream.accept import Crowd

SLOTS = 1 << 18  # of the table of counts: 131,072 clients, users and targets at once; one more is refused as at its cap

TUNNELS, DIALS = 1, 2  # the keys of the sums; those of names are hashes

_UCRED = struct.Struct("iII")  # struct ucred of unix(7): process, user, group

_Capped = tuple[int, int, Callable[[], Refusal]]  # a key, its cap, and the answer when that is reached

# Bits of an address that tell one client from another. Whoever has IPv6 has a /64, that is 2^64 addresses to come from.
PREFIXES = (32, 64)
SITE = 48  # bits of an IPv6 address: who has more than a /64 mostly has no more than that (RFC 6177), 65,536 of them


class Most(NamedTuple):
    """The caps; 0 is off."""

    tunnels: int = 0
    per_client: int = 0  # of one network
    per_user: int = 0
    per_target: int = 0  # host and port, as asked for
    dials: int = 0

    @property
    def any(self) -> bool:
        """Whether there is a cap at all."""
        return any((self.tunnels, self.per_client, self.per_user, self.per_target, self.dials))


class SharedCaps:
    """The counts behind the caps, of all workers together. Made before the workers are; one process needs no lock."""

    def __init__(self, workers: int) -> None:
        self.table = SharedTable(SLOTS, workers)
        self.lock = SharedLock() if workers > 1 else None

    def hold(self) -> AbstractContextManager[None]:
        """Keeps the others from counting meanwhile. Raises LockTimeoutError."""
        return nullcontext() if self.lock is None else self.lock.hold()

    def forget(self, worker: int) -> None:
        """Takes out what a worker held that has ended."""
        with self.hold():
            self.table.clear_column(worker)


class Caps(Crowd):
    """Counts what is open in this worker, and keeps all of them within the caps.

    A tunnel counts from its admission, so heads that never end do not use up the cap.
    """

    def __init__(self, most: Most, shared: SharedCaps | None = None, worker: int = 0) -> None:
        """shared: None where no cap is set"""
        super().__init__()
        self._most, self._worker = most, worker
        self._shared = shared if shared is not None or not most.any else SharedCaps(1)
        self.tunnels = self.dials = 0
        self._owed: list[int] = []  # keys that count once too often, because the lock was not to be had when they were released

    def take(self, network: str, user: str, target: str) -> Refusal | None:
        """Counts one tunnel more; the answer instead where that would pass a cap. An empty text is nobody, and not counted.

        network: that of the client
        """
        if self._shared is not None:  # not in the usual case
            answer = self._add(self._keys(network, user, target))
            if answer is not None:
                return answer
        self.tunnels += 1
        return None

    def release(self, network: str, user: str, target: str) -> None:
        """Takes one back that was counted with the same words."""
        self.tunnels -= 1
        if self._shared is not None:
            self._remove([key for key, _, _ in self._keys(network, user, target)])

    def start_dial(self) -> Refusal | None:
        """Counts one name lookup, with the dial behind it; the answer instead where there are too many."""
        if self._most.dials:
            answer = self._add([(DIALS, self._most.dials, dials_limit_reached)])
            if answer is not None:
                return answer
        self.dials += 1
        return None

    def end_dial(self) -> None:
        """Takes it back."""
        self.dials -= 1
        if self._most.dials:
            self._remove([DIALS])

    def _keys(self, network: str, user: str, target: str) -> list[_Capped]:
        """What a tunnel counts as, each with its cap and what is said when that is reached."""
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
        """Counts all of them, or none."""
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
        """Takes each back; those that cannot be now, when the next step is done: meanwhile rather too few tunnels than too many."""
        assert self._shared is not None
        self._owed += keys
        try:
            with self._shared.hold():
                self._settle()
        except LockTimeoutError:
            pass

    def _settle(self) -> None:
        """With the lock held."""
        assert self._shared is not None
        while self._owed:
            self._shared.table.remove(self._owed.pop(), self._worker)


def dials_limit_reached() -> Refusal:
    """The cap on dials under way."""
    return refusal.limit_reached("this proxy is opening too many connections just now")


@lru_cache(4096)  # the same clients come again and again
def owner_of(client: str, prefixes: tuple[int, int] = PREFIXES) -> Owner:
    """What an address counts as: its network, and with IPv6 the site that has it. What is none, a user of this machine, is itself.

    prefixes: bits of an address that make a client network, for IPv4 and IPv6
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return Owner(client, client)
    bits = prefixes[address.version == 6]
    site = bits if address.version == 4 else min(bits, SITE)
    return Owner(*(str(ipaddress.ip_network((address, length), strict=False)) for length in (site, bits)))


def owner_of_peer(accepted: socket.SocketType, host: str, prefixes: tuple[int, int]) -> Owner:
    """The same of a connection. Everybody who comes through a unix socket has the same address: there it is by user.

    host: the client's address
    """
    if host == "unix" and hasattr(socket, "SO_PEERCRED"):
        try:
            host = f"unix:{_UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]}"
        except OSError:  # it has left already, perhaps
            pass
    return owner_of(host, prefixes)


def parse_prefixes(text: str) -> tuple[int, int]:
    """The value of --client-prefix: bits for IPv4 and for IPv6. Raises UsageProblem."""
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 4 else -1 for word in text.split(",")]
    if len(numbers) != 2 or not (0 <= numbers[0] <= 32 and 0 <= numbers[1] <= 128):
        raise UsageProblem("--client-prefix", f"`{text}` is not two numbers of bits, for IPv4 and IPv6", "for example 32,64")
    return numbers[0], numbers[1]
