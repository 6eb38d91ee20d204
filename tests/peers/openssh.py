"""OpenSSH on loopback: a server with its own keys, and the command line of a client that reaches it."""

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.peers.process import Daemon, path_of, scratch_directory

HOST = "127.0.0.1"

_SERVER = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""

_CLIENT = """\
Host *
    User {user}
    Port {port}
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    BatchMode yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile none
    HostKeyAlias sshd
    StrictHostKeyChecking yes
    ControlPath none
    ConnectTimeout 20
    LogLevel ERROR
"""


class Sshd(NamedTuple):
    port: int
    settings: Path  # an ssh_config that names the port, the keys and the user
    log: Path

    def client(self, program: str, *options: str) -> list[str]:
        """The beginning of an ssh or scp command line; each of `options` is a setting in the form for -o."""
        return [path_of(program), "-F", str(self.settings), *(word for option in options for word in ("-o", option))]


def _make_key(file: Path) -> str:
    """Creates a key without a passphrase; returns its public line."""
    command = [path_of("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)]
    subprocess.run(command, check=True, timeout=20, stdin=subprocess.DEVNULL)
    return file.with_suffix(".pub").read_text()


def _prepare_privilege_separation() -> None:
    """Creates the directory that sshd requires when run as root; a boot script creates it, but a container does not boot."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def gives_terminals() -> bool:
    """Whether our sshd can open a terminal.

    sshd assigns the terminal to the group tty, which requires root unless the mount of /dev/pts has done so already.
    """
    if os.getuid() == 0:
        return True
    ours, theirs = os.openpty()
    try:
        return os.fstat(theirs).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def sshd(address: str = HOST) -> Iterator[Sshd]:
    _prepare_privilege_separation()
    with scratch_directory() as directory:
        host_key = _make_key(directory / "host_key")
        (directory / "known_hosts").write_text(f"sshd {host_key}")
        (directory / "authorized_keys").write_text(_make_key(directory / "user_key"))

        def command(port: int) -> list[str]:
            (directory / "sshd_config").write_text(_SERVER.format(address=address, port=port, directory=directory))
            # sshd re-executes itself for each connection and so requires an absolute path, which path_of returns.
            return [path_of("sshd"), "-D", "-e", "-f", str(directory / "sshd_config")]

        with Daemon(command, directory / "sshd.log") as daemon:
            user = pwd.getpwuid(os.getuid()).pw_name
            settings = directory / "ssh_config"
            settings.write_text(_CLIENT.format(user=user, port=daemon.port, directory=directory))
            yield Sshd(daemon.port, settings, daemon.log)
