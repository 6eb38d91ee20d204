"""`serve` and Envoy over HTTP/2, in the clear (prior knowledge) and behind TLS (ALPN h2), with http2.c as client and target.

Each proxy has a process for each of the two ways, and all of them take turns.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench.samples import proxies
from tests.bench.samples.proxies import Command, Proxy, Recipe, holder, running
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, say

OURS, ENVOY = proxies.OURS, "Envoy"
OURS_TLS, ENVOY_TLS = f"{OURS}, TLS", f"{ENVOY}, TLS"
AT_ONCE = 16  # short tunnels under way, in one connection
# Many servers announce that a connection may have 100 streams: so many it gets with each proxy, or fewer if its SETTINGS say so.
EACH = 100
IDLE = 4_000
WARM_UP = 200
GIB = 1 << 30
DIRECTIONS = ("down", "up")


class Amounts(NamedTuple):
    tunnels: int
    bulk: int  # bytes
    seconds: float  # of keystrokes


def amounts(plan: Plan) -> Amounts:
    return Amounts(tunnels=plan.tunnels // 2, bulk=plan.stream // 2, seconds=4.0 if plan.rounds > 2 else 1.0)


# ---- the programs, as in proxies.py ----


def serve(workshop: Workshop, directory: Path) -> Command:
    return proxies.tunnelctl(workshop, directory)


def serve_tls(workshop: Workshop, directory: Path) -> Command:
    chain, key = _certificate(directory)
    return proxies.tunnelctl(workshop, directory, "--tls-cert", chain, "--tls-key", key)


# Its manager has a timer for each idle stream unless told, and the deadlines of CONNECT are another matter.
ENVOY_HTTP = {"stream_idle_timeout": "0s", "http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": 100_000}}
TLS_CONTEXT = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def envoy(workshop: Workshop, directory: Path) -> Command:
    return proxies.envoy(workshop, directory, ENVOY_HTTP)


def envoy_tls(workshop: Workshop, directory: Path) -> Command:
    chain, key = _certificate(directory)
    shown = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
    context = {"@type": TLS_CONTEXT, "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [shown]}}
    return proxies.envoy(workshop, directory, ENVOY_HTTP, {"transport_socket": {"name": "tls", "typed_config": context}})


def _certificate(directory: Path) -> tuple[str, str]:
    from tests.peers import certificates  # and trustme, which the rest of the benchmark does not need

    chain, key = certificates.issue(directory, "server", *certificates.NAMES)
    return str(chain), str(key)


class Way(NamedTuple):
    """How the proxies are reached."""

    table: str
    word: str  # for http2.c
    recipes: dict[str, Recipe]


WAYS = (
    Way("http2", "clear", {OURS: serve, ENVOY: envoy}),
    Way("http2-tls", "tls", {OURS_TLS: serve_tls, ENVOY_TLS: envoy_tls}),
)


# ---- the samples ----


class Bench:
    """What is measured on the proxies of one way."""

    def __init__(self, workshop: Workshop, plan: Plan, way: Way, table: Table) -> None:
        self._workshop, self._amounts, self._way, self._table = workshop, amounts(plan), way, table
        self._started: dict[str, Proxy] = {}

    def start_all(self, stack: ExitStack) -> None:
        """Starts those that can; the others go into the table as missing. An idle one costs its rivals nothing."""
        for name in self._way.recipes:
            try:
                self._started[name] = stack.enter_context(self._running(name))
            except Unavailable as reason:
                self._table.missing[name] = str(reason)

    def _running(self, name: str) -> AbstractContextManager[Proxy]:
        return running(self._workshop, name, self._way.recipes, self._warm_up)

    def _warm_up(self, workshop: Workshop, proxy: Proxy) -> None:
        self._sample("rate", proxy, WARM_UP, AT_ONCE)

    def _sample(self, mode: str, proxy: Proxy, *more: object) -> dict[str, float]:
        return self._workshop.sample(mode, self._way.word, proxy.port, *more, program=self._workshop.http2)

    def rate(self, name: str, proxy: Proxy) -> None:
        count, before = self._amounts.tunnels, proxy.cpu()
        figures = self._sample("rate", proxy, count, AT_ONCE)
        self._table.add(name, tunnels_s=count / figures["seconds"], tunnel_us=(proxy.cpu() - before) / count * 1e6)

    def bulk(self, direction: str, name: str, proxy: Proxy) -> None:
        gib, before = self._amounts.bulk / GIB, proxy.cpu()
        figures = self._sample(direction, proxy, self._amounts.bulk)
        cpu = (proxy.cpu() - before) / gib
        self._table.add(name, **{f"{direction}_gibs": gib / figures["seconds"], f"{direction}_cpu": cpu})

    def keys(self, direction: str, name: str, proxy: Proxy) -> None:
        """Takes keystrokes in one stream while another stream of the connection carries bulk."""
        figures = self._sample("keys", proxy, direction, self._amounts.seconds)
        milliseconds = {f"{direction}_{quantile}": figures[quantile] * 1e3 for quantile in ("p50", "p99")}
        self._table.add(name, **milliseconds, **{f"{direction}_beside": figures["bytes"] / GIB / figures["seconds"]})

    def idle(self, name: str) -> None:
        """Takes the growth for each idle stream, which has carried a byte, in a fresh proxy."""
        if not proxies.enough_descriptors(IDLE):
            raise Unavailable(f"the limit of descriptors is too low for {IDLE} streams")
        with self._running(name) as proxy:
            base = proxy.rss_kib()
            with holder(self._workshop.http2, "hold", self._way.word, proxy.port, AT_ONCE, EACH) as hold:
                hold(IDLE)
                self._table.add(name, idle_kib=(proxy.rss_kib() - base) / IDLE)

    def busy_round(self) -> None:
        self._each("rate", self.rate)
        for direction in DIRECTIONS:
            self._each(f"bulk {direction}", partial(self.bulk, direction))
            self._each(f"keys {direction}", partial(self.keys, direction))

    def idle_round(self) -> None:
        self._each("idle", lambda name, _: self.idle(name))

    def _each(self, metric: str, sample: Callable[[str, Proxy], None]) -> None:
        for name, proxy in self._started.items():
            try:
                sample(name, proxy)
            except Unavailable as failure:
                self._table.note_failure(name, metric, failure)

    def note_failure(self, metric: str, failure: Unavailable) -> None:
        self._table.note_failure("one of the proxies", metric, failure)


def measure(workshop: Workshop, plan: Plan, table_of: Callable[[str], Table]) -> None:
    benches = [Bench(workshop, plan, way, table_of(way.table)) for way in WAYS]
    try:
        with ExitStack() as stack:
            for bench in benches:
                bench.start_all(stack)
            for number in range(1, plan.rounds + 1):
                say(f"http2: round {number} of {plan.rounds}")
                for bench in benches:
                    bench.busy_round()
    except Unavailable as failure:  # a proxy that had ended before it was told to; its samples have failed already
        benches[0].note_failure("at the end", failure)
    for number in range(1, plan.idle_rounds + 1):
        say(f"http2: idle streams, round {number} of {plan.idle_rounds}")
        for bench in benches:
            bench.idle_round()
