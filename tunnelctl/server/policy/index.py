"""Finds the rules that cover a target, among many.

A decision about a new target would otherwise check every rule: 5 ms with 10,000 of them, in which the server does nothing else, and
the client chooses the target. So rules are kept by what they name: a host, a domain, a network by its size and its first address,
or no target at all (any host). A target has one name, few parent domains and at most two addresses, and there are few sizes of
networks.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from tunnelctl.proto.network import Network


class Names(Protocol):
    """What a rule names, as in rules.Rule: a host, a domain with a dot in front, a network, or none of them for any host."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def network(self) -> Network | None: ...


RuleT = TypeVar("RuleT", bound=Names)


class RuleIndex(Generic[RuleT]):
    """Rules of one kind. What is found is in the order in which they were given."""

    def __init__(self, rules: Iterable[RuleT]) -> None:
        self._hosts: dict[str, list[tuple[int, RuleT]]] = {}  # each rule with its place; "" for any host
        self._networks: dict[Network, list[tuple[int, RuleT]]] = {}
        self._sizes: dict[tuple[int, int], None] = {}  # by version; one less than the number of addresses
        for place, rule in enumerate(rules):
            network = rule.network
            if network is None:
                self._hosts.setdefault(rule.name or rule.suffix, []).append((place, rule))
            else:
                self._networks.setdefault(network, []).append((place, rule))
                self._sizes[network.version, network.last - network.first] = None

    def for_host(self, host: str) -> list[RuleT]:
        """Returns the rules on names that cover a host, whatever its address."""
        return _in_order(self._of_host(host))

    def for_target(self, host: str, forms: tuple[Network, ...]) -> list[RuleT]:
        """Returns the rules that cover a host at an address. forms: as `unwrap` returns them"""
        return _in_order([*self._of_host(host), *self._of_address(forms)])

    def _of_host(self, host: str) -> list[tuple[int, RuleT]]:
        hosts = self._hosts
        found = [*hosts.get("", ()), *hosts.get(host, ())]
        dot = host.find(".")
        while dot >= 0:
            found += hosts.get(host[dot:], ())
            dot = host.find(".", dot + 1)
        return found

    def _of_address(self, forms: tuple[Network, ...]) -> Iterator[tuple[int, RuleT]]:
        for version, address, _ in dict.fromkeys(forms):
            for of, span in self._sizes:
                if of == version:
                    first = address & ~span  # a network has a power of two of addresses, and begins at a multiple of that
                    yield from self._networks.get(Network(version, first, first + span), ())


def _in_order(found: list[tuple[int, RuleT]]) -> list[RuleT]:
    return [rule for _, rule in sorted(found)]
