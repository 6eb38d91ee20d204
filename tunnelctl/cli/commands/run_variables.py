"""Additional variables that `run` sets for programs that would bypass its proxy: git over ssh, Node, and Java.

git gives GIT_SSH_COMMAND precedence over core.sshCommand and over GIT_SSH, so the command here finds out which of these git would
have used, and runs that. It adds a ProxyCommand, unless ssh(1) has one for this host already: that is the user's own route. The
ProxyCommand is a `connect` whose proxy, login included, is in the environment, because other users can read a command line.

A JVM takes its proxy from system properties, which have no place for a login. It prints the variable that sets them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tunnelctl.cli.commands.ssh_config import proxy_command
from tunnelctl.client.forward.listeners import LOOPBACK
from tunnelctl.client.route.selection import exempt_entries
from tunnelctl.proto.address import Address

JAVA = "JAVA_TOOL_OPTIONS"

# `ssh -G` connects to nobody. It prints the settings for a host, those of a ProxyCommand or a ProxyJump only if there is one. A
# program that does not know -G does not know -o either (plink).
_SSH = (
    "f() { "
    "c=$(git config core.sshCommand) || c='\"${GIT_SSH:-ssh}\"'; "
    'if s=$(eval "$c -G \\"\\$@\\"" 2>/dev/null) && ! printf %s "$s" | grep -q "^proxy[cj]"; '
    'then set -- -o {option} "$@"; fi; '
    'eval "$c \\"\\$@\\""; '
    "}; f"
)


def variables(environ: Mapping[str, str], java: int | None) -> dict[str, str]:
    """Returns the variables to add to an environment. What the user has set stays as it is, or stays a part of the value.

    java: the port for a JVM, which requires no login; None if there is none
    """
    found = {"GIT_SSH_COMMAND": ssh_command(), "NODE_USE_ENV_PROXY": "1"}
    missing = {name: value for name, value in found.items() if name not in environ}
    return missing if java is None else {**missing, JAVA: _java(environ, java)}


def _java(environ: Mapping[str, str], port: int) -> str:
    """The options of the user, and ours after them: of a property that is set twice, a JVM takes the last value."""
    from tunnelctl.cli.setup.model import ToolProxy
    from tunnelctl.cli.setup.settings import java_options

    proxy = ToolProxy("http", Address(LOOPBACK, port), tuple(exempt_entries(environ)))
    return f"{environ.get(JAVA, '')} {java_options(proxy)}".lstrip()


def ssh_command() -> str:
    """Returns the value of GIT_SSH_COMMAND, which git passes to sh(1), with the words for ssh after it."""
    return _SSH.replace("{option}", shlex.quote(f"ProxyCommand={proxy_command([], passes=False)}"))
