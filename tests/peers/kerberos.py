"""A realm of MIT Kerberos: its KDC on loopback, a user with a password, and the key of a proxy."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.peers.process import Daemon, path_of, scratch_directory
from tests.peers.proxies import PASSWORD, USER

NAME = "TUNNELCTL.TEST"
HOST = "localhost"  # a proxy's name: for http://localhost:PORT the client uses a ticket for HTTP/localhost
SERVICE = f"HTTP/{HOST}@{NAME}"

_CLIENT = """\
[libdefaults]
    default_realm = {name}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {name} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    {host} = {name}
"""

_KDC = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {name} = {{
        database_name = {directory}/principal
        key_stash_file = {directory}/stash
        acl_file = {directory}/acl
        supported_enctypes = aes256-cts:normal
    }}
[logging]
    kdc = STDERR
"""


class Realm(NamedTuple):
    directory: Path

    @property
    def keytab(self) -> Path:
        """The key of the service HTTP/localhost."""
        return self.directory / "keytab"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which tunnelctl or a proxy finds this realm; they include no ticket."""
        return {
            "KRB5_CONFIG": str(self.directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.directory}/no-tickets",
            "KRB5RCACHENAME": "none:",  # otherwise the replay cache of a proxy is a file shared by the whole machine
        }

    def log_in(self, password: str = PASSWORD) -> dict[str, str]:
        """Gets a ticket for the user with kinit; returns the environment with it."""
        ours = {**self.environment, "KRB5CCNAME": f"FILE:{self.directory}/tickets"}
        self._run("kinit", f"{USER}@{NAME}", stdin=password, env=ours)
        return ours

    def _run(self, program: str, *words: str, stdin: str = "", env: dict[str, str] | None = None) -> None:
        command = [path_of(program), *words]
        whole = {**os.environ, **(env or self.environment)}
        done = subprocess.run(command, input=stdin.encode(), capture_output=True, timeout=20, env=whole)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"

    def _settle(self, port: int) -> None:
        """Writes the settings and creates an empty realm."""
        names = {"name": NAME, "host": HOST, "directory": self.directory, "port": port}
        (self.directory / "krb5.conf").write_text(_CLIENT.format(**names))
        (self.directory / "kdc.conf").write_text(_KDC.format(**names))
        if not (self.directory / "principal").exists():
            self._run("kdb5_util", "create", "-s", "-r", NAME, "-P", "of the database")

    def _populate(self) -> None:
        self._run("kadmin.local", "-r", NAME, "addprinc", "-pw", PASSWORD, USER)
        self._run("kadmin.local", "-r", NAME, "addprinc", "-randkey", SERVICE)
        self._run("kadmin.local", "-r", NAME, "ktadd", "-k", str(self.keytab), SERVICE)
        self.keytab.chmod(0o644)  # a proxy drops root privileges before it reads its key


@contextmanager
def realm() -> Iterator[Realm]:
    with scratch_directory() as directory:
        made = Realm(directory)

        def command(port: int) -> list[str]:
            made._settle(port)
            return [path_of("krb5kdc"), "-n", "-r", NAME]

        with Daemon(command, directory / "log", env={**os.environ, **made.environment}):
            made._populate()
            yield made
