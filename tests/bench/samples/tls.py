"""`connect` through a proxy behind TLS, and what else speaks TLS between two pipes.

HAProxy takes off the TLS, for all of them alike. proxytunnel and curl ask the same proxy behind it for a tunnel. socat and ncat
cannot: they reach the target itself, also behind HAProxy, and so need neither the CONNECT nor its round trip.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.samples.clients import Bench, commands_of, measure_each, scripted_proxy
from tests.bench.workshop import Plan, Table, Unavailable, Workshop
from tests.peers.process import Daemon, which

OURS = "connect -x https://127.0.0.1:{proxy} --proxy-cacert {authority} target.test {port}"
# Each checks the certificate. proxytunnel waits for ever where the first bytes share a record with the head, and curl drops them:
# their targets are silent until they are spoken to.
PEERS: dict[str, str] = {
    "socat OPENSSL": "socat - OPENSSL:127.0.0.1{port}:{proxy},cafile={authority},commonname=localhost",
    "ncat --ssl": "ncat --ssl-verify --ssl-trustfile {authority} --ssl-servername localhost 127.0.0.1{port} {proxy}",
    "proxytunnel -E": "proxytunnel -q -E -C {authority} -p localhost:{proxy} -d target.test:1{port}",
    "curl": "curl -sNp -x https://127.0.0.1:{proxy} --proxy-cacert {authority} http://target.test:1{port}/",
}

# Each address of load.c has one here, all on the same port.
HAPROXY = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
listen proxy
    bind 127.0.0.1:{port},127.0.0.11:{port},127.0.0.12:{port},127.0.0.13:{port} ssl crt {directory}/both.pem
    server same *:{behind}
"""


@contextmanager
def terminator(directory: Path, behind: int) -> Iterator[tuple[int, Path]]:
    """HAProxy with a certificate, in front of load.c; its port, and the authority to trust."""
    from tests.peers import certificates  # and trustme, which the others do not need

    haproxy = which("haproxy")
    if haproxy is None:
        raise Unavailable("haproxy is not installed")
    names = [f"127.0.0.{host}" for host in (1, 11, 12, 13)]
    chain, key = certificates.issue(directory, "server", certificates.HOST, *names)
    (directory / "both.pem").write_bytes(chain.read_bytes() + key.read_bytes())

    def command(port: int) -> list[str]:
        settings = HAPROXY.format(port=port, directory=directory, behind=behind)
        (directory / "haproxy").write_text(settings)
        return [haproxy, "-db", "-f", str(directory / "haproxy")]

    with Daemon(command, directory / "haproxy.log") as daemon:
        yield daemon.port, certificates.authority(directory)


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    commands = commands_of(workshop, table, OURS, PEERS)
    with (
        scripted_proxy(workshop, plan.stream) as behind,
        terminator(workshop.directory, behind) as (port, authority),
    ):
        measure_each("tls", commands, Bench(workshop, plan, table, proxy=port, authority=authority), plan)
