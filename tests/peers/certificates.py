"""Certificates of a small company: one authority, and those it issues to proxies and users, including wrong ones."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme

HOST = "localhost"
NAMES = (HOST, "127.0.0.1")  # names in the certificate of a proxy or target, unless a test requires wrong ones
USER = "anna@example.test"


class Certificates(NamedTuple):
    """Files in PEM format, as programs require them."""

    authority: Path
    chain: Path
    key: Path
    client_chain: Path
    client_key: Path

    @property
    def server(self) -> tuple[Path, Path]:
        return self.chain, self.key

    @property
    def client(self) -> tuple[Path, Path]:
        return self.client_chain, self.client_key


@cache
def _authority() -> trustme.CA:
    return trustme.CA(organization_name="tunnelctl's tests")


def _write(certificate: trustme.LeafCert, directory: Path, name: str) -> tuple[Path, Path]:
    chain, key = directory / f"{name}.pem", directory / f"{name}.key"
    certificate.private_key_pem.write_to_path(str(key))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(chain), append=number > 0)
    return chain, key


def authority(directory: Path) -> Path:
    """Writes the certificate of the authority that issues all others here; returns the file."""
    file = directory / "authority.pem"
    _authority().cert_pem.write_to_path(str(file))
    return file


@cache
def _other() -> trustme.CA:
    return trustme.CA(organization_name="another company")


def another_authority(directory: Path) -> tuple[Path, tuple[Path, Path]]:
    """An authority that no test trusts, and the certificate and key that it has issued to the same user."""
    file = directory / "another_authority.pem"
    _other().cert_pem.write_to_path(str(file))
    return file, _write(_other().issue_cert(USER), directory, "another_client")


def another_issue(directory: Path, name: str, *names: str) -> tuple[Path, Path]:
    """A certificate and key issued by the other authority for `names`."""
    return _write(_other().issue_cert(*names), directory, name)


def issue(
    directory: Path,
    name: str,
    *names: str,
    expired: bool = False,
    begins: datetime | None = None,
    ends: datetime | None = None,
) -> tuple[Path, Path]:
    """Writes `name`.pem and `name`.key for the host names, IP addresses or mail addresses `names`."""
    ends = datetime.now(UTC) - timedelta(days=1) if expired else ends
    return _write(_authority().issue_cert(*names, not_before=begins, not_after=ends), directory, name)


def issue_by_department(directory: Path, name: str, *names: str) -> tuple[Path, Path]:
    """The same, issued by an intermediate authority whose own certificate is in the chain."""
    below = trustme.CA(_authority(), path_length=0, organization_name="a department")
    return _write(below.issue_cert(*names), directory, name)


def make(directory: Path) -> Certificates:
    """Creates the authority, the certificate of a proxy or target on this machine, and that of a user."""
    return Certificates(authority(directory), *issue(directory, "server", *NAMES), *issue(directory, "client", USER))
