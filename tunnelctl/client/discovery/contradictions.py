"""Findings about the settings of a machine, and about the proxies that they name. Pure functions.

Settings for one host, one remote or one command are compared with nothing: they are meant to differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tunnelctl.client.check.diagnosis import RECOGNISED, Diagnosis, failure, login, other_protocol, portal, tls_wanted
from tunnelctl.client.discovery.candidates import Candidate, Wrong, chains_of
from tunnelctl.client.discovery.settings.gather import ENVIRONMENT
from tunnelctl.client.discovery.settings.setting import PROXY, Found
from tunnelctl.client.discovery.trial import INTERCEPTED, PRIVATE, Result
from tunnelctl.client.route.selection import Chain
from tunnelctl.errors import AddressError, AuthenticationFailed, NameNotFound, SpeaksTLS, TunnelctlError, Unreachable
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import DEFAULT_PORTS, ProxyURL, parse_proxy_list

OWN = "tunnelctl"  # the tool of our flags and settings file
MOST_NAMES, MOST_LISTED = 3, 6  # settings in a finding on one proxy, and on differences

_PAIRS = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
_BOTH = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}
_SOCKS = ("socks5", "socks4a")
UNRESOLVED = "name-unknown-to-proxy"  # the code of an error


def of_settings(found: Sequence[Found], wrong: Iterable[Wrong]) -> Iterator[Diagnosis]:
    """Yields the findings that need no proxy to be tried."""
    for one in wrong:
        yield Diagnosis("setting-malformed", f"{one.found}: {one.cause}", error=one.error)
    variables = {one.setting.key: one.setting.value[0] for one in found if one.tool == ENVIRONMENT and one.setting.value}
    yield from _cases(variables)
    yield from _only_http(variables)
    yield from _ignored_by_git(found)
    yield from _without_port(found)
    yield from _differences([one for one in found if one.setting.kind == PROXY and not one.setting.scope])


def _cases(variables: Mapping[str, str]) -> Iterator[Diagnosis]:
    for name in _PAIRS:
        lower, upper = variables.get(name), variables.get(name.upper())
        if lower and upper and lower != upper:
            text = f"{name} and {name.upper()} differ: which one counts depends on the program"
            yield Diagnosis("cases-differ", text, {"one": name, "other": name.upper()})


def _only_http(variables: Mapping[str, str]) -> Iterator[Diagnosis]:
    given = next((name for name in ("http_proxy", "HTTP_PROXY") if name in variables), None)
    if given is not None and not _BOTH & variables.keys():
        text = f"{given} is set, but https_proxy is not: it is for http:// pages alone, so tunnels and https:// go without a proxy"
        yield Diagnosis("only-http-proxy", text, {"variable": given})


def _ignored_by_git(found: Iterable[Found]) -> Iterator[Diagnosis]:
    for one in found:
        if one.tool == "git" and one.setting.key.startswith("https."):
            yield Diagnosis("ignored-by-git", f"{one}: git has no such setting, and ignores it", {"setting": one.setting.key})


def _without_port(found: Iterable[Found]) -> Iterator[Diagnosis]:
    for one in found:
        if one.setting.kind == PROXY and any(map(_lacks_port, one.setting.value)):
            text = f"{one} names a proxy without a port: curl and git take port 1080, others 80 or 443"
            yield Diagnosis("port-missing", text)


def _lacks_port(text: str) -> bool:
    try:
        proxies = parse_proxy_list(text)
    except AddressError:
        return False
    ends = [part.strip().removesuffix("/") for part in text.split(",")]
    pairs = zip(proxies, ends, strict=True)
    return any(_has_usual_port(proxy) and not end.endswith(f":{proxy.address.port}") for proxy, end in pairs)


def _has_usual_port(proxy: ProxyURL) -> bool:
    return proxy.scheme not in _SOCKS and proxy.address.port == DEFAULT_PORTS[proxy.scheme]


def _differences(found: Sequence[Found]) -> Iterator[Diagnosis]:
    """Yields a finding on the settings that name another proxy than tunnelctl, the environment, or else the first setting."""
    parsed = [(one, chain[0].address) for one in found for chain in _chains(one) if chain[0].scheme not in _SOCKS]
    if not parsed:
        return
    first, address = next((pair for tool in (OWN, ENVIRONMENT) for pair in parsed if pair[0].tool == tool), parsed[0])
    same = {other for one, other in parsed if one.tool == first.tool}
    # Of a program's settings that name the same proxy, the first one is enough.
    others: dict[tuple[str, Address], Found] = {}
    for one, other in parsed:
        if other not in same:
            others.setdefault((one.tool, other), one)
    listed = [f"{one} names {other}" for (_, other), one in others.items()]
    if listed:
        more = f", and {len(listed) - MOST_LISTED} others differ too" if len(listed) > MOST_LISTED else ""
        text = f"{first} names {address}, but {', '.join(listed[:MOST_LISTED])}{more}"
        yield Diagnosis("proxies-differ", text)


def _chains(found: Found) -> list[Chain]:
    try:
        return chains_of(found)
    except AddressError:
        return []


class Unasked(NamedTuple):
    """Sources that the user has not given, so hints may propose them. wpad: only if there are names that could be looked up"""

    targets: bool = True
    wpad: bool = False


def of_results(results: Sequence[Result], selected: Chain, unasked: Unasked) -> Iterator[Diagnosis]:
    """Yields the findings about what was tried. selected: the chain that `connect` would take"""
    direct = next(result for result in results if not result.candidate.chain)
    named = [result for result in results if result.candidate.chain]
    for result in named:
        yield from _of_result(result, unasked)
    yield from _of_tls(direct)
    working = [result for result in named if result.first.ok]
    if not named:
        what = "and connections work without one" if direct.first.ok else "and without one there is no connection"
        facts: dict[str, object] = {"stuck": not direct.first.ok, "wpad": not direct.first.ok and unasked.wpad}
        yield Diagnosis("no-proxy-named", f"no setting on this machine names a proxy, {what}", facts)
    elif working and not selected and not direct.first.ok:
        proxy = working[0].candidate
        facts = {"url": proxy.chain[0]._replace(user=None, password=None)} if len(proxy.chain) == 1 else {}
        yield Diagnosis("unknown-to-tunnelctl", f"{proxy} works, but no setting that tunnelctl obeys names it", facts)


def _of_result(result: Result, unasked: Unasked) -> Iterator[Diagnosis]:
    proxy, first = result.candidate, result.first
    if isinstance(first.error, NameNotFound) and first.error.code == UNRESOLVED and len(proxy.chain) == 1 and unasked.targets:
        yield Diagnosis("name-not-found", str(first.error))
    elif first.error is not None:
        yield _failed(proxy, first.error)
    elif first.ended:
        yield Diagnosis("target-left", f"{proxy}: {first.ended}", {"proxied": True})
    for other in result.attempts[1:]:
        if first.ok and other.error is not None and other.error.detail.get("code") == 403:
            text = f"{proxy} refuses port {other.target.port}, and lets {first.target.port} pass"
            yield Diagnosis("port-refused", text, {"target": other.target})
    yield from _of_tls(result)


def _of_tls(result: Result) -> Iterator[Diagnosis]:
    host, issuer = result.first.target.host, result.tls.issuer
    if result.tls.verdict == INTERCEPTED:
        yield Diagnosis("intercepted", f"{result.candidate} replaces certificates: that of {host} is by {issuer}")
    elif result.tls.verdict == PRIVATE:
        path = f"through {result.candidate}" if result.candidate.chain else "without a proxy"
        text = f"{path}, the certificate of {host} is by {issuer}, which is not publicly trusted"
        yield Diagnosis("certificate-unknown", text)


def _failed(candidate: Candidate, error: TunnelctlError) -> Diagnosis:
    """Returns the finding for a proxy that opened no tunnel to the first target."""
    code = error.detail.get("code")
    proxy = candidate.chain[0]
    if isinstance(error, SpeaksTLS):
        return tls_wanted(error)
    if error.code in RECOGNISED and error.proxy == str(proxy.address):
        return other_protocol(proxy.address, RECOGNISED[error.code])
    if isinstance(error, AuthenticationFailed) and code is not None:
        found = login(error)
        return found._replace(text=f"{candidate}, named by {_names(candidate)}: {found.text}")
    if isinstance(code, int) and (found_portal := portal(code)) is not None:
        return found_portal._replace(text=f"{candidate}: {found_portal.text}")
    if code is None and isinstance(error, NameNotFound | Unreachable) and candidate.found:
        verb = "names" if len(candidate.found) == 1 else "name"
        return Diagnosis("dead-setting", f"{_names(candidate)} {verb} {candidate}, which gives no tunnel: {error.cause}")
    return failure(error)


def _names(candidate: Candidate) -> str:
    """Returns the settings that name a candidate; of many, the first ones."""
    return " and ".join(map(str, candidate.found[:MOST_NAMES]))
