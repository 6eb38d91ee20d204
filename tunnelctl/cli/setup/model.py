"""The record that describes a tool, and the proxy as a tool sees it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunnelctl.cli.setup.exemptions import Notation
from tunnelctl.cli.setup.formats.model import Format, Settings
from tunnelctl.client.route.no_proxy import Entry
from tunnelctl.proto.address import Address


class ToolProxy(NamedTuple):
    """The proxy as a tool is told of it: never with a login.

    scheme: as the tool spells it; exempt: the targets that the tool is to reach without it
    user: the name to log in with, for a tool that keeps the password; otherwise ""
    """

    scheme: str
    address: Address
    exempt: tuple[Entry, ...] = ()
    user: str = ""

    @property
    def url(self) -> str:
        """The URL. Its characters are those of names, addresses and, in a scope id, unreserved ones: no format can be injected."""
        return f"{self.scheme}://{str(self.address).replace('%', '%25')}"

    @property
    def is_local(self) -> bool:
        """Whether it is on loopback, where neither containers nor other machines reach it."""
        return self.address.host in ("::1", "localhost") or self.address.host.startswith("127.")


class Commands(NamedTuple):
    """Settings that a program keeps: one command sets each, another prints it.

    setting: the words before key and value of a setting; asking: returns the command that prints the value of a key
    """

    setting: Callable[[tuple[str, ...], str], list[str]]
    asking: Callable[[tuple[str, ...]], list[str]]


class Tool(NamedTuple):
    """One tool.

    file: where the lines go, from / or ~/ on; may be a pattern with *. "" if commands keep the settings
    form: how the lines are written and read
    settings: what they have to say
    schemes: the kinds of proxy that the tool can use by itself, each as the tool spells it; for others it needs a forward
    fails: of those others, the kinds that the tool accepts and then fails at: how, after its name
    exempts: its notation for NO_PROXY, None if it has none
    reading: a command that prints the file, in place of reading it
    first: returns a command that comes before; after: what makes the lines effective
    notes: what one has to know; in order
    domains: what one has to know if NO_PROXY has a domain, which stands for the names below it as well
    in_container: whether what uses the lines is in a container, where loopback is another
    keeps_password: whether it is a store of passwords, from which tunnelctl itself takes that for the proxy
    """

    name: str
    what: str
    file: str
    form: Format | Commands
    settings: Callable[[ToolProxy], Settings]
    schemes: Mapping[str, str]
    exempts: Notation | None = None
    reading: tuple[str, ...] = ()
    first: Callable[[ToolProxy], str] | None = None
    after: str = ""
    notes: tuple[str, ...] = ()
    domains: str = ""
    in_container: bool = False
    keeps_password: bool = False
    fails: Mapping[str, str] = {}
