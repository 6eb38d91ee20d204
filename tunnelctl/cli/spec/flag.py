"""The record of a flag, the kinds of flags, and the commands and texts that several flags share."""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple

# Kinds. They decide how a value is read (cli.parse.values) and what a shell completes.
SWITCH = "switch"  # takes no value; stores `constant`
LEVEL = "level"  # takes no value; counts its occurrences
SECONDS = "seconds"  # plain decimal, 0 is off
COUNT = "count"  # plain whole number
TEXT = "text"
FILE = "file"  # a path, or "-" if the help allows it
CHOICE = "choice"  # one of `choices`, and nothing else

# Characters beside the longest flag on a line of 80 columns, in -h and in the list of matches of zsh, which cuts the rest.
BRIEF = 50


class Flag(NamedTuple):
    """One flag of one or more commands. `help` is one line in lower case without a full stop; `detail` is whole sentences."""

    name: str  # long spelling without the dashes; "" if there is only a short one
    short: str  # one letter, or ""
    metavar: str  # placeholder for the value; "" for kinds without one
    kind: str
    help: str
    commands: tuple[str, ...]
    group: str  # heading in --help
    brief: str = ""  # `help` in at most BRIEF characters, if that is longer; for -h and zsh
    common: tuple[str, ...] = ()  # those of `commands` whose -h shows it
    detail: str = ""  # more for the manual
    default: str = ""  # as a user would type it; "" if there is none to show
    env: tuple[str, ...] = ()  # variables consulted, in this order, when the flag is not given
    repeat: bool = False
    field: str = ""  # name in the options; derived from `name` if empty
    constant: object = True  # what a switch stores
    least: int = 0  # smallest value of a COUNT
    choices: tuple[str, ...] = ()  # of a CHOICE, all values; otherwise those to complete, where a final / marks a prefix

    @property
    def destination(self) -> str:
        """The field of the options record that this flag fills."""
        return self.field or self.name.replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        """The spellings as typed, the short one first."""
        return tuple(s for s in (self.short and f"-{self.short}", self.name and f"--{self.name}") if s)

    @property
    def in_brief(self) -> str:
        """The help in at most BRIEF characters."""
        return self.brief or self.help

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the flag."""
        return self.kind not in (SWITCH, LEVEL)


TUNNELS = ("connect", "forward", "run", "ssh-config")  # commands that open tunnels for other programs, or print how to
REACH = (*TUNNELS, "check", "setup")  # clients of a proxy, and what is told of one
LOCAL = ("forward", "run")  # commands that open local ports
UPSTREAM = (*REACH, "serve")  # and serve, if it forwards through another proxy
ALL = ("connect", *LOCAL, "serve")
JUDGING = ("serve", "check-policy")  # commands with rules on targets

KEEPALIVE = (
    "Nine probes follow, a quarter of that apart; then the connection is closed. So is one whose peer leaves data "
    "unacknowledged for the same time and sends nothing. A peer that answers, but does not read, keeps its connection; if it "
    "then vanishes, some minutes can pass before that shows, because the kernel probes at growing intervals."
)
RULE = "A RULE is HOST, *.DOMAIN, CIDR or *, then :PORT, :LO-HI or :*; IPv6 is written in brackets, as in [2001:db8::/32]:443."

CONTROL = (
    "The program has a control socket: NAME.sock in $XDG_RUNTIME_DIR/tunnelctl, or in /tmp/tunnelctl-UID if that variable is not "
    "set or names a directory of another user. Only processes of the same user can use it."
)
NO_CONTROL = "A socket that cannot be opened is an error with --name, and a warning without."

LOCAL_PORT = "local port that leads to one target: [BIND:]PORT:HOST:HOSTPORT"
BIND = (
    "BIND is an address, 127.0.0.1 unless given, or * for all; IPv6 is written in brackets. HOSTPORT is a number, or the name of a "
    "service such as postgresql."
)
PATH = "A path in place of [BIND:]PORT is a unix socket, of mode 0600. fd:NAME in its place is a socket that systemd passed."
