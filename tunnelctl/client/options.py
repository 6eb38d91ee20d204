"""The options of `connect`: its flags, parsed and frozen, before any I/O."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple
from tunnelctl.options import OutputOptions, ReachOptions
from tunnelctl.proto.address import Address


class TargetTLS(NamedTuple):
    """TLS to the target, inside the tunnel."""

    tls: bool = False
    tls_name: str | None = None
    tls_cacert: str | None = None
    tls_alpn: tuple[str, ...] = ()


class ConnectOptions(NamedTuple):
    """The options of one `connect`. Times are in seconds; 0 means off."""

    target: Address
    reach: ReachOptions = ReachOptions()
    target_tls: TargetTLS = TargetTLS()
    output: OutputOptions = OutputOptions()
    idle_timeout: float = 0.0
    fdpass: bool = False
    via: str | None = None  # the forward that opens the tunnel: its name, the path of its control socket, or "auto"

    def __repr__(self) -> str:
        return f"ConnectOptions({self.target})"
