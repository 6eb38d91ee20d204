"""The distinct proxies that settings name, parsed; and the settings whose value is no proxy."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple
from urllib.parse import quote

from tunnelctl.client.discovery.settings.setting import PROXY, Found
from tunnelctl.client.route.selection import Chain
from tunnelctl.errors import AddressError
from tunnelctl.proto.proxy_url import ProxyURL, parse_proxy_list

# What a parser says of a part of a URL may repeat a password that was put in the wrong place.
_MAY_QUOTE = "url-part"


class Candidate(NamedTuple):
    """A chain to try, and the settings that name it. An empty chain is the path without a proxy."""

    chain: Chain
    found: tuple[Found, ...] = ()

    def __str__(self) -> str:
        """For people, with passwords masked."""
        return self.name or "no proxy"

    @property
    def name(self) -> str:
        """The URLs as one text with passwords masked; "" without a proxy. With blanks: whoever prints it masks word by word."""
        return ", then ".join(map(str, self.chain))

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs with their passwords, for RoutePlanner."""
        return tuple(map(_spelled, self.chain))


class Wrong(NamedTuple):
    """A setting whose value is no URL of a proxy. The error has the reason, and no part of the value is shown."""

    found: Found
    error: AddressError

    @property
    def cause(self) -> str:
        """Why, in words that repeat no part of the value."""
        inner = self.error.inner
        code = inner.code if self.error.code == _MAY_QUOTE and inner is not None else self.error.code
        return "it is not the URL of a proxy" if code == _MAY_QUOTE else self.error.cause


def chains_of(found: Found) -> list[Chain]:
    """Returns the chains of a setting: one for each choice among the alternatives. Raises AddressError."""
    places = [parse_proxy_list(text, nearest=place == 0) for place, text in enumerate(found.setting.value)]
    return list(product(*places))


def candidates(all_found: Iterable[Found]) -> tuple[list[Candidate], list[Wrong]]:
    """Returns the distinct chains in the order of the settings, and the settings that cannot be parsed."""
    named: dict[Chain, list[Found]] = {}
    wrong: list[Wrong] = []
    for found in all_found:
        if found.setting.kind != PROXY:
            continue
        try:
            for chain in chains_of(found):
                named.setdefault(chain, []).append(found)
        except AddressError as error:
            wrong.append(Wrong(found, error))
    return [Candidate(chain, tuple(settings)) for chain, settings in named.items()], wrong


def _spelled(proxy: ProxyURL) -> str:
    """Returns a URL that parses to the same, with its password."""
    if proxy.user is None:
        return str(proxy)
    password = "" if proxy.password is None else f":{_quoted(proxy.password)}"
    return f"{proxy.scheme}://{_quoted(proxy.user)}{password}@{str(proxy._replace(user=None, password=None)).partition('://')[2]}"


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="")
