"""The options that several commands share, as records that the options of each command nest: a default stands only once."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple

AUTO = "auto"  # with --via: any forward that leads where this connect would lead


class ReachOptions(NamedTuple):
    """The options for reaching the proxies. Times are in seconds; 0 means off."""

    proxy: tuple[str, ...] = ()  # URLs as typed, nearest first; "direct" alone: no proxy; (): from the environment
    proxy_origin: str = "-x"  # the source of `proxy`, for people
    pac: str | None = None
    proxy_user: str | None = None
    proxy_password_file: str | None = None
    password_command: str | None = None
    ask_password: bool = False
    proxy_auth_file: str | None = None
    auth: str = "any"
    proxy_cacert: str | None = None
    proxy_cert: str | None = None
    proxy_key: str | None = None
    proxy_pin: str | None = None
    proxy_insecure: bool = False
    http: str | None = (
        None  # the version to speak with HTTP proxies: 1.1, 2, auto; None: 1.1, or auto where tunnels share connections
    )
    connections: int = 1  # of HTTP/2 to one proxy
    header: tuple[str, ...] = ()  # 'Name: value', for the CONNECT request to the nearest proxy, like the credentials above
    timeout: float = 30.0
    connect_timeout: float = 0.0
    family: int = 0  # 4, 6, or 0 for both
    keepalive: float = 60.0
    retry: int = 0

    @property
    def gives_login(self) -> bool:
        """Whether a flag gives a login, or a part of one. It is for the nearest proxy."""
        named = self.proxy_user, self.proxy_password_file, self.proxy_auth_file, self.password_command
        return self.ask_password or any(named)

    def __repr__(self) -> str:
        """Leaves out typed text: URLs and fields may hold secrets, and a repr ends up in logs."""
        return "ReachOptions(***)"


class OutputOptions(NamedTuple):
    """The options on output: its events, and their form."""

    verbose: int = 0
    quiet: bool = False
    json: bool = False
    progress: bool = False

    @property
    def detailed(self) -> bool:
        """Whether remarks that are neither warnings nor errors are shown."""
        return self.verbose > 0 or self.json
