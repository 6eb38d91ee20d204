"""`tunnelctl env`: prints shell commands that set the proxy variables, for `eval "$(tunnelctl env)"`.

The variables are those of curl, git, pip and most others. They have the URL of one proxy, and every process of this user can read
them, so a route that needs more, or a login, goes through a local `forward`.

curl, git and pip send requests for this machine to the proxy as well, which cannot reach it, unless no_proxy names it. Go makes
that exception itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.settings import check_via, complete
from tunnelctl.cli.setup.exemptions import LOOPBACK, names_and_networks, written
from tunnelctl.client.route.fingerprint import fingerprint
from tunnelctl.client.route.selection import NOT_CONFIGURED, Chain, select_proxies
from tunnelctl.control.directory import candidates, check_name, path_of, published, runs
from tunnelctl.errors import UsageProblem
from tunnelctl.options import AUTO, ReachOptions
from tunnelctl.proto.address import parse_port, shown

_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_EXEMPT = ("no_proxy", "NO_PROXY")
# curl looks names up itself with socks5:// and socks4://, and leaves them to the proxy with these.
_SCHEMES = {"socks5": "socks5h", "socks4a": "socks4a"}
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # where a client of this machine reaches a port that is open to all


class EnvOptions(NamedTuple):
    """The options of one `env`, as far as it acts on them itself."""

    reach: ReachOptions = ReachOptions()
    via: str | None = None
    port: str | None = None
    shell: str = "sh"


def lines(call: Call, environ: Mapping[str, str]) -> str:
    """Returns the text to print. Raises UsageProblem."""
    check_via(call.pairs)
    options = complete("connect", call.pairs, environ).build(EnvOptions)  # which reaches what `connect` would
    url = _url(options, environ)
    values = {spelling: url for name in _NAMES for spelling in (name, name.upper())}
    assign = SHELLS[options.shell]
    several = {**values, **_exemptions(environ), "NODE_USE_ENV_PROXY": "1"}
    return "".join(assign(name, value) + "\n" for name, value in several.items())


def _exemptions(environ: Mapping[str, str]) -> dict[str, str]:
    """Exempts this machine from the proxy, unless the user has a list, which stays as it is."""
    if any(environ.get(name) for name in _EXEMPT):
        return {}
    return dict.fromkeys(_EXEMPT, ",".join(written(LOOPBACK, names_and_networks)))


def _url(options: EnvOptions, environ: Mapping[str, str]) -> str:
    if options.port is not None:
        return f"http://127.0.0.1:{parse_port(options.port)}"
    if options.via is not None and (address := _port_of(options.via, options.reach, environ)):
        host, colon, port = address.rpartition(":")
        return f"http://{_ANY.get(host, host)}{colon}{port}"
    if options.reach.pac is not None and not options.reach.proxy:
        raise _needs_forward("a PAC file")
    selection = select_proxies(None, options.reach.proxy, environ)
    if not any(selection.chains):
        origin = options.reach.proxy_origin if options.reach.proxy else selection.origin
        cause = origin if " " in selection.origin else f"{origin} is direct"
        raise UsageProblem("env", cause, "env-no-proxy", facts={"unnamed": origin == NOT_CONFIGURED})
    return _alone(selection.chains, options.reach)


def _alone(chains: tuple[Chain, ...], reach: ReachOptions) -> str:
    """Returns the URL of the only proxy. Raises UsageProblem if the route needs more."""
    if len(chains) > 1 or len(chains[0]) > 1:
        raise _needs_forward("several proxies")
    proxy = chains[0][0]
    if proxy.user is not None or reach.gives_login:
        raise _needs_forward("a login", "every program of the shell could read")
    if reach.header or reach.proxy_cacert or reach.proxy_cert or reach.proxy_pin or reach.proxy_insecure:
        raise _needs_forward("header fields or settings of TLS")
    return str(proxy._replace(scheme=_SCHEMES.get(proxy.scheme, proxy.scheme)))


def _needs_forward(what: str, why: str = "these variables cannot express") -> UsageProblem:
    return UsageProblem("env", f"the route has {what}, which {why}", "env-needs-forward")


def _port_of(via: str, reach: ReachOptions, environ: Mapping[str, str]) -> str:
    """Returns the address of a -D port of a running forward. With `auto`, "" if there is none."""
    if via == AUTO:
        ours = fingerprint(reach, environ)
        running = [published(path).ports for path in candidates(environ, ours) if runs(path)]
        return next((ports[0] for ports in running if ports), "")
    if "/" not in via:
        check_name(via, "via")
    path = via if "/" in via else path_of(via, environ)
    if not runs(path):
        raise UsageProblem(f"forward {shown(via)}", "it is not running", "env-no-forward")
    ports = published(path).ports
    if not ports:
        raise UsageProblem(f"forward {shown(via)}", "it has no -D port without a login", "env-no-port")
    return ports[0]


def _sh(name: str, value: str) -> str:
    return f"export {name}='{value.replace(chr(39), _QUOTE)}'"


_QUOTE = "'\\''"


def _fish(name: str, value: str) -> str:
    """In single quotes of fish, a backslash escapes itself and a quote."""
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


SHELLS: dict[str, Callable[[str, str], str]] = {"sh": _sh, "fish": _fish}
