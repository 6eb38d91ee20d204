"""From the options and the environment to the way to a target: its proxies, and what each of them is sent."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from tunnelctl.client.route import Route, choose_route
from tunnelctl.client.tunnel import Hop, Way
from tunnelctl.errors import UsageProblem
from tunnelctl.proto import fields as header
from tunnelctl.proto.address import Address
from tunnelctl.proto.connect_client import ConnectClient
from tunnelctl.proto.fields import Fields
from tunnelctl.proto.proxy_url import ProxyURL
from tunnelctl.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.options import ReachOptions

_ANYWHERE = Address("localhost", 443)  # a target that a request can be made for, where only its fields are looked at


class Ways:
    """Finds the way to any target. Flags, files and passwords are read once, and what is wrong with them is raised at once."""

    def __init__(self, options: ReachOptions, environ: Mapping[str, str], trace: Trace) -> None:
        self._options, self._environ, self._trace = options, environ, trace
        self._extra = tuple(header.parse(text) for text in options.header)
        if self._extra:
            ConnectClient(_ANYWHERE, self._extra)  # raises for a field that is not the user's to set, before anybody is asked
        if options.pac is not None and not options.proxy:
            raise UsageProblem("--pac", "no proxies are taken from a PAC file yet")
        self._hops: dict[tuple[ProxyURL, ...], tuple[Hop, ...]] = {}

    def default(self) -> Way:
        """The way to all targets but those that NO_PROXY names."""
        return self._way(_ANYWHERE, choose_route(None, self._options.proxy, self._environ))

    def to(self, target: Address, trace: Trace) -> Way:
        """The way to one target."""
        route = choose_route(target, self._options.proxy, self._environ)
        origin = self._options.proxy_origin if self._options.proxy else route.origin
        trace("route", proxies=[str(proxy) for proxy in route.proxies], origin=origin)
        return self._way(target, route)

    def _way(self, target: Address, route: Route) -> Way:
        options = self._options
        return Way(
            target,
            self._hops_of(route.proxies),
            options.family,
            options.timeout or inf,
            options.connect_timeout or inf,
            options.keepalive,
        )

    def _hops_of(self, proxies: tuple[ProxyURL, ...]) -> tuple[Hop, ...]:
        hops = self._hops.get(proxies)
        if hops is None:
            for proxy in proxies:
                if proxy.scheme != "http":
                    raise UsageProblem(f"proxy {proxy}", f"no tunnel is asked of a proxy over {proxy.scheme}:// yet")
            hops = tuple(Hop(proxy.address, self._fields(proxy, place == 0)) for place, proxy in enumerate(proxies))
            self._hops[proxies] = hops
        return hops

    def _fields(self, proxy: ProxyURL, nearest: bool) -> Fields:
        """What a proxy is sent: its own credentials; and for the nearest the user's fields, which may be secrets as well."""
        secret = self._login(proxy, nearest)
        own = (("Proxy-Authorization", secret),) if secret is not None else ()
        return own + self._extra if nearest else own

    def _login(self, proxy: ProxyURL, nearest: bool) -> str | None:
        """The value of Proxy-Authorization, where anything but netrc knows one."""
        options = self._options
        if proxy.user is None and not (nearest and _has_credentials(options)):
            return None
        from tunnelctl.client.credentials import CredentialSource
        from tunnelctl.engine.kernel import run
        from tunnelctl.proto.basic import encode_basic

        secret = run(CredentialSource(proxy, nearest, options, self._environ, self._trace).find)
        if secret is None:
            return None
        if options.auth == "bearer":
            return f"Bearer {secret.password}"
        if options.auth not in ("any", "basic"):
            raise UsageProblem(f"--auth {options.auth}", "this scheme is not supported")
        return encode_basic(secret.user or "", secret.password)


def _has_credentials(options: ReachOptions) -> bool:
    return bool(
        options.proxy_user
        or options.proxy_password_file
        or options.password_command
        or options.ask_password
        or options.proxy_auth_file
        or options.auth == "bearer"
    )
