"""What the client side is told: the flags of `connect`, parsed and frozen, before any I/O."""

from __future__ import annotations

from tunnelctl.proto.address import Address
from tunnelctl.record import NamedTuple


class ConnectOptions(NamedTuple):
    """The options of one `connect`. Times are in seconds; 0 means off."""

    target: Address
    proxy: tuple[str, ...] = ()  # URLs as typed, nearest first; "direct" alone goes without; () asks the environment
    proxy_user: str | None = None
    proxy_password_file: str | None = None
    proxy_auth_file: str | None = None
    header: tuple[str, ...] = ()  # 'Name: value', for the CONNECT request to the nearest proxy, like the credentials above
    timeout: float = 30.0
    connect_timeout: float = 0.0
    idle_timeout: float = 0.0
    family: int = 0  # 4, 6, or 0 for both
    keepalive: float = 60.0
    retry: int = 0
    fdpass: bool = False
    verbose: int = 0
    quiet: bool = False
    json: bool = False

    def __repr__(self) -> str:
        """Without what was typed: the URLs and fields may hold secrets, and a repr ends up in logs."""
        return f"ConnectOptions({self.target})"
