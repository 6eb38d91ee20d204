"""Proxies for TLS: nghttpx in front of squid, Envoy with or without TLS, and mitmproxy. For squid and Apache see proxies.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers import certificates, proxies
from tests.peers.process import Daemon, path_of, scratch_directory
from tests.peers.proxies import Proxy, Tls


def _nghttpx_tls(tls: Tls) -> list[str]:
    chain, key = map(str, tls.certificates.server)
    asked = ["--verify-client", f"--verify-client-cacert={tls.certificates.authority}"] if tls.of_client else []
    return [*asked, key, chain]


@contextmanager
def nghttpx_before(behind: Proxy, tls: Tls | None = None) -> Iterator[Proxy]:
    """nghttpx as a forward proxy: it passes a CONNECT, from HTTP/1.1 or HTTP/2, to an HTTP/1.1 proxy."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            front = f"--frontend=127.0.0.1,{port}{';no-tls' if tls is None else ''}"
            words = [front, f"--backend={behind.host},{behind.port}", "--http2-proxy"]
            quiet = ["--conf=/dev/null", "--single-process", "--workers=1", "--no-ocsp"]
            return [path_of("nghttpx"), *quiet, *words, *([] if tls is None else _nghttpx_tls(tls))]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port) if tls is None else Proxy(daemon.port, "https", certificates.HOST)


@contextmanager
def nghttpx(tls: Tls) -> Iterator[Proxy]:
    """nghttpx in front of a squid."""
    with proxies.squid() as behind, nghttpx_before(behind, tls) as proxy:
        yield proxy


_EXTENSIONS = "type.googleapis.com/envoy.extensions"


def _typed(kind: str, **settings: Any) -> dict[str, Any]:
    """A part of Envoy's settings, identified by its type; the name is only a label."""
    return {"name": kind.rpartition(".")[2], "typed_config": {"@type": f"{_EXTENSIONS}.{kind}", **settings}}


def _envoy_tls(tls: Tls, http2: bool) -> dict[str, Any]:
    chain, key, authority = ({"filename": str(file)} for file in (*tls.certificates.server, tls.certificates.authority))
    shown = {"tls_certificates": [{"certificate_chain": chain, "private_key": key}]}
    asked = {"validation_context": {"trusted_ca": authority}} if tls.of_client else {}
    return _typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=tls.of_client,
        common_tls_context={**shown, **asked, **({"alpn_protocols": ["h2", "http/1.1"]} if http2 else {})},
    )


_ENVOY_HTTP2 = {
    "http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": 100_000},
    "upgrade_configs": [{"upgrade_type": "CONNECT"}],
    "stream_idle_timeout": "0s",
}


def _envoy(port: int, tls: Tls | None, http2: bool) -> dict[str, Any]:
    """Settings for CONNECT to any authority, with Envoy's dynamic forward proxy."""
    names = {"dns_cache_config": {"name": "names", "dns_lookup_family": "V4_ONLY"}}
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    route = {"match": {"connect_matcher": {}}, "route": {"cluster": "anywhere", "upgrade_configs": [upgrade]}}
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="proxy",
        **(_ENVOY_HTTP2 if http2 else {}),
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            _typed("filters.http.dynamic_forward_proxy.v3.FilterConfig", **names),
            _typed("filters.http.router.v3.Router"),
        ],
    )
    socket = {} if tls is None else {"transport_socket": _envoy_tls(tls, http2)}
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{**socket, "filters": [manager]}],
    }
    cluster = {
        "name": "anywhere",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": _typed("clusters.dynamic_forward_proxy.v3.ClusterConfig", **names),
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def envoy(tls: Tls | None = None, http2: bool = False) -> Iterator[Proxy]:
    """Envoy for HTTP/1.1. With `http2` also for HTTP/2: over TLS by ALPN, in the clear by prior knowledge."""
    with scratch_directory() as directory:

        def command(port: int) -> list[str]:
            file: Path = directory / "envoy.json"
            file.write_text(json.dumps(_envoy(port, tls, http2)))
            words = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
            return [path_of("envoy"), "-c", str(file), *words]

        with Daemon(command, directory / "log") as daemon:
            yield Proxy(daemon.port) if tls is None else Proxy(daemon.port, "https", certificates.HOST)


@contextmanager
def mitmproxy(directory: Path) -> Iterator[str]:
    """Runs mitmproxy, which creates its own authority in that directory and does not verify the server's certificate."""

    def command(port: int) -> list[str]:
        words = ["--listen-host", "127.0.0.1", "--listen-port", str(port), "--ssl-insecure", "--set", f"confdir={directory}"]
        return [path_of("mitmdump"), "-q", *words]

    with Daemon(command, directory / "log") as daemon:
        yield f"http://127.0.0.1:{daemon.port}"
