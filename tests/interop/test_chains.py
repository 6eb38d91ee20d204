"""Chains of three proxies of different kinds: separate credentials for each, TLS inside TLS, and ssh through all of them."""

import filecmp
import functools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers import certificates, guards, kerberos, proxies, socks_proxies, tls_proxies
from tests.peers.certificates import Certificates
from tests.peers.openssh import HOST, Sshd
from tests.peers.process import scratch_directory
from tests.peers.program import connect, echoed, environment, proxy_command
from tests.peers.proxies import PASSWORD, USER, Proxy, Rules, Tls
from tests.peers.scripted import ScriptedServer, refusing_port, sample

MIB = 1 << 20
DATA = sample(4 * MIB)

pytestmark = [
    pytest.mark.peer("ssh", "scp", "sshd", "ssh-keygen", "microsocks", "tinyproxy", "apache2", "nghttpx", "envoy"),
    pytest.mark.peer("squid", "security_file_certgen", "basic_ncsa_auth", "digest_file_auth", "openssl"),
    pytest.mark.peer("negotiate_kerberos_auth", "krb5kdc", "kadmin.local", "kinit", "ntlm_auth", "pyspnego-parse"),
]

# Each proxy that requires a password has it in its URL; the client certificate is for the first hop over TLS.
CHAINS = {
    "digest, apache, socks5": ("digest", "apache", "socks5"),
    "nghttpx, ntlm, basic": ("nghttpx", "ntlm", "basic"),
    "envoy, squid, negotiate": ("envoy", "squid", "negotiate"),
    "socks4a, squid, nghttpx": ("socks4a", "squid", "nghttpx"),
}


class Company(NamedTuple):
    certificates: Certificates
    realm: kerberos.Realm
    sshd: Sshd


def _starters(company: Company) -> dict[str, Callable[[], AbstractContextManager[Proxy]]]:
    shown, asking = Tls(company.certificates), Tls(company.certificates, of_client=True)
    return {
        "apache": functools.partial(proxies.apache, tls=asking),
        "basic": functools.partial(proxies.tinyproxy, Rules(password=True)),
        "digest": guards.squid_digest,
        "envoy": functools.partial(tls_proxies.envoy, asking),
        "negotiate": functools.partial(guards.squid_negotiate, company.realm),
        "nghttpx": functools.partial(tls_proxies.nghttpx, shown),
        "ntlm": guards.squid_ntlm,
        "socks4a": functools.partial(socks_proxies.openssh, company.sshd),
        "socks5": functools.partial(socks_proxies.microsocks, Rules(password=True)),
        "squid": functools.partial(proxies.squid, tls=shown),
    }


def _url(name: str, proxy: Proxy, password: str = PASSWORD) -> str:
    """The URL of a proxy for a command line, with the credentials that it requires."""
    if name == "ntlm":
        return proxy.url_with(f"{guards.DOMAIN}\\{USER}", password)
    if name in ("basic", "digest", "socks5"):
        return proxy.url_with(USER, password)
    if name == "socks4a":
        return proxy._replace(scheme=name).url
    return proxy._replace(host=kerberos.HOST).url if name == "negotiate" else proxy.url


class Chain(NamedTuple):
    names: tuple[str, ...]
    hops: tuple[Proxy, ...]
    options: tuple[str, ...]
    env: dict[str, str]

    def urls(self, wrong: str | None = None) -> list[str]:
        """The URLs, nearest first; that of the proxy named `wrong` with a wrong password."""
        return [_url(name, hop, "wr0ng" if name == wrong else PASSWORD) for name, hop in zip(self.names, self.hops, strict=True)]

    def words(self, wrong: str | None = None) -> list[str]:
        return [*(word for url in self.urls(wrong) for word in ("-x", url)), *self.options]


@pytest.fixture(scope="module")
def company(sshd: Sshd) -> Iterator[Company]:
    with scratch_directory() as directory, kerberos.realm() as realm:
        yield Company(certificates.make(directory), realm, sshd)


@pytest.fixture(scope="module", params=CHAINS.values(), ids=CHAINS)
def chain(request: pytest.FixtureRequest, company: Company) -> Iterator[Chain]:
    files = company.certificates
    shown = ("--proxy-cert", str(files.client_chain), "--proxy-key", str(files.client_key))
    starters = _starters(company)
    with ExitStack() as running:
        hops = tuple(running.enter_context(starters[name]()) for name in request.param)
        options = ("--proxy-cacert", str(files.authority), *shown)
        yield Chain(request.param, hops, options, company.realm.log_in())


def test_a_chain_echoes_bytes(chain: Chain, echo_target: ScriptedServer) -> None:
    done = echoed(DATA, *chain.words(), echo_target.authority, env=chain.env)
    assert done.stdout == DATA
    if "apache" in chain.names:  # Apache ends without close_notify: see test_tls_proxies
        assert done.returncode == 74
    else:
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_scp_copies_100_mib_through_a_chain(chain: Chain, sshd: Sshd, direction: str, hundred_mib: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    files = [str(hundred_mib), f"{HOST}:{copy}"] if direction == "up" else [f"{HOST}:{hundred_mib}", str(copy)]
    command = proxy_command(*chain.urls(), options=" ".join(chain.options))
    words = sshd.client("scp", "Compression no", f"ProxyCommand {command}")
    done = subprocess.run([*words, *files], capture_output=True, timeout=100, env=environment(chain.env))
    assert (done.returncode, done.stderr) == (0, b"")
    assert filecmp.cmp(hundred_mib, copy, shallow=False)
    copy.unlink()


def test_a_wrong_password_names_the_proxy_that_refused_it(chain: Chain, echo_target: ScriptedServer) -> None:
    """The error identifies the proxy by its port, and shows no password."""
    for place, name in enumerate(chain.names):
        if _url(name, chain.hops[place]) == _url(name, chain.hops[place], "other"):
            continue  # this proxy requires no password
        first, *others = chain.urls(wrong=name)
        words = [*(word for url in others for word in ("-x", url)), *chain.options]
        done = connect(first, echo_target.authority, *words, env=chain.env)
        text = done.stderr.decode()
        assert (done.returncode, done.stdout) == (77, b""), text
        assert f":{chain.hops[place].port}" in text.splitlines()[0]
        assert PASSWORD not in text
        assert "wr0ng" not in text
    assert echo_target.conversations == []


def test_an_unreachable_proxy_is_named(chain: Chain, echo_target: ScriptedServer) -> None:
    """The error names it and the proxy before it, which could not reach it."""
    urls = chain.urls()
    sock, port = refusing_port()
    with sock:
        words = [word for url in (urls[1], f"http://127.0.0.1:{port}") for word in ("-x", url)]
        done = connect(urls[0], echo_target.authority, *words, *chain.options, env=chain.env)
    text = done.stderr.decode()
    assert done.returncode in (69, 75), text  # SOCKS has no reply code for some causes
    assert f":{port}" in text.splitlines()[0]
    assert f":{chain.hops[1].port}" in text.splitlines()[0]
