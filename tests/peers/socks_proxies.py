"""SOCKS proxies of other makers on loopback. All of them resolve names themselves."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.openssh import HOST, Sshd
from tests.peers.process import Daemon, path_of, scratch_directory
from tests.peers.proxies import ANYTHING, PASSWORD, USER, Proxy, Rules


@contextmanager
def microsocks(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """microsocks: version 5 only, without rules."""
    with scratch_directory() as directory:
        login = ["-u", USER, "-P", PASSWORD] if rules.password else []

        def command(port: int) -> list[str]:
            return [path_of("microsocks"), "-i", "127.0.0.1", "-p", str(port), *login]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port, "socks5")


_DANTE = """\
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: {method}
user.privileged: {user}
client pass {{ from: 127.0.0.1/32 to: 0.0.0.0/0 }}
{rules}
socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""
_DANTE_RULE = "socks pass {{ from: 127.0.0.1/32 to: 0.0.0.0/0 {port}command: connect }}"

# Dante's users are those of the system, so it runs in a mount namespace in which the system has one user more.
_WITH_USERS = 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow && exec "$2" -f "$1/conf" -p "$1/pid"'


@contextmanager
def dante(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """Dante: versions 5 and 4, but not 4a, so names require 5; with a password, version 5 only."""
    with scratch_directory() as directory:
        if rules.password:
            _write_users(directory)

        def command(port: int) -> list[str]:
            text = _DANTE.format(
                port=port,
                method="username" if rules.password else "none",
                user="root" if rules.password or os.getuid() == 0 else "nobody",
                rules="\n".join(_DANTE_RULE.format(port=f"port = {open_port} ") for open_port in rules.ports)
                or _DANTE_RULE.format(port=""),
            )
            (directory / "conf").write_text(text)
            if not rules.password:
                return [path_of("danted"), "-f", str(directory / "conf"), "-p", str(directory / "pid")]
            shell = ["sh", "-c", _WITH_USERS, "sh", str(directory), path_of("danted")]
            return [path_of("unshare"), "--map-root-user", "--mount", *shell]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port, "socks5")


@contextmanager
def openssh(server: Sshd) -> Iterator[Proxy]:
    """The OpenSSH client with -D: versions 5, 4 and 4a, without passwords."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            return [*server.client("ssh", "ExitOnForwardFailure=yes"), "-N", "-D", f"127.0.0.1:{port}", HOST]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port, "socks5")


def _write_users(directory: Path) -> None:
    command = [path_of("openssl"), "passwd", "-6", "-stdin"]
    hashed = subprocess.run(command, input=PASSWORD.encode(), capture_output=True, check=True, timeout=20).stdout.decode().strip()
    entry = f"{USER}:x:65000:65534::/nonexistent:/usr/sbin/nologin\n"
    (directory / "passwd").write_text(Path("/etc/passwd").read_text() + entry)
    (directory / "shadow").write_text(f"{USER}:{hashed}:19000:0:99999:7:::\n")
