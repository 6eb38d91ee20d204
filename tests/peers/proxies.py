"""Other people's CONNECT proxies on loopback. Each takes a rule on ports and, where it can, one user with a password."""

import itertools
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.peers.process import Daemon, path_of, scratch_directory

USER, PASSWORD = "anna", "Se-cret.w0rd"  # tinyproxy takes letters, digits, dot, dash and underscore only


_numbers = itertools.count()


class Proxy(NamedTuple):
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url_with_credentials(self) -> str:
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def url_with_wrong_password(self) -> str:
        return f"http://{USER}:wrong@127.0.0.1:{self.port}"


class Rules(NamedTuple):
    """What a proxy is told: the ports that CONNECT may reach (() means all), and whether it wants a password."""

    ports: tuple[int, ...] = ()
    password: bool = False


ANYTHING = Rules()


def _htpasswd(directory: Path) -> Path:
    """A password file as squid and Apache read it."""
    command = [path_of("openssl"), "passwd", "-apr1", "-stdin"]
    hashed = subprocess.run(command, input=PASSWORD.encode(), capture_output=True, check=True, timeout=20).stdout.decode()
    file = directory / "htpasswd"
    file.write_text(f"{USER}:{hashed}")
    return file


@contextmanager
def _running(
    directory: Path,
    settings: Callable[[int], str],
    arguments: Callable[[Path], list[str]],
    end_with: int = signal.SIGTERM,
) -> Iterator[Proxy]:
    """Run a program that reads its settings from a file, written once its port is known."""

    def command(port: int) -> list[str]:
        file = directory / "proxy.conf"
        file.write_text(settings(port))
        return arguments(file)

    with Daemon(command, directory / "log", end_with=end_with) as daemon:
        yield Proxy(daemon.port)


def _nobody() -> str:
    """The user that a daemon becomes which will not stay root."""
    return "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


@contextmanager
def squid(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """Squid without cache, helpers to a minimum, in the foreground."""
    with scratch_directory() as directory:
        lines = [
            "pid_filename none",
            "cache deny all",
            "access_log none",
            "cache_store_log none",
            f"cache_log {directory}/cache.log",
            f"coredump_dir {directory}",
            "pinger_enable off",
            "netdb_filename none",
            f"cache_effective_user {_nobody()}",
            f"acl open port {' '.join(map(str, rules.ports)) or '1-65535'}",
        ]
        if rules.password:
            lines += [
                f"auth_param basic program {path_of('basic_ncsa_auth')} {_htpasswd(directory)}",
                "auth_param basic children 1 startup=1",
                "auth_param basic realm squid",
                "acl known proxy_auth REQUIRED",
                "http_access deny !known",
            ]
        lines += ["http_access allow CONNECT open", "http_access deny all"]
        (directory / "cache.log").touch()
        os.chmod(directory / "cache.log", 0o666)

        def settings(port: int) -> str:
            return "\n".join([f"http_port 127.0.0.1:{port}", *lines, ""])

        # A service name of its own keeps its shared memory apart from any other squid's.
        name = f"tunnelctl{os.getpid()}n{next(_numbers)}"

        def arguments(file: Path) -> list[str]:
            return [path_of("squid"), "-N", "-n", name, "-f", str(file)]

        try:
            # Killed, because told to end it takes two seconds, whatever shutdown_lifetime says.
            with _running(directory, settings, arguments, end_with=signal.SIGKILL) as proxy:
                yield proxy
        finally:
            for segment in Path("/dev/shm").glob(f"{name}-*"):
                segment.unlink()


@contextmanager
def tinyproxy(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    with scratch_directory() as directory:
        lines = ["Listen 127.0.0.1", "Timeout 60", "MaxClients 100", "LogLevel Notice", "Allow 127.0.0.1"]
        lines += [f"ConnectPort {port}" for port in rules.ports]
        if rules.password:
            lines.append(f'BasicAuth {USER} {PASSWORD}')

        def settings(port: int) -> str:
            return "\n".join([f"Port {port}", *lines, ""])

        with _running(directory, settings, lambda file: [path_of("tinyproxy"), "-d", "-c", str(file)]) as proxy:
            yield proxy


_APACHE = """\
ServerRoot {directory}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/pid
ErrorLog {directory}/error.log
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authn_file_module {modules}/mod_authn_file.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule auth_basic_module {modules}/mod_auth_basic.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_connect_module {modules}/mod_proxy_connect.so
Mutex posixsem
ProxyRequests On
AllowCONNECT {ports}
<Proxy *>
{access}
</Proxy>
"""
_APACHE_MODULES = "/usr/lib/apache2/modules"
_APACHE_PASSWORD = "AuthType Basic\nAuthName apache\nAuthBasicProvider file\nAuthUserFile {file}\nRequire valid-user"


@contextmanager
def apache(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """Apache with mod_proxy_connect and nothing else."""
    with scratch_directory() as directory:
        access = _APACHE_PASSWORD.format(file=_htpasswd(directory)) if rules.password else "Require all granted"

        def settings(port: int) -> str:
            return _APACHE.format(
                directory=directory,
                port=port,
                modules=_APACHE_MODULES,
                ports=" ".join(map(str, rules.ports)) or "1-65535",
                access=access,
                user="User nobody\nGroup nogroup" if os.getuid() == 0 else "",
            )

        def arguments(file: Path) -> list[str]:
            return [path_of("apache2"), "-f", str(file), "-D", "FOREGROUND"]

        with _running(directory, settings, arguments) as proxy:
            yield proxy


@contextmanager
def ncat(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """Ncat's proxy mode. It has no rule on ports: a target that it cannot reach is the refusal it knows."""
    with scratch_directory() as directory:
        password = ["--proxy-auth", f"{USER}:{PASSWORD}"] if rules.password else []

        def command(port: int) -> list[str]:
            return [path_of("ncat"), "-l", "-k", "--proxy-type", "http", *password, "127.0.0.1", str(port)]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port)
