"""The options of `forward` and `run`: their flags, parsed and frozen, before any I/O."""

from typing import NamedTuple

from tunnelctl.options import OutputOptions, ReachOptions


class ForwardOptions(NamedTuple):
    """The options of one `forward` or `run`. Times are in seconds; 0 means off, for caps as well."""

    local: tuple[str, ...] = ()  # -L as typed
    dynamic: tuple[str, ...] = ()  # -D as typed
    name: str | None = None  # of the control socket; None: the default, and none is no error
    background: bool = False  # whether the command returns once the ports are open
    admin: str | None = None
    open_admin: bool = False
    command: tuple[str, ...] = ()  # of `run`
    java: bool = False  # whether `run` opens a port for a JVM
    users: str | None = None  # file of the users that may log in at -D; None: no login required
    open_proxy: bool = False  # whether other machines may use a port without a login
    reach: ReachOptions = ReachOptions()
    output: OutputOptions = OutputOptions()
    idle_timeout: float = 0.0
    warm: int = 0  # connections to the nearest proxy that are kept ready
    max_connections: int = 0
    drain: float = 30.0

    def __repr__(self) -> str:
        return f"ForwardOptions(local={self.local}, dynamic={self.dynamic})"
