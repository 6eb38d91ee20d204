"""The options of `check`: its flags, parsed and frozen, before any I/O."""

from typing import NamedTuple

from tunnelctl.client.options import TargetTLS
from tunnelctl.options import OutputOptions, ReachOptions
from tunnelctl.proto.address import Address


class CheckOptions(NamedTuple):
    """The options of one `check`: those of the attempt that `connect` would make, and those of its additional checks."""

    target: Address
    reach: ReachOptions = ReachOptions()
    target_tls: TargetTLS = TargetTLS()
    output: OutputOptions = OutputOptions()
    get: str | None = None  # path
    expect: str | None = None  # fingerprint or pin, as typed
    idle: float = 0.0
    times: int = 1
    watch: bool = False
    interval: float = 1.0
    wait: float = 0.0
    color: str = "auto"

    def __repr__(self) -> str:
        return f"CheckOptions({self.target})"
