"""How many there are: sessions, dials, tunnels in all and by client, user and target; and the caps on those. A cap of 0 is off."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from tunnelctl.errors import UsageProblem
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.stream.accept import Crowd

# Bits of an address that tell one client from another. Whoever has IPv6 has a /64, that is 2^64 addresses to come from.
PREFIXES = (32, 64)


class Most(NamedTuple):
    """The caps; 0 is off."""

    tunnels: int = 0
    per_client: int = 0  # of one network
    per_user: int = 0
    per_target: int = 0  # host and port, as asked for
    dials: int = 0
    prefixes: tuple[int, int] = PREFIXES  # of a client's network, by version of the address


class _Count:
    """How many tunnels there are of each key. Keys with none take no memory: there are 2^128 addresses to come from."""

    def __init__(self, most: int, refusal: Callable[[], Refusal]) -> None:
        self.most, self.refusal = most, refusal
        self.of: dict[str, int] = {}

    def take_back(self, key: str) -> None:
        if self.of[key] == 1:
            del self.of[key]
        else:
            self.of[key] -= 1


class Caps(Crowd):
    """Counts what is open. A tunnel counts from its admission, so heads that never end do not use up the cap."""

    def __init__(self, most: Most) -> None:
        super().__init__()
        self._max, self._max_dials, self._prefixes = most.tunnels, most.dials, most.prefixes
        self.tunnels = self.dials = 0
        by_whom = (
            _Count(most.per_client, refusal.client_limit_reached),
            _Count(most.per_user, refusal.user_limit_reached),
            _Count(most.per_target, refusal.target_limit_reached),
        )
        self._counts = [(place, count) for place, count in enumerate(by_whom) if count.most]

    def take(self, client: str, user: str, target: str) -> Refusal | None:
        """Counts one tunnel more; the answer instead where that would pass a cap. An empty text is nobody, and not counted."""
        if self._max and self.tunnels >= self._max:
            return refusal.limit_reached()
        if self._counts:  # not in the usual case
            counted = self._counted(client, user, target)
            for count, key in counted:
                if count.of.get(key, 0) >= count.most:
                    return count.refusal()
            for count, key in counted:
                count.of[key] = count.of.get(key, 0) + 1
        self.tunnels += 1
        return None

    def release(self, client: str, user: str, target: str) -> None:
        """Takes one back that was counted with the same words."""
        self.tunnels -= 1
        if self._counts:
            for count, key in self._counted(client, user, target):
                count.take_back(key)

    def _counted(self, client: str, user: str, target: str) -> list[tuple[_Count, str]]:
        keys = (network_of(client, self._prefixes), user, target)
        return [(count, keys[place]) for place, count in self._counts if keys[place]]

    def start_dial(self) -> Refusal | None:
        """Counts one name lookup, with the dial behind it; the answer instead where there are too many."""
        if self._max_dials and self.dials >= self._max_dials:
            return refusal.limit_reached("this proxy is opening too many connections just now")
        self.dials += 1
        return None

    def end_dial(self) -> None:
        """Takes it back."""
        self.dials -= 1


@lru_cache(4096)  # the same clients come again and again
def network_of(client: str, prefixes: tuple[int, int]) -> str:
    """What an address counts as: its network. What is none, the client of a unix socket, is itself."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return str(ipaddress.ip_network((address, prefixes[address.version == 6]), strict=False))


def parse_prefixes(text: str) -> tuple[int, int]:
    """The value of --client-prefix: bits for IPv4 and for IPv6. Raises UsageProblem."""
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 4 else -1 for word in text.split(",")]
    if len(numbers) != 2 or not (0 <= numbers[0] <= 32 and 0 <= numbers[1] <= 128):
        raise UsageProblem("--client-prefix", f"`{text}` is not two numbers of bits, for IPv4 and IPv6", "for example 32,64")
    return numbers[0], numbers[1]
