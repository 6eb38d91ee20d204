"""CONNECT proxies of other makers on loopback. Each accepts a rule on ports and, if it can, one user with a password."""

import itertools
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tests.peers import certificates
from tests.peers.certificates import Certificates
from tests.peers.process import Daemon, path_of, scratch_directory

USER, PASSWORD = "anna", "Se-cret.w0rd"  # tinyproxy accepts only letters, digits, dot, dash and underscore


_numbers = itertools.count()


class Proxy(NamedTuple):
    port: int
    scheme: str = "http"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url_with_credentials(self) -> str:
        return self.url_with(USER, PASSWORD)

    @property
    def url_with_wrong_password(self) -> str:
        return self.url_with(USER, "wrong")

    def url_with(self, user: str, password: str) -> str:
        """The URL with these credentials, percent-encoded."""
        return f"{self.scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}"


class Rules(NamedTuple):
    """Settings of a proxy: the ports that CONNECT may reach (() means all), and whether it requires a password."""

    ports: tuple[int, ...] = ()
    password: bool = False


ANYTHING = Rules()


class Tls(NamedTuple):
    """The certificates of a proxy over TLS, and whether it requires a client certificate."""

    certificates: Certificates
    of_client: bool = False


def _htpasswd(directory: Path) -> Path:
    """A password file in the format of squid and Apache."""
    command = [path_of("openssl"), "passwd", "-apr1", "-stdin"]
    hashed = subprocess.run(command, input=PASSWORD.encode(), capture_output=True, check=True, timeout=20).stdout.decode()
    file = directory / "htpasswd"
    file.write_text(f"{USER}:{hashed}")
    return file


@contextmanager
def running(
    directory: Path,
    settings: Callable[[int], str],
    arguments: Callable[[Path], list[str]],
    *,
    tls: Tls | None = None,
    env: dict[str, str] | None = None,
    end_with: int = signal.SIGTERM,
) -> Iterator[Proxy]:
    """Runs a program that reads its settings from a file, which is written once the port is known."""

    def command(port: int) -> list[str]:
        file = directory / "proxy.conf"
        file.write_text(settings(port))
        return arguments(file)

    with Daemon(command, directory / "log", env=env, end_with=end_with) as daemon:
        # A name, because the certificate must be for one.
        yield Proxy(daemon.port) if tls is None else Proxy(daemon.port, "https", certificates.HOST)


def _nobody() -> str:
    """The user to which a daemon that does not stay root changes."""
    return "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


class Guard(NamedTuple):
    """The authentication of a squid: its settings, and the environment of its helpers."""

    lines: tuple[str, ...]
    environment: Mapping[str, str] = {}


def basic(directory: Path) -> Guard:
    return Guard(
        (
            f"auth_param basic program {path_of('basic_ncsa_auth')} {_htpasswd(directory)}",
            "auth_param basic children 1 startup=1",
            "auth_param basic realm squid",
        )
    )


def _squid_listens(port: int, tls: Tls | None) -> str:
    if tls is None:
        return f"http_port 127.0.0.1:{port}"
    chain, key = tls.certificates.server
    asked = f"clientca={tls.certificates.authority}" if tls.of_client else ""
    return f"https_port 127.0.0.1:{port} tls-cert={chain} tls-key={key} {asked}"


@contextmanager
def squid(rules: Rules = ANYTHING, tls: Tls | None = None, guard: Callable[[Path], Guard] = basic) -> Iterator[Proxy]:
    """Squid without a cache, with few helpers, in the foreground. `guard`: the authentication, if a password is required."""
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
        environment = None
        if rules.password:
            asked = guard(directory)
            environment = {**os.environ, **asked.environment}
            lines += [*asked.lines, "acl known proxy_auth REQUIRED", "http_access deny !known"]
        lines += ["http_access allow CONNECT open", "http_access deny all"]
        (directory / "cache.log").touch()
        os.chmod(directory / "cache.log", 0o666)

        def settings(port: int) -> str:
            return "\n".join([_squid_listens(port, tls), *lines, ""])

        # A unique service name separates its shared memory from that of any other squid.
        name = f"tunnelctl{os.getpid()}n{next(_numbers)}"

        def arguments(file: Path) -> list[str]:
            return [path_of("squid"), "-N", "-n", name, "-f", str(file)]

        try:
            # SIGKILL, because after SIGTERM squid takes two seconds to end, whatever shutdown_lifetime is.
            with running(directory, settings, arguments, tls=tls, env=environment, end_with=signal.SIGKILL) as proxy:
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
            lines.append(f"BasicAuth {USER} {PASSWORD}")

        def settings(port: int) -> str:
            return "\n".join([f"Port {port}", *lines, ""])

        with running(directory, settings, lambda file: [path_of("tinyproxy"), "-d", "-c", str(file)]) as proxy:
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
{http2}
{tls}
ProxyRequests On
AllowCONNECT {ports}
<Proxy *>
{access}
</Proxy>
"""
_APACHE_MODULES = "/usr/lib/apache2/modules"
_APACHE_TLS = """\
LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
LoadModule ssl_module {modules}/mod_ssl.so
SSLEngine on
SSLSessionCache none
SSLCertificateFile {certificates.chain}
SSLCertificateKeyFile {certificates.key}
SSLCACertificateFile {certificates.authority}
SSLVerifyClient {asked}
"""
_APACHE_HTTP2 = """\
LoadModule http2_module {modules}/mod_http2.so
Protocols h2 h2c http/1.1
H2ProxyRequests On
"""
_APACHE_PASSWORD = "AuthType Basic\nAuthName apache\nAuthBasicProvider file\nAuthUserFile {file}\nRequire valid-user"


def _apache_tls(tls: Tls) -> str:
    asked = "require" if tls.of_client else "none"
    return _APACHE_TLS.format(modules=_APACHE_MODULES, certificates=tls.certificates, asked=asked)


@contextmanager
def apache(rules: Rules = ANYTHING, tls: Tls | None = None, http2: bool = False) -> Iterator[Proxy]:
    """Apache with mod_proxy_connect, with mod_ssl and mod_http2 if needed, and nothing else."""
    with scratch_directory() as directory:
        access = _APACHE_PASSWORD.format(file=_htpasswd(directory)) if rules.password else "Require all granted"

        def settings(port: int) -> str:
            return _APACHE.format(
                directory=directory,
                port=port,
                modules=_APACHE_MODULES,
                ports=" ".join(map(str, rules.ports)) or "1-65535",
                access=access,
                http2=_APACHE_HTTP2.format(modules=_APACHE_MODULES) if http2 else "",
                tls="" if tls is None else _apache_tls(tls),
                user="User nobody\nGroup nogroup" if os.getuid() == 0 else "",
            )

        def arguments(file: Path) -> list[str]:
            return [path_of("apache2"), "-f", str(file), "-D", "FOREGROUND"]

        with running(directory, settings, arguments, tls=tls) as proxy:
            yield proxy


@contextmanager
def ncat(rules: Rules = ANYTHING) -> Iterator[Proxy]:
    """The proxy mode of ncat. It has no rule on ports, and refuses only targets that it cannot reach."""
    with scratch_directory() as directory:
        password = ["--proxy-auth", f"{USER}:{PASSWORD}"] if rules.password else []

        def command(port: int) -> list[str]:
            return [path_of("ncat"), "-l", "-k", "--proxy-type", "http", *password, "127.0.0.1", str(port)]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port)
