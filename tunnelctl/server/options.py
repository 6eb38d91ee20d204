"""The flags of `serve`, parsed and frozen before any I/O."""

from typing import NamedTuple

from tunnelctl.options import OutputOptions, ReachOptions


class ServeOptions(NamedTuple):
    """The options of one `serve`. Times are in seconds; 0 means off, also for caps."""

    listen: tuple[str, ...] = ("127.0.0.1:3128",)  # ADDR:PORT, unix:PATH or fd:NAME
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    policy: str | None = None
    plain_http: bool = False
    users: str | None = None
    reach: ReachOptions = ReachOptions()  # the proxies that all tunnels pass through; keepalive is also for clients
    output: OutputOptions = OutputOptions()
    open_proxy: bool = False
    tls_cert: str | None = None  # PEM files; with a certificate, all listeners speak TLS
    tls_key: str | None = None
    client_ca: str | None = None
    proxy_protocol: tuple[str, ...] = ()  # networks
    head_timeout: float = 10.0
    dial_timeout: float = 15.0  # for a route through proxies, in place of reach.timeout
    idle_timeout: float = 900.0
    half_close_timeout: float = 60.0
    max_lifetime: float = 0.0
    max_tunnels: int = 0
    max_per_client: int = 0
    client_prefix: str = "32,64"
    max_per_user: int = 0
    max_per_target: int = 0
    max_dials: int = 0
    workers: int = 1
    drain: float = 30.0
    access_log: str | None = None  # a file, or "-" for stdout
    log_interval: float = 0.0
    log_bytes: int = 0
    name: str | None = None  # of the control socket; None: the default, and none is no error
    admin: str | None = None
    open_admin: bool = False

    def __repr__(self) -> str:
        """Omits all but the listeners: URLs may hold secrets, and a repr ends up in logs."""
        return f"ServeOptions(listen={self.listen})"
