"""Chooses the proxy for a tool: the proxy of this machine or, if the tool cannot use it, a port of `tunnelctl forward`."""

import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tunnelctl.cli.commands.ssh_config import spelled
from tunnelctl.cli.parse.values import Pair
from tunnelctl.cli.render.text import mask
from tunnelctl.cli.setup.exemptions import left_out
from tunnelctl.cli.setup.model import Tool, ToolProxy
from tunnelctl.client.forward.listeners import parse_dynamic
from tunnelctl.client.route.selection import Chain, ProxySelection, exempt_entries, select_proxies
from tunnelctl.errors import UsageProblem
from tunnelctl.options import ReachOptions
from tunnelctl.proto import headers
from tunnelctl.proto.address import Address, parse_authority
from tunnelctl.proto.proxy_url import ProxyURL, parse_proxy_list

FORWARD = "127.0.0.1:8080"  # the port of the forward for a tool that requires one, unless -D names another
NAME = "tools"  # of that forward: `tunnelctl stop tools` ends it
NO_PROXY = "setup-no-proxy"  # the code of the error if none is configured

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on, and where a client on this machine connects


class Choice(NamedTuple):
    """The proxy for a tool, and what the notes below its lines say.

    origin: the flag, variable or file that names the proxy
    reason: why the tool requires a forward; "" if -D asked for one, or if there is none
    start: the command that starts the forward; "" if there is none
    left_out: entries of NO_PROXY that the tool has no notation for
    needs_login: whether the tool requires a forward because the proxy requires a login
    """

    proxy: ToolProxy
    origin: str
    reason: str = ""
    start: str = ""
    left_out: tuple[str, ...] = ()
    needs_login: bool = False


def choose(tool: Tool, reach: ReachOptions, dynamic: str | None, typed: list[Pair], environ: Mapping[str, str]) -> Choice:
    """Returns the proxy for a tool. Raises UsageProblem if no proxy is configured, or none that the tool can use.

    dynamic: the port of a forward, from -D; typed: the flags on the command line, which that forward requires too
    """
    exempt = tuple(exempt_entries(environ))
    missing = tuple(left_out(exempt, tool.exempts)) if tool.exempts is not None else ()
    if dynamic is not None:
        return Choice(ToolProxy("http", _local(dynamic), exempt), "-D", "", _start(typed, dynamic), missing)
    selection = select_proxies(None, reach.proxy, environ)
    chains, origin = selection.chains, reach.proxy_origin if reach.proxy else selection.origin
    if reach.pac is None and not any(chains):
        raise UsageProblem(
            "setup", "no proxy is configured", NO_PROXY, facts={"unused": selection.unused, "unnamed": not reach.proxy}
        )
    if tool.keeps_password:
        return Choice(_with_user(chains, reach), origin)
    reason = _reason(tool, reach, selection, environ)
    if reason:
        local, login = ToolProxy("http", _local(FORWARD), exempt), _has_login(reach, selection, environ)
        return Choice(local, origin, reason, _start(typed, FORWARD), missing, login)
    proxy = chains[0][0]
    return Choice(ToolProxy(tool.schemes[proxy.scheme], proxy.address, exempt), origin, "", "", missing)


def _local(text: str) -> Address:
    """Returns the address at which a client on this machine reaches the port of a forward."""
    try:
        place = parse_authority(parse_dynamic(text).place)
    except UsageProblem as problem:
        raise UsageProblem("", problem.cause, "setup-port", option="dynamic") from None
    return place._replace(host=_EVERY_ADDRESS.get(place.host, place.host))


def _with_user(chains: tuple[Chain, ...], reach: ReachOptions) -> ToolProxy:
    """Returns the nearest proxy with the user that logs in there. Raises UsageProblem if no user is named."""
    nearest = chains[0][0] if any(chains) else None
    user = nearest.user if nearest is not None and nearest.user is not None else reach.proxy_user
    if nearest is None or not user:
        raise UsageProblem("setup", "no user is named for the proxy", "setup-no-user")
    return ToolProxy(nearest.scheme, nearest.address, user=user)


def _reason(tool: Tool, reach: ReachOptions, selection: ProxySelection, environ: Mapping[str, str]) -> str:
    """Returns why the tool requires a forward; "" if it does not."""
    if reach.pac is not None and not reach.proxy:
        return f"a PAC file names the proxies, and {tool.name} does not read it"
    proxies = [proxy for chain in selection.chains for proxy in chain]
    if len(proxies) > 1:
        return f"several proxies are configured, and {tool.name} can use only one"
    (proxy,) = proxies
    if _has_login(reach, selection, environ) or reach.header:
        return f"{tool.name} would have to store the login for the proxy {_shown(proxy)} in plain text"
    if proxy.scheme not in tool.schemes:
        return f"{tool.name} {tool.fails.get(proxy.scheme, f'cannot use a proxy {proxy.scheme}://')}"
    if proxy.scheme == "https" and any((reach.proxy_cacert, reach.proxy_cert, reach.proxy_pin, reach.proxy_insecure)):
        return f"only tunnelctl has the certificate settings for the proxy {_shown(proxy)}"
    return ""


def _has_login(reach: ReachOptions, selection: ProxySelection, environ: Mapping[str, str]) -> bool:
    in_url = any(proxy.user is not None for chain in selection.chains for proxy in chain)
    return in_url or reach.gives_login or "TUNNELCTL_PROXY_PASSWORD" in environ


def _shown(proxy: ProxyURL) -> str:
    return f"{proxy.scheme}://{proxy.address}"


def _start(typed: Iterable[Pair], dynamic: str) -> str:
    """Returns the command that starts the forward: with the typed flags, but without secrets.

    It finds the other settings where `setup` has found them: in the settings file and the environment.
    """
    words = [word for flag, text in typed for word in spelled(flag, _public(flag.name, text))]
    return shlex.join(["tunnelctl", "forward", "--background", "--name", NAME, *words, "-D", dynamic.removeprefix("127.0.0.1:")])


def _public(name: str, text: str) -> str:
    """Returns the value of a flag without its secret. The user name stays; the forward finds the password elsewhere."""
    if name == "proxy":
        return ",".join(
            proxy if "@" not in proxy else str(parsed._replace(password=None))
            for proxy, parsed in zip(text.split(","), parse_proxy_list(text), strict=True)
        )
    if name == "proxy-user":
        return text.partition(":")[0]
    if name == "header" and headers.parse(text)[0].lower() in headers.SECRET:
        return f"{headers.parse(text)[0]}: ***"
    return mask(text)
