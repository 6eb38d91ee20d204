"""Selection of the proxies that lead to a target: from the flags, else from the environment."""

from __future__ import annotations

from tunnelctl.errors import UsageProblem
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import ProxyURL, parse_proxy_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunnelctl.client.route.no_proxy import Entry

DIRECT = "direct"

# In this order. https_proxy is for tunnels; lower case wins, as in curl.
VARIABLES = ("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

# For web pages: the proxy that curl, wget and browsers use for them need not open tunnels. So it is ignored.
UNUSED = ("http_proxy", "HTTP_PROXY")

Chain = tuple[ProxyURL, ...]  # nearest first; empty: straight to the target


class ProxySelection(NamedTuple):
    """The chains that lead to a target, in the order in which to try them, and what selected them.

    unused: a variable that is set, and would have selected others if it were not ignored
    """

    chains: tuple[Chain, ...]
    origin: str
    unused: str = ""

    @property
    def proxies(self) -> list[str]:
        """The proxies by their place on the route, nearest first; commas separate alternatives, `direct` among them."""
        chains = [chain for chain in self.chains if chain]
        places = [dict.fromkeys(map(str, one_of)) for one_of in zip(*chains, strict=True)]
        if chains and len(chains) < len(self.chains):  # then each chain has one proxy
            places[0][DIRECT] = None
        return [",".join(one_of) for one_of in places]


DIRECT_ONLY: tuple[Chain, ...] = ((),)
NOT_CONFIGURED = "no proxy is configured"  # the origin of such a route


def select_proxies(target: Address | None, proxy: tuple[str, ...], environ: Mapping[str, str]) -> ProxySelection:
    """Flags come first; nothing overrules them. NO_PROXY overrules the variables. With neither, straight to the target, as in curl.

    Without a target, the route to those that NO_PROXY does not name.
    """
    if proxy:
        return ProxySelection(_from_flags(proxy), "-x")
    for name in VARIABLES:
        if environ.get(name, "").strip():
            return _from_environment(target, name, environ)
    for name in UNUSED:
        if environ.get(name, "").strip():
            if exempt := _exemption(target, environ):
                return ProxySelection(DIRECT_ONLY, exempt)
            return ProxySelection(DIRECT_ONLY, f"{NOT_CONFIGURED}: {name} is set, but ignored", name)
    return ProxySelection(DIRECT_ONLY, NOT_CONFIGURED)


def _from_flags(proxy: tuple[str, ...]) -> tuple[Chain, ...]:
    return DIRECT_ONLY if [text.strip().lower() for text in proxy] == [DIRECT] else _chains(proxy)


_known: dict[tuple[str, ...], tuple[Chain, ...]] = {}  # `forward` asks for each tunnel: 10 µs, of some 600


def _chains(proxy: tuple[str, ...]) -> tuple[Chain, ...]:
    if proxy not in _known:
        _known[proxy] = _read_chains(proxy)
    return _known[proxy]


def _read_chains(proxy: tuple[str, ...]) -> tuple[Chain, ...]:
    """Every possible chain: each place may list several proxies, of which a chain takes one. The empty one can only be the last."""
    if len(proxy) == 1 and _words(proxy[0])[1:].count(DIRECT) == 1 and _words(proxy[0])[-1] == DIRECT:
        return *_chains((proxy[0].rpartition(",")[0],)), ()
    chains: tuple[Chain, ...] = ((),)
    for place, text in enumerate(proxy):
        if DIRECT in _words(text):  # a user who requires a proxy must not go without if it is down
            cause = "it can only be alone, or the last of a list, and no part of a chain"
            raise UsageProblem(DIRECT, cause, "direct-in-list", option="proxy")
        one_of = parse_proxy_list(text, nearest=place == 0)
        chains = tuple((*chain, hop) for chain in chains for hop in one_of)
    return chains


def _words(text: str) -> list[str]:
    """The alternatives of a list, in lower case."""
    return [word.strip() for word in text.lower().split(",")]


def _from_environment(target: Address | None, name: str, environ: Mapping[str, str]) -> ProxySelection:
    if exempt := _exemption(target, environ):
        return ProxySelection(DIRECT_ONLY, exempt)
    if environ[name].strip().lower() == DIRECT:
        return ProxySelection(DIRECT_ONLY, name)
    try:
        return ProxySelection(_chains((environ[name],)), name)
    except UsageProblem as problem:
        raise problem.within(f"{name}: {problem.what}") from problem


def _exemption(target: Address | None, environ: Mapping[str, str]) -> str:
    """The entry of NO_PROXY that exempts the target, as the origin of a route; "" if none does."""
    no_proxy = _no_proxy(environ)
    if target is None or not environ.get(no_proxy):
        return ""
    from tunnelctl.client.route.no_proxy import exempting_entry

    entry = exempting_entry(target, environ[no_proxy])
    return f"{no_proxy} has {entry}" if entry else ""


def _no_proxy(environ: Mapping[str, str]) -> str:
    """The name of the variable that counts: one of the two, as in curl."""
    return "no_proxy" if environ.get("no_proxy") else "NO_PROXY"


def exempt_entries(environ: Mapping[str, str]) -> list[Entry]:
    """The entries of NO_PROXY that have a meaning, for the notations of other programs."""
    from tunnelctl.client.route.no_proxy import usable_entries

    return usable_entries(environ.get(_no_proxy(environ), ""))


def ignored_entries(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yields the entries of NO_PROXY that have no meaning here: the variable, the entry, the reason."""
    from tunnelctl.client.route.no_proxy import unusable_entries

    name = _no_proxy(environ)
    for entry, cause in unusable_entries(environ.get(name, "")):
        yield name, entry, cause
