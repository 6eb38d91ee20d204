"""`tunnelctl ssh-config HOST…`: lines to append to ~/.ssh/config, or with --git to ~/.gitconfig, that contain the given flags.

Three programs parse the command in turn: ssh_config(5), which expands % and requires its quotes in pairs, the shell that ssh
starts, and tunnelctl itself. git is a fourth.
"""

import os
import shlex
import sys
from collections.abc import Mapping
from typing import NamedTuple

from tunnelctl import events
from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.settings import check_via, complete
from tunnelctl.cli.parse.values import Pair, build
from tunnelctl.cli.render.text import mask
from tunnelctl.cli.spec.flag import FILE, Flag
from tunnelctl.cli.spec.ssh_hosts import PORT_443
from tunnelctl.client.route.selection import Chain, select_proxies
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace
from tunnelctl.options import AUTO, ReachOptions
from tunnelctl.proto import headers as header

NO_PATTERN = "a host, or a pattern such as *.example.com, must not contain blanks, quotes, #, = or control characters"

# The last line of the file that this is appended to may lack its line end, and would then absorb whatever comes first, even a
# comment. So a line end comes first. The comment is for a ~/.gitconfig whose last line a backslash continues: it ends the value.
HEADING = "\n# Printed by tunnelctl ssh-config\n"


NO_PROXY = (
    "the lines name no proxy: TUNNELCTL_PROXY, the settings file or https_proxy has to name it when ssh starts; -x URL puts it "
    "into the lines, and `tunnelctl check` looks for one"
)


class SSHOptions(NamedTuple):
    """The options of one `ssh-config`, as far as it acts on them itself."""

    reach: ReachOptions = ReachOptions()
    idle_timeout: float = 0.0
    git: bool = False
    port_443: bool = False
    via: str | None = None


def ssh_config(call: Call, environ: Mapping[str, str], trace: Trace) -> str:
    """Returns the text to print. `trace` receives warnings about what the file cannot express. Raises UsageProblem."""
    if not call.words:
        raise UsageProblem("ssh-config", "missing argument HOST", "missing-host")
    for host in call.words:
        if not host.isprintable() or set(host) & set(" \"'#=\\@"):
            raise UsageProblem("ssh-config", NO_PATTERN, "host-pattern")
    check_via(call.pairs)
    given = build(SSHOptions, call.pairs)
    own = own_flags(call.pairs)
    chains = select_proxies(None, given.reach.proxy, {}).chains
    refuse_secrets(own, chains)
    of_forward = given.via not in (None, AUTO)
    plain = given.reach.http != "2" and all(map(can_pass, chains))
    passes = (of_forward or plain) and not given.idle_timeout  # which needs a process that stays
    named = given.reach.proxy or given.reach.pac or given.via or any(flag.name == "profile" for flag, _ in call.pairs)
    if not (named or given.git) and (warning := _unnamed(environ)):
        trace(events.Warning(warning))
    settings = {"ProxyCommand": proxy_command(own, passes), **({"ProxyUseFdpass": "yes"} if passes else {})}
    if not given.git:
        flags = " ".join(quote(word) for pair in call.pairs for word in spelled(*pair))
        return HEADING + "".join(host_blocks(call.words, settings, given.port_443, flags))
    from tunnelctl.cli.commands.git_config import git_lines

    return HEADING + git_lines(call.words, settings, program(), list(dict.fromkeys(flag.spellings[0] for flag, _ in own)), trace)


def _unnamed(environ: Mapping[str, str]) -> str:
    """Returns what is wrong with lines that name no proxy; "" if the settings file names it, which ssh will find as well."""
    lasting = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}
    reach = complete("connect", [], lasting).build(SSHOptions).reach
    if reach.proxy or reach.pac:
        return ""
    reach = complete("connect", [], environ).build(SSHOptions).reach
    selection = select_proxies(None, reach.proxy, environ)
    if not any(selection.chains):
        return NO_PROXY
    origin = reach.proxy_origin if reach.proxy else selection.origin
    return f"the lines name no proxy, so {origin} must be set wherever ssh is started; -x URL puts the proxy into the lines"


def own_flags(pairs: list[Pair]) -> list[Pair]:
    """Returns the flags that are for `connect`, and so in the line."""
    return [pair for pair in pairs if "connect" in pair[0].commands]


def refuse_secrets(pairs: list[Pair], chains: tuple[Chain, ...]) -> None:
    """Raises UsageProblem for a secret in the flags: the line is copied around, and is in the process list whenever ssh runs it."""
    in_url = any(proxy.password is not None for chain in chains for proxy in chain)
    if in_url or any(flag.name == "pac" and mask(text) != text for flag, text in pairs):
        raise UsageProblem("ssh-config", "the URL has a password, which must not be in a configuration file", "password-in-url")
    for flag, text in pairs:
        if flag.name == "header" and header.parse(text)[0].lower() in header.SECRET:
            cause = f"the header field {header.parse(text)[0]} is a secret, which must not be in a configuration file"
            raise UsageProblem("ssh-config", cause, "secret-header")
        if flag.name == "proxy-user" and ":" in text:  # as with curl
            cause = "--proxy-user has a password after the colon, which must not be in a configuration file"
            raise UsageProblem("ssh-config", cause, "password-in-user")


def can_pass(proxies: Chain) -> bool:
    """Whether the socket can be handed to ssh: only the bytes of the tunnel may travel on it, so no TLS."""
    return bool(proxies) and all(proxy.scheme != "https" for proxy in proxies)


def proxy_command(pairs: list[Pair], passes: bool) -> str:
    """Returns the value of ProxyCommand. ssh replaces %h and %p by host and port; any other % is doubled. Raises UsageProblem."""
    words = [*program(), "connect", *(["--fdpass"] if passes else []), *(word for pair in pairs for word in spelled(*pair))]
    if any(set(word) & set("\r\n") for word in words):  # ssh would read the rest as a keyword, and then refuse every host
        raise UsageProblem("ssh-config", "a path or a value has a line break, which a configuration file cannot have", "line-break")
    return " ".join([*(quote(word).replace("%", "%%") for word in words), "%h", "%p"])


def program() -> list[str]:
    """Returns the words that start this tunnelctl from any directory. Keeps symbolic links, because pipx moves their targets."""
    script = os.path.abspath(sys.argv[0])
    if os.path.basename(script) == "__main__.py":  # python -m tunnelctl
        script = os.path.join(os.path.dirname(sys.executable), "tunnelctl")
    if os.access(script, os.X_OK):
        return [script]
    return [sys.executable, script] if os.path.isfile(script) else [sys.executable, "-m", "tunnelctl"]


def spelled(flag: Flag, text: str) -> list[str]:
    """Returns a flag as typed, but a file that is no URL with its absolute path: ssh runs the command where it was started."""
    if not flag.takes_value:
        return [flag.spellings[0]]
    is_path = "/" in text if flag.name == "via" else flag.kind == FILE and "://" not in text
    return [flag.spellings[0], os.path.abspath(text) if is_path else text]


def quote(word: str) -> str:
    """Quotes a word for the shell. A backslash is in double quotes: in single ones it is an escape to fish and ssh_config(5)."""
    return '"\\\\"'.join(piece and shlex.quote(piece) for piece in word.split("\\")) or "''"


def host_blocks(hosts: list[str], settings: dict[str, str], port_443: bool, flags: str) -> list[str]:
    """Returns sections of ssh_config(5): one for each host that has an ssh server on port 443, if that is to be used, and one for
    all others. Where it could be used, a comment says so. flags: those that were given, as typed
    """
    other = {host: PORT_443[host] for host in hosts if host in PORT_443}
    if not port_443:
        again = " ".join(filter(None, ("tunnelctl ssh-config --port-443", flags, *other)))
        hint = f"    # If port 22 is refused: {again}\n" if other else ""
        return [host_block(hosts, settings) + hint]
    rest = [host for host in hosts if host not in other]
    if not other:
        cause = f"none of these hosts is known to have an ssh server on port 443: {', '.join(hosts)}"
        raise UsageProblem("ssh-config", cause, "no-port-443", facts={"known": ", ".join(PORT_443)})
    blocks = [host_block([host], {"Hostname": name, "Port": "443", **settings}) for host, name in other.items()]
    return [*blocks, *([host_block(rest, settings)] if rest else [])]


def host_block(hosts: list[str], settings: dict[str, str]) -> str:
    """Returns a section of ssh_config(5) for these hosts."""
    return "".join([f"Host {' '.join(hosts)}\n", *(f"    {name} {value}\n" for name, value in settings.items())])
