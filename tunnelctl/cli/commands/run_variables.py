"""The variables that `run` sets for programs that would bypass its proxy, besides those that name it: git over ssh, and Node.

git gives GIT_SSH_COMMAND precedence over core.sshCommand and over GIT_SSH, so the command here finds out which of these git would
have used, and runs that. It adds a ProxyCommand, unless ssh(1) has one for this host already: that is the user's own route. The
ProxyCommand is a `connect` whose proxy, login included, is in the environment, because other users can read a command line.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tunnelctl.cli.commands.ssh_config import proxy_command

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


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables to add to an environment. What the user has set stays as it is."""
    found = {"GIT_SSH_COMMAND": ssh_command(), "NODE_USE_ENV_PROXY": "1"}
    return {name: value for name, value in found.items() if name not in environ}


def ssh_command() -> str:
    """Returns the value of GIT_SSH_COMMAND, which git passes to sh(1), with the words for ssh after it."""
    return _SSH.replace("{option}", shlex.quote(f"ProxyCommand={proxy_command([], passes=False)}"))
