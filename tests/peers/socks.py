"""SOCKS proxies on loopback: microsocks, which knows version 5 with a password, and OpenSSH's -D, which knows 4a as well."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.peers.openssh import HOST, Sshd
from tests.peers.process import Daemon, path_of, scratch_directory
from tests.peers.proxies import PASSWORD, USER, Proxy


@contextmanager
def microsocks(password: bool = False) -> Iterator[Proxy]:
    asked = ["-u", USER, "-P", PASSWORD] if password else []
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            return [path_of("microsocks"), "-i", "127.0.0.1", "-p", str(port), *asked]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port, "socks5")


@contextmanager
def ssh(server: Sshd, scheme: str = "socks4a") -> Iterator[Proxy]:
    """A local port of an ssh session, for everybody on this machine; it is the server that looks up names."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            return [*server.client("ssh", "ExitOnForwardFailure yes"), "-N", "-D", f"127.0.0.1:{port}", HOST]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port, scheme)
