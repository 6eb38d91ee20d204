"""How a squid asks who somebody is, apart from Basic: Digest, Kerberos inside Negotiate, and NTLM as Samba checks it."""

import functools
import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from tests.peers import kerberos, proxies
from tests.peers.process import path_of
from tests.peers.proxies import PASSWORD, USER, Guard, Proxy, Rules

REALM = "squid, second floor"  # a comma in quotes, over which a hasty parser of challenges stumbles
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
    """Squid knows MD5 with qop=auth, as most proxies that ask for Digest do."""
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
    """Samba's acceptor, told the one password, so that it needs no domain. It computes what a client has to answer to its
    challenge with NTLMv2; for user and domain it takes what the client says, which that answer is bound to."""
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
    """To be asked for as http://localhost:PORT: that is the name which its key is for."""
    return proxies.squid(Rules(password=True), guard=functools.partial(_negotiate, realm))


def squid_negotiate_or_basic(realm: kerberos.Realm) -> AbstractContextManager[Proxy]:
    """Kerberos for the machines of the company, a password for all others."""
    return proxies.squid(Rules(password=True), guard=functools.partial(_negotiate_or_basic, realm))
