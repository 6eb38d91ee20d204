"""Authentication of squid other than Basic: Digest, Kerberos inside Negotiate, and NTLM verified by Samba."""

import functools
import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from tests.peers import kerberos, proxies
from tests.peers.process import path_of
from tests.peers.proxies import PASSWORD, USER, Guard, Proxy, Rules

REALM = "squid, second floor"  # the comma in quotes breaks a naive parser of challenges
DOMAIN = "OFFICE"

_SAMBA = """\
[global]
    netbios name = PROXY
    workgroup = {domain}
    private dir = {directory}
    lock directory = {directory}
    state directory = {directory}
    cache directory = {directory}
"""


def _digest(directory: Path) -> Guard:
    """Squid supports MD5 with qop=auth, like most proxies with Digest."""
    known = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
    file = directory / "digests"
    file.write_text(f"{USER}:{REALM}:{known}\n")
    return Guard(
        (
            f"auth_param digest program {path_of('digest_file_auth')} -c {file}",
            "auth_param digest children 1 startup=1",
            f"auth_param digest realm {REALM}",
        )
    )


def _ntlm(directory: Path) -> Guard:
    """Samba's acceptor, configured with the one password, so that it needs no domain.

    It computes the NTLMv2 response that a client must give to its challenge. It takes user and domain from the client, whose
    response is bound to them.
    """
    settings = directory / "smb.conf"
    settings.write_text(_SAMBA.format(directory=directory, domain=DOMAIN))
    words = f"--helper-protocol=squid-2.5-ntlmssp --configfile={settings}"
    account = f"--domain={DOMAIN} --username={USER} --password={PASSWORD}"
    return Guard((f"auth_param ntlm program {path_of('ntlm_auth')} {words} {account}", "auth_param ntlm children 2 startup=1"))


def _negotiate(realm: kerberos.Realm, directory: Path) -> Guard:
    helper = f"{path_of('negotiate_kerberos_auth')} -s {kerberos.SERVICE} -k {realm.keytab}"
    lines = (f"auth_param negotiate program {helper}", "auth_param negotiate children 1 startup=1")
    return Guard(lines, realm.environment)


def _negotiate_or_basic(realm: kerberos.Realm, directory: Path) -> Guard:
    negotiate, basic = _negotiate(realm, directory), proxies.basic(directory)
    return Guard(negotiate.lines + basic.lines, negotiate.environment)


def squid_digest() -> AbstractContextManager[Proxy]:
    return proxies.squid(Rules(password=True), guard=_digest)


def squid_ntlm() -> AbstractContextManager[Proxy]:
    return proxies.squid(Rules(password=True), guard=_ntlm)


def squid_negotiate(realm: kerberos.Realm) -> AbstractContextManager[Proxy]:
    """A squid that must be addressed as http://localhost:PORT, the name that its key is for."""
    return proxies.squid(Rules(password=True), guard=functools.partial(_negotiate, realm))


def squid_negotiate_or_basic(realm: kerberos.Realm) -> AbstractContextManager[Proxy]:
    """A squid that offers Kerberos to the machines of the company, and a password to all others."""
    return proxies.squid(Rules(password=True), guard=functools.partial(_negotiate_or_basic, realm))
