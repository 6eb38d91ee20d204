"""The options of `check` without a target."""

from typing import NamedTuple

from tunnelctl.client.options import TargetTLS
from tunnelctl.options import OutputOptions, ReachOptions

# The names are reserved for examples (RFC 2606), or widely used for git over ssh; 443 and 22 are what most people need.
TARGETS = ("example.com:443", "github.com:22")


class DiscoverOptions(NamedTuple):
    """The options of a search. targets: what to ask each proxy for, as typed; (): TARGETS"""

    reach: ReachOptions = ReachOptions()
    target_tls: TargetTLS = TargetTLS()
    output: OutputOptions = OutputOptions()
    targets: tuple[str, ...] = ()
    wpad: bool = False
    color: str = "auto"

    def __repr__(self) -> str:
        return "DiscoverOptions(***)"
