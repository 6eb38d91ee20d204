"""The planner: turns the options and the environment into routes to a target, with what each proxy may receive."""

from __future__ import annotations

from math import inf
from time import monotonic

from tunnelctl import events
from tunnelctl.client.auth.exchange import MISSING, MISSING_LATER, MISSING_USER, ProxyAuth
from tunnelctl.client.route.route import Hop, Route
from tunnelctl.client.route.selection import VARIABLES, Chain, ProxySelection, ignored_entries, select_proxies
from tunnelctl.client.upstream import PROTOCOLS, protocol_of
from tunnelctl.engine.kernel import TooSlowError, fail_after, move_on_after
from tunnelctl.errors import TimedOut, TunnelctlError, UsageProblem
from tunnelctl.events import Trace
from tunnelctl.proto import headers as header
from tunnelctl.proto.address import Address, parse_host, without_scope
from tunnelctl.proto.http1.connect_client import ConnectClient
from tunnelctl.proto.proxy_url import ProxyURL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tunnelctl.client.auth.credentials import CredentialSource
    from tunnelctl.client.options import TargetTLS
    from tunnelctl.client.pac.finder import Pac
    from tunnelctl.client.route.failover import DeadProxies
    from tunnelctl.client.upstream.http_version import HTTPVersion
    from tunnelctl.options import ReachOptions
    from tunnelctl.proto.headers import Fields
    from tunnelctl.stream.tls.settings import TLSClient

_ANYWHERE = Address("localhost", 443)  # a placeholder, for use where the target itself does not matter


class RoutePlanner:
    """Finds the routes to any target. `prepare` or `load` comes first; it reads flags, files and passwords once."""

    def __init__(
        self,
        options: ReachOptions,
        environ: Mapping[str, str],
        trace: Trace,
        target_tls: TLSClient | None = None,
        no_readahead: bool = False,
        pooled: bool = False,
        reading: int = 0,
    ) -> None:
        """target_tls: see `tls_to_target`; no_readahead: the socket itself will be passed on

        reading: see TLSClient; pooled: tunnels can share connections, so HTTP/2 is used where a proxy offers it
        """
        self._options, self._environ, self._trace, self._no_readahead = options, environ, trace, no_readahead
        self._target_tls, self._reading = target_tls, reading
        self._http = options.http or ("auto" if pooled else "1.1")
        self.timeout = options.timeout or inf  # seconds for the whole route, whichever it is
        self._extra: Fields = ()
        self._warned_of_host = False
        self._chains: dict[Chain, tuple[Hop, ...]] = {}
        self._hops: dict[tuple[ProxyURL, bool, bool], Hop] = {}  # chains share proxies: each has one login and one warning
        self._given: list[CredentialSource] = []  # those that URLs and flags name; netrc is not among them
        self._dead: DeadProxies[Chain] | None = None
        self._cause = ""  # why the last proxy could not be reached
        self._goes_direct = False  # the last tunnel went around the proxies
        self._pac: Pac | None = None
        self._default: tuple[Chain, ...] = ()

    async def prepare(self, ask_now: bool = False, list_ignored: bool = False) -> None:
        """Does as `load`, and then may ask for a password. Raises TunnelctlError.

        ask_now: ask for the password of --ask-password here, and not when a proxy requires it, unless a PAC file names the proxies
        """
        self.load(list_ignored)
        if ask_now and self._options.ask_password:
            for source in self._given:
                await source.find()

    def load(self, list_ignored: bool = False, read_pac: bool = False) -> None:
        """Validates the flags and reads files, so that their errors are raised before any connection. Raises TunnelctlError.

        list_ignored: whether to trace the entries of NO_PROXY without a meaning
        read_pac: whether to read a PAC file now, and not for the first target
        """
        options = self._options
        self._extra = tuple(header.parse(text) for text in options.header)
        if self._extra:
            ConnectClient(_ANYWHERE, self._extra)  # raises for a field that the user may not set
        if self._target_tls is not None:
            _load(self._target_tls)
        if options.pac is not None and not options.proxy:
            from tunnelctl.client.pac.finder import Pac

            self._pac = Pac(options.pac, self._trace)
            if read_pac:
                self._pac.load()
        else:
            self._default = self._choose_default(list_ignored)
        for chain in self._default:
            self._hops_of(chain)
        self._check_pin()

    def _choose_default(self, list_ignored: bool) -> tuple[Chain, ...]:
        """The chains for targets that NO_PROXY does not name."""
        selection = select_proxies(None, self._options.proxy, self._environ)
        if list_ignored and selection.origin in VARIABLES and any(selection.chains):
            from tunnelctl.rare_events import Ignored

            for variable, entry, cause in ignored_entries(self._environ):
                self._trace(Ignored(variable, entry, cause))
        return selection.chains

    def _check_pin(self) -> None:
        proxies = [proxy for chain in self._default for proxy in chain]
        if self._options.proxy_pin is not None and proxies and all(proxy.scheme != "https" for proxy in proxies):
            raise UsageProblem("", "no proxy on the route speaks TLS", "pin-without-tls", option="proxy_pin")

    def outlook(self, target: Address | None) -> ProxySelection:
        """The route to a target, as far as it is known in advance. target: None for any that NO_PROXY does not name"""
        if self._pac is not None:
            return ProxySelection((), "--pac")
        selection = select_proxies(target, self._options.proxy, self._environ)
        return selection._replace(origin=self._options.proxy_origin) if self._options.proxy else selection

    def may_have_proxies(self, target: Address) -> bool:
        """Whether the route to a target may lead through proxies. True with a PAC file, whose result is not known yet."""
        return self._pac is not None or any(select_proxies(target, self._options.proxy, self._environ).chains)

    def default(self) -> Route | None:
        """The first route to all targets except those that NO_PROXY names; None with a PAC file, where each has its own."""
        return self._route_through(_ANYWHERE, self._default[0]) if self._default else None

    def forget(self) -> None:
        """Forgets what was learnt about the proxies, in a network that has changed."""
        self._dead = None
        if self._pac is not None:
            self._pac.expire()

    async def anew(self, target: Address, tried: Collection[Route], until: float, trace: Trace) -> list[Route]:
        """The routes by a PAC file that is read and asked anew, since none of those tried has worked; [] if they are the same.

        until: the time by which they are required
        """
        if self._pac is None:
            return []
        from tunnelctl.client.pac.finder import FRESH_SECONDS

        self._pac.expire(FRESH_SECONDS)
        found: list[Route] = []
        with move_on_after(max(0.0, until - monotonic())):
            try:
                found = await self.to(target, trace)
            except TunnelctlError:
                return []
        return found if {route.chain for route in found} - {route.chain for route in tried} else []

    def announce(self, trace: Trace) -> None:
        """Traces the proxies for all targets except those that NO_PROXY names, unless a PAC file decides."""
        if self._pac is None:
            self._tell(select_proxies(None, self._options.proxy, self._environ), trace)

    async def to(self, target: Address, trace: Trace) -> list[Route]:
        """The routes to one target, in the order in which to try them."""
        selection = await self._select(target)
        chains = list(selection.chains)
        if len(chains) > 1:
            chains = self._living().order(chains)
        origin = self._tell(selection._replace(chains=tuple(chains)), trace)
        routes = [self._route_through(target, chain)._replace(origin=origin, unused=selection.unused) for chain in chains]
        if len(routes) == 1 or self._pac is not None:  # the script decides about DIRECT, as in a browser
            return routes
        return [route if route.hops else route._replace(fallback=True) for route in routes]

    def _tell(self, selection: ProxySelection, trace: Trace) -> str:
        """Traces a route. Returns what named its proxies, or why there are none."""
        origin = self._options.proxy_origin if self._options.proxy else selection.origin
        trace(events.Route([str(proxy) for proxy in selection.chains[0]], origin))
        return origin

    def failed(self, route: Route, error: TunnelctlError, may_go_direct: bool) -> None:
        """Records that the proxies of a route could not be reached: for a while it is tried after the others.

        may_go_direct: one of the others leads straight to the target
        """
        from tunnelctl.client.route.failover import BEFORE_DIRECT_SECONDS, SECONDS

        self._cause = str(error)
        self._living().failed(route.chain, BEFORE_DIRECT_SECONDS if may_go_direct else SECONDS)

    def worked(self, route: Route) -> None:
        """Records that the proxies of a route were reached. Warns when tunnels begin, or cease, to go around them."""
        if self._dead is not None:
            self._dead.worked(route.chain)
        if route.fallback and not self._goes_direct:
            self._goes_direct = True
            self._trace(events.Warning(f"{self._cause}: tunnels go directly to their targets until a proxy can be reached"))
        elif route.hops and self._goes_direct:
            self._goes_direct = False
            self._trace(events.Warning(f"proxy {route.hops[0].address} can be reached again: tunnels go through it"))

    async def _select(self, target: Address) -> ProxySelection:
        if self._pac is None:
            return select_proxies(target, self._options.proxy, self._environ)
        try:
            with fail_after(self.timeout):
                choices = await self._pac.find(target)
        except TooSlowError as error:
            cause = f"the PAC file has not answered within {self.timeout:g} s"
            raise TimedOut(f"choosing the proxies for {target}", cause, "pac-late") from error
        return ProxySelection(tuple((choice,) if choice is not None else () for choice in choices), "--pac")

    def _living(self) -> DeadProxies[Chain]:
        if self._dead is None:
            from tunnelctl.client.route.failover import DeadProxies

            self._dead = DeadProxies(monotonic)
        return self._dead

    def _route_through(self, target: Address, chain: Chain) -> Route:
        options = self._options
        if self._no_readahead and (self._target_tls is not None or any(proxy.scheme == "https" for proxy in chain)):
            cause, facts = "the route includes TLS, so tunnelctl must keep running", {"shareable": self._target_tls is None}
            raise UsageProblem("", cause, "fdpass-tls", option="fdpass", facts=facts)
        if self._no_readahead and self._http == "2" and any(protocol_of(proxy.scheme) == "http" for proxy in chain):
            raise UsageProblem("", "the route includes HTTP/2, so tunnelctl must keep running", "fdpass-http2", option="fdpass")
        return Route(
            target,
            self._hops_of(chain),
            options.family,
            self.timeout,
            options.connect_timeout or inf,
            options.keepalive,
            self._no_readahead,
            self._target_tls,
            chain,
        )

    def _hops_of(self, chain: Chain) -> tuple[Hop, ...]:
        hops = self._chains.get(chain)
        if hops is None:
            first_tls = next((place for place, proxy in enumerate(chain) if proxy.scheme == "https"), None)
            hops = tuple(self._hop(proxy, place == 0, place == first_tls) for place, proxy in enumerate(chain))
            self._chains[chain] = hops
        return hops

    def _hop(self, proxy: ProxyURL, nearest: bool, first_tls: bool) -> Hop:
        which = proxy, nearest, first_tls
        if which not in self._hops:
            self._hops[which] = self._make_hop(proxy, nearest, first_tls)
        return self._hops[which]

    def _make_hop(self, proxy: ProxyURL, nearest: bool, first_tls: bool) -> Hop:
        """Builds one hop. Each gets its own credentials; only the nearest gets the user's header fields, which may be secret."""
        fields = self._extra if nearest else ()
        protocol = protocol_of(proxy.scheme)
        if fields and not PROTOCOLS[protocol].has_fields:
            text = f"proxy {proxy.address} is sent no header fields: {PROTOCOLS[protocol].name} has none"
            self._trace(events.Warning(text))
            fields = ()
        self._warn_of_host(fields)
        typed = header.get(fields, "proxy-authorization") is not None  # the user's own field replaces a login
        login = None if typed else self._login(proxy, nearest)
        return Hop(proxy.address, fields, protocol, self._tls(proxy, first_tls), login, self._http_version(proxy, protocol))

    def _http_version(self, proxy: ProxyURL, protocol: str) -> HTTPVersion | None:
        if self._http == "1.1" or protocol != "http":
            return None
        from tunnelctl.client.upstream.http_version import HTTPVersion

        return HTTPVersion(self._http == "2", proxy.scheme == "https", self._options.keepalive)

    def _warn_of_host(self, fields: Fields) -> None:
        """Warns once if the user sets Host: most proxies refuse a request whose Host is not its target."""
        host = header.get(fields, "host")
        if host is not None and not self._warned_of_host:
            self._warned_of_host = True
            text = f"Host is {host!a} for the nearest proxy, and not the target, which RFC 9112 requires"
            self._trace(events.Warning(text))

    def _tls(self, proxy: ProxyURL, first_tls: bool) -> TLSClient | None:
        """The TLS settings for a proxy. The client certificate and the pin are only for the first TLS proxy."""
        if proxy.scheme != "https":
            return None
        from tunnelctl.proto.tls.pin import parse_pin
        from tunnelctl.stream.tls.settings import TLSClient

        options, settings = self._options, TLSClient(without_scope(proxy.address.host))
        settings = settings._replace(cacert=options.proxy_cacert, insecure=options.proxy_insecure, reading=self._reading)
        if first_tls:
            if options.proxy_key is not None and options.proxy_cert is None:
                raise UsageProblem("", "the client certificate is missing", "key-without-certificate", option="proxy_key")
            pin = parse_pin(options.proxy_pin) if options.proxy_pin is not None else None
            settings = settings._replace(cert=options.proxy_cert, key=options.proxy_key, pin=pin)
        if settings.insecure and settings.pin is None:
            danger = "an on-path attacker can read and change everything"
            self._trace(events.Warning(f"the certificate of proxy {proxy.address} is not checked: {danger}"))
        _load(settings)
        return settings

    def _login(self, proxy: ProxyURL, nearest: bool) -> ProxyAuth:
        """The login that a proxy may receive. As a rule, a command or a prompt waits until the proxy requires a login."""
        options = self._options
        sources: list[CredentialSource] = []

        def source() -> CredentialSource:
            from tunnelctl.client.auth.credentials import CredentialSource

            if not sources:
                sources.append(CredentialSource(proxy, nearest, options, self._environ, self._trace))
            return sources[0]

        if proxy.user is None and not (nearest and options.gives_login):
            # from netrc, which no flag names
            return ProxyAuth(proxy.address, options.auth, lambda: source().find(), missing=self._missing(nearest))
        ours = source()
        ours.prepare()
        self._given.append(ours)
        waits = options.ask_password or options.password_command is not None
        return ProxyAuth(proxy.address, options.auth, ours.find, may_prompt=nearest and waits, given=True)

    def _missing(self, nearest: bool) -> str:
        """The reason for NoLogin if a proxy requires a login and there is none."""
        if not nearest:
            return MISSING_LATER
        return MISSING_USER if "TUNNELCTL_PROXY_PASSWORD" in self._environ else MISSING


def tls_to_target(target: Address, options: TargetTLS) -> TLSClient | None:
    """The TLS settings for the target, inside the tunnel; None without --tls.

    Raises AddressError for an invalid --tls-name, UsageProblem for an invalid --tls-alpn.
    """
    if not options.tls:
        return None
    from tunnelctl.stream.tls.settings import MAX_PROTOCOL, TLSClient

    if not all(protocol.isascii() and 0 < len(protocol) <= MAX_PROTOCOL for protocol in options.tls_alpn):
        raise UsageProblem("", f"a protocol has 1 to {MAX_PROTOCOL} ASCII characters", "alpn", option="tls_alpn")
    name = parse_host(options.tls_name) if options.tls_name is not None else target.host
    return TLSClient(name, options.tls_cacert, alpn=options.tls_alpn, options="tls")


def _load(settings: TLSClient) -> None:
    """Loads the files that the settings name, which are then kept. Raises for an unusable one, before any connection."""
    from tunnelctl.stream.tls.settings import client_context

    client_context(settings)
