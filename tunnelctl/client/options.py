"""The options of the client side: the flags of `connect`, `forward`, `run` and `check`, parsed and frozen, before any I/O."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address


class ConnectOptions(NamedTuple):
    """The options of one `connect`. Times are in seconds; 0 means off."""

    target: Address
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
    header: tuple[str, ...] = ()  # 'Name: value', for the CONNECT request to the nearest proxy, like the credentials above
    timeout: float = 30.0
    connect_timeout: float = 0.0
    idle_timeout: float = 0.0
    family: int = 0  # 4, 6, or 0 for both
    keepalive: float = 60.0
    retry: int = 0
    fdpass: bool = False
    tls: bool = False
    tls_name: str | None = None
    tls_cacert: str | None = None
    tls_alpn: tuple[str, ...] = ()
    profile: str | None = None
    progress: bool = False
    verbose: int = 0
    quiet: bool = False
    json: bool = False

    def __repr__(self) -> str:
        """Leaves out typed text: URLs and fields may hold secrets, and a repr ends up in logs."""
        return f"ConnectOptions({self.target})"


class ForwardOptions(NamedTuple):
    """The options of one `forward` or `run`. Times are in seconds; 0 means off, for caps as well."""

    local: tuple[str, ...] = ()  # -L as typed
    dynamic: tuple[str, ...] = ()  # -D as typed
    command: tuple[str, ...] = ()  # of `run`
    users: str | None = None  # file of the users that may log in at -D; None: no login required
    open_proxy: bool = False  # whether other machines may use a port without a login
    proxy: tuple[str, ...] = ()  # from here on as in ConnectOptions
    proxy_origin: str = "-x"
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
    header: tuple[str, ...] = ()
    timeout: float = 30.0
    connect_timeout: float = 0.0
    idle_timeout: float = 0.0
    family: int = 0
    keepalive: float = 60.0
    retry: int = 0
    warm: int = 0  # connections to the nearest proxy that are kept ready
    max_connections: int = 0
    drain: float = 30.0
    progress: bool = False
    profile: str | None = None
    verbose: int = 0
    quiet: bool = False
    json: bool = False

    def __repr__(self) -> str:
        return f"ForwardOptions(local={self.local}, dynamic={self.dynamic})"


class CheckOptions(NamedTuple):
    """The options of one `check`: those of the `connect` that it tries, and those of its additional checks."""

    connect: ConnectOptions
    get: str | None = None  # path
    expect: str | None = None  # fingerprint or pin, as typed
    idle: float = 0.0
    times: int = 1
    interval: float = 1.0
    wait: float = 0.0
    color: str = "auto"


TYPE_CHECKING = False
if TYPE_CHECKING:
    # For code that needs only the options for reaching the proxies, which both have.
    ReachOptions = ConnectOptions | ForwardOptions
