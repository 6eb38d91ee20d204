"""`tunnelctl ssh-config --git HOST…`: lines for ~/.gitconfig that send these hosts through a proxy.

core.gitProxy, for git:// URLs, has a condition on the host, which also covers all names below it. core.sshCommand, for ssh:// URLs,
has none and applies to every host of every repository. So its value is a shell function that looks for one of the named hosts among
the words that git gives to ssh, and adds the proxy only if it finds one.
"""

import shlex
import subprocess

from tunnelctl import events
from tunnelctl.errors import UsageProblem
from tunnelctl.events import Trace
from tunnelctl.proto.address import is_ip

# git prefers GIT_SSH to `ssh`, and core.sshCommand to both.
SSH = '"${GIT_SSH:-ssh}"'

GIT_SECONDS = 5.0  # time limit for git to read its own settings, even from a slow disk


def git_lines(hosts: list[str], settings: dict[str, str], program: list[str], flags: list[str], trace: Trace) -> str:
    """Returns the lines. Raises UsageProblem.

    settings: the ssh options for these hosts; program: the words that start tunnelctl; flags: those given, which `settings` has and
    core.gitProxy cannot have; trace: receives warnings about what git cannot express
    """
    names = list(map(domain, hosts))
    command = ssh_command(hosts, settings)
    if present_command() not in ("", command):
        text = "git already has a core.sshCommand, and uses only the last one: these lines replace it (name all hosts in one call)"
        trace(events.Warning(text))
    lines = ["[core]", f"\tsshCommand = {git_quote(command)}"]
    if len(program) > 1 or " for " in program[0]:
        trace(events.Warning("git:// URLs stay direct: core.gitProxy takes the path of a program and no arguments"))
    else:
        explain_git_proxy(hosts, flags, trace)
        lines += [f"\tgitProxy = {git_quote(program[0] + (name and f' for {name}'))}" for name in names]
    return "\n".join(lines) + "\n"


def ssh_command(hosts: list[str], settings: dict[str, str]) -> str:
    """Returns the value of core.sshCommand. git appends the words for ssh to it: options, [USER@]HOST, the remote command."""
    patterns = " | ".join(pattern for host in hosts for pattern in shell_patterns(host))
    options = shlex.join(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))
    named = f'case $word in {patterns}) exec {SSH} {options} "$@" ;; esac'
    return f'f() {{ for word; do {named}; done; exec {SSH} "$@"; }}; f'


def shell_patterns(host: str) -> list[str]:
    """Returns patterns of `case` for the words HOST and USER@HOST. The remote command ends with a quote, so it never matches."""
    if host.startswith("*"):
        return ["*" + (host[1:] and shlex.quote(host[1:]))]
    return [shlex.quote(host), "*" + shlex.quote(f"@{host}")]


def domain(host: str) -> str:
    """Returns the host for core.gitProxy; "" for any. git has no patterns: a name covers all below it too. Raises UsageProblem."""
    if host == "*":
        return ""
    name = host.removeprefix("*.")
    if not name or set(name) & set("*?!"):
        raise UsageProblem("ssh-config", f"git does not support the pattern {host}", "git-pattern")
    return name


def explain_git_proxy(hosts: list[str], flags: list[str], trace: Trace) -> None:
    """Warns about what core.gitProxy leaves out, and what it covers besides the hosts."""
    if flags:
        trace(
            events.Warning(
                f"git:// URLs go without {', '.join(flags)}: git gives core.gitProxy no flags; "
                "there the environment or the settings file has the proxy and its login"
            )
        )
    if "*" not in hosts:  # which covers all hosts
        others = " and ".join(taken_in(hosts))
        also = f", and those of {others} are rerouted too" if others else ""
        trace(events.Warning(f"git:// URLs with a port stay direct{also}: core.gitProxy cannot be more specific"))


def taken_in(hosts: list[str]) -> list[str]:
    """Describes the hosts that core.gitProxy reroutes unasked: it does not distinguish a domain from the names below it."""
    domains = [domain(host) for host in hosts if host.startswith("*.")]
    names = [host for host in hosts if not host.startswith("*.")]
    below = [name for name in names if name not in domains and not is_ip(name)]
    themselves = [f"{name} itself" for name in domains if name not in names]
    return [*themselves, *([f"hosts below {', '.join(below)}"] if below else [])]


def present_command() -> str:
    """Returns the present core.sshCommand of git, or "". git runs in /, where no repository adds one of its own."""
    words = ["git", "-C", "/", "config", "core.sshCommand"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")


def git_quote(text: str) -> str:
    """Quotes a value for git-config(1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
